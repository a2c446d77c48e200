//! The virtual machine around the TPM: power, presence, clock, entropy, storage.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Result, anyhow};
use tpm::{Change, CommitError, Environment, Tpm};

use super::state_file::StateFile;
use crate::manufacture::fill_random;
use crate::plain::exists;
use crate::say::say;

/// The TPM with its machine, shared by all connections.
pub struct Shared {
    world: Mutex<World>,
    /// Outside the lock, because it must reach a command that holds the lock.
    cancel: Arc<AtomicBool>,
}

struct World {
    tpm: Tpm,
    host: Host,
    powered: bool,
}

impl Shared {
    /// Opens the TPM of a state file, or makes a new one. It is not powered yet.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn open(state: Option<&Path>) -> Result<Arc<Self>> {
        let cancel = Arc::new(AtomicBool::new(false));
        let mut host = Host::new(StateFile::in_memory(), &cancel);
        let tpm = match state {
            Some(path) => {
                if !exists(path)? {
                    let mut plant = Host::new(StateFile::in_memory(), &cancel);
                    Tpm::manufacture(&mut plant).map_err(no_tpm)?;
                    plant.file.make(path)?;
                }
                host.file = StateFile::open(path)?;
                let records = host.file.records();
                Tpm::open(records.iter().map(|(key, data)| (*key, &data[..])), &mut host)
            }
            None => Tpm::manufacture(&mut host),
        };
        let tpm = tpm.map_err(no_tpm)?;
        Ok(Arc::new(Self { world: Mutex::new(World { tpm, host, powered: false }), cancel }))
    }

    /// Runs a command; without power the response is empty.
    pub fn execute(&self, command: &[u8], locality: u8) -> Vec<u8> {
        let World { tpm, host, powered } = &mut *self.world();
        if *powered { tpm.execute(command, locality, host) } else { Vec::new() }
    }

    /// Switches the power on; no effect if it is on.
    pub fn power_on(&self) {
        let World { tpm, host, powered } = &mut *self.world();
        if !*powered {
            tpm.init(host);
            *powered = true;
        }
    }

    /// Switches the power off; volatile state is lost.
    pub fn power_off(&self) {
        self.world().powered = false;
    }

    /// Sets whether physical presence is asserted.
    pub fn set_physical_presence(&self, is_there: bool) {
        self.world().host.presence = is_there;
    }

    /// Sets the cancel signal, which ends the running command and all later ones while it is on.
    pub fn set_cancel(&self, is_on: bool) {
        self.cancel.store(is_on, Ordering::Relaxed);
    }

    /// Sets whether the non-volatile storage works.
    pub fn set_nv(&self, works: bool) {
        self.world().host.nv = works;
    }

    /// _TPM_Hash_Start.
    pub fn hash_start(&self) {
        self.world().tpm.hash_start();
    }

    /// _TPM_Hash_Data.
    pub fn hash_data(&self, data: &[u8]) {
        self.world().tpm.hash_data(data);
    }

    /// _TPM_Hash_End.
    pub fn hash_end(&self) {
        self.world().tpm.hash_end();
    }

    /// Waits for the running command to end, and prevents any other from starting.
    pub fn close(&self) {
        std::mem::forget(self.world());
    }

    /// Locks the machine. A poisoned lock is used all the same: a thread that panicked in a command
    /// has left the engine as it was before, or has ended it.
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The engine's environment in this process.
struct Host {
    file: StateFile,
    start: Instant,
    nv: bool,
    presence: bool,
    cancel: Arc<AtomicBool>,
}

fn no_tpm(error: impl std::fmt::Debug) -> anyhow::Error {
    anyhow!("the state holds no TPM: {error:?}")
}

impl Host {
    fn new(file: StateFile, cancel: &Arc<AtomicBool>) -> Self {
        let start = Instant::now();
        Self { file, start, nv: true, presence: false, cancel: Arc::clone(cancel) }
    }
}

impl Environment for Host {
    fn entropy(&mut self, out: &mut [u8]) -> bool {
        fill_random(out).is_ok()
    }

    fn now_ms(&mut self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), CommitError> {
        if !self.nv {
            return Err(CommitError::Unavailable);
        }
        self.file.commit(changes).map_err(|error| {
            say!("vtpm: the state cannot be written: {error:#}");
            CommitError::Unavailable
        })
    }

    fn physical_presence(&mut self) -> bool {
        self.presence
    }

    fn is_canceled(&mut self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}
