//! Ports with the bits of the command words.
//!
//! Sections are those of Intel's 8259A data sheet, order number 231468 ("DS"); the edge/level
//! control registers are those of Intel's ICH data sheets (ELCR1, ELCR2).

use bitflags::bitflags;

/// Master: ICW1, OCW2, OCW3, status.
pub const MASTER_COMMAND: u16 = 0x20;
/// Master: ICW2 to ICW4, OCW1.
pub const MASTER_DATA: u16 = 0x21;
/// Slave: ICW1, OCW2, OCW3, status.
pub const SLAVE_COMMAND: u16 = 0xA0;
/// Slave: ICW2 to ICW4, OCW1.
pub const SLAVE_DATA: u16 = 0xA1;
/// Edge/level control of IRQ 0 to 7.
pub const ELCR1: u16 = 0x4D0;
/// Edge/level control of IRQ 8 to 15.
pub const ELCR2: u16 = 0x4D1;

/// ELCR1 bits that can be set: IRQ 0, 1 and 2 are always edges.
pub(crate) const ELCR1_BITS: u8 = 0xF8;
/// ELCR2 bits that can be set: IRQ 8 and 13 are always edges.
pub(crate) const ELCR2_BITS: u8 = 0xDE;

/// The master's input that the slave drives.
pub(crate) const CASCADE: u8 = 2;
/// The input whose vector a request that vanished gets (DS, "Interrupt sequence").
pub(crate) const DEFAULT_IR: u8 = 7;

bitflags! {
    /// Initialization command word 1 (DS figure 7).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Icw1: u8 {
        const NEEDS_ICW4 = 1 << 0;
        const SINGLE = 1 << 1;
        const LEVEL = 1 << 3;
        /// Tells ICW1 from OCW2 and OCW3.
        const IS_ICW1 = 1 << 4;
    }

    /// Initialization command word 4 (DS figure 7). Buffered mode concerns pins that do not exist
    /// here; bit 0 would select the MCS-80 mode, which no PC can use: the 8086 mode is always on.
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
        /// Tells OCW3 from OCW2.
        const IS_OCW3 = 1 << 3;
        const SPECIAL_MASK = 1 << 5;
        const ENABLE_SPECIAL_MASK = 1 << 6;
    }
}
