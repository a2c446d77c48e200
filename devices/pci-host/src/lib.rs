//! The model of a PCI host bridge.
//!
//! It offers configuration mechanism #1 (ports CF8h to CFFh) and the enhanced mechanism (ECAM). It
//! is itself the function 00:00.0, with the identity of Intel's 82G33 DRAM controller (8086:29C0,
//! class 0600h). Drivers of that controller need no register but PCIEXBAR, which is read-only here.
//!
//! The shell passes all other functions as [`Functions`]. Where there is no function, reads return
//! all ones and writes are lost, as after a master abort (PCI 6.1).
//!
//! Port CF9h lies inside CONFIG_ADDRESS but belongs to the reset control, to which the shell routes
//! byte accesses. At CF8h to CFBh, this model accepts double-word accesses only.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

#[cfg(test)]
extern crate std;

mod address;
mod inspect;
mod registers;
mod state;
#[cfg(test)]
mod tests;

pub use address::Function;
pub use state::{SAVED_VERSION, Saved};

use address::Access;
use device_model::{Device, Inspect, Instant, RestoreError};
use registers::*;

/// The configuration space of one function.
pub trait ConfigurationSpace {
    /// Reads the double word at `register`, a multiple of 4 below 4096. A register that is not
    /// implemented reads zero.
    fn read(&mut self, register: u16) -> u32;

    /// Writes the bits in `mask`, which covers whole bytes, of the double word at `register`.
    fn write(&mut self, register: u16, value: u32, mask: u32);
}

/// All functions except the host bridge.
pub trait Functions {
    /// The function at this address, if there is one.
    fn function(&mut self, address: Function) -> Option<&mut dyn ConfigurationSpace>;
}

/// A bus without other functions.
impl Functions for () {
    fn function(&mut self, _: Function) -> Option<&mut dyn ConfigurationSpace> {
        None
    }
}

/// The function 00:00.0.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bridge {
    pciexbar: u64,
    /// The writable bits of the command register.
    command: u16,
}

impl ConfigurationSpace for Bridge {
    fn read(&mut self, register: u16) -> u32 {
        match register {
            REGISTER_ID => ID,
            REGISTER_COMMAND => u32::from(COMMAND_FIXED | self.command),
            REGISTER_CLASS => CLASS,
            REGISTER_PCIEXBAR => self.pciexbar as u32,
            REGISTER_PCIEXBAR_HIGH => (self.pciexbar >> 32) as u32,
            _ => 0,
        }
    }

    fn write(&mut self, register: u16, value: u32, mask: u32) {
        if register == REGISTER_COMMAND {
            let (value, mask) = (value as u16, mask as u16);
            self.command = (self.command & !mask) | (value & mask & COMMAND_SERR);
        }
    }
}

/// The host bridge with both mechanisms of access to configuration space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciHost {
    /// CONFIG_ADDRESS.
    address: u32,
    bridge: Bridge,
}

impl PciHost {
    /// A host bridge whose ECAM window for 256 buses is at `ecam_base`, a multiple of 256 MiB below
    /// 64 GiB; other address bits are dropped. PCIEXBAR contains the address. With `None` the
    /// window is disabled.
    pub fn new(ecam_base: Option<u64>) -> Self {
        let window = |base| base & PCIEXBAR_ADDRESS | PCIEXBAR_ENABLE;
        Self { address: 0, bridge: Bridge { pciexbar: ecam_base.map_or(0, window), command: 0 } }
    }

    /// The address of the ECAM window of [`ECAM_SIZE`] bytes, if it is enabled.
    pub(crate) fn ecam_base(&self) -> Option<u64> {
        let enabled = self.bridge.pciexbar & PCIEXBAR_ENABLE != 0;
        enabled.then_some(self.bridge.pciexbar & PCIEXBAR_ADDRESS)
    }

    /// Reads `width` bytes (1, 2 or 4) from a port of CF8h to CFFh; other ports read all ones.
    pub fn read_port(&mut self, port: u16, width: u8, others: &mut dyn Functions) -> u32 {
        if (port, width) == (CONFIG_ADDRESS, 4) {
            return self.address;
        }
        let access = self.port_access(port, width);
        self.read(access, others) & ones(width)
    }

    /// Writes `width` bytes (1, 2 or 4) to a port of CF8h to CFFh.
    pub fn write_port(&mut self, port: u16, width: u8, value: u32, others: &mut dyn Functions) {
        if (port, width) == (CONFIG_ADDRESS, 4) {
            self.address = value & ADDRESS_BITS;
        } else if let Some(access) = self.port_access(port, width) {
            self.write(access, value, others);
        }
    }

    /// Reads `width` bytes (1, 2 or 4) at a byte offset of the ECAM window. Accesses beyond its end
    /// and unaligned ones read all ones.
    pub fn read_ecam(&mut self, offset: u64, width: u8, others: &mut dyn Functions) -> u32 {
        self.read(ecam_access(offset, width), others) & ones(width)
    }

    /// Writes `width` bytes (1, 2 or 4) at a byte offset of the ECAM window.
    pub fn write_ecam(&mut self, offset: u64, width: u8, value: u32, others: &mut dyn Functions) {
        if let Some(access) = ecam_access(offset, width) {
            self.write(access, value, others);
        }
    }

    fn port_access(&self, port: u16, width: u8) -> Option<Access> {
        let data = (CONFIG_DATA..=CONFIG_DATA_LAST).contains(&port);
        if !data || self.address & ADDRESS_ENABLE == 0 {
            return None;
        }
        let function = Function::from_routing_id((self.address >> 8) as u16);
        Access::new(function, (self.address & 0xFC) as u16, (port & 3) as u8, width)
    }

    fn read(&mut self, access: Option<Access>, others: &mut dyn Functions) -> u32 {
        let Some(access) = access else { return u32::MAX };
        match self.select(access.function, others) {
            Some(function) => (function.read(access.register) & access.mask) >> access.shift,
            None => u32::MAX,
        }
    }

    fn write(&mut self, access: Access, value: u32, others: &mut dyn Functions) {
        if let Some(function) = self.select(access.function, others) {
            function.write(access.register, value << access.shift, access.mask);
        }
    }

    fn select<'a>(
        &'a mut self,
        address: Function,
        others: &'a mut dyn Functions,
    ) -> Option<&'a mut dyn ConfigurationSpace> {
        if address == Function::HOST_BRIDGE {
            Some(&mut self.bridge)
        } else {
            others.function(address)
        }
    }
}

/// A mask of the low `width` bytes; of all four if the width is invalid.
fn ones(width: u8) -> u32 {
    match width {
        1 => 0xFF,
        2 => 0xFFFF,
        _ => u32::MAX,
    }
}

/// Decodes an ECAM offset: bus 27:20, device 19:15, function 14:12, register 11:0 (PCIe 7.2.2).
fn ecam_access(offset: u64, width: u8) -> Option<Access> {
    let function = Function::from_routing_id((offset >> 12) as u16);
    let access = Access::new(function, (offset & 0xFFC) as u16, (offset & 3) as u8, width);
    access.filter(|_| offset < ECAM_SIZE)
}

impl Device for PciHost {
    type Saved = Saved;

    /// PCIEXBAR is fixed by the board and stays.
    fn reset(&mut self, _now: Instant) {
        *self = Self::new(self.ecam_base());
    }

    fn save(&self) -> Saved {
        state::save(self)
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), RestoreError> {
        *self = state::restore(self.bridge.pciexbar, saved)?;
        Ok(())
    }

    fn inspect(&self, to: &mut dyn Inspect) {
        inspect::inspect(self, to);
    }
}
