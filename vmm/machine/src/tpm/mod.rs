//! The guest's TPM.
//!
//! The engine runs in the service. The VP that starts a command takes it on: it copies the command
//! out, lets the service run for at most [`SLICE`] at a time, and puts the response into the
//! guest's buffer. Meanwhile its guest runs in turns with the service, and an interrupt puts the
//! service aside at once.

mod area;
mod event_log;
mod exchange;
mod interface;
mod locality;
mod measure;
mod presence;
mod service;
mod start;
mod state;

use alloc::vec::Vec;
use core::fmt;
#[cfg(test)]
use core::sync::atomic::Ordering;

use guest_memory::{Gpa, GuestMemory};
use host_wire::Status;
use loader::TransferError;
use platform_api::{Platform, Service, Time};
use spin::Mutex;
use tpm::MAX_COMMAND;

use crate::machine::Machine;
use crate::mailbox::Away;
use crate::vp::VirtualProcessor;

pub(crate) use area::Area;
pub(crate) use event_log::EventLog;
#[cfg(test)]
pub(crate) use exchange::{Exchange, Task};
pub(crate) use measure::Measured;

use interface::Interface;
use service::Engine;

/// The longest time that a guest waits for the service, in nanoseconds, and the least that it gets
/// in between.
const SLICE: u64 = 1_000_000;
/// Bytes of a command's header (TPM 2.0 library specification, Part 1, 18.3).
const HEADER: usize = 10;

/// The reason for which there is no usable TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TpmError {
    /// The platform has no random numbers for keys.
    Entropy,
    /// The low RAM has no room for the buffers.
    NoRoom,
    /// The event log is full: the command line alone can be that long.
    LogFull,
    /// The host gives the key of a state, and no disk with it.
    NoStateDisk,
    /// The state can not be opened.
    State(state_store::OpenError),
    /// The state can not be made.
    Format(state_store::FormatError),
    /// The state is authentic, and holds no TPM that this build understands.
    Records,
    /// The new TPM can not be written to its state.
    StateWrite,
    /// The engine has failed: our fault. A crash record was written.
    Failed,
    /// The engine refused a command of ours with this code: our fault.
    Refused(u32),
    /// A file that is to be measured could not be read.
    Measured(TransferError),
}

impl fmt::Display for TpmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entropy => f.write_str(
                "the VM's CPU has no random numbers (RDSEED, RDRAND) that a TPM's keys could be \
                 made of: choose another CPU model, or `paravane run --no-tpm`",
            ),
            Self::NoRoom => f.write_str("the VM's low RAM has no room for the TPM's buffers"),
            Self::LogFull => f.write_str("the command line is too long for the TPM's event log"),
            Self::NoStateDisk => f.write_str(
                "the host gives the key of a state, and no disk with it that can be used",
            ),
            Self::State(error) => write!(f, "the state: {error}"),
            Self::Format(error) => write!(f, "the state can not be made: {error}"),
            Self::Records => f.write_str(
                "the state holds no TPM that this version understands: use the version that wrote it",
            ),
            Self::StateWrite => f.write_str("the new TPM can not be written to its state"),
            Self::Failed => f.write_str("the TPM has failed"),
            Self::Refused(code) => write!(f, "the TPM refused our own command: {code:#x}"),
            Self::Measured(TransferError::Host) => {
                f.write_str("the host did not deliver a file that is measured")
            }
            Self::Measured(TransferError::Memory) => f.write_str(
                "guest memory that is measured can not be read: a fault of the paravisor",
            ),
        }
    }
}

impl core::error::Error for TpmError {}

impl TpmError {
    /// The status that the VM ends with.
    pub(crate) const fn status(&self) -> Status {
        match self {
            Self::LogFull | Self::Measured(TransferError::Host) => Status::BadGuest,
            Self::Entropy | Self::NoRoom => Status::UnusableVm,
            Self::NoStateDisk
            | Self::State(_)
            | Self::Format(_)
            | Self::Records
            | Self::StateWrite => Status::BadState,
            Self::Failed | Self::Refused(_) | Self::Measured(TransferError::Memory) => {
                Status::Crashed
            }
        }
    }
}

/// The TPM, as all VPs share it.
#[derive(Debug)]
pub(crate) struct VirtualTpm<P: Platform> {
    pub(crate) area: Area,
    interface: Interface,
    engine: Mutex<Engine<P>>,
}

impl<P: Platform> VirtualTpm<P> {
    /// The TPM whose guest memory is `area`; there is no engine until the guest is started.
    pub(crate) fn new(area: Area) -> Self {
        Self { area, interface: Interface::new(area.buffers()), engine: Mutex::new(Engine::new()) }
    }

    /// Whether the command that runs is to end early.
    #[cfg(test)]
    pub(crate) fn is_canceled(&self) -> bool {
        self.interface.canceled().load(Ordering::Acquire)
    }

    /// Reads registers. Where the guest has no locality, reads give all ones.
    pub(crate) fn read(&self, offset: u16, bytes: &mut [u8]) {
        self.interface.read(offset, bytes);
    }

    /// Writes registers. True if the service has got a command from `memory` for it: the VP is to
    /// let it run.
    pub(crate) fn write(&self, offset: u16, bytes: &[u8], memory: &impl GuestMemory) -> bool {
        self.interface.write(offset, bytes, |command| self.copy_command(command, memory))
    }

    /// Copies the command out. The header's length only decides how much is copied: the engine
    /// compares it with the length that it gets.
    fn copy_command(&self, bytes: &mut Vec<u8>, memory: &impl GuestMemory) {
        let command = self.area.buffers().command;
        let mut header = [0; HEADER];
        // The buffer is RAM: the area was cut out of the guest's.
        let _ = memory.read(Gpa(command), &mut header);
        let [_, _, a, b, c, d, ..] = header;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        bytes.resize(length.clamp(HEADER, MAX_COMMAND), 0);
        let _ = memory.read(Gpa(command), bytes);
    }

    /// Puts the response into the guest's buffer. True if there is one by now, or if there
    /// will be none.
    fn finish(&self, lives: bool, memory: &impl GuestMemory) -> bool {
        let response = self.area.buffers().response;
        // The buffer is RAM, as that of the command.
        self.interface.finish(lives, |bytes| {
            let _ = memory.write(Gpa(response), bytes);
        })
    }
}

impl<P: Platform> VirtualProcessor<P> {
    /// Takes a command on that this VP has just started.
    pub(crate) fn take_on_service(&mut self) {
        self.serving = true;
        self.run_service(SLICE);
    }

    /// After an interrupt of the host: the service's turn, if it is due.
    pub(crate) fn continue_service(&mut self) {
        if self.serving && self.machine.host().tsc() >= self.next_slice {
            self.run_service(SLICE);
        }
    }

    /// Lets the service run for at most so many nanoseconds, and no longer than to the next
    /// deadline; any interrupt of the host ends it, too.
    pub(crate) fn run_service(&mut self, nanos: u64) {
        let Some(tpm) = &self.machine.tpm else { return };
        let host = self.machine.host();
        if !self.mailbox().leave(Away::Asleep) {
            // Mail goes first. The timer must be set: nothing else may interrupt the guest.
            self.next_slice = host.tsc();
            self.timer_changed = true;
            return;
        }
        let slice = self.machine.clock.ticks(nanos);
        let end = host.tsc().saturating_add(slice);
        let end = self.first_deadline().map_or(end, |first| first.min(end));
        self.armed = Some(end);
        host.set_timer(self.armed);
        let lives = self.machine.platform.service().run();
        self.mailbox().come_back();
        self.serving = !tpm.finish(lives, self.machine.platform.memory());
        let pause = self.machine.clock.ticks(SLICE);
        self.next_slice = host.tsc().saturating_add(pause);
        self.timer_changed = true;
        self.check_timers();
    }
}

impl<P: Platform> Machine<P> {
    /// Does the task that waits, if one does. The service calls this each time it is resumed.
    pub fn serve(&self) {
        if let Some(tpm) = &self.tpm {
            tpm.serve(self);
        }
    }
}
