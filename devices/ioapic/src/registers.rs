//! Addresses of the registers with the bits that each one implements.
//!
//! Sections are those of Intel's 82093AA data sheet, order number 290566 ("DS"); the EOI register
//! is that of version 20h, as in Intel's ICH data sheets.

use bitflags::bitflags;

/// Offset of the register select (DS 3.1.1).
pub const IOREGSEL: u16 = 0x00;
/// Offset of the data window (DS 3.1.2).
pub const IOWIN: u16 = 0x10;
/// Offset of the EOI register, present from version 20h on.
pub const EOIR: u16 = 0x40;

/// Interrupt input pins.
pub const PINS: usize = 24;

/// Index of the identification register (DS 3.2.1).
pub(crate) const IOAPICID: u8 = 0x00;
/// Index of the version register (DS 3.2.2).
pub(crate) const IOAPICVER: u8 = 0x01;
/// Index of the arbitration register (DS 3.2.3).
pub(crate) const IOAPICARB: u8 = 0x02;
/// Index of the low half of the first redirection entry (DS 3.2.4).
pub(crate) const IOREDTBL: u8 = 0x10;

/// Version 20h; the number of the last entry stands in bits 23:16.
pub(crate) const VERSION: u32 = ((PINS as u32 - 1) << 16) | 0x20;
/// Bits of the identification and arbitration registers that hold the ID.
pub(crate) const ID_BITS: u32 = 0x0F00_0000;

bitflags! {
    /// A redirection entry (DS 3.2.4).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Entry: u64 {
        const VECTOR = 0xFF;
        const DELIVERY_MODE = 0x700;
        const LOGICAL = 1 << 11;
        /// Stored without an effect: see the crate's documentation.
        const ACTIVE_LOW = 1 << 13;
        const REMOTE_IRR = 1 << 14;
        const LEVEL = 1 << 15;
        const MASKED = 1 << 16;
        const DESTINATION = 0xFF << 56;
    }
}

impl Entry {
    /// Bits that hold what is written. Delivery status (bit 12) is read-only and always idle,
    /// for a message leaves at once.
    pub(crate) const WRITABLE: Self = Self::all().difference(Self::REMOTE_IRR);
}
