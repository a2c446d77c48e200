//! The physical presence interface: requests of the guest to the firmware's next start.
//!
//! The guest's ACPI code leaves a request in the TPM's area. After a reset the paravisor performs
//! it with the platform's authorization, and leaves the result. With a state, both live through
//! the end of a VM that its guest powers off. The source is the TCG PC Client
//! Platform Physical Presence Interface Specification 1.30, section 2 with table 2.

use firmware_tables::presence::{
    CLEAR, FIRMWARE_FAILURE, LAST, LENGTH, PARAMETER, REQUEST, RESPONSE, SET_PCR_BANKS, USER_ABORT,
};
use guest_memory::{Gpa, GuestMemory};
use platform_api::Platform;
use tpm_commands as commands;

use super::exchange::Task;
use super::{TpmError, VirtualTpm};
use crate::machine::Machine;

/// Bits of the parameter of SET_PCR_BANKS (PPI, table 3, as TCG_EFI 1.0, 6.4 numbers them).
const BANK_BITS: [(u16, u32); 3] = [(0x0004, 1 << 0), (0x000b, 1 << 1), (0x000c, 1 << 2)];

/// A request, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Clear,
    SetBanks([(u16, bool); BANK_BITS.len()]),
}

impl Operation {
    /// None for an unknown operation, and for a selection that would leave no bank.
    fn of_request(request: u32, parameter: u32) -> Option<Self> {
        if CLEAR.contains(&request) {
            return Some(Self::Clear);
        }
        let known = BANK_BITS.iter().fold(0, |bits, (_, bit)| bits | bit);
        let sensible = parameter != 0 && parameter & !known == 0;
        let banks = BANK_BITS.map(|(algorithm, bit)| (algorithm, parameter & bit != 0));
        (request == SET_PCR_BANKS && sensible).then_some(Self::SetBanks(banks))
    }
}

impl<P: Platform> Machine<P> {
    /// Performs the request that the guest left, right after TPM2_Startup.
    pub(super) fn perform_request(&self, tpm: &VirtualTpm<P>) -> Result<(), TpmError> {
        let request = self.presence_word(tpm, REQUEST);
        if request == 0 {
            return Ok(());
        }
        let operation = Operation::of_request(request, self.presence_word(tpm, PARAMETER));
        let Some(operation) = operation else {
            return self.answer(tpm, request, USER_ABORT).map(drop);
        };
        // The request counts as failed from here on, so that a start that fails is not repeated for
        // ever. If this can not be stored, the next VM will repeat the request, and this one skips
        // it.
        if !self.answer(tpm, request, FIRMWARE_FAILURE)? {
            log::warn!("the request to the physical presence interface is put off");
            return Ok(());
        }
        let code = self.perform(tpm, operation)?;
        self.answer(tpm, request, code).map(drop)
    }

    /// Writes the result of a request to its place. True if the state, where there is one, has it
    /// too.
    fn answer(&self, tpm: &VirtualTpm<P>, request: u32, code: u32) -> Result<bool, TpmError> {
        for (offset, value) in [(REQUEST, 0), (PARAMETER, 0), (LAST, request), (RESPONSE, code)] {
            let gpa = Gpa(tpm.area.presence() + offset);
            // The area is RAM.
            let _ = self.platform.memory().write(gpa, &value.to_le_bytes());
        }
        match self.keep_presence(tpm) {
            Err(TpmError::StateWrite) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Keeps request and response in the state, if there is one.
    pub(super) fn keep_presence(&self, tpm: &VirtualTpm<P>) -> Result<(), TpmError> {
        let mut words = [0; LENGTH as usize];
        let _ = self.platform.memory().read(Gpa(tpm.area.presence()), &mut words);
        self.call_tpm(tpm, Task::KeepPresence, &words).map(drop)
    }

    /// Puts back the request that an earlier VM has kept. The guest or its owner wrote the state.
    pub(super) fn recall_presence(&self, tpm: &VirtualTpm<P>) -> Result<(), TpmError> {
        let words = self.call_tpm(tpm, Task::RecallPresence, &[])?;
        if words.len() as u64 == LENGTH {
            let _ = self.platform.memory().write(Gpa(tpm.area.presence()), &words);
        }
        Ok(())
    }

    /// The TPM's response code.
    fn perform(&self, tpm: &VirtualTpm<P>, operation: Operation) -> Result<u32, TpmError> {
        let command = match operation {
            Operation::Clear => commands::clear(),
            Operation::SetBanks(banks) => commands::allocate(&banks),
        };
        let response = self.call_tpm(tpm, Task::Execute { locality: 0 }, &command)?;
        if let Operation::SetBanks(_) = operation {
            self.power_on_tpm(tpm)?;
        }
        Ok(commands::code(&response))
    }

    fn presence_word(&self, tpm: &VirtualTpm<P>, offset: u64) -> u32 {
        let mut word = [0; 4];
        let _ = self.platform.memory().read(Gpa(tpm.area.presence() + offset), &mut word);
        u32::from_le_bytes(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_requests_that_leave_a_bank_are_performed() {
        for request in CLEAR {
            assert_eq!(Operation::of_request(request, 0), Some(Operation::Clear));
        }
        let banks = [(4, false), (11, true), (12, true)];
        assert_eq!(Operation::of_request(23, 0b110), Some(Operation::SetBanks(banks)));
        for (request, parameter) in [(23, 0), (23, 0b1000), (23, u32::MAX), (1, 0), (24, 2)] {
            assert_eq!(Operation::of_request(request, parameter), None, "{request} {parameter}");
        }
    }
}
