//! The registers of the timer with their fields.
//!
//! Sections are those of Intel's 8254 data sheet, order number 231164 ("DS"); port 61h is NMI_SC
//! of Intel's ICH data sheets.

use bitfield_struct::bitfield;

/// First counter; the other two have the next two ports.
pub(crate) const COUNTER_0: u16 = 0x40;
/// Last counter.
pub(crate) const COUNTER_2: u16 = 0x42;
/// Control word.
pub(crate) const CONTROL: u16 = 0x43;
/// NMI status and speaker control.
pub(crate) const SPEAKER: u16 = 0x61;

/// Input clock of the three counters, in Hz.
pub(crate) const CLOCK_HZ: u64 = 1_193_182;

/// Control word (DS figure 7).
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub(crate) struct ControlWord {
    pub(crate) bcd: bool,
    #[bits(3)]
    pub(crate) mode: u8,
    #[bits(2)]
    pub(crate) access: Access,
    /// The counter, or [`READ_BACK`].
    #[bits(2)]
    pub(crate) select: u8,
}

/// Control word: the value of `select` for the read-back command (DS figure 11).
pub(crate) const READ_BACK: u8 = 3;

/// RW1 and RW0 of the control word: the bytes of a count that are accessed through the counter's
/// port (DS figure 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The counter latch command, which does not program the counter.
    Latch = 0,
    Low = 1,
    High = 2,
    LowThenHigh = 3,
}

impl Access {
    const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Latch,
            1 => Self::Low,
            2 => Self::High,
            _ => Self::LowThenHigh,
        }
    }

    const fn into_bits(self) -> u8 {
        self as u8
    }
}

/// Read-back command (DS figure 11).
#[bitfield(u8)]
pub(crate) struct ReadBack {
    _reserved: bool,
    /// The selected counters, one bit each.
    #[bits(3)]
    pub(crate) counters: u8,
    /// Do not latch the status.
    pub(crate) no_status: bool,
    /// Do not latch the count.
    pub(crate) no_count: bool,
    #[bits(2)]
    _select: u8,
}

/// Status byte (DS figure 12).
#[bitfield(u8)]
pub(crate) struct Status {
    /// Bits 5:0 of the control word.
    #[bits(6)]
    _control: u8,
    /// The count has not been loaded yet.
    pub(crate) null_count: bool,
    /// The OUT pin.
    pub(crate) out: bool,
}

/// Port 61h.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub(crate) struct SpeakerPort {
    /// Gate of counter 2.
    pub(crate) gate: bool,
    /// The speaker follows OUT2.
    pub(crate) data: bool,
    /// Disable bits for NMI sources that do not exist here.
    #[bits(2)]
    _nmi_disable: u8,
    /// Toggles with each refresh cycle; read-only.
    pub(crate) refresh: bool,
    /// OUT2; read-only.
    pub(crate) out2: bool,
    #[bits(2)]
    _nmi_status: u8,
}

impl SpeakerPort {
    /// The writable bits.
    pub(crate) const WRITABLE: u8 = 0x0F;
}

/// Nanoseconds between two refresh cycles.
pub(crate) const REFRESH_NANOS: u64 = 15_085;
