//! The physical pages that belong to the paravisor.

use memory::{GpaRange, PAGE_SIZE};

/// The part of the paravisor's range that has not been given out yet.
///
/// Pages are taken once and kept for ever; what needs to come and go lives in the heap.
#[derive(Debug)]
pub struct Region {
    free: GpaRange,
}

impl Region {
    /// The pages of `free`.
    ///
    /// # Safety
    /// The range must be page aligned, mapped at its physical address, writable, zeroed and unused.
    pub const unsafe fn new(free: GpaRange) -> Self {
        Self { free }
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
