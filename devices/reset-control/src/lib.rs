//! The model of a PC's registers that reset the machine.
//!
//! They are the chipset's reset control at CF9h, the fast reset at port 92h, and the reset pulse of
//! the 8042 at port 64h. The 8042 has no keyboard: its status reads zero, so a driver finds it
//! ready and without data. The bit that forces address line 20 low is stored without an effect. The
//! model follows Intel's ICH9 data sheet.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

#[cfg(test)]
extern crate std;

mod inspect;
mod registers;
mod state;
#[cfg(test)]
mod tests;

pub use state::{SAVED_VERSION, Saved};

use device_model::{Device, Inspect, Instant, RestoreError};
use registers::*;

/// A reset that the guest requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Reset {
    /// INIT to all processors; memory and devices keep their state.
    Init,
    /// Reset of all processors and devices.
    Hard,
    /// As [`Reset::Hard`], by switching the power off and on.
    PowerCycle,
}

/// The reset registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetControl {
    port_92: u8,
    reset_control: u8,
}

impl ResetControl {
    /// The registers after power-on.
    pub fn new() -> Self {
        Self { port_92: A20, reset_control: 0 }
    }

    /// Reads a byte from port 64h, 92h or CF9h; other ports read all ones.
    pub fn read(&self, port: u16) -> u8 {
        match port {
            KEYBOARD_COMMAND => 0,
            PORT_92 => self.port_92,
            RESET_CONTROL => self.reset_control,
            _ => 0xFF,
        }
    }

    /// Writes a byte to port 64h, 92h or CF9h; writes to other ports are ignored.
    ///
    /// The caller performs the returned reset, which includes this model.
    pub fn write(&mut self, port: u16, value: u8) -> Option<Reset> {
        match port {
            KEYBOARD_COMMAND => {
                let pulses = value >= PULSE_OUTPUT && value & PULSE_NO_RESET == 0;
                pulses.then_some(Reset::Init)
            }
            PORT_92 => {
                let rises = value & !self.port_92 & FAST_RESET != 0;
                self.port_92 = value & (FAST_RESET | A20);
                rises.then_some(Reset::Init)
            }
            RESET_CONTROL => self.write_reset_control(value),
            _ => None,
        }
    }

    /// RST_CNT: a rise of RST_CPU causes a reset of the kind in the other bits (ICH 13.7.5).
    fn write_reset_control(&mut self, value: u8) -> Option<Reset> {
        let rises = value & !self.reset_control & RESET_CPU != 0;
        self.reset_control = value & RESET_BITS;
        let reset = match (value & RESET_SYSTEM != 0, value & RESET_FULL != 0) {
            (false, _) => Reset::Init,
            (true, false) => Reset::Hard,
            (true, true) => Reset::PowerCycle,
        };
        rises.then_some(reset)
    }
}

impl Default for ResetControl {
    fn default() -> Self {
        Self::new()
    }
}

impl Device for ResetControl {
    type Saved = Saved;

    fn reset(&mut self, _now: Instant) {
        *self = Self::new();
    }

    fn save(&self) -> Saved {
        state::save(self)
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), RestoreError> {
        *self = state::restore(saved)?;
        Ok(())
    }

    fn inspect(&self, to: &mut dyn Inspect) {
        inspect::inspect(self, to);
    }
}
