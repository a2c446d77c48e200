//! The registers of the I/O APIC with their fields.
//!
//! Sections are those of Intel's 82093AA data sheet, order number 290566 ("DS"); the EOI register
//! is that of version 20h, as in Intel's ICH data sheets.

use bitfield_struct::bitfield;

use crate::DeliveryMode;

/// Offset of the register select (DS 3.1.1).
pub(crate) const IOREGSEL: u16 = 0x00;
/// Offset of the data window (DS 3.1.2).
pub(crate) const IOWIN: u16 = 0x10;
/// Offset of the EOI register, present from version 20h on.
pub(crate) const EOIR: u16 = 0x40;

/// Interrupt input pins.
pub(crate) const PINS: usize = 24;

/// Index of the identification register (DS 3.2.1).
pub(crate) const IOAPICID: u8 = 0x00;
/// Index of the version register (DS 3.2.2).
pub(crate) const IOAPICVER: u8 = 0x01;
/// Index of the arbitration register (DS 3.2.3).
pub(crate) const IOAPICARB: u8 = 0x02;
/// Index of the low half of the first redirection entry (DS 3.2.4).
pub(crate) const IOREDTBL: u8 = 0x10;

/// Version 20h in bits 7:0, the number of the last entry in bits 23:16.
pub(crate) const VERSION: u32 = ((PINS as u32 - 1) << 16) | 0x20;
/// Bits of the identification and arbitration registers that hold the ID.
pub(crate) const ID_BITS: u32 = 0x0F00_0000;

/// A redirection entry (DS 3.2.4).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) vector: u8,
    #[bits(3, from = DeliveryMode::of_code, access = RO, default = 0)]
    pub(crate) delivery_mode: Option<DeliveryMode>,
    /// Destination mode: the destination is a set of logical IDs.
    pub(crate) logical: bool,
    /// Delivery status: read-only and always idle, for a message leaves at once.
    _delivery_status: bool,
    /// Stored without an effect: see the crate's documentation.
    pub(crate) active_low: bool,
    pub(crate) remote_irr: bool,
    /// Trigger mode: level, if the delivery mode allows it.
    pub(crate) level: bool,
    pub(crate) masked: bool,
    #[bits(39)]
    _reserved: u64,
    pub(crate) destination: u8,
}

impl Entry {
    /// The writable bits.
    pub(crate) const WRITABLE: u64 = 0xFF00_0000_0001_AFFF;
    /// Bits that can ever be set.
    pub(crate) const IMPLEMENTED: u64 = Self::from_bits(Self::WRITABLE).with_remote_irr(true).0;
    /// An entry after reset.
    pub(crate) const RESET: Self = Self::new().with_masked(true);
}
