//! The interrupt command register, which sends IPIs.

use crate::registers::{
    DeliveryMode, ErrorStatus, FIRST_LEGAL_VECTOR, ICR_LOW_BITS, InterruptCommand, Shorthand,
};
use crate::{Destination, Effect, LocalApic, Mode};

/// The effect of an interrupt message at its receivers (SDM 11.6.1, delivery mode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The vector is requested at each receiver.
    Fixed = DeliveryMode::Fixed as isize,
    /// The vector is requested at one receiver; see [`crate::lowest_priority`].
    LowestPriority = DeliveryMode::LowestPriority as isize,
    /// System management interrupt.
    Smi = DeliveryMode::Smi as isize,
    /// Non-maskable interrupt.
    Nmi = DeliveryMode::Nmi as isize,
    /// INIT.
    Init = DeliveryMode::Init as isize,
    /// Start-up; execution starts at the vector times 4096.
    StartUp = DeliveryMode::StartUp as isize,
}

impl Delivery {
    /// The effect of an IPI with this delivery mode; `None` for the two that the ICR reserves.
    const fn of_command(mode: DeliveryMode) -> Option<Self> {
        match mode {
            DeliveryMode::Fixed => Some(Self::Fixed),
            DeliveryMode::LowestPriority => Some(Self::LowestPriority),
            DeliveryMode::Smi => Some(Self::Smi),
            DeliveryMode::Nmi => Some(Self::Nmi),
            DeliveryMode::Init => Some(Self::Init),
            DeliveryMode::StartUp => Some(Self::StartUp),
            DeliveryMode::Reserved | DeliveryMode::ExtInt => None,
        }
    }

    fn requests_vector(self) -> bool {
        matches!(self, Self::Fixed | Self::LowestPriority)
    }
}

/// An inter-processor interrupt. All are edge-triggered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipi {
    /// The receivers.
    pub destination: Destination,
    /// The effect there.
    pub delivery: Delivery,
    /// The vector, which SMI, NMI and INIT ignore.
    pub vector: u8,
}

impl LocalApic {
    /// Writes ICR bits 31:0, which sends the IPI (SDM 11.6.1). Bits 63:32 must be set before.
    pub(crate) fn write_command(&mut self, value: u32) -> Option<Effect> {
        let low = u64::from(value & ICR_LOW_BITS);
        let command =
            InterruptCommand::from_bits((self.registers.icr & !u64::from(u32::MAX)) | low);
        self.registers.icr = command.into_bits();
        let delivery = Delivery::of_command(command.delivery_mode())?;
        if delivery == Delivery::Init && command.level() && !command.assert() {
            // INIT level de-assert synchronised arbitration IDs, which do not exist here.
            return None;
        }
        let vector = command.vector();
        if delivery.requests_vector() && vector < FIRST_LEGAL_VECTOR {
            self.log_error(ErrorStatus::SEND_ILLEGAL_VECTOR);
            return None;
        }
        let destination = match command.shorthand() {
            Shorthand::None => self.command_destination(command),
            // SDM table 11-3: these two shorthands are valid for fixed interrupts only.
            Shorthand::ToSelf | Shorthand::AllIncludingSelf if delivery != Delivery::Fixed => {
                return None;
            }
            Shorthand::ToSelf => {
                self.accept(vector, false);
                return None;
            }
            Shorthand::AllIncludingSelf => Destination::AllIncludingSelf,
            Shorthand::AllExcludingSelf => Destination::AllExcludingSelf,
        };
        Some(Effect::Ipi(Ipi { destination, delivery, vector }))
    }

    /// Sends a self IPI by its own register (SDM 11.12.11).
    pub(crate) fn write_self_ipi(&mut self, vector: u8) {
        if vector < FIRST_LEGAL_VECTOR {
            self.log_error(ErrorStatus::SEND_ILLEGAL_VECTOR);
        } else {
            self.accept(vector, false);
        }
    }

    fn command_destination(&self, command: InterruptCommand) -> Destination {
        let id = command.destination();
        match (self.mode, command.logical()) {
            (Mode::X2Apic, false) => Destination::Physical(id),
            (Mode::X2Apic, true) => Destination::Logical(id),
            (_, false) => Destination::physical8((id >> 24) as u8),
            (_, true) => Destination::logical8((id >> 24) as u8),
        }
    }
}
