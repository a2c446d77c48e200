//! The nested page tables of the levels, as they follow from the owners' table and the host's map.

use core::ops::Range;

use drydock_cpu::{Addressing, Mode};
use drydock_rmp::{GUEST_PAGES, GuestPage, LEVELS, View};
use guest_memory::{GpaRange, PAGE_SIZE};
use kernel::Region;
use svm::NestedTables;

use crate::C_BIT;

/// What the C-bit adds to an address.
const PRIVATE: u64 = 1 << C_BIT;
/// The root's entry that the C-bit leads to: an entry covers 512 GiB.
const PRIVATE_SLOT: usize = (PRIVATE >> 39) as usize;

/// The root's entries that the pages of a guest can need.
const SLOTS: usize = 2;
const _: () = assert!(GUEST_PAGES as u64 * PAGE_SIZE <= (SLOTS as u64) << 39);

/// The tables of one level.
#[derive(Debug)]
struct LevelTables {
    /// Private memory with the C-bit, shared memory without it.
    by_bit: NestedTables,
    /// Private memory without the C-bit: for modes that have none.
    all_private: NestedTables,
    /// Private memory below an address, shared memory above it.
    by_top: Option<(u64, NestedTables)>,
}

/// All tables.
#[derive(Debug)]
pub(crate) struct Tables {
    memory: Region,
    levels: [Option<LevelTables>; LEVELS],
    pool: u64,
    has_gigabyte_pages: bool,
}

impl Tables {
    pub(crate) fn new(memory: Region, pool: u64, has_gigabyte_pages: bool) -> Self {
        Self { memory, levels: [const { None }; LEVELS], pool, has_gigabyte_pages }
    }

    /// The root for level `vmpl` of a VP in this mode; tables are made at the first use.
    pub(crate) fn root(
        &mut self,
        view: View<'_, '_>,
        vmpl: u8,
        addressing: Addressing,
        mode: Mode,
    ) -> u64 {
        let Some(place) = self.levels.get_mut(usize::from(vmpl)) else { return 0 };
        if place.is_none() {
            let mut by_bit = NestedTables::empty(&mut self.memory, self.has_gigabyte_pages);
            let mut all_private = NestedTables::empty(&mut self.memory, self.has_gigabyte_pages);
            for slot in 0..SLOTS {
                all_private.share(&mut self.memory, slot, &mut by_bit, PRIVATE_SLOT + slot);
            }
            *place = Some(LevelTables { by_bit, all_private, by_top: None });
            self.update_level(view, GuestPage(0), u32::MAX, vmpl);
        }
        let Some(Some(level)) = self.levels.get_mut(usize::from(vmpl)) else { return 0 };
        match (mode, addressing.virtual_tom) {
            (Mode::AllPrivate, _) => level.all_private.root(),
            (Mode::Encrypted, None) => level.by_bit.root(),
            (Mode::Encrypted, Some(top)) => {
                if let Some((known, tables)) = &level.by_top
                    && *known == top
                {
                    return tables.root();
                }
                let tables = match level.by_top.take() {
                    Some((_, tables)) => tables,
                    None => NestedTables::empty(&mut self.memory, self.has_gigabyte_pages),
                };
                let root = tables.root();
                level.by_top = Some((top, tables));
                self.update_level(view, GuestPage(0), u32::MAX, vmpl);
                root
            }
        }
    }

    /// Computes the tables of `pages` pages from `start` on again, for all levels.
    pub(crate) fn update(&mut self, view: View<'_, '_>, start: GuestPage, pages: u32) {
        for vmpl in 0..LEVELS as u8 {
            self.update_level(view, start, pages, vmpl);
        }
    }

    fn update_level(&mut self, view: View<'_, '_>, start: GuestPage, pages: u32, vmpl: u8) {
        let end = start.0.saturating_add(pages);
        for range in view.map.ranges() {
            let part = GuestPage(start.0.max(range.start))..GuestPage(end.min(range.end));
            self.update_private(view, part.clone(), vmpl);
            self.update_shared(view, part, vmpl);
        }
    }

    /// Computes where a level finds private memory.
    fn update_private(&mut self, view: View<'_, '_>, pages: Range<GuestPage>, vmpl: u8) {
        let Some(Some(level)) = self.levels.get_mut(usize::from(vmpl)) else { return };
        let memory = &mut self.memory;
        for run in view.runs(pages.start, pages.end, vmpl) {
            let from = run.guest.address();
            let length = u64::from(run.pages) * PAGE_SIZE;
            let mut put = |tables: &mut NestedTables, at: u64, length: u64| {
                let range = GpaRange::from_length(at, length).unwrap_or_default();
                match run.reach {
                    Some((page, rights)) => {
                        let target = self.pool + u64::from(page.0) * PAGE_SIZE;
                        let execute = rights.user_execute() && rights.supervisor_execute();
                        tables.map_with(memory, range, target, rights.write(), execute);
                    }
                    None => tables.unmap(memory, range),
                }
            };
            put(&mut level.by_bit, from | PRIVATE, length);
            if let Some((top, tables)) = &mut level.by_top {
                let below = top.saturating_sub(from).min(length);
                put(tables, from, below);
            }
        }
    }

    /// Computes where a level finds shared memory. All pages lie in one range of the map.
    fn update_shared(&mut self, view: View<'_, '_>, pages: Range<GuestPage>, vmpl: u8) {
        let Some(Some(level)) = self.levels.get_mut(usize::from(vmpl)) else { return };
        let memory = &mut self.memory;
        let (mut at, end) = (pages.start.0, pages.end.0);
        while at < end {
            let is_shared = view.is_shared(GuestPage(at));
            let same = |page: &u32| view.is_shared(GuestPage(*page)) == is_shared;
            let until = at + (at..end).take_while(same).count() as u32;
            let (from, to) = (GuestPage(at).address(), GuestPage(until).address());
            let target = view.map.shared_at(GuestPage(at)).unwrap_or(from);
            let mut put = |tables: &mut NestedTables, start: u64| {
                let range = GpaRange::new(start, to).unwrap_or_default();
                if is_shared {
                    tables.map_with(memory, range, target + (start - from), true, false);
                } else {
                    tables.unmap(memory, range);
                }
            };
            put(&mut level.by_bit, from);
            if let Some((top, tables)) = &mut level.by_top
                && *top < to
            {
                put(tables, from.max(*top));
            }
            at = until;
        }
    }

    /// Shows a private page without the C-bit, too: the CPU walks and fetches there.
    pub(crate) fn alias(&mut self, view: View<'_, '_>, page: GuestPage, vmpl: u8) {
        let Some(Some(level)) = self.levels.get_mut(usize::from(vmpl)) else { return };
        let next = GuestPage(page.0.saturating_add(1));
        for run in view.runs(page, next, vmpl) {
            if let Some((system, rights)) = run.reach {
                let range = GpaRange::from_length(page.address(), PAGE_SIZE).unwrap_or_default();
                let target = self.pool + u64::from(system.0) * PAGE_SIZE;
                let execute = rights.user_execute() && rights.supervisor_execute();
                level.by_bit.map_with(&mut self.memory, range, target, rights.write(), execute);
            }
        }
    }
}
