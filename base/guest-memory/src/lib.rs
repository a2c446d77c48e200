//! Guest-physical memory as the paravisor sees it.
//!
//! Guest memory changes under our hands: every other VP can write it at any time. So no reference
//! into it ever exists. Bytes are copied out once, checked, then used; the only ways in are the
//! copying calls of [`GuestMemory`].
//!
//! [`RamMap`] is the one answer to "may this address be touched?": it lists the ranges that are the
//! guest's RAM, and the paravisor's own range is never among them.
#![no_std]

mod address;
mod map;
mod mapped;

pub use address::{Gpa, GpaRange, PAGE_SIZE};
pub use map::{MapError, RamMap};
pub use mapped::MappedMemory;

/// A range that consists of guest RAM only, as checked by [`GuestMemory::ram_range`], its only
/// constructor. A device that gets one can overwrite only memory that the guest may write itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamRange {
    start: u64,
    length: u64,
}

impl RamRange {
    /// The first address.
    pub const fn start(&self) -> Gpa {
        Gpa(self.start)
    }

    /// The length in bytes.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The `length` bytes at `offset`, if they lie within.
    pub const fn part(&self, offset: u64, length: u64) -> Option<Self> {
        match offset.checked_add(length) {
            Some(end) if end <= self.length => Some(Self { start: self.start + offset, length }),
            _ => None,
        }
    }
}

/// An access to guest memory touched an address that is not the guest's RAM.
///
/// The fault is that of the party that gave the address; the caller knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRam {
    /// The first address of the refused access.
    pub gpa: Gpa,
    /// The length of the refused access in bytes.
    pub length: u64,
}

impl core::fmt::Display for NotRam {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} bytes at {} are not guest RAM", self.length, self.gpa)
    }
}

impl core::error::Error for NotRam {}

/// The guest's RAM, by copying.
///
/// Naturally aligned accesses of 1, 2, 4 or 8 bytes are single-copy atomic, as a device's are on
/// a PC; longer ones may be torn by a concurrent writer at 8-byte borders.
pub trait GuestMemory {
    /// Copies guest memory at `gpa` into `to`.
    fn read(&self, gpa: Gpa, to: &mut [u8]) -> Result<(), NotRam>;

    /// Copies `from` into guest memory at `gpa`.
    fn write(&self, gpa: Gpa, from: &[u8]) -> Result<(), NotRam>;

    /// Fills `length` bytes at `gpa` with zeroes.
    fn zero(&self, gpa: Gpa, length: u64) -> Result<(), NotRam>;

    /// The range of `length` bytes at `gpa`, for a device that reaches memory by itself. All of it
    /// must be RAM of one range of the map: a window is none.
    fn ram_range(&self, gpa: Gpa, length: u64) -> Result<RamRange, NotRam>;

    /// Replaces the naturally aligned `size`-byte value (1, 2, 4 or 8) at `gpa` by `new` if it is
    /// `current`, atomically against the VPs. Answers the value that was there.
    ///
    /// A misaligned address or another size is answered with [`NotRam`].
    fn compare_exchange(&self, gpa: Gpa, size: u8, current: u64, new: u64) -> Result<u64, NotRam>;

    /// The naturally aligned 8 bytes that hold `gpa`, if they are RAM: the quick way to a
    /// page-table entry or to code.
    fn word(&self, gpa: u64) -> Option<u64>;

    /// Reads an 8-byte value.
    fn read_u64(&self, gpa: Gpa) -> Result<u64, NotRam> {
        let mut bytes = [0; 8];
        self.read(gpa, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes an 8-byte value.
    fn write_u64(&self, gpa: Gpa, value: u64) -> Result<(), NotRam> {
        self.write(gpa, &value.to_le_bytes())
    }
}
