//! Ports with the bits of the control words.
//!
//! Sections are those of Intel's 8254 data sheet, order number 231164 ("DS"); port 61h is NMI_SC
//! of Intel's ICH data sheets.

/// First counter; the other two follow.
pub const COUNTER_0: u16 = 0x40;
/// Last counter.
pub const COUNTER_2: u16 = 0x42;
/// Control word.
pub const CONTROL: u16 = 0x43;
/// NMI status and speaker control.
pub const SPEAKER: u16 = 0x61;

/// Input clock of the three counters, in Hz.
pub const CLOCK_HZ: u64 = 1_193_182;

/// Control word: value of bits 7:6 for the read-back command (DS figure 11).
pub(crate) const READ_BACK: u8 = 3;
/// Read-back: do not latch the count.
pub(crate) const READ_BACK_NO_COUNT: u8 = 1 << 5;
/// Read-back: do not latch the status.
pub(crate) const READ_BACK_NO_STATUS: u8 = 1 << 4;

/// Control word: access, mode and BCD (DS figure 7).
pub(crate) const CONTROL_BITS: u8 = 0x3F;
/// Access: latch command, which is no access of its own.
pub(crate) const ACCESS_LATCH: u8 = 0;
/// Access: least significant byte only.
pub(crate) const ACCESS_LOW: u8 = 1;
/// Access: most significant byte only.
pub(crate) const ACCESS_HIGH: u8 = 2;

/// Status byte: the OUT pin (DS figure 12).
pub(crate) const STATUS_OUT: u8 = 1 << 7;
/// Status byte: the count is not loaded yet.
pub(crate) const STATUS_NULL: u8 = 1 << 6;

/// Port 61h: gate of counter 2.
pub(crate) const SPEAKER_GATE: u8 = 1 << 0;
/// Port 61h: the speaker follows OUT2.
pub(crate) const SPEAKER_DATA: u8 = 1 << 1;
/// Port 61h: bits that hold what is written; 3:2 disable NMI sources that do not exist here.
pub(crate) const SPEAKER_BITS: u8 = 0x0F;
/// Port 61h: toggles with each refresh cycle.
pub(crate) const SPEAKER_REFRESH: u8 = 1 << 4;
/// Port 61h: OUT2.
pub(crate) const SPEAKER_OUT2: u8 = 1 << 5;
/// Nanoseconds between two refresh cycles.
pub(crate) const REFRESH_NANOS: u64 = 15_085;
