//! The physical pages that belong to the paravisor.

use guest_memory::{GpaRange, PAGE_SIZE};
use x86::page_table::{ENTRIES, TableMemory};

/// The part of the paravisor's range that has not been given out yet.
///
/// Pages are taken once and kept for ever; what needs to come and go lives in the heap.
#[derive(Debug)]
pub struct Region {
    all: GpaRange,
    free: GpaRange,
}

impl Region {
    /// The pages of `free`.
    ///
    /// # Safety
    /// The range must be page aligned, mapped at its physical address for ever, writable, zeroed and
    /// unused.
    pub const unsafe fn new(free: GpaRange) -> Self {
        Self { all: free, free }
    }

    /// Takes `count` consecutive zeroed pages.
    ///
    /// # Panics
    /// When the range is used up: its size is computed from the CPU count before anything else, so
    /// this is our own miscalculation.
    // One place that can panic, instead of one in each caller.
    #[inline(never)]
    pub fn take(&mut self, count: u64) -> u64 {
        let start = self.free.start();
        let end = start + count * PAGE_SIZE;
        match GpaRange::new(end, self.free.end()) {
            Some(rest) => self.free = rest,
            None => panic!("the paravisor's own memory is used up: {count} pages wanted"),
        }
        start
    }

    /// What is left.
    pub const fn left(&self) -> GpaRange {
        self.free
    }
}

impl Region {
    /// The place of entry `index` of `table`.
    ///
    /// # Panics
    /// If that is no page of the region: a mistake of ours.
    // One place that can panic, instead of one in each caller.
    #[inline(never)]
    fn entry(&self, table: u64, index: usize) -> *mut u64 {
        let is_ours = (self.all.start()..self.free.start()).contains(&table);
        assert!(is_ours && table.is_multiple_of(PAGE_SIZE) && index < ENTRIES, "no page table");
        (table as *mut u64).wrapping_add(index)
    }
}

impl TableMemory for Region {
    fn read(&self, table: u64, index: usize) -> u64 {
        // SAFETY: `entry` has checked that the entry lies in a page that the region has given out,
        // mapped at its physical address. Only the builder of page tables calls this, with tables
        // that it has taken; the CPU may set bits in them meanwhile, so the access is volatile.
        unsafe { self.entry(table, index).read_volatile() }
    }

    fn write(&mut self, table: u64, index: usize, entry: u64) {
        // SAFETY: as for `read`.
        unsafe { self.entry(table, index).write_volatile(entry) };
    }

    fn take(&mut self) -> u64 {
        Self::take(self, 1)
    }
}
