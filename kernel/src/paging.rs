//! The paravisor's own page tables.
//!
//! What is ours is mapped at its physical address; guest memory at [`GUEST_BASE`] above its own, so
//! that no stray pointer of ours, null included, reaches it. Pages can be written or run, never
//! both; a hole is a page that must not be touched, such as one below a stack.

use core::arch::asm;

use bitflags::bitflags;
use memory::{GpaRange, PAGE_SIZE};

use crate::Region;

bitflags! {
    /// Bits of a page-table entry (AMD64 APM vol. 2, section 5.4).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Entry: u64 {
        const PRESENT = 1 << 0;
        const WRITABLE = 1 << 1;
        const WRITE_THROUGH = 1 << 3;
        const CACHE_DISABLE = 1 << 4;
        const ACCESSED = 1 << 5;
        const DIRTY = 1 << 6;
        const LARGE = 1 << 7;
        const NO_EXECUTE = 1 << 63;
    }
}

/// Guest-physical address zero is mapped here.
pub const GUEST_BASE: u64 = 1 << 46;

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

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
    fn entry(self) -> Entry {
        let kept = Entry::PRESENT | Entry::ACCESSED | Entry::DIRTY;
        match self {
            Self::Code => kept,
            Self::Constant => kept | Entry::NO_EXECUTE,
            Self::Data => kept | Entry::NO_EXECUTE | Entry::WRITABLE,
            Self::Device => Self::Data.entry() | Entry::CACHE_DISABLE | Entry::WRITE_THROUGH,
        }
    }
}

/// A page-table hierarchy under construction or in use.
#[derive(Debug)]
pub struct PageTables {
    root: u64,
    has_gigabyte_pages: bool,
}

impl PageTables {
    /// An empty hierarchy.
    pub fn new(region: &mut Region, has_gigabyte_pages: bool) -> Self {
        Self { root: region.take(1), has_gigabyte_pages }
    }

    /// The physical address of the root.
    pub const fn root(&self) -> u64 {
        self.root
    }

    /// Maps the physical pages of `range` at `base` above their address, by the largest pages that
    /// fit.
    pub fn map(&mut self, region: &mut Region, range: GpaRange, base: u64, access: Access) {
        let mut at = range.start();
        while at < range.end() {
            let left = range.end() - at;
            let size = match () {
                () if self.has_gigabyte_pages && at.is_multiple_of(1 << 30) && left >= 1 << 30 => {
                    1 << 30
                }
                () if at.is_multiple_of(1 << 21) && left >= 1 << 21 => 1 << 21,
                () => PAGE_SIZE,
            };
            let slot = self.slot(region, base + at, size);
            let large = if size == PAGE_SIZE { Entry::empty() } else { Entry::LARGE };
            // SAFETY: `slot` is an entry of one of our own tables.
            unsafe { slot.write_volatile(at | (access.entry() | large).bits()) };
            at += size;
        }
    }

    /// Maps the pages of `range` by small pages, so that each can become a hole.
    pub fn map_small(&mut self, region: &mut Region, range: GpaRange, access: Access) {
        for at in (range.start()..range.end()).step_by(PAGE_SIZE as usize) {
            let slot = self.slot(region, at, PAGE_SIZE);
            // SAFETY: `slot` is an entry of one of our own tables.
            unsafe { slot.write_volatile(at | access.entry().bits()) };
        }
    }

    /// Takes the page at `address`, which is mapped by a small page, out of the map.
    pub fn make_hole(&mut self, region: &mut Region, address: u64) {
        let slot = self.slot(region, address, PAGE_SIZE);
        // SAFETY: `slot` is an entry of one of our own tables.
        unsafe { slot.write_volatile(0) };
        // SAFETY: the translation is gone from the table; this drops the CPU's copy. Other CPUs
        // have never used the page.
        unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack)) };
    }

    /// The entry for the page of `size` bytes at `address`; tables on the way are made.
    // One place that can panic, instead of one in each caller.
    #[inline(never)]
    fn slot(&mut self, region: &mut Region, address: u64, size: u64) -> *mut u64 {
        let mut table = self.root;
        let mut shift = 39;
        loop {
            let index = (address >> shift) & 511;
            let slot = (table + index * 8) as *mut u64;
            if 1 << shift == size {
                return slot;
            }
            // SAFETY: `table` is one of our own tables, mapped at its physical address.
            let entry = unsafe { slot.read_volatile() };
            table = if entry & Entry::PRESENT.bits() == 0 {
                let new = region.take(1);
                let flags = Entry::PRESENT | Entry::WRITABLE | Entry::ACCESSED;
                // SAFETY: as above.
                unsafe { slot.write_volatile(new | flags.bits()) };
                new
            } else {
                assert!(entry & Entry::LARGE.bits() == 0, "a large page is in the way");
                entry & ADDRESS
            };
            shift -= 9;
        }
    }

    /// Makes this CPU use the tables.
    ///
    /// # Safety
    /// They must map the running code, its stack, and all that it touches.
    pub unsafe fn activate(&self) {
        // SAFETY: the caller vouches for the tables.
        unsafe { asm!("mov cr3, {}", in(reg) self.root, options(nostack)) };
    }
}
