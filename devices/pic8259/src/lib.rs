//! The model of a PC's pair of 8259A interrupt controllers.
//!
//! It follows Intel's data sheet 231468 ("DS"). The slave drives input 2 of the master. Each of the
//! other inputs is edge-triggered unless its bit in the edge/level control registers or LTIM in
//! ICW1 is set.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

#[cfg(test)]
extern crate std;

mod chip;
mod inspect;
mod registers;
mod state;
#[cfg(test)]
mod tests;

pub use state::{SAVED_VERSION, Saved, SavedChip};

use chip::Chip;
use device_model::{Device, Inspect, Instant, RestoreError};
use registers::*;

/// The pair of interrupt controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pic {
    master: Chip,
    slave: Chip,
}

impl Pic {
    /// Both chips after power-on: they request nothing until they are initialized.
    pub fn new() -> Self {
        Self { master: Chip::power_on(true, 0), slave: Chip::power_on(false, 0) }
    }

    /// Reads a byte from one of the six ports; other ports read all ones.
    ///
    /// The first read after a poll command acknowledges an interrupt.
    pub fn read(&mut self, port: u16) -> u8 {
        let value = match port {
            MASTER_COMMAND | MASTER_DATA => self.master.read(port == MASTER_DATA),
            SLAVE_COMMAND | SLAVE_DATA => {
                let polls = self.slave.polls;
                let value = self.slave.read(port == SLAVE_DATA);
                if polls {
                    self.drop_cascade();
                }
                value
            }
            ELCR1 => self.master.elcr,
            ELCR2 => self.slave.elcr,
            _ => 0xFF,
        };
        self.update_cascade();
        value
    }

    /// Writes a byte to one of the six ports; writes to other ports are ignored.
    pub fn write(&mut self, port: u16, value: u8) {
        match port {
            MASTER_COMMAND => self.master.write_command(value),
            MASTER_DATA => self.master.write_data(value),
            SLAVE_COMMAND => self.slave.write_command(value),
            SLAVE_DATA => self.slave.write_data(value),
            ELCR1 => self.master.elcr = value & ELCR1_BITS,
            ELCR2 => self.slave.elcr = value & ELCR2_BITS,
            _ => {}
        }
        self.update_cascade();
    }

    /// Sets the level of an interrupt line, 0 to 15. Line 2, which the slave drives, and lines
    /// beyond 15 are ignored.
    pub fn set_line(&mut self, irq: u8, level: bool) {
        match irq {
            CASCADE => {}
            0..8 => self.master.set_line(irq, level),
            8..16 => {
                self.slave.set_line(irq, level);
                self.update_cascade();
            }
            _ => {}
        }
    }

    /// The level of INTR.
    #[inline]
    pub fn output(&self) -> bool {
        self.master.request().is_some()
    }

    /// The vector that an acknowledge cycle would return now. Nothing changes.
    pub fn next_vector(&self) -> u8 {
        let input = self.master.request();
        if !input.is_some_and(|input| self.master.has_slave(input)) {
            return self.master.vector(input);
        }
        if input == Some(CASCADE) && self.slave.icw3 == CASCADE {
            return self.slave.vector(self.slave.request());
        }
        // No slave answers, and the bus floats.
        0xFF
    }

    /// Performs the CPU's interrupt acknowledge cycle and returns the vector. If the request has
    /// gone away, this is the vector of IRQ 7 or 15 (DS, "Interrupt sequence").
    pub fn acknowledge(&mut self) -> u8 {
        let input = self.master.acknowledge();
        let Some(CASCADE) = input.filter(|input| self.master.has_slave(*input)) else {
            // For any other input with a slave in ICW3, no slave answers and the bus floats.
            let floats = input.is_some_and(|input| self.master.has_slave(input));
            return if floats { 0xFF } else { self.master.vector(input) };
        };
        if self.slave.icw3 != CASCADE {
            return 0xFF;
        }
        let from_slave = self.slave.acknowledge();
        self.drop_cascade();
        self.update_cascade();
        self.slave.vector(from_slave)
    }

    /// Lowers the slave's INT output, which falls when it is acknowledged. A remaining request then
    /// makes a new edge.
    fn drop_cascade(&mut self) {
        self.master.set_line(CASCADE, false);
    }

    fn update_cascade(&mut self) {
        self.master.set_line(CASCADE, self.slave.request().is_some());
    }
}

impl Default for Pic {
    fn default() -> Self {
        Self::new()
    }
}

impl Device for Pic {
    type Saved = Saved;

    /// The lines stay as they are, since the devices drive them.
    fn reset(&mut self, _now: Instant) {
        let lines = self.master.lines & !(1 << CASCADE);
        self.master = Chip::power_on(true, lines);
        self.slave = Chip::power_on(false, self.slave.lines);
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
