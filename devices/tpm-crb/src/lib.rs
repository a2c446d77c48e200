//! The model of a TPM's command response buffer (CRB) interface.
//!
//! It comprises the control registers of the five localities. Command and response are in plain
//! guest memory, so a guest exits only for registers, about six times for a command. The TPM engine
//! is not a part of the model: [`TpmCrb::write`] returns when the engine must work, and the shell
//! calls [`TpmCrb::complete`] when it has. The model follows the TCG PC Client Platform TPM Profile
//! ("PTP"), 6.5.3.
//!
//! Choices that the profile leaves open:
//! - There are no interrupts; the guest polls TPM_CRB_CTRL_START.
//! - Idle and Ready are entered at once, so the bits of TPM_CRB_CTRL_REQ always read zero.
//! - A locality can be requested while another is active. When that ends, the highest requested
//!   locality becomes active.
//! - If a locality is lost while its command runs, the command is cancelled and its response is
//!   dropped.
//! - The control registers read the same through the page of each locality, but can only be written
//!   through that of the active one.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

#[cfg(test)]
extern crate std;

mod inspect;
pub mod registers;
mod state;
#[cfg(test)]
mod tests;

pub use state::{SAVED_VERSION, Saved};

use device_model::{Device, Inspect, Instant, RestoreError};
use registers::*;

/// The guest-physical addresses of the buffers for command and response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Address of the command.
    pub command: u64,
    /// Size of the command's buffer in bytes.
    pub command_size: u32,
    /// Address of the response.
    pub response: u64,
    /// Size of the response's buffer in bytes.
    pub response_size: u32,
}

/// A request of a register write to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Execute the command in the buffer, then call [`TpmCrb::complete`].
    Execute {
        /// The locality of the command.
        locality: u8,
    },
    /// Cancel the running command, which still has to complete.
    Cancel,
}

/// The state of the interface (PTP 6.5.3.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Idle,
    /// The guest may write a command: Ready or Command Reception, which no register distinguishes.
    Ready,
    /// A command runs. `wanted` is false once its locality has been lost.
    Execution {
        wanted: bool,
    },
    /// The response can be read.
    Completion,
}

/// The interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmCrb {
    buffers: Buffers,
    phase: Phase,
    active: Option<u8>,
    /// Localities that are requested but not active, one bit each.
    requested: u8,
    /// Localities that a higher one has seized, one bit each.
    seized: u8,
    cancel: bool,
    failed: bool,
    established: bool,
}

impl TpmCrb {
    /// The interface after power-on.
    pub const fn new(buffers: Buffers) -> Self {
        Self {
            buffers,
            phase: Phase::Idle,
            active: None,
            requested: 0,
            seized: 0,
            cancel: false,
            failed: false,
            established: false,
        }
    }

    /// The buffers for command and response.
    pub const fn buffers(&self) -> Buffers {
        self.buffers
    }

    /// Reads `width` bytes (1, 2, 4 or 8) at `offset` from the first page. Bytes without a register
    /// read zero; bytes beyond the last page read all ones.
    pub fn read(&self, offset: u16, width: u8) -> u64 {
        let mut bytes = [0; 8];
        for (place, byte) in (0..).zip(bytes.iter_mut().take(width.into())) {
            *byte = match offset.checked_add(place) {
                Some(at) if at < LENGTH => {
                    let [b0, b1, b2, b3] = self.register(at & !3).to_le_bytes();
                    match at & 3 {
                        0 => b0,
                        1 => b1,
                        2 => b2,
                        _ => b3,
                    }
                }
                _ => 0xFF,
            };
        }
        u64::from_le_bytes(bytes)
    }

    fn register(&self, offset: u16) -> u32 {
        let locality = (offset / PAGE) as u8;
        let Buffers { command, command_size, response, response_size } = self.buffers;
        match offset % PAGE {
            LOC_STATE => self.locality_state(),
            LOC_STS => self.locality_status(locality).bits(),
            INTF_ID => INTERFACE,
            CTRL_STS => self.status().bits(),
            CTRL_CANCEL => u32::from(self.cancel),
            CTRL_START => u32::from(matches!(self.phase, Phase::Execution { .. })),
            CTRL_CMD_SIZE => command_size,
            CTRL_CMD_LADDR => command as u32,
            CTRL_CMD_HADDR => (command >> 32) as u32,
            CTRL_RSP_SIZE => response_size,
            CTRL_RSP_ADDR => response as u32,
            offset if offset == CTRL_RSP_ADDR + 4 => (response >> 32) as u32,
            _ => 0,
        }
    }

    fn locality_state(&self) -> u32 {
        LocalityState::new()
            .with_valid(true)
            .with_not_established(!self.established)
            .with_assigned(self.active.is_some())
            .with_active(self.active.unwrap_or(0) & 7)
            .into_bits()
    }

    fn locality_status(&self, locality: u8) -> LocalityStatus {
        let mut status = LocalityStatus::empty();
        status.set(LocalityStatus::GRANTED, self.active == Some(locality));
        status.set(LocalityStatus::BEEN_SEIZED, self.seized & bit(locality) != 0);
        status
    }

    fn status(&self) -> Status {
        let mut status = Status::empty();
        status.set(Status::FATAL, self.failed);
        status.set(Status::IDLE, self.phase == Phase::Idle);
        status
    }

    /// Writes `width` bytes (1, 2, 4 or 8) of `value` at `offset` from the first page. A wide write
    /// reaches the lower register first; if both registers have an effect, the first is returned.
    pub fn write(&mut self, offset: u16, width: u8, value: u64) -> Option<Effect> {
        let mut effect = None;
        let end = offset.saturating_add(width.min(8).into()).min(LENGTH);
        for (at, byte) in (offset..end).zip(value.to_le_bytes()) {
            // No register has a writable bit beyond its first byte.
            if at & 3 == 0 {
                let asked = self.write_register(at, byte.into());
                effect = effect.or(asked);
            }
        }
        effect
    }

    /// Writes the first byte of a register. Zeros have an effect in TPM_CRB_CTRL_CANCEL only.
    fn write_register(&mut self, offset: u16, value: u32) -> Option<Effect> {
        let locality = (offset / PAGE) as u8;
        if offset % PAGE == LOC_CTRL {
            return self.control_locality(locality, LocalityControl::from_bits_truncate(value));
        }
        if self.active != Some(locality) {
            return None;
        }
        match offset % PAGE {
            CTRL_REQ => {
                self.request(Request::from_bits_truncate(value));
                None
            }
            CTRL_CANCEL => self.write_cancel(value & ONE != 0),
            CTRL_START if value & ONE != 0 => self.start(locality),
            _ => None,
        }
    }

    fn control_locality(&mut self, locality: u8, control: LocalityControl) -> Option<Effect> {
        if control.contains(LocalityControl::RESET_ESTABLISHMENT) && locality >= 3 {
            self.established = false;
        }
        if control.contains(LocalityControl::RELINQUISH) {
            return self.relinquish(locality);
        }
        if control.contains(LocalityControl::SEIZE) && self.active.is_some_and(|a| a < locality) {
            return self.seize(locality);
        }
        if control.intersects(LocalityControl::REQUEST_ACCESS | LocalityControl::SEIZE) {
            self.requested |= bit(locality);
            self.grant();
        }
        None
    }

    /// Makes the highest requested locality active, if none is.
    fn grant(&mut self) {
        if self.active.is_none() && self.requested != 0 {
            let highest = self.requested.ilog2() as u8;
            self.requested &= !bit(highest);
            self.seized &= !bit(highest);
            self.active = Some(highest);
        } else if let Some(active) = self.active {
            self.requested &= !bit(active);
        }
    }

    fn relinquish(&mut self, locality: u8) -> Option<Effect> {
        self.requested &= !bit(locality);
        self.seized &= !bit(locality);
        if self.active != Some(locality) {
            return None;
        }
        self.active = None;
        let effect = self.drop_command();
        self.grant();
        effect
    }

    fn seize(&mut self, locality: u8) -> Option<Effect> {
        if let Some(loser) = self.active {
            self.seized |= bit(loser);
        }
        self.requested &= !bit(locality);
        self.seized &= !bit(locality);
        self.active = Some(locality);
        self.drop_command()
    }

    /// Marks a running command as unwanted, or drops the response of a completed one.
    fn drop_command(&mut self) -> Option<Effect> {
        match &mut self.phase {
            Phase::Execution { wanted } => {
                *wanted = false;
                Some(Effect::Cancel)
            }
            phase @ (Phase::Idle | Phase::Ready | Phase::Completion) => {
                *phase = Phase::Idle;
                None
            }
        }
    }

    fn request(&mut self, request: Request) {
        if matches!(self.phase, Phase::Execution { .. }) {
            return;
        }
        if request == Request::COMMAND_READY {
            self.phase = Phase::Ready;
        } else if request == Request::GO_IDLE {
            self.phase = Phase::Idle;
        }
    }

    fn write_cancel(&mut self, cancel: bool) -> Option<Effect> {
        let rises = cancel && !self.cancel;
        self.cancel = cancel;
        (rises && matches!(self.phase, Phase::Execution { .. })).then_some(Effect::Cancel)
    }

    fn start(&mut self, locality: u8) -> Option<Effect> {
        if !matches!(self.phase, Phase::Ready | Phase::Completion) || self.failed {
            return None;
        }
        self.phase = Phase::Execution { wanted: true };
        // A cancel bit that is still set applies to this command (PTP 6.5.3.8).
        Some(Effect::Execute { locality })
    }

    /// Whether the running command must be cancelled.
    pub const fn is_cancelled(&self) -> bool {
        self.cancel || matches!(self.phase, Phase::Execution { wanted: false })
    }

    /// Reports that the engine has answered. If this returns true, the response is wanted and must
    /// be in the buffer before the guest next reads a register.
    #[must_use]
    pub fn complete(&mut self) -> bool {
        match self.phase {
            Phase::Execution { wanted: true } => {
                self.phase = Phase::Completion;
                true
            }
            Phase::Execution { wanted: false } => {
                self.phase = Phase::Idle;
                false
            }
            Phase::Idle | Phase::Ready | Phase::Completion => false,
        }
    }

    /// Reports that the engine has failed: the guest sees a fatal error until a reset.
    pub fn fail(&mut self) {
        self.failed = true;
        self.phase = Phase::Idle;
    }
}

const fn bit(locality: u8) -> u8 {
    1 << (locality & 7)
}

impl Device for TpmCrb {
    type Saved = Saved;

    fn reset(&mut self, _now: Instant) {
        *self = Self::new(self.buffers);
    }

    fn save(&self) -> Saved {
        state::save(self)
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), RestoreError> {
        *self = state::restore(saved)?;
        Ok(())
    }

    fn inspect(&self, to: &mut dyn Inspect) {
        inspect::inspect(self, to);
    }
}
