//! The engine in the service, with its environment.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use platform_api::{Entropy, Platform};
use tpm::{Change, CommitError, Environment, OpenError, Progress, SEARCH_UNITS, Tpm};
use zeroize::Zeroizing;

use super::exchange::{Task, forget};
use super::state::State;
use super::{TpmError, VirtualTpm};
use crate::machine::Machine;

/// The answer to [`Task::Init`] when there was no TPM before.
pub(super) const MANUFACTURED: u8 = 1;

/// The engine, once there is one, and the store of its records. Only the service locks it.
#[derive(Debug)]
pub(crate) struct Engine<P: Platform> {
    tpm: Option<Tpm>,
    state: Option<State<P>>,
}

impl<P: Platform> Engine<P> {
    /// Nothing yet.
    pub(super) const fn new() -> Self {
        Self { tpm: None, state: None }
    }
}

impl<P: Platform> VirtualTpm<P> {
    /// As the service: does the task that waits.
    pub(crate) fn serve(&self, machine: &Machine<P>) {
        self.interface.exchange().serve(|task, bytes| {
            // If the service fails, it keeps its lock, and no party waits for that.
            let Some(mut engine) = self.engine.try_lock() else { return Err(TpmError::Failed) };
            let Engine { tpm, state } = &mut *engine;
            match (task, tpm) {
                (Task::Init, none @ None) => {
                    *state = State::open(machine.platform, machine.identity.store)?;
                    let (made, is_new) = make(machine, self.interface.canceled(), state)?;
                    *none = Some(made);
                    bytes.extend(is_new.then_some(MANUFACTURED));
                    Ok(())
                }
                (Task::Init, Some(tpm)) => {
                    tpm.init(&mut World { machine, canceled: self.interface.canceled(), state });
                    Ok(())
                }
                (Task::KeepPresence, _) => {
                    let kept = state.as_mut().map_or(Ok(()), |state| state.keep_presence(bytes));
                    forget(bytes);
                    kept.map_err(|_| TpmError::StateWrite)
                }
                (Task::RecallPresence, _) => {
                    forget(bytes);
                    bytes.extend_from_slice(state.as_ref().map_or(&[], State::presence));
                    Ok(())
                }
                (Task::Execute { .. }, None) => Err(TpmError::Failed),
                (Task::Execute { locality }, Some(tpm)) => {
                    let mut world = World { machine, canceled: self.interface.canceled(), state };
                    let response = Zeroizing::new(execute(tpm, bytes, locality, &mut world));
                    forget(bytes);
                    bytes.extend_from_slice(&response);
                    Ok(())
                }
            }
        });
    }
}

/// The TPM of the state, or a new one; whether it is new.
fn make<P: Platform>(
    machine: &Machine<P>,
    canceled: &AtomicBool,
    state: &mut Option<State<P>>,
) -> Result<(Tpm, bool), TpmError> {
    if let Some(kept) = state
        && kept.records().next().is_some()
    {
        // Only the environment's clock is used: opening records does not change them.
        let mut world = World { machine, canceled, state: &mut None };
        let tpm = Tpm::open(kept.records(), &mut world).map_err(TpmError::from)?;
        return Ok((tpm, false));
    }
    let tpm = Tpm::manufacture(&mut World { machine, canceled, state }).map_err(TpmError::from)?;
    Ok((tpm, true))
}

fn execute(tpm: &mut Tpm, command: &[u8], locality: u8, world: &mut dyn Environment) -> Vec<u8> {
    tpm.start(command, locality, world);
    loop {
        // Between two steps of a key search the engine checks whether it must end.
        if let Progress::Done(response) = tpm.work(SEARCH_UNITS, world) {
            return response;
        }
    }
}

impl From<OpenError> for TpmError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Entropy => Self::Entropy,
            OpenError::Version(_) | OpenError::Malformed(_) | OpenError::Missing => Self::Records,
            OpenError::Commit(_) => Self::StateWrite,
        }
    }
}

/// The engine's environment.
struct World<'a, P: Platform> {
    machine: &'a Machine<P>,
    canceled: &'a AtomicBool,
    state: &'a mut Option<State<P>>,
}

impl<P: Platform> Environment for World<'_, P> {
    fn entropy(&mut self, out: &mut [u8]) -> bool {
        self.machine.host().entropy(out)
    }

    fn now_ms(&mut self) -> u64 {
        self.machine.now().as_nanos() / 1_000_000
    }

    /// Without a state the TPM is ephemeral: the engine's memory lives as long as the VM.
    fn commit(&mut self, changes: &[Change]) -> Result<(), CommitError> {
        self.state.as_mut().map_or(Ok(()), |state| state.commit(changes))
    }

    fn is_canceled(&mut self) -> bool {
        self.canceled.load(Ordering::Relaxed)
    }
}
