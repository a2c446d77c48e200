//! The nested page tables: which guest-physical addresses the guest reaches by itself.

use guest_memory::{GpaRange, RamMap};
use x86::page_table::{Format, PageTables, TableMemory, entry};

/// Bits of every entry. The walk of nested tables counts as user code (AMD64 APM vol. 2, section
/// 15.25.5).
const BITS: u64 = entry::PRESENT | entry::WRITABLE | entry::USER | entry::ACCESSED | entry::DIRTY;

/// The tables of a guest.
#[derive(Debug)]
pub struct NestedTables(PageTables);

impl NestedTables {
    /// Maps all of `ram` to itself. An access to anything else exits.
    pub fn new(memory: &mut impl TableMemory, ram: &RamMap, has_gigabyte_pages: bool) -> Self {
        let format = Format { directory: BITS, has_gigabyte_pages };
        let mut tables = Self(PageTables::new(memory, format));
        for range in ram.ranges() {
            tables.map(memory, *range, range.start());
        }
        tables
    }

    /// Tables that map nothing.
    pub fn empty(memory: &mut impl TableMemory, has_gigabyte_pages: bool) -> Self {
        Self(PageTables::new(memory, Format { directory: BITS, has_gigabyte_pages }))
    }

    /// The physical address of the root.
    pub const fn root(&self) -> u64 {
        self.0.root()
    }

    /// Maps `range` to the memory at `target`, by the largest pages that fit.
    pub fn map(&mut self, memory: &mut impl TableMemory, range: GpaRange, target: u64) {
        self.0.map(memory, range.start()..range.end(), target, BITS);
    }

    /// As [`NestedTables::map`], with fewer rights: without `write` or `execute`, an access of that
    /// kind exits.
    pub fn map_with(
        &mut self,
        memory: &mut impl TableMemory,
        range: GpaRange,
        target: u64,
        write: bool,
        execute: bool,
    ) {
        let mut bits = BITS;
        if !write {
            bits &= !(entry::WRITABLE | entry::DIRTY);
        }
        if !execute {
            bits |= entry::NO_EXECUTE;
        }
        self.0.map(memory, range.start()..range.end(), target, bits);
    }

    /// Shows in the `index`th 512 GiB what `other` has in its `from`th.
    pub fn share(
        &mut self,
        memory: &mut impl TableMemory,
        index: usize,
        other: &mut Self,
        from: usize,
    ) {
        self.0.share(memory, index, &mut other.0, from);
    }

    /// Takes `range` away from the guest. A CPU that is in guest may reach it until it has exited
    /// and dropped its translations.
    pub fn unmap(&mut self, memory: &mut impl TableMemory, range: GpaRange) {
        self.0.unmap(memory, range.start()..range.end());
    }
}

#[cfg(test)]
mod tests {
    use x86::testing::Tables;

    use super::*;

    const OWN: GpaRange = GpaRange::new(0x1fd0_0000, 0x2000_0000).unwrap();
    const HOLE: GpaRange = GpaRange::new(0xa_0000, 0x10_0000).unwrap();

    /// A VM of 512 MiB below 4 GiB and 3 GiB above, with our own range at the top of the former.
    fn guest(gigabyte_pages: bool) -> (Tables, NestedTables) {
        let mut ram = RamMap::new();
        ram.add(GpaRange::new(0, 0x2000_0000).unwrap()).unwrap();
        ram.add(GpaRange::new(1 << 32, 7 << 30).unwrap()).unwrap();
        for taken in [OWN, HOLE] {
            ram.remove(taken).unwrap();
        }
        let mut memory = Tables::from(0x7000_0000);
        let tables = NestedTables::new(&mut memory, &ram, gigabyte_pages);
        (memory, tables)
    }

    fn reaches(memory: &Tables, tables: &NestedTables, gpa: u64) -> Option<u64> {
        let found = tables.0.translate(memory, gpa)?;
        assert_eq!(found.bits & BITS, BITS, "a nested walk is a user's write");
        Some(found.physical)
    }

    #[test]
    fn the_guest_reaches_its_ram_and_nothing_else() {
        let video = 0x1fe0_0000;
        for gigabyte_pages in [false, true] {
            let (mut memory, mut tables) = guest(gigabyte_pages);
            tables.map(&mut memory, GpaRange::new(0xa_0000, 0xc_0000).unwrap(), video);
            let cases = [
                ("the first page", 0, Some(0)),
                ("the end of conventional memory", 0x9_ffff, Some(0x9_ffff)),
                ("video memory", 0xa_0000, Some(video)),
                ("its end", 0xb_ffff, Some(video + 0x1_ffff)),
                ("the firmware area, not mapped yet", 0xc_0000, None),
                ("the first page above 1 MiB", 0x10_0000, Some(0x10_0000)),
                ("the last byte below us", 0x1fcf_ffff, Some(0x1fcf_ffff)),
                ("our first byte", OWN.start(), None),
                ("our last byte", OWN.end() - 1, None),
                ("behind low RAM", 0x2000_0000, None),
                ("the IOAPIC", 0xfec0_0000, None),
                ("the local APIC", 0xfee0_0000, None),
                ("the last byte below 4 GiB", 0xffff_ffff, None),
                ("high RAM", 1 << 32, Some(1 << 32)),
                ("its end", (7 << 30) - 1, Some((7 << 30) - 1)),
                ("behind it", 7 << 30, None),
                ("the page tables", 0x7000_0000, None),
                ("the top of the address space", (1 << 48) - 1, None),
            ];
            for (what, gpa, physical) in cases {
                assert_eq!(reaches(&memory, &tables, gpa), physical, "{what}: {gpa:#x}");
            }
        }
    }

    #[test]
    fn an_unmapped_page_is_out_of_reach_and_its_neighbours_are_not() {
        for gigabyte_pages in [false, true] {
            let (mut memory, mut tables) = guest(gigabyte_pages);
            let page = (5 << 30) + 0x30_1000;
            tables.unmap(&mut memory, GpaRange::from_length(page, 0x1000).unwrap());
            for (gpa, there) in [
                (page - 1, true),
                (page, false),
                (page + 0xfff, false),
                (page + 0x1000, true),
                (5 << 30, true),
                (6 << 30, true),
            ] {
                assert_eq!(reaches(&memory, &tables, gpa), there.then_some(gpa), "{gpa:#x}");
            }
        }
    }
}
