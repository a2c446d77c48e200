//! The engine in the service, with its world: entropy, clock, storage.

use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use platform_api::{Host, Platform};
use tpm::{Change, CommitError, Environment, OpenError, Progress, Tpm};

use super::exchange::Task;
use super::{TpmError, VirtualTpm};
use crate::machine::Machine;

/// Units of a key search between two looks at whether it is to end: half a millisecond on silicon,
/// so that what is computed again after each look is little.
const UNITS: u32 = 1_000;

/// The engine, once there is one. Only the service locks it.
#[derive(Debug, Default)]
pub(crate) struct Engine(Option<Tpm>);

impl VirtualTpm {
    /// As the service: does the task that waits.
    pub(crate) fn serve<P: Platform>(&self, machine: &Machine<P>) {
        self.exchange.serve(|task, bytes| {
            // Should the service fail, its lock stays with it, and nobody waits for it.
            let Some(mut engine) = self.engine.try_lock() else { return Err(TpmError::Failed) };
            let mut world = World { machine, tpm: self };
            match task {
                Task::Init => engine.init(&mut world),
                Task::Execute { locality } => {
                    let response = engine.execute(bytes, locality, &mut world)?;
                    *bytes = response;
                    Ok(())
                }
            }
        });
    }
}

impl Engine {
    /// Power on, or reset (TPM 2.0 library specification, Part 1, 12.2).
    fn init(&mut self, world: &mut dyn Environment) -> Result<(), TpmError> {
        match &mut self.0 {
            Some(tpm) => tpm.init(world),
            none => *none = Some(Tpm::manufacture(world).map_err(TpmError::from)?),
        }
        Ok(())
    }

    fn execute(
        &mut self,
        command: &[u8],
        locality: u8,
        world: &mut dyn Environment,
    ) -> Result<Vec<u8>, TpmError> {
        let tpm = self.0.as_mut().ok_or(TpmError::Failed)?;
        tpm.start(command, locality, world);
        loop {
            // Between two steps of a key search the engine looks whether it is to end.
            if let Progress::Done(response) = tpm.work(UNITS, world) {
                return Ok(response);
            }
        }
    }
}

impl From<OpenError> for TpmError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Entropy => Self::Entropy,
            OpenError::Version(_)
            | OpenError::Malformed(_)
            | OpenError::Missing
            | OpenError::Commit(_) => Self::Failed,
        }
    }
}

/// What the engine gets from outside.
struct World<'a, P: Platform> {
    machine: &'a Machine<P>,
    tpm: &'a VirtualTpm,
}

impl<P: Platform> Environment for World<'_, P> {
    fn entropy(&mut self, out: &mut [u8]) -> bool {
        self.machine.host().entropy(out)
    }

    fn now_ms(&mut self) -> u64 {
        self.machine.now().as_nanos() / 1_000_000
    }

    /// The TPM is ephemeral: what the engine keeps in memory lives as long as the VM.
    fn commit(&mut self, _changes: &[Change]) -> Result<(), CommitError> {
        Ok(())
    }

    fn is_canceled(&mut self) -> bool {
        self.tpm.canceled.load(Ordering::Relaxed)
    }
}
