//! The TPM's start, before the guest's first instruction.
//!
//! The steps are firmware's: power on or reset, TPM2_Startup, the request of the physical presence
//! interface, measurements, and last the close of the platform hierarchy.

use alloc::vec::Vec;

use core::sync::atomic::Ordering;

use guest_memory::{Gpa, GuestMemory};
use platform_api::{Entropy, Platform, Service};
use tpm_commands::{self as commands, Command};
use zeroize::Zeroizing;

use super::exchange::Task;
use super::service::MANUFACTURED;
use super::{Measured, TpmError, VirtualTpm};
use crate::machine::Machine;

/// Bytes of the platform's authorization value.
const PLATFORM_AUTH: usize = 32;

impl<P: Platform> Machine<P> {
    /// Starts the TPM with the guest, if the guest has one; `measured` goes into its PCRs.
    pub(crate) fn start_tpm(&self, measured: &[Measured<'_, P>]) -> Result<(), TpmError> {
        let Some(tpm) = &self.tpm else { return Ok(()) };
        let memory = self.platform.memory();
        if self.starts.load(Ordering::Relaxed) == 0 {
            // The area's old content is of no meaning.
            let area = tpm.area.range();
            memory.zero(Gpa(area.start), area.length).map_err(|_| TpmError::NoRoom)?;
        }
        let is_new = self.power_on_tpm(tpm)?;
        if self.starts.load(Ordering::Relaxed) == 0 {
            self.recall_presence(tpm)?;
        }
        if is_new {
            self.command_tpm(tpm, &commands::allocate(&commands::NEW_BANKS))?;
            // A new selection takes effect with the next reset (Part 3, 22.5.1).
            self.power_on_tpm(tpm)?;
        }
        self.perform_request(tpm)?;
        let log = self.measure(tpm, measured)?;
        let room = tpm.area.log();
        memory.zero(Gpa(room.start), room.length).map_err(|_| TpmError::NoRoom)?;
        memory.write(Gpa(room.start), log.bytes()).map_err(|_| TpmError::NoRoom)?;
        self.close_platform(tpm)
    }

    /// _TPM_Init, then TPM2_Startup(CLEAR). Whether the TPM is a new one.
    pub(super) fn power_on_tpm(&self, tpm: &VirtualTpm<P>) -> Result<bool, TpmError> {
        let answer = self.call_tpm(tpm, Task::Init, &[])?;
        self.command_tpm(tpm, &commands::startup())?;
        Ok(answer.first() == Some(&MANUFACTURED))
    }

    /// Gives the platform hierarchy a secret authorization value (TCG PC Client Platform
    /// Firmware Profile 1.05, 4.6).
    fn close_platform(&self, tpm: &VirtualTpm<P>) -> Result<(), TpmError> {
        let mut value = Zeroizing::new([0; PLATFORM_AUTH]);
        if !self.host().entropy(&mut value[..]) {
            return Err(TpmError::Entropy);
        }
        self.command_tpm(tpm, &commands::set_platform_auth(&value[..]))?;
        Ok(())
    }

    /// Has the service run a command that must succeed. Its response.
    pub(super) fn command_tpm(
        &self,
        tpm: &VirtualTpm<P>,
        command: &Command,
    ) -> Result<Vec<u8>, TpmError> {
        let response = self.call_tpm(tpm, Task::Execute { locality: 0 }, command)?;
        commands::succeeded(&response).map_err(TpmError::Refused)?;
        Ok(response)
    }

    /// Has the service do a task while no guest runs.
    pub(super) fn call_tpm(
        &self,
        tpm: &VirtualTpm<P>,
        task: Task,
        command: &[u8],
    ) -> Result<Vec<u8>, TpmError> {
        if !tpm.interface.exchange().submit(task, |bytes| bytes.extend_from_slice(command)) {
            return Err(TpmError::Failed);
        }
        loop {
            let lives = self.platform.service().run();
            if let Some(outcome) = tpm.interface.exchange().collect(<[u8]>::to_vec) {
                return outcome;
            }
            if !lives {
                return Err(TpmError::Failed);
            }
        }
    }

    /// The machine is reset: the command that runs is cancelled, its response lost. The registers
    /// are as after power-on; the engine follows when the guest starts.
    pub(crate) fn reset_tpm(&self) {
        let Some(tpm) = &self.tpm else { return };
        self.end_command(tpm);
        tpm.interface.reset(self.now());
    }

    /// The VM ends: a request of the guest to the next start is stored for the next VM.
    pub(crate) fn power_off_tpm(&self) {
        let Some(tpm) = &self.tpm else { return };
        self.end_command(tpm);
        if self.keep_presence(tpm).is_err() {
            log::warn!("the request to the physical presence interface is lost");
        }
    }

    /// Cancels the command that runs, and drops its response.
    fn end_command(&self, tpm: &VirtualTpm<P>) {
        tpm.interface.canceled().store(true, Ordering::Release);
        while tpm.interface.exchange().is_busy() {
            let lives = self.platform.service().run();
            if tpm.interface.exchange().collect(|_| ()).is_some() || !lives {
                break;
            }
        }
        tpm.interface.canceled().store(false, Ordering::Release);
    }
}
