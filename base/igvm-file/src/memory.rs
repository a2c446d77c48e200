//! The memory of the VM that a file is launched in.

use alloc::vec::Vec;
use core::ops::Range;

use snp::vmsa::DEFAULT_VMSA_GPA;

use crate::file::Igvm;

/// A VM's memory: its RAM from address zero on, and what its file needs above that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    ram: u64,
    ranges: Vec<Range<u64>>,
}

impl Memory {
    /// Where the firmware measures the save area that the file has for `gpa`. KVM keeps all save
    /// areas outside the guest's memory, at an address of its own; a loader that has memory at `gpa`
    /// measures it there.
    pub fn save_area_at(&self, gpa: u64) -> u64 {
        if self.has(gpa) { gpa } else { DEFAULT_VMSA_GPA }
    }

    fn has(&self, gpa: u64) -> bool {
        // The ranges are in order, and do not touch.
        let behind = self.ranges.partition_point(|range| range.end <= gpa);
        gpa < self.ram || self.ranges.get(behind).is_some_and(|range| range.contains(&gpa))
    }
}

impl Igvm<'_> {
    /// The memory of a VM with `ram` bytes of RAM that is launched from the file.
    pub fn memory(&self, ram: u64) -> Memory {
        Memory { ram, ranges: self.footprint() }
    }
}
