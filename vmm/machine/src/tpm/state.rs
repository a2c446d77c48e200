//! The store of the TPM's records, on the disk that the host gives for it.

use alloc::vec::Vec;

use host_wire::file::STATE_KEY;
use platform_api::{Entropy as _, Files, Platform, StateDisk, StateDiskError};
use state_store::{Disk, DiskError, Entropy, Key, KeyError, KeySource, SECTOR, Store, Tenant};
use tpm::{Change, CommitError};
use zeroize::Zeroizing;

use super::TpmError;

/// The store, if the host gives a disk for it. Without one the TPM is ephemeral.
pub(crate) struct State<P: Platform> {
    platform: &'static P,
    store: Store<HostDisk<P>>,
}

impl<P: Platform> core::fmt::Debug for State<P> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "State(commit {})", self.store.sequence())
    }
}

impl<P: Platform> State<P> {
    /// Opens the store, or makes it with this identity on a disk of zeroes.
    ///
    /// # Errors
    /// A disk that can not be used, and a key without a disk: it was given for a TPM that persists.
    pub(crate) fn open(platform: &'static P, identity: [u8; 16]) -> Result<Option<Self>, TpmError> {
        let host = platform.host();
        if host.state_disk_sectors().is_none() {
            return match host.file(STATE_KEY) {
                None => Ok(None),
                Some(_) => Err(TpmError::NoStateDisk),
            };
        }
        let mut key = KeyFile(platform);
        let store = match Store::open(HostDisk(platform), &mut key) {
            Err(error) if error.is_new() => {
                let (disk, mut entropy) = (HostDisk(platform), HostEntropy(platform));
                Store::format_as(identity, disk, &mut key, &mut entropy).map_err(TpmError::Format)
            }
            other => other.map_err(TpmError::State),
        };
        Ok(Some(Self { platform, store: store? }))
    }

    /// The TPM's records by key.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.store.records(Tenant::Tpm)
    }

    /// Makes changes durable, or none of them.
    pub(crate) fn commit(&mut self, changes: &[Change]) -> Result<(), CommitError> {
        let changes: Vec<state_store::Change<'_>> = changes
            .iter()
            .map(|change| state_store::Change { key: change.key, data: change.data.as_deref() })
            .collect();
        self.commit_of(Tenant::Tpm, &changes)
    }

    /// The words that [`Self::keep_presence`] stored; empty if it stored none.
    pub(crate) fn presence(&self) -> &[u8] {
        self.store.records(Tenant::Presence).next().map_or(&[], |(_, words)| words)
    }

    /// Keeps the words of the physical presence interface, if they are not those that are kept.
    pub(crate) fn keep_presence(&mut self, words: &[u8]) -> Result<(), CommitError> {
        let kept = self.presence();
        let is_kept = kept == words || (kept.is_empty() && words.iter().all(|byte| *byte == 0));
        let change = state_store::Change { key: 0, data: Some(words) };
        if is_kept { Ok(()) } else { self.commit_of(Tenant::Presence, &[change]) }
    }

    fn commit_of(
        &mut self,
        tenant: Tenant,
        changes: &[state_store::Change<'_>],
    ) -> Result<(), CommitError> {
        let done = self.store.commit(tenant, changes, &mut HostEntropy(self.platform));
        done.map_err(|error| {
            log::warn!("the state of {tenant} can not be written: {error}");
            CommitError::Unavailable
        })
    }
}

/// The host's disk.
struct HostDisk<P: Platform>(&'static P);

impl<P: Platform> Disk for HostDisk<P> {
    fn sectors(&self) -> u64 {
        self.0.host().state_disk_sectors().unwrap_or(0)
    }

    fn read(&mut self, sector: u64, to: &mut [u8]) -> Result<(), DiskError> {
        self.0.host().read_state_disk(sector, to).map_err(as_disk_error)
    }

    fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), DiskError> {
        self.0.host().write_state_disk(sector, from).map_err(as_disk_error)
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.0.host().flush_state_disk().map_err(as_disk_error)
    }
}

const fn as_disk_error(error: StateDiskError) -> DiskError {
    match error {
        StateDiskError::OutOfRange => DiskError::OutOfRange,
        StateDiskError::Absent | StateDiskError::Failed | StateDiskError::Busy => DiskError::Failed,
        StateDiskError::TimedOut => DiskError::TimedOut,
        StateDiskError::Misbehaved => DiskError::Misbehaved,
    }
}

/// The key as a file of the host's. On this platform the host is trusted with it.
struct KeyFile<P: Platform>(&'static P);

impl<P: Platform> KeySource for KeyFile<P> {
    fn key(&mut self) -> Result<Key, KeyError> {
        let host = self.0.host();
        let file = host.file(STATE_KEY).ok_or(KeyError::Missing)?;
        if file.length as usize != Key::SIZE {
            return Err(KeyError::Length(file.length as usize));
        }
        let mut bytes = Zeroizing::new([0; Key::SIZE]);
        host.read_file(file, 0, &mut bytes[..]).map_err(|_| KeyError::Unreadable)?;
        Key::new(&bytes[..])
    }
}

/// The platform's randomness.
struct HostEntropy<P: Platform>(&'static P);

impl<P: Platform> Entropy for HostEntropy<P> {
    fn fill(&mut self, out: &mut [u8]) -> bool {
        self.0.host().entropy(out)
    }
}

/// Store and platform mean the same by a sector.
const _: () = assert!(SECTOR == 512);
