//! The files of the paravisor's state, before QEMU gets them.
//!
//! The state and its key are files of the user, so they are checked, and made if they are missing;
//! the state is also locked. QEMU gets the open files that were checked, even if their names now
//! lead to other files.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::io::{FdFlags, fcntl_setfd};
use zeroize::Zeroizing;

use crate::manufacture::{self, Authority};
use crate::plain::{self, exists, make, named};

/// Bytes of the smallest state that can be used.
const SIZE: u64 = 1 << 20;
const SECTOR: u64 = 512;
const KEY_SIZE: usize = 32;

/// A state that this process has locked.
#[derive(Debug)]
pub struct State {
    /// The state's file for QEMU, opened a second time without the lock, which QEMU would otherwise
    /// hold for a moment after this process has ended.
    file: File,
    /// The key's file.
    key: File,
    /// The state's file with the lock, held for as long as the VM may write.
    _lock: File,
}

impl State {
    /// Checks and locks a state. A missing state is made, with a TPM whose endorsement keys are
    /// certified by the CA in the file `authority`, or by the test CA. Without `key`, the key is in
    /// `FILE.key`, and is made together with the state.
    ///
    /// # Errors
    /// One line for the user that names the file and says why it can not be used.
    pub fn prepare(file: &Path, key: Option<&Path>, authority: Option<&Path>) -> Result<Self> {
        let beside = beside(file);
        let key_file = key.unwrap_or(&beside);
        if !exists(file)? {
            // The key is made first: a state without its key is useless, but a key without a state
            // is used by the next run.
            if key.is_none() && !exists(&beside)? {
                let mut bytes = Zeroizing::new([0; KEY_SIZE]);
                manufacture::fill_random(&mut *bytes).with_context(|| named(&beside))?;
                make(&beside, &*bytes)?;
            }
            let (_, key) = open_key(key_file)?;
            let authority = authority.map_or_else(|| Ok(Authority::test()), Authority::read)?;
            make(file, &manufacture::seal(&manufacture::manufacture(&authority)?, &key)?)?;
        } else if authority.is_some() {
            bail!(
                "{} is there already: its TPM was certified when it was made, and --tpm-ca is for a \
                 new one",
                file.display()
            );
        }
        let lock = open_state(file)?;
        let file = File::open(own_name(&lock)).with_context(|| named(file))?;
        let (key, _) = open_key(key_file)?;
        Ok(Self { file, key, _lock: lock })
    }

    /// Lets the next child process inherit both files; returns the names under which it can open
    /// the state and the key.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn pass(&self) -> Result<(PathBuf, PathBuf)> {
        for file in [&self.file, &self.key] {
            fcntl_setfd(file, FdFlags::empty()).context("the state's files")?;
        }
        Ok((own_name(&self.file), own_name(&self.key)))
    }
}

/// The name of an open file, valid in the process that has it open.
pub fn own_name(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// `FILE.key`.
pub fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".key");
    PathBuf::from(name)
}

fn open_state(path: &Path) -> Result<File> {
    let file = plain::open_locked(path, "another VM uses the state")?;
    check_size(&file, path)?;
    Ok(file)
}

/// Refuses a file whose size no state has.
pub fn check_size(file: &File, path: &Path) -> Result<()> {
    let size = file.metadata().with_context(|| named(path))?.len();
    if size < SIZE {
        bail!("{} is too small for a state: {size} bytes, and {SIZE} wanted", path.display());
    }
    if !size.is_multiple_of(SECTOR) {
        bail!("{} is no state: {size} bytes are no multiple of {SECTOR}", path.display());
    }
    Ok(())
}

/// Opens the key's file and reads the key.
fn open_key(path: &Path) -> Result<(File, Zeroizing<Vec<u8>>)> {
    if !exists(path)? {
        bail!("the state's key {} is not there", path.display());
    }
    let file = plain::open(path, false)?;
    // One byte more than a key has, to notice a longer file.
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_SIZE + 1));
    (&file).take(KEY_SIZE as u64 + 1).read_to_end(&mut bytes).with_context(|| named(path))?;
    match bytes.len() {
        KEY_SIZE => Ok((file, bytes)),
        length if length < KEY_SIZE => {
            bail!("the key {} has {length} bytes, not {KEY_SIZE}", path.display())
        }
        _ => bail!("the key {} has more than {KEY_SIZE} bytes", path.display()),
    }
}

#[cfg(test)]
mod tests;
