//! The TPM's non-volatile storage in one file.
//!
//! The file is a store like that of `run --state`, under a public key.
//!
//! A store is changed in place, so the locked file stays the same: all its names, by hard links or
//! mounts, lead to one state under one lock. If each change wrote a new file and renamed it over
//! the old one, hard links would lead to a second state, and a mounted file could not be replaced.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use state_store::{
    DISK_SECTORS, Disk, DiskError, Entropy, Key, KeyError, KeySource, SECTOR, Store, Tenant,
};
use tpm::Change;

use crate::manufacture::{fill_random, seal};
use crate::plain::{self, named};
use crate::say::say;
use crate::state::check_size;

/// The key of every such file. It is no secret: the file is protected by its mode alone.
const KEY: [u8; Key::SIZE] = *b"paravane vtpm: this is no secret";
/// The first bytes of a file written by an earlier version of this program.
const OLD_FORM: &[u8] = b"PVvTPM\0";

type Records = BTreeMap<u32, Vec<u8>>;

/// The records of the TPM, in memory or in a file.
pub enum StateFile {
    /// Records that are lost with the process.
    Memory(Records),
    /// Records in a file that this process has locked.
    Kept(Box<Store<LockedFile>>),
}

impl StateFile {
    /// An empty storage without a file.
    pub const fn in_memory() -> Self {
        Self::Memory(Records::new())
    }

    /// Makes the file of a new TPM, whole or not at all. A file that another process has made
    /// meanwhile is left as it is.
    ///
    /// # Errors
    /// The file can not be made.
    pub fn make(self, path: &Path) -> Result<()> {
        plain::make(path, &seal(&self.records(), &KEY)?)
    }

    /// Opens and locks the file.
    ///
    /// # Errors
    /// Another process has the lock, or the file holds no state of a TPM.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = plain::open_locked(path, "another process uses")?;
        let mut start = [0; OLD_FORM.len()];
        if file.read_exact(&mut start).is_ok() && start == OLD_FORM {
            bail!(
                "{} was written by an earlier `paravane vtpm`, in a format that is not supported",
                named(path)
            );
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
    /// None of the changes was made.
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
                let changes: Vec<state_store::Change<'_>> = changes
                    .iter()
                    .map(|change| state_store::Change {
                        key: change.key,
                        data: change.data.as_deref(),
                    })
                    .collect();
                let done = store.commit(Tenant::Tpm, &changes, &mut Kernel);
                done.map_err(|error| anyhow!("{error}"))
            }
        }
    }
}

/// The file, locked by this process until it is closed.
pub struct LockedFile {
    file: File,
    path: PathBuf,
}

impl LockedFile {
    /// The offset of a sector in the file, if the access lies within the store.
    fn place(sector: u64, length: usize) -> Result<u64, DiskError> {
        let end = sector.checked_add((length / SECTOR) as u64);
        match (end, sector.checked_mul(SECTOR as u64)) {
            (Some(end), Some(place)) if end <= DISK_SECTORS => Ok(place),
            _ => Err(DiskError::OutOfRange),
        }
    }

    /// Reports the reason of an error to the user: the store's own error type can not carry it.
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

/// The source of [`KEY`].
struct KnownKey;

impl KeySource for KnownKey {
    fn key(&mut self) -> Result<Key, KeyError> {
        Key::new(&KEY)
    }
}

/// Random numbers from this machine's kernel.
struct Kernel;

impl Entropy for Kernel {
    fn fill(&mut self, out: &mut [u8]) -> bool {
        fill_random(out).is_ok()
    }
}
