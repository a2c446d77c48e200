//! The model of QEMU's firmware configuration device.
//!
//! A guest selects an item by its key and reads it byte by byte, or has the device copy it into
//! memory (DMA). The model has the registers: the selected item, the place in it, and the address of
//! a DMA command. The items are the shell's, behind [`Items`]; so is memory, in which the shell
//! carries a command out as [`FwCfg::begin`] and [`FwCfg::read`] say. It follows QEMU's
//! `docs/specs/fw_cfg.rst` ("SPEC"). Items can not be written.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

#[cfg(test)]
extern crate std;

mod directory;
mod inspect;
mod registers;
mod state;
#[cfg(test)]
mod tests;

pub use directory::{DIRECTORY_ENTRY, MOST_NAME, directory_entry, directory_head};
pub use registers::{
    COMMAND_LENGTH, CONTROL_ERROR, DMA, DMA_END, FIRST_FILE, INTERFACES, PORTS, SELECTOR, Work,
    key, signature,
};
pub use state::{SAVED_VERSION, Saved};

use device_model::{Device, Inspect, Instant, RestoreError};
use registers::*;

/// The items, by key.
pub trait Items {
    /// The length of an item in bytes; none if there is no such item.
    fn length(&self, key: u16) -> Option<u32>;

    /// Copies bytes of an item from `offset` on. Bytes behind its end stay what they are.
    fn read(&self, key: u16, offset: u32, to: &mut [u8]);
}

/// The device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FwCfg {
    key: u16,
    /// The next byte of the item.
    offset: u32,
    /// The upper half of the address of a DMA command.
    address_high: u32,
}

impl FwCfg {
    /// The device after power-on: the signature is selected.
    pub fn new() -> Self {
        Self { key: key::SIGNATURE, offset: 0, address_high: 0 }
    }

    /// Reads a byte from one of [`PORTS`]: the item's next byte, zero behind its end, at the data
    /// register; a letter of the DMA signature at the DMA register; all ones elsewhere.
    pub fn read_byte(&mut self, port: u16, items: &impl Items) -> u8 {
        match port {
            DATA => {
                let mut byte = [0];
                self.read(&mut byte, items);
                let [byte] = byte;
                byte
            }
            DMA..=DMA_END => signature(port - DMA),
            _ => 0xFF,
        }
    }

    /// Writes a word to the selector register, which is the first of [`PORTS`]: selects an item, and
    /// starts at its first byte. Bit 14 asks for write access, which there is not (SPEC, "Selector
    /// Register").
    pub const fn select(&mut self, key: u16) {
        self.key = key & !WRITE_ACCESS;
        self.offset = 0;
    }

    /// Writes a double word to one half of the DMA register, in the order of bytes that the register
    /// has: the most significant first. The write of the lower half starts a command: the answer is
    /// its address.
    #[must_use]
    pub const fn write_dma(&mut self, port: u16, bytes: [u8; 4]) -> Option<u64> {
        let half = u32::from_be_bytes(bytes);
        match port {
            DMA => {
                self.address_high = half;
                None
            }
            DMA_LOW => {
                let address = (self.address_high as u64) << 32 | half as u64;
                self.address_high = 0;
                Some(address)
            }
            _ => None,
        }
    }

    /// Begins a DMA command: selects an item, if it says so, and answers what remains to be done.
    ///
    /// # Errors
    /// [`CONTROL_ERROR`], to be written to the command's control field, for a write to the item.
    pub fn begin(&mut self, command: &[u8; COMMAND_LENGTH]) -> Result<Work, u32> {
        let [a, b, c, d, e, f, g, h, address @ ..] = *command;
        let control = u32::from_be_bytes([a, b, c, d]);
        let length = u32::from_be_bytes([e, f, g, h]);
        let address = u64::from_be_bytes(address);
        if control & CONTROL_SELECT != 0 {
            self.select((control >> 16) as u16);
        }
        // The first of these bits counts (SPEC, "Guest-side DMA Interface").
        if control & CONTROL_READ != 0 {
            Ok(Work::Read { address, length })
        } else if control & CONTROL_WRITE != 0 {
            Err(CONTROL_ERROR)
        } else {
            if control & CONTROL_SKIP != 0 {
                self.offset = self.offset.saturating_add(length);
            }
            Ok(Work::Done)
        }
    }

    /// Reads the item's next bytes; those behind its end are zero.
    pub fn read(&mut self, to: &mut [u8], items: &impl Items) {
        to.fill(0);
        let length = items.length(self.key).unwrap_or(0);
        let left = length.saturating_sub(self.offset) as usize;
        let count = left.min(to.len());
        if let Some(to) = to.get_mut(..count)
            && count != 0
        {
            items.read(self.key, self.offset, to);
        }
        // Behind the end nothing moves any more.
        self.offset = self.offset.saturating_add(count as u32);
    }
}

impl Default for FwCfg {
    fn default() -> Self {
        Self::new()
    }
}

impl Device for FwCfg {
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
