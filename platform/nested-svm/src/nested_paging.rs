//! The nested page tables: which guest-physical addresses the guest reaches by itself.

use kernel::Region;
use memory::{GpaRange, PAGE_SIZE, RamMap};

/// Present, writable, user (nested walks are user accesses), accessed, dirty.
const ENTRY: u64 = 0b0110_0111;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The tables. They are complete before the first entry; nothing is unmapped while VPs run.
#[derive(Debug)]
pub struct NestedTables {
    root: u64,
    has_gigabyte_pages: bool,
}

impl NestedTables {
    /// Maps all of `ram` to itself. What is not RAM exits.
    pub fn new(region: &mut Region, ram: &RamMap, has_gigabyte_pages: bool) -> Self {
        let mut tables = Self { root: region.take(1), has_gigabyte_pages };
        for range in ram.ranges() {
            tables.map(region, *range, range.start());
        }
        tables
    }

    /// The physical address of the root.
    pub const fn root(&self) -> u64 {
        self.root
    }

    /// Maps `range` to the memory at `target`, by the largest pages that fit.
    pub fn map(&mut self, region: &mut Region, range: GpaRange, target: u64) {
        let (mut at, mut to) = (range.start(), target);
        while at < range.end() {
            let left = range.end() - at;
            let fits =
                |size: u64| at.is_multiple_of(size) && to.is_multiple_of(size) && left >= size;
            let size = match () {
                () if self.has_gigabyte_pages && fits(1 << 30) => 1 << 30,
                () if fits(1 << 21) => 1 << 21,
                () => PAGE_SIZE,
            };
            let large = if size == PAGE_SIZE { 0 } else { LARGE };
            let slot = self.slot(region, at, size);
            // SAFETY: `slot` is an entry of one of our own tables.
            unsafe { slot.write_volatile(to | ENTRY | large) };
            at += size;
            to += size;
        }
    }

    /// The entry for the page of `size` bytes at `address`; tables on the way are made.
    // One place that can panic, instead of one in each caller.
    #[inline(never)]
    fn slot(&mut self, region: &mut Region, address: u64, size: u64) -> *mut u64 {
        let mut table = self.root;
        let mut shift = 39;
        loop {
            let slot = (table + ((address >> shift) & 511) * 8) as *mut u64;
            if 1 << shift == size {
                return slot;
            }
            // SAFETY: `table` is one of our own tables, mapped at its physical address.
            let entry = unsafe { slot.read_volatile() };
            table = if entry == 0 {
                let new = region.take(1);
                // SAFETY: as above.
                unsafe { slot.write_volatile(new | ENTRY) };
                new
            } else {
                assert!(entry & LARGE == 0, "a large page is in the way");
                entry & ADDRESS
            };
            shift -= 9;
        }
    }
}
