//! The interrupt command register.

use crate::registers::{
    DELIVERY_MODE, ErrorStatus, FIRST_LEGAL_VECTOR, ICR_ASSERT, ICR_LEVEL, ICR_LOGICAL,
    ICR_LOW_BITS,
};
use crate::{Destination, Effect, LocalApic, Mode};

/// What an interrupt message does at its receiver (SDM 11.6.1, delivery mode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The vector is requested at each receiver.
    Fixed,
    /// The vector is requested at one receiver; see [`crate::lowest_priority`].
    LowestPriority,
    /// System management interrupt.
    Smi,
    /// Non-maskable interrupt.
    Nmi,
    /// INIT.
    Init,
    /// Start-up; execution starts at the vector times 4096.
    StartUp,
}

impl Delivery {
    /// The delivery mode in bits 10:8, unless it is a reserved one.
    fn of_command(low: u32) -> Option<Self> {
        match (low & DELIVERY_MODE) >> 8 {
            0 => Some(Self::Fixed),
            1 => Some(Self::LowestPriority),
            2 => Some(Self::Smi),
            4 => Some(Self::Nmi),
            5 => Some(Self::Init),
            6 => Some(Self::StartUp),
            _ => None,
        }
    }

    fn requests_vector(self) -> bool {
        matches!(self, Self::Fixed | Self::LowestPriority)
    }
}

/// An inter-processor interrupt. All are edge-triggered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipi {
    /// Who receives it.
    pub destination: Destination,
    /// What it does there.
    pub delivery: Delivery,
    /// The vector; without a meaning for SMI, NMI and INIT.
    pub vector: u8,
}

impl LocalApic {
    /// Writes ICR bits 31:0, which sends (SDM 11.6.1). Bits 63:32 are in place already.
    pub(crate) fn write_command(&mut self, value: u32) -> Option<Effect> {
        let low = value & ICR_LOW_BITS;
        self.registers.icr = (self.registers.icr & !u64::from(u32::MAX)) | u64::from(low);
        let delivery = Delivery::of_command(low)?;
        if delivery == Delivery::Init && low & ICR_LEVEL != 0 && low & ICR_ASSERT == 0 {
            // INIT level de-assert once synchronised arbitration IDs; there are none.
            return None;
        }
        let vector = low as u8;
        if delivery.requests_vector() && vector < FIRST_LEGAL_VECTOR {
            self.log_error(ErrorStatus::SEND_ILLEGAL_VECTOR);
            return None;
        }
        let destination = match (low >> 18) & 3 {
            0 => self.command_destination(low),
            // SDM table 11-3: these two shorthands are valid for fixed interrupts only.
            1 | 2 if delivery != Delivery::Fixed => return None,
            1 => {
                self.accept(vector, false);
                return None;
            }
            2 => Destination::AllIncludingSelf,
            _ => Destination::AllExcludingSelf,
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

    fn command_destination(&self, low: u32) -> Destination {
        let id = (self.registers.icr >> 32) as u32;
        match (self.mode, low & ICR_LOGICAL != 0) {
            (Mode::X2Apic, false) => Destination::Physical(id),
            (Mode::X2Apic, true) => Destination::Logical(id),
            (_, false) => Destination::physical8((id >> 24) as u8),
            (_, true) => Destination::logical8((id >> 24) as u8),
        }
    }
}
