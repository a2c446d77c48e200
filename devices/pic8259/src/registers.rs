//! The registers of the pair with their fields.
//!
//! Sections are those of Intel's 8259A data sheet, order number 231468 ("DS"); the edge/level
//! control registers are those of Intel's ICH data sheets (ELCR1, ELCR2).

use bitfield_struct::bitfield;
use bitflags::bitflags;

/// Master: ICW1, OCW2, OCW3, status.
pub(crate) const MASTER_COMMAND: u16 = 0x20;
/// Master: ICW2 to ICW4, OCW1.
pub(crate) const MASTER_DATA: u16 = 0x21;
/// Slave: ICW1, OCW2, OCW3, status.
pub(crate) const SLAVE_COMMAND: u16 = 0xA0;
/// Slave: ICW2 to ICW4, OCW1.
pub(crate) const SLAVE_DATA: u16 = 0xA1;
/// Edge/level control of IRQ 0 to 7.
pub(crate) const ELCR1: u16 = 0x4D0;
/// Edge/level control of IRQ 8 to 15.
pub(crate) const ELCR2: u16 = 0x4D1;

/// Writable bits of ELCR1: IRQ 0, 1 and 2 are always edge-triggered.
pub(crate) const ELCR1_BITS: u8 = 0xF8;
/// Writable bits of ELCR2: IRQ 8 and 13 are always edge-triggered.
pub(crate) const ELCR2_BITS: u8 = 0xDE;

/// The master's input that the slave drives.
pub(crate) const CASCADE: u8 = 2;
/// The input whose vector is delivered if the request has gone away (DS, "Interrupt sequence").
pub(crate) const DEFAULT_IR: u8 = 7;

bitflags! {
    /// Initialization command word 1 (DS figure 7).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Icw1: u8 {
        const NEEDS_ICW4 = 1 << 0;
        const SINGLE = 1 << 1;
        const LEVEL = 1 << 3;
        /// Distinguishes ICW1 from OCW2 and OCW3.
        const IS_ICW1 = 1 << 4;
    }

    /// Initialization command word 4 (DS figure 7). The bits of buffered mode are ignored, since
    /// they concern pins that do not exist here. So is bit 0: a PC can not use the MCS-80 mode, so
    /// the 8086 mode is always on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Icw4: u8 {
        const AUTO_EOI = 1 << 1;
        const SPECIAL_FULLY_NESTED = 1 << 4;
    }

    /// Operation command word 3 (DS figure 8).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Ocw3: u8 {
        const READ_ISR = 1 << 0;
        const READ_REGISTER = 1 << 1;
        const POLL = 1 << 2;
        /// Distinguishes OCW3 from OCW2.
        const IS_OCW3 = 1 << 3;
        const SPECIAL_MASK = 1 << 5;
        const ENABLE_SPECIAL_MASK = 1 << 6;
    }
}

/// Operation command word 2 (DS figure 8).
#[bitfield(u8)]
pub(crate) struct Ocw2 {
    /// L2 to L0: the input that a specific command names.
    #[bits(3)]
    pub(crate) level: u8,
    /// Zero, which distinguishes OCW2 from ICW1 and OCW3.
    #[bits(2)]
    _kind: u8,
    /// R, SL and EOI.
    #[bits(3, from = Command::of_code, access = RO)]
    pub(crate) command: Command,
}

/// The commands of OCW2 by R, SL and EOI (DS figure 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    RotateInAutomaticEoiClear,
    NonSpecificEoi,
    NoOperation,
    SpecificEoi,
    RotateInAutomaticEoiSet,
    RotateOnNonSpecificEoi,
    SetPriority,
    RotateOnSpecificEoi,
}

impl Command {
    const fn of_code(code: u8) -> Self {
        match code {
            0b000 => Self::RotateInAutomaticEoiClear,
            0b001 => Self::NonSpecificEoi,
            0b010 => Self::NoOperation,
            0b011 => Self::SpecificEoi,
            0b100 => Self::RotateInAutomaticEoiSet,
            0b101 => Self::RotateOnNonSpecificEoi,
            0b110 => Self::SetPriority,
            _ => Self::RotateOnSpecificEoi,
        }
    }
}

/// The byte read by a poll: bit 7 is set if there is a request, whose input is in bits 2:0 (DS,
/// "Poll command").
pub(crate) const POLL_INTERRUPT: u8 = 1 << 7;
