//! The list of page state changes in the GHCB's shared buffer.

use core::mem::size_of;

use bitfield_struct::bitfield;
use open_enum::open_enum;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ghcb::SHARED_BUFFER_SIZE;

/// The header of the list (GHCB specification 56421, "SNP Page State Change").
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Header {
    /// Index of the entry to process next. The hypervisor moves it on.
    pub cur_entry: u16,
    /// Index of the last entry.
    pub end_entry: u16,
    /// Zero.
    pub reserved: u32,
}

/// How many entries a list can have.
pub const MAX_ENTRIES: usize = (SHARED_BUFFER_SIZE - size_of::<Header>()) / size_of::<Entry>();

/// The new state of a page.
#[open_enum]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// The guest's alone.
    PRIVATE = 1,
    /// Readable for the hypervisor, too.
    SHARED = 2,
    /// Splits a 2 MiB page of the RMP.
    PSMASH = 3,
    /// Joins 512 pages of the RMP.
    UNSMASH = 4,
}

impl Operation {
    const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    const fn into_bits(self) -> u8 {
        self.0
    }
}

/// One entry of the list.
#[bitfield(u64)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Entry {
    /// How many 4 KiB pages of the entry are done.
    #[bits(12)]
    pub cur_page: u16,
    /// Number of the guest page.
    #[bits(40)]
    pub gfn: u64,
    /// The new state.
    #[bits(4, from = Operation::from_bits, into = Operation::into_bits)]
    pub operation: Operation,
    /// The entry is for 2 MiB.
    pub is_2m: bool,
    #[bits(7)]
    __: u8,
}

/// SW_EXITINFO2 after the request. Success needs more: `cur_entry` is behind `end_entry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome(pub u64);

impl Outcome {
    /// No error; entries may be left to do.
    pub const SUCCESS: Self = Self(0);
    /// The header is invalid.
    pub const INVALID_HEADER: Self = Self(1 << 32 | 1);
    /// The entry at `cur_entry` is invalid.
    pub const INVALID_ENTRY: Self = Self(1 << 32 | 2);

    /// The hypervisor failed with an error of its own.
    pub const fn hypervisor_error(error: u32) -> Self {
        Self(0x100 << 32 | error as u64)
    }
}

/// Why a list is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidList {
    /// The list does not fit into the buffer, or `cur_entry` is behind `end_entry`.
    Header,
    /// The entry has an unknown operation, a page number that is not aligned to its size, or more
    /// pages done than it has.
    Entry,
}

impl InvalidList {
    /// The answer to the guest.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Header => Outcome::INVALID_HEADER,
            Self::Entry => Outcome::INVALID_ENTRY,
        }
    }
}

impl Header {
    /// Accepts a header whose entries are all in the buffer.
    pub const fn check(self) -> Result<(), InvalidList> {
        if self.cur_entry > self.end_entry || self.end_entry as usize >= MAX_ENTRIES {
            return Err(InvalidList::Header);
        }
        Ok(())
    }
}

/// Pages of 4 KiB in one of 2 MiB.
const PAGES_PER_2M: u16 = 512;

impl Entry {
    /// Accepts an entry that can be carried out.
    pub const fn check(self) -> Result<(), InvalidList> {
        let operation = matches!(
            self.operation(),
            Operation::PRIVATE | Operation::SHARED | Operation::PSMASH | Operation::UNSMASH
        );
        let pages = if self.is_2m() { PAGES_PER_2M } else { 1 };
        if !operation || !self.gfn().is_multiple_of(pages as u64) || self.cur_page() > pages {
            return Err(InvalidList::Entry);
        }
        Ok(())
    }
}
