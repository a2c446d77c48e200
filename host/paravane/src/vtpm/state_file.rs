//! The TPM's non-volatile storage in one file: a store as that of `run --state`, under a key that
//! everybody knows.
//!
//! A store is changed in place, so the file stays the one that was named and locked: another name
//! for it, by a hard link or a mount, is the same state under the same lock. A copy that is renamed
//! over the file would be a second state, and can not be renamed over a mount.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use store::{
    DISK_SECTORS, Disk, DiskError, Entropy, Key, KeyError, KeySource, SECTOR, Store, Tenant,
};
use tpm::Change;

use crate::manufacture::{fill_random, seal};
use crate::plain::{self, named};
use crate::say::say;
use crate::state::check_size;

/// The key of every such file. The file's protection is its mode, so this is no secret.
const KEY: [u8; Key::SIZE] = *b"paravane vtpm: this is no secret";
/// How a file began that an earlier form of this program wrote.
const OLD_FORM: &[u8] = b"PVvTPM\0";

type Records = BTreeMap<u32, Vec<u8>>;

/// The records, and where they are kept.
pub enum StateFile {
    /// Lost with the process.
    Memory(Records),
    /// In a file that is this process's own.
    Kept(Box<Store<LockedFile>>),
}

impl StateFile {
    /// No file: all is lost with the process.
    pub const fn in_memory() -> Self {
        Self::Memory(Records::new())
    }

    /// Makes the file of a new TPM, whole or not at all. One that came into being meanwhile is left
    /// as it is.
    ///
    /// # Errors
    /// Why the file can not be made.
    pub fn make(self, path: &Path) -> Result<()> {
        plain::make(path, &seal(&self.records(), &KEY)?)
    }

    /// Opens the file as its only user.
    ///
    /// # Errors
    /// When another process has it, or it is no state of a TPM.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = plain::open_locked(path, "another process uses")?;
        let mut start = [0; OLD_FORM.len()];
        if file.read_exact(&mut start).is_ok() && start == OLD_FORM {
            bail!("{} has the form of an earlier `paravane vtpm`, which is not read", named(path));
        }
        check_size(&file, path)?;
        let store = Store::open(LockedFile { file, path: path.to_owned() }, &mut KnownKey);
        let store = store.map_err(|error| anyhow!("{error}")).with_context(|| named(path))?;
        Ok(Self::Kept(Box::new(store)))
    }

    /// The records by key.
    pub fn records(&self) -> Records {
        match self {
            Self::Memory(records) => records.clone(),
            Self::Kept(store) => {
                store.records(Tenant::Tpm).map(|(key, data)| (key, data.to_vec())).collect()
            }
        }
    }

    /// Makes changes durable, all or none.
    ///
    /// # Errors
    /// Why none was.
    pub fn commit(&mut self, changes: &[Change]) -> Result<()> {
        match self {
            Self::Memory(records) => {
                for change in changes {
                    match &change.data {
                        Some(data) => records.insert(change.key, data.clone()),
                        None => records.remove(&change.key),
                    };
                }
                Ok(())
            }
            Self::Kept(store) => {
                let changes: Vec<store::Change<'_>> = changes
                    .iter()
                    .map(|change| store::Change { key: change.key, data: change.data.as_deref() })
                    .collect();
                let done = store.commit(Tenant::Tpm, &changes, &mut Kernel);
                done.map_err(|error| anyhow!("{error}"))
            }
        }
    }
}

/// A file that this process has locked, for as long as it is open.
pub struct LockedFile {
    file: File,
    path: PathBuf,
}

impl LockedFile {
    /// The place of a sector in the file; nothing lies behind the store.
    fn place(sector: u64, length: usize) -> Result<u64, DiskError> {
        let end = sector.checked_add((length / SECTOR) as u64);
        match (end, sector.checked_mul(SECTOR as u64)) {
            (Some(end), Some(place)) if end <= DISK_SECTORS => Ok(place),
            _ => Err(DiskError::OutOfRange),
        }
    }

    /// Tells the reason, which the store has no word for.
    fn tell(&self, done: io::Result<()>) -> Result<(), DiskError> {
        done.map_err(|error| {
            say!("vtpm: {}: {error}", self.path.display());
            DiskError::Failed
        })
    }
}

impl Disk for LockedFile {
    fn sectors(&self) -> u64 {
        DISK_SECTORS
    }

    fn read(&mut self, sector: u64, to: &mut [u8]) -> Result<(), DiskError> {
        let place = Self::place(sector, to.len())?;
        self.tell(self.file.read_exact_at(to, place))
    }

    fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), DiskError> {
        let place = Self::place(sector, from.len())?;
        self.tell(self.file.write_all_at(from, place))
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.tell(self.file.sync_data())
    }
}

/// [`KEY`].
struct KnownKey;

impl KeySource for KnownKey {
    fn key(&mut self) -> Result<Key, KeyError> {
        Key::new(&KEY)
    }
}

/// This machine's kernel.
struct Kernel;

impl Entropy for Kernel {
    fn fill(&mut self, out: &mut [u8]) -> bool {
        fill_random(out).is_ok()
    }
}
