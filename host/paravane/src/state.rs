//! The file of the paravisor's state, and its key's, before the VM has them.
//!
//! Both are the user's, so they are checked, made where they are missing, and locked. QEMU then gets
//! what was checked, whatever has its name by then.

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

/// A state that is this process's own.
#[derive(Debug)]
pub struct State {
    /// The file once more, without the lock: QEMU would hold that for a moment longer than this
    /// process lives.
    file: File,
    /// Its key's.
    key: File,
    /// Held for as long as the VM may write.
    _lock: File,
}

impl State {
    /// Checks and locks a state, and makes it if it is not there: with a TPM whose endorsement keys
    /// are certified by the CA in the file `authority`, or by the test CA. Without `key`, the key is
    /// in `FILE.key`, and is made with the state.
    ///
    /// # Errors
    /// One line for the user, who gave something that can not be used.
    pub fn prepare(file: &Path, key: Option<&Path>, authority: Option<&Path>) -> Result<Self> {
        let beside = beside(file);
        let key_file = key.unwrap_or(&beside);
        if !exists(file)? {
            // The key first: a state without one is of no use, a key without a state is.
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

    /// Lets the program that is started next inherit both files; answers the names by which that
    /// program opens the state and the key.
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

/// The name of an open file for the process that has it open.
fn own_name(file: &File) -> PathBuf {
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

/// Refuses a file whose size is no state's.
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

/// The key's file, and the key.
fn open_key(path: &Path) -> Result<(File, Zeroizing<Vec<u8>>)> {
    if !exists(path)? {
        bail!("the state's key {} is not there", path.display());
    }
    let file = plain::open(path, false)?;
    // One byte more tells a longer one.
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
