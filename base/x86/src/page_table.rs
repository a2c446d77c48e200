//! Page tables in the 4-level format of long mode (AMD64 APM vol. 2, section 5.3).
//!
//! One builder serves the paravisor's own tables and those that confine its guest. It owns no
//! memory: its caller gives it some as [`TableMemory`].

use core::ops::Range;

/// Bits of an entry (AMD64 APM vol. 2, section 5.4).
pub mod entry {
    /// The page or table is there.
    pub const PRESENT: u64 = 1 << 0;
    /// It may be written.
    pub const WRITABLE: u64 = 1 << 1;
    /// User code may access it. The walk of nested tables counts as user code.
    pub const USER: u64 = 1 << 2;
    /// Writes go through the cache.
    pub const WRITE_THROUGH: u64 = 1 << 3;
    /// It is not cached.
    pub const CACHE_DISABLE: u64 = 1 << 4;
    /// The CPU has used it.
    pub const ACCESSED: u64 = 1 << 5;
    /// The CPU has written to it.
    pub const DIRTY: u64 = 1 << 6;
    /// The entry maps a page of 2 MiB or 1 GiB.
    pub const LARGE: u64 = 1 << 7;
    /// It may not be executed.
    pub const NO_EXECUTE: u64 = 1 << 63;
    /// Bits 51:12: the physical address.
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}

/// Bits of a page fault's error code (AMD64 APM vol. 2, section 8.4.2).
pub mod fault {
    /// The page was there: its rights did not allow the access.
    pub const PRESENT: u32 = 1 << 0;
    /// The access was a write.
    pub const WRITE: u32 = 1 << 1;
    /// User code made the access.
    pub const USER: u32 = 1 << 2;
    /// A reserved bit of an entry was set.
    pub const RESERVED: u32 = 1 << 3;
    /// The access was an instruction fetch.
    pub const FETCH: u32 = 1 << 4;
}

/// Entries of a table.
pub const ENTRIES: usize = 512;
/// Bytes of the smallest page.
const SMALL: u64 = 1 << 12;
/// How far the address is shifted right for the index into the root.
const ROOT_SHIFT: u32 = 39;

/// Memory that page tables lie in.
pub trait TableMemory {
    /// Reads entry `index` of the table at physical address `table`.
    fn read(&self, table: u64, index: usize) -> u64;
    /// Writes that entry.
    fn write(&mut self, table: u64, index: usize, entry: u64);
    /// Takes a new table, all zero, and answers its physical address.
    fn take(&mut self) -> u64;
}

/// What a hierarchy is built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Bits of an entry that leads to another table.
    pub directory: u64,
    /// Whether the CPU has pages of 1 GiB.
    pub has_gigabyte_pages: bool,
}

/// The translation of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The physical address.
    pub physical: u64,
    /// Bytes of the page that maps it.
    pub size: u64,
    /// The rights and attributes of the entry that maps it: all its bits but the address.
    pub bits: u64,
}

/// A hierarchy of page tables.
#[derive(Debug)]
pub struct PageTables {
    root: u64,
    format: Format,
}

/// The place of an entry.
#[derive(Clone, Copy)]
struct Slot {
    table: u64,
    index: usize,
    /// Logarithm of the bytes that the entry covers.
    shift: u32,
}

impl Slot {
    const fn of(table: u64, address: u64, shift: u32) -> Self {
        Self { table, index: (address >> shift) as usize % ENTRIES, shift }
    }

    const fn size(self) -> u64 {
        1 << self.shift
    }

    fn read(self, memory: &impl TableMemory) -> u64 {
        memory.read(self.table, self.index)
    }

    /// Whether the entry is for a large page, and leads to a table instead.
    fn leads_to_table(self, memory: &impl TableMemory) -> bool {
        let is_small = self.shift == 12;
        !is_small && self.read(memory) & (entry::PRESENT | entry::LARGE) == entry::PRESENT
    }

    fn write(self, memory: &mut impl TableMemory, entry: u64) {
        memory.write(self.table, self.index, entry);
    }
}

impl PageTables {
    /// An empty hierarchy.
    pub fn new(memory: &mut impl TableMemory, format: Format) -> Self {
        Self { root: memory.take(), format }
    }

    /// The physical address of the root.
    pub const fn root(&self) -> u64 {
        self.root
    }

    /// Maps the pages of `linear` to the physical pages from `physical` on, with the rights and
    /// attributes `bits`, by the largest pages that fit and need no table taken away.
    ///
    /// All three addresses are multiples of 4 KiB.
    pub fn map(
        &mut self,
        memory: &mut impl TableMemory,
        linear: Range<u64>,
        physical: u64,
        bits: u64,
    ) {
        let largest = if self.format.has_gigabyte_pages { 30 } else { 21 };
        self.fill(memory, linear, physical, bits, largest);
    }

    /// As [`PageTables::map`], by the smallest pages only.
    pub fn map_small(
        &mut self,
        memory: &mut impl TableMemory,
        linear: Range<u64>,
        physical: u64,
        bits: u64,
    ) {
        self.fill(memory, linear, physical, bits, 12);
    }

    fn fill(
        &mut self,
        memory: &mut impl TableMemory,
        linear: Range<u64>,
        physical: u64,
        bits: u64,
        largest: u32,
    ) {
        let (mut at, mut to) = (linear.start, physical);
        let end = linear.end;
        let fits = |at: u64, to: u64, shift: u32| {
            let size = 1 << shift;
            (at | to).is_multiple_of(size) && end.saturating_sub(at) >= size && shift <= largest
        };
        while at < end {
            // A table stays where there is one: its memory would be lost.
            let shift = [30, 21]
                .into_iter()
                .find(|shift| fits(at, to, *shift) && !self.has_table(memory, at, *shift));
            let shift = shift.unwrap_or(12);
            let large = if shift == 12 { 0 } else { entry::LARGE };
            let mut slot = self.slot(memory, at, shift);
            loop {
                slot.write(memory, to | bits | large);
                at += slot.size();
                to += slot.size();
                // The same table's next entry needs no walk. A larger page begins a table only.
                slot.index += 1;
                if slot.index == ENTRIES || !fits(at, to, shift) || slot.leads_to_table(memory) {
                    break;
                }
            }
        }
    }

    /// Takes the pages of `linear` out of the map. A large page that reaches beyond is split.
    ///
    /// The CPUs that use the tables may still hold the old translations: the caller has them drop
    /// these.
    pub fn unmap(&mut self, memory: &mut impl TableMemory, linear: Range<u64>) {
        let mut at = linear.start;
        while at < linear.end {
            let found = self.leaf(memory, at);
            let whole = at.is_multiple_of(found.size()) && linear.end - at >= found.size();
            if found.read(memory) & entry::PRESENT == 0 {
                // Nothing is mapped up to the end of what this entry covers.
                at = (at | (found.size() - 1)).saturating_add(1);
                continue;
            }
            let slot = if whole { found } else { self.slot(memory, at, 12) };
            slot.write(memory, 0);
            at += slot.size();
        }
    }

    /// Has the root's entry `index` lead where that of `other` for `from` does: what `other` maps
    /// below that entry is seen here, too, from now on. The table that it leads to is made if there
    /// is none.
    pub fn share(
        &mut self,
        memory: &mut impl TableMemory,
        index: usize,
        other: &mut Self,
        from: usize,
    ) {
        let slot = Slot { table: other.root, index: from, shift: ROOT_SHIFT };
        let found = slot.read(memory);
        if found & entry::PRESENT == 0 {
            other.descend(memory, slot, found);
        }
        memory.write(self.root, index, slot.read(memory));
    }

    /// The translation of `linear`, if it has one.
    pub fn translate(&self, memory: &impl TableMemory, linear: u64) -> Option<Translation> {
        let slot = self.leaf(memory, linear);
        let found = slot.read(memory);
        let offset = linear & (slot.size() - 1);
        let start = found & entry::ADDRESS & !(slot.size() - 1);
        let bits = found & !entry::ADDRESS;
        (found & entry::PRESENT != 0).then_some(Translation {
            physical: start | offset,
            size: slot.size(),
            bits,
        })
    }

    /// The entry that maps `linear`, or the first on the way that is not present.
    fn leaf(&self, memory: &impl TableMemory, linear: u64) -> Slot {
        let mut slot = Slot::of(self.root, linear, ROOT_SHIFT);
        loop {
            let found = slot.read(memory);
            if found & entry::PRESENT == 0 || found & entry::LARGE != 0 || slot.size() == SMALL {
                return slot;
            }
            slot = Slot::of(found & entry::ADDRESS, linear, slot.shift - 9);
        }
    }

    /// Whether the entry for the page of `1 << shift` bytes at `linear` leads to a table.
    fn has_table(&self, memory: &impl TableMemory, linear: u64, shift: u32) -> bool {
        let slot = self.leaf(memory, linear);
        slot.shift < shift
    }

    /// The entry for the page of `1 << shift` bytes at `linear`. Tables on the way are made, and
    /// larger pages on the way are split.
    #[inline(never)]
    fn slot(&mut self, memory: &mut impl TableMemory, linear: u64, shift: u32) -> Slot {
        let mut slot = Slot::of(self.root, linear, ROOT_SHIFT);
        while slot.shift > shift {
            let found = slot.read(memory);
            let table = match found & (entry::PRESENT | entry::LARGE) {
                entry::PRESENT => found & entry::ADDRESS,
                _ => self.descend(memory, slot, found),
            };
            slot = Slot::of(table, linear, slot.shift - 9);
        }
        slot
    }

    /// Puts a table at `slot`, which holds `found`: nothing, or a large page that is split.
    fn descend(&self, memory: &mut impl TableMemory, slot: Slot, found: u64) -> u64 {
        let table = memory.take();
        if found & entry::PRESENT != 0 {
            let shift = slot.shift - 9;
            let bits = if shift == 12 { found & !entry::LARGE } else { found };
            for index in 0..ENTRIES {
                memory.write(table, index, bits + ((index as u64) << shift));
            }
        }
        slot.write(memory, table | self.format.directory);
        table
    }
}
