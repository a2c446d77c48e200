//! The paravisor's own page tables.
//!
//! Our own memory is mapped at its physical address; guest memory at [`GUEST_BASE`] above its own,
//! so that no stray pointer of ours, null included, reaches it. Pages can be written or run, never
//! both; a hole is a page that must not be touched, such as one below a stack.

use core::arch::asm;

use guest_memory::{GpaRange, PAGE_SIZE};
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
    /// Read and write memory that the host reads and writes, too.
    Shared,
}

impl Access {
    const fn bits(self) -> u64 {
        const KEPT: u64 = entry::PRESENT | entry::ACCESSED | entry::DIRTY;
        match self {
            Self::Code => KEPT,
            Self::Constant => KEPT | entry::NO_EXECUTE,
            Self::Data | Self::Shared => KEPT | entry::NO_EXECUTE | entry::WRITABLE,
            Self::Device => Self::Data.bits() | entry::CACHE_DISABLE | entry::WRITE_THROUGH,
        }
    }
}

/// The hierarchy of the paravisor, under construction or in use.
#[derive(Debug)]
pub struct PageTables {
    tables: page_table::PageTables,
    /// The address bit of private memory, or zero.
    private: u64,
}

impl PageTables {
    /// An empty hierarchy.
    pub fn new(region: &mut Region, has_gigabyte_pages: bool) -> Self {
        Self::with_private_bit(region, has_gigabyte_pages, 0)
    }

    /// An empty hierarchy on a platform that tells private from shared memory by the address bit
    /// `private`. The CPU finds the tables themselves in private memory, with and without the bit
    /// (AMD64 APM vol. 2, section 15.34.5).
    pub fn with_private_bit(region: &mut Region, has_gigabyte_pages: bool, private: u64) -> Self {
        let format = Format { directory: DIRECTORY, has_gigabyte_pages };
        Self { tables: page_table::PageTables::new(region, format), private }
    }

    const fn physical(&self, address: u64, access: Access) -> u64 {
        match access {
            Access::Code | Access::Constant | Access::Data => address | self.private,
            Access::Device | Access::Shared => address,
        }
    }

    /// The physical address of the root.
    pub const fn root(&self) -> u64 {
        self.tables.root()
    }

    /// Maps the physical pages of `range` at `base` above their address, by the largest pages that
    /// fit.
    pub fn map(&mut self, region: &mut Region, range: GpaRange, base: u64, access: Access) {
        let linear = base + range.start()..base + range.end();
        let physical = self.physical(range.start(), access);
        self.tables.map(region, linear, physical, access.bits());
    }

    /// Maps the pages of `range` by small pages, so that a hole costs no further table.
    pub fn map_small(&mut self, region: &mut Region, range: GpaRange, access: Access) {
        let physical = self.physical(range.start(), access);
        self.tables.map_small(region, range.start()..range.end(), physical, access.bits());
    }

    /// Takes the page at `address` out of the map.
    pub fn make_hole(&mut self, region: &mut Region, address: u64) {
        self.tables.unmap(region, address..address + PAGE_SIZE);
        drop_translation(address);
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

/// Has this CPU forget the translation of `address`. Other CPUs have never used the page.
#[cfg(target_os = "none")]
fn drop_translation(address: u64) {
    // SAFETY: a CPU that forgets a translation walks the tables again.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack)) };
}

/// Elsewhere than on the bare metal no CPU uses the tables.
#[cfg(not(target_os = "none"))]
const fn drop_translation(_: u64) {}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::alloc::{Layout, alloc_zeroed};

    use super::*;

    /// Sixteen pages that live as long as the process.
    fn region() -> Region {
        let size = 16 * PAGE_SIZE as usize;
        let layout = Layout::from_size_align(size, PAGE_SIZE as usize).unwrap();
        // SAFETY: the layout has a size.
        let start = unsafe { alloc_zeroed(layout) } as u64;
        // SAFETY: fresh zeroed pages, never freed. In a process, addresses count as physical.
        unsafe { Region::new(GpaRange::from_length(start, size as u64).unwrap()) }
    }

    #[test]
    fn pages_can_be_written_or_run_and_never_both() {
        let mut region = region();
        let mut tables = PageTables::new(&mut region, true);
        let page = |number: u64| GpaRange::from_length(number * PAGE_SIZE, PAGE_SIZE).unwrap();
        let all = [Access::Code, Access::Constant, Access::Data, Access::Device];
        for (number, access) in (0..).zip(all) {
            tables.map_small(&mut region, page(number), access);
        }
        for (number, writes, runs, cached) in [
            (0, false, true, true),
            (1, false, false, true),
            (2, true, false, true),
            (3, true, false, false),
        ] {
            let found = tables.tables.translate(&region, number * PAGE_SIZE).unwrap();
            assert_eq!(found.physical, number * PAGE_SIZE);
            assert_eq!(found.bits & entry::WRITABLE != 0, writes, "page {number}");
            assert_eq!(found.bits & entry::NO_EXECUTE == 0, runs, "page {number}");
            assert_eq!(found.bits & entry::CACHE_DISABLE == 0, cached, "page {number}");
            assert_eq!(found.bits & entry::USER, 0, "nothing is user's");
        }
        tables.make_hole(&mut region, 2 * PAGE_SIZE);
        assert_eq!(tables.tables.translate(&region, 2 * PAGE_SIZE), None);
        assert!(tables.tables.translate(&region, 3 * PAGE_SIZE).is_some());
    }

    #[test]
    fn private_memory_has_its_bit_and_shared_memory_has_none() {
        const PRIVATE: u64 = 1 << 39;
        let mut region = region();
        let mut tables = PageTables::with_private_bit(&mut region, true, PRIVATE);
        let page = |number: u64| GpaRange::from_length(number * PAGE_SIZE, PAGE_SIZE).unwrap();
        let all = [Access::Code, Access::Constant, Access::Data, Access::Device, Access::Shared];
        for (number, access) in (0..).zip(all) {
            tables.map_small(&mut region, page(number), access);
            let found = tables.tables.translate(&region, number * PAGE_SIZE).unwrap();
            let bit = if number < 3 { PRIVATE } else { 0 };
            assert_eq!(found.physical, (number * PAGE_SIZE) | bit, "{access:?}");
        }
        let ram = GpaRange::new(0, 4 << 20).unwrap();
        tables.map(&mut region, ram, GUEST_BASE, Access::Data);
        let found = tables.tables.translate(&region, GUEST_BASE + 0x20_1234).unwrap();
        assert_eq!((found.physical, found.size), (PRIVATE | 0x20_1234, 2 << 20));
    }

    #[test]
    fn guest_memory_lies_far_above_its_address() {
        let mut region = region();
        let mut tables = PageTables::new(&mut region, true);
        let ram = GpaRange::new(0, 1 << 30).unwrap();
        tables.map(&mut region, ram, GUEST_BASE, Access::Data);
        let found = tables.tables.translate(&region, GUEST_BASE + 0x1234).unwrap();
        assert_eq!((found.physical, found.size), (0x1234, 1 << 30));
        assert_eq!(
            tables.tables.translate(&region, 0x1234),
            None,
            "a stray pointer reaches nothing"
        );
        assert_eq!(tables.tables.translate(&region, 0), None);
    }

    #[test]
    #[should_panic(expected = "own memory is used up")]
    fn a_region_gives_no_page_twice() {
        let mut region = region();
        let first = region.take(4);
        assert_eq!(region.take(1), first + 4 * PAGE_SIZE);
        region.take(12);
    }

    #[test]
    #[should_panic(expected = "no page table")]
    fn a_page_that_was_not_given_out_is_no_table() {
        use x86::page_table::TableMemory;
        let region = region();
        region.read(region.left().start(), 0);
    }
}
