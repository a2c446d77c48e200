//! The registers that reset the machine.
//!
//! Sections are those of Intel's ICH9 data sheet, order number 316972 ("ICH").

/// 8042 command (write) or status (read) (IBM PC/AT technical reference, keyboard controller).
pub(crate) const KEYBOARD_COMMAND: u16 = 0x64;
/// Fast A20 with fast reset (ICH 13.7.3, PORT92).
pub(crate) const PORT_92: u16 = 0x92;
/// Reset control (ICH 13.7.5, RST_CNT); FADT RESET_REG.
pub(crate) const RESET_CONTROL: u16 = 0xCF9;

/// 8042: commands F0h to FFh pulse those bits of the output port that are zero in the command.
pub(crate) const PULSE_OUTPUT: u8 = 0xF0;
/// 8042: bit 0 of the output port, whose low level resets the CPU.
pub(crate) const PULSE_NO_RESET: u8 = 1 << 0;

/// Port 92h: its rise resets the CPU.
pub(crate) const FAST_RESET: u8 = 1 << 0;
/// Port 92h: address line 20 is not forced low.
pub(crate) const A20: u8 = 1 << 1;

/// RST_CNT: resets the whole system instead of sending INIT to the CPUs.
pub(crate) const RESET_SYSTEM: u8 = 1 << 1;
/// RST_CNT: its rise causes the reset.
pub(crate) const RESET_CPU: u8 = 1 << 2;
/// RST_CNT: a system reset also cycles the power.
pub(crate) const RESET_FULL: u8 = 1 << 3;
/// RST_CNT: the writable bits.
pub(crate) const RESET_BITS: u8 = RESET_SYSTEM | RESET_CPU | RESET_FULL;
