//! The chip that Drydock emulates, made once for each user.
//!
//! A verifier of attestation reports trusts an ARK, so the chain must stay the same from run to run.
//! Only the chip's secrets are kept, together with the certificates. The private keys of ARK and ASK
//! are forgotten when they have certified the chip, as nothing else is to be certified by them.

mod chain;
mod file;
mod profile;
mod table;
#[cfg(test)]
mod tests;

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use der::pem::{self, LineEnding};
use host_wire::chip::Chip;
use rustix::fs::OFlags;
use tempfile::NamedTempFile;

use crate::plain::{self, named};
use crate::say::say;
use chain::Chain;

/// The file of the chip, in the folder of this program's data.
const NAME: &str = "drydock-chip.pem";
/// The file that is locked while a chip is made.
const LOCK: &str = "drydock-chip.lock";

/// A chip with its certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    chip: Chip,
    chain: Chain,
}

impl Certified {
    /// The chip of this user, which the first run makes. If it can not be kept, the user learns why,
    /// and this run gets a chip of its own.
    ///
    /// # Errors
    /// The kernel gives no random numbers.
    pub fn of_user_or_new() -> Result<Self> {
        Self::of_user().or_else(|why| {
            say!("this run has a chip of its own, as none can be kept: {why:#}");
            Self::make()
        })
    }

    /// The chip of this user, which the first run makes.
    ///
    /// # Errors
    /// One line that names the file, if the chip can neither be read nor kept.
    pub fn of_user() -> Result<Self> {
        Self::kept(&folder()?, Self::make)
    }

    fn make() -> Result<Self> {
        say!("makes the keys of the emulated chip; the search for RSA's primes takes some seconds");
        let (chip, chain) = chain::make()?;
        Ok(Self { chip, chain })
    }

    /// The chip in a folder. A missing one is made, and so is one in place of a damaged one.
    fn kept(folder: &Path, make: impl FnOnce() -> Result<Self>) -> Result<Self> {
        let path = folder.join(NAME);
        if let Ok(kept) = Self::read(&path)? {
            return Ok(kept);
        }
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder).with_context(|| named(folder))?;
        let _lock = lock(&folder.join(LOCK))?;
        // Another run may have made it meanwhile.
        match Self::read(&path)? {
            Ok(kept) => return Ok(kept),
            Err(Missing::Damaged(why)) => say!(
                "{} is damaged ({why:#}), so there will be another chip with other certificates",
                path.display()
            ),
            Err(Missing::NoFile) => {}
        }
        let made = make()?;
        made.keep(folder, &path).with_context(|| format!("{} can not be made", path.display()))?;
        Ok(made)
    }

    /// Reads a chip. The outer error is that of a file that is not ours to replace.
    fn read(path: &Path) -> Result<std::result::Result<Self, Missing>> {
        if !plain::exists(path)? {
            return Ok(Err(Missing::NoFile));
        }
        let mut text = vec![];
        let file = plain::open(path, false)?;
        file.take(file::MOST).read_to_end(&mut text).with_context(|| named(path))?;
        let read = String::from_utf8(text).map_err(|_| anyhow!("it is no text"));
        let read = read.and_then(|text| file::decode(&text));
        Ok(read.map(|(chip, chain)| Self { chip, chain }).map_err(Missing::Damaged))
    }

    /// Writes the file, whole or not at all, for its owner alone.
    fn keep(&self, folder: &Path, path: &Path) -> Result<()> {
        // Temporary files have the mode 0600.
        let mut file = NamedTempFile::new_in(folder)?;
        file.write_all(file::encode(&self.chip, &self.chain)?.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(File::open(folder)?.sync_all()?)
    }

    /// The chip's secrets, as Drydock takes them.
    pub fn secrets(&self) -> [u8; host_wire::chip::SIZE] {
        self.chip.to_bytes()
    }

    /// The certificates, as the guest takes them.
    ///
    /// # Errors
    /// They are too long.
    pub fn table(&self) -> Result<Vec<u8>> {
        table::table(&self.chain)
    }

    /// Writes the certificates to a folder, in files of the names that verifiers of reports look
    /// for. A missing folder is made.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn write_certificates(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| named(folder))?;
        let Chain { ark, ask, vcek } = &self.chain;
        for (name, certificate) in [("ark.pem", ark), ("ask.pem", ask), ("vcek.pem", vcek)] {
            let path = folder.join(name);
            let text = pem::encode_string("CERTIFICATE", LineEnding::LF, certificate);
            let text = text.map_err(|error| anyhow!("{name}: {error}"))?;
            fs::write(&path, text).with_context(|| named(&path))?;
        }
        Ok(())
    }
}

/// Why there is no chip in a folder yet.
#[derive(Debug)]
enum Missing {
    NoFile,
    Damaged(anyhow::Error),
}

/// The folder of this program's data (XDG Base Directory Specification 0.8: a path that is not
/// absolute is ignored).
fn folder() -> Result<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    Ok(user.context("neither XDG_DATA_HOME nor HOME names a folder")?.join("paravane"))
}

/// Waits until no other run makes a chip, and keeps others waiting until the result is dropped.
fn lock(path: &Path) -> Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600).custom_flags(flags.bits().cast_signed());
    let file = options.open(path).with_context(|| named(path))?;
    ensure!(file.metadata().with_context(|| named(path))?.is_file(), "{} is no file", named(path));
    if file.try_lock().is_err() {
        say!("waits for another run that makes the chip");
        file.lock().with_context(|| named(path))?;
    }
    Ok(file)
}
