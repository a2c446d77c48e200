//! The paravisor's own page tables.
//!
//! Our own memory is mapped at its physical address; guest memory at [`GUEST_BASE`] above its own,
//! so that no stray pointer of ours, null included, reaches it. Pages can be written or run, never
//! both; a hole is a page that must not be touched, such as one below a stack.

use core::arch::asm;

use memory::{GpaRange, PAGE_SIZE};
use x86::page_table::{self, Format, entry};

use crate::Region;

/// Guest-physical address zero is mapped here.
pub const GUEST_BASE: u64 = 1 << 46;

/// Bits of an entry that leads to another table.
const DIRECTORY: u64 = entry::PRESENT | entry::WRITABLE | entry::ACCESSED;

/// What may be done with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Run and read.
    Code,
    /// Read.
    Constant,
    /// Read and write.
    Data,
    /// Read and write without caches: registers of a device.
    Device,
}

impl Access {
    const fn bits(self) -> u64 {
        const KEPT: u64 = entry::PRESENT | entry::ACCESSED | entry::DIRTY;
        match self {
            Self::Code => KEPT,
            Self::Constant => KEPT | entry::NO_EXECUTE,
            Self::Data => KEPT | entry::NO_EXECUTE | entry::WRITABLE,
            Self::Device => Self::Data.bits() | entry::CACHE_DISABLE | entry::WRITE_THROUGH,
        }
    }
}

/// The hierarchy of the paravisor, under construction or in use.
#[derive(Debug)]
pub struct PageTables(page_table::PageTables);

impl PageTables {
    /// An empty hierarchy.
    pub fn new(region: &mut Region, has_gigabyte_pages: bool) -> Self {
        let format = Format { directory: DIRECTORY, has_gigabyte_pages };
        Self(page_table::PageTables::new(region, format))
    }

    /// The physical address of the root.
    pub const fn root(&self) -> u64 {
        self.0.root()
    }

    /// Maps the physical pages of `range` at `base` above their address, by the largest pages that
    /// fit.
    pub fn map(&mut self, region: &mut Region, range: GpaRange, base: u64, access: Access) {
        let linear = base + range.start()..base + range.end();
        self.0.map(region, linear, range.start(), access.bits());
    }

    /// Maps the pages of `range` by small pages, so that a hole costs no further table.
    pub fn map_small(&mut self, region: &mut Region, range: GpaRange, access: Access) {
        self.0.map_small(region, range.start()..range.end(), range.start(), access.bits());
    }

    /// Takes the page at `address` out of the map.
    pub fn make_hole(&mut self, region: &mut Region, address: u64) {
        self.0.unmap(region, address..address + PAGE_SIZE);
        // SAFETY: the translation is gone from the table; this drops the CPU's copy. Other CPUs
        // have never used the page.
        unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack)) };
    }

    /// Makes this CPU use the tables.
    ///
    /// # Safety
    /// They must map the running code, its stack, and all that it touches.
    pub unsafe fn activate(&self) {
        // SAFETY: the caller vouches for the tables.
        unsafe { asm!("mov cr3, {}", in(reg) self.root(), options(nostack)) };
    }
}
