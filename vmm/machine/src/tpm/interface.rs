//! The TPM's registers, connected to the service.
//!
//! The registers stay locked until the service has a command, and until it has none any more. So a
//! command that the registers accept always finds the service free, whichever VPs start and finish
//! at the same time.

use alloc::vec::Vec;

use device_model::{Device, Instant};
use tpm_crb::{Buffers, Effect, TpmCrb};

use super::exchange::{Exchange, Task};
use super::locality;
use crate::sync::{AtomicBool, Mutex, Ordering};

/// Registers and service, as all VPs share them.
#[derive(Debug)]
pub(crate) struct Interface {
    /// Locked before the content of `exchange`.
    crb: Mutex<TpmCrb>,
    exchange: Exchange,
    /// The command that runs is to end early.
    canceled: AtomicBool,
}

impl Interface {
    /// The interface after power-on.
    pub(crate) fn new(buffers: Buffers) -> Self {
        Self {
            crb: Mutex::new(TpmCrb::new(buffers)),
            exchange: Exchange::new(),
            canceled: AtomicBool::new(false),
        }
    }

    /// The exchange of tasks and outcomes.
    pub(crate) const fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Whether the command that runs is to end early.
    pub(crate) const fn canceled(&self) -> &AtomicBool {
        &self.canceled
    }

    /// The registers after power-on.
    pub(crate) fn reset(&self, now: Instant) {
        self.crb.lock().reset(now);
    }

    /// Reads registers. Where the guest has no locality, reads give all ones.
    pub(crate) fn read(&self, offset: u16, bytes: &mut [u8]) {
        bytes.fill(0xff);
        let reached = locality::within_reach(offset, bytes.len());
        let Some(bytes) = bytes.get_mut(..reached) else { return };
        let crb = self.crb.lock();
        for (at, part) in (offset..).step_by(8).zip(bytes.chunks_mut(8)) {
            let value = crb.read(at, part.len() as u8).to_le_bytes();
            for (to, from) in part.iter_mut().zip(value) {
                *to = from;
            }
        }
    }

    /// Writes registers; `copy` puts the command of the guest's buffer into an empty vector. True
    /// if the service has got a command.
    pub(crate) fn write(&self, offset: u16, bytes: &[u8], copy: impl Fn(&mut Vec<u8>)) -> bool {
        let reached = locality::within_reach(offset, bytes.len());
        let Some(bytes) = bytes.get(..reached) else { return false };
        let mut crb = self.crb.lock();
        let mut started = false;
        for (at, part) in (offset..).step_by(8).zip(bytes.chunks(8)) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(part) {
                *to = *from;
            }
            match crb.write(at, part.len() as u8, u64::from_le_bytes(word)) {
                Some(Effect::Execute { locality }) => {
                    // A cancel that the guest has not cleared is meant for this command.
                    self.canceled.store(crb.is_cancelled(), Ordering::Release);
                    if self.exchange.submit(Task::Execute { locality }, &copy) {
                        started = true;
                    } else {
                        log::error!("a TPM command met another one: a bug of ours");
                        crb.fail();
                    }
                }
                Some(Effect::Cancel) => self.canceled.store(true, Ordering::Release),
                None => {}
            }
        }
        started
    }

    /// Ends a finished command: `deliver` gets the response, if it is wanted, before the registers
    /// show it to the guest. True if there is an outcome by now, or if there will be none, as the
    /// service no longer `lives`.
    pub(crate) fn finish(&self, lives: bool, deliver: impl FnOnce(&[u8])) -> bool {
        let mut crb = self.crb.lock();
        let outcome = self.exchange.collect(|bytes| {
            if crb.complete() {
                deliver(bytes);
            }
        });
        match outcome {
            Some(Ok(())) => return true,
            None if lives => return false,
            Some(Err(_)) | None => {}
        }
        log::error!("the TPM has failed: the guest goes on without it");
        crb.fail();
        true
    }
}
