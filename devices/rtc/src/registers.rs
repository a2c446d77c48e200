//! The registers of the clock with their fields.
//!
//! Sections are those of Motorola's MC146818 data sheet, ADI-1019 ("DS"); the century byte and
//! the NMI mask are those of the IBM PC/AT.

use bitfield_struct::bitfield;
use bitflags::bitflags;

/// Index of the register that [`DATA`] accesses; bit 7 masks NMI. Write-only.
pub(crate) const INDEX: u16 = 0x70;
/// The register that the index selects.
pub(crate) const DATA: u16 = 0x71;
/// Number of registers and memory bytes together.
pub(crate) const SIZE: usize = 128;

/// Seconds (DS figure 11).
pub(crate) const SECONDS: u8 = 0x00;
/// Alarm: seconds.
pub(crate) const ALARM_SECONDS: u8 = 0x01;
/// Minutes.
pub(crate) const MINUTES: u8 = 0x02;
/// Alarm: minutes.
pub(crate) const ALARM_MINUTES: u8 = 0x03;
/// Hours.
pub(crate) const HOURS: u8 = 0x04;
/// Alarm: hours.
pub(crate) const ALARM_HOURS: u8 = 0x05;
/// Day of the week; Sunday is 1.
pub(crate) const WEEKDAY: u8 = 0x06;
/// Day of the month.
pub(crate) const DAY: u8 = 0x07;
/// Month.
pub(crate) const MONTH: u8 = 0x08;
/// Year of the century.
pub(crate) const YEAR: u8 = 0x09;
/// Register A.
pub(crate) const A: u8 = 0x0A;
/// Register B.
pub(crate) const B: u8 = 0x0B;
/// Register C, read-only.
pub(crate) const C: u8 = 0x0C;
/// Register D, read-only.
pub(crate) const D: u8 = 0x0D;
/// Century; the FADT has this index.
pub(crate) const CENTURY: u8 = 0x32;

/// Port 70h.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub(crate) struct Index {
    #[bits(7)]
    pub(crate) register: u8,
    /// Stored without an effect.
    pub(crate) masks_nmi: bool,
}

/// Register A (DS, "Register A").
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub(crate) struct RegisterA {
    /// Rate of the periodic interrupt, RS3 to RS0.
    #[bits(4)]
    pub(crate) rate: u8,
    /// DV2 to DV0.
    #[bits(3)]
    pub(crate) divider: u8,
    /// UIP, read-only.
    pub(crate) update_in_progress: bool,
}

impl RegisterA {
    /// The divider for a crystal of 32,768 Hz, as a PC has it (DS table 4).
    pub(crate) const DIVIDER_32768_HZ: u8 = 2;
    /// The value that a PC's BIOS leaves, with a periodic rate of 1,024 Hz.
    pub(crate) const BY_BIOS: Self = Self::new().with_divider(Self::DIVIDER_32768_HZ).with_rate(6);
}

/// Register D: RAM and time are valid.
pub(crate) const D_VALID: u8 = 1 << 7;

/// Hours in 12-hour mode: p.m. (DS table 3).
pub(crate) const HOURS_PM: u8 = 1 << 7;
/// An alarm byte with both bits set matches any value (DS, "Time, calendar, and alarm locations").
pub(crate) const ALARM_ANY: u8 = 0xC0;

bitflags! {
    /// Register B (DS, "Register B").
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Control: u8 {
        /// Stored without an effect: guests keep UTC, and the rule dates from 1967.
        const DAYLIGHT_SAVING = 1 << 0;
        const HOURS_24 = 1 << 1;
        const BINARY = 1 << 2;
        /// The SQW pin, which a PC does not connect.
        const SQUARE_WAVE = 1 << 3;
        const UPDATE_ENDED = 1 << 4;
        const ALARM = 1 << 5;
        const PERIODIC = 1 << 6;
        const SET = 1 << 7;
    }
}

impl Control {
    /// The interrupt enables. Register C has the flags in the same bits.
    pub(crate) const INTERRUPTS: Self = Self::UPDATE_ENDED.union(Self::ALARM).union(Self::PERIODIC);
}

/// Register C: IRQF, the flag of an enabled interrupt is set.
pub(crate) const C_REQUEST: u8 = 1 << 7;

/// Nanoseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;
/// Time from the rise of UIP to the update, in nanoseconds (DS table 6, tBUC).
pub(crate) const UPDATE_WARNING: u64 = 244_000;
