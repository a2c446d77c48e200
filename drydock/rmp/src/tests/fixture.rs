//! A table of two large pages for the tests, with the host's map.

extern crate std;

use std::boxed::Box;
use std::vec;

use crate::{Backing, Entry, GuestPage, HostMap, Rights, Rmp, Size, SystemPage, View};

pub(super) use crate::testing::PAGES;

pub(super) const READ: Rights = Rights::new().with_read(true);
pub(super) const READ_WRITE: Rights = READ.with_write(true);

/// The table and the map.
pub(super) struct Machine {
    pub(super) rmp: Rmp<'static>,
    pub(super) map: HostMap<'static>,
}

impl Machine {
    /// A machine with nothing assigned and nothing mapped.
    pub(super) fn new() -> Self {
        let entries = Box::leak(vec![Entry::new(); PAGES as usize].into_boxed_slice());
        let map = Box::leak(vec![0; PAGES as usize].into_boxed_slice());
        Self { rmp: Rmp::new(entries), map: HostMap::new(map) }
    }

    /// Puts `pages` system pages behind guest pages.
    pub(super) fn map(&mut self, guest: u32, system: u32, pages: u32) {
        for index in 0..pages {
            let backing = Backing::Private(SystemPage(system + index));
            assert!(self.map.set(GuestPage(guest + index), Some(backing)));
        }
    }

    /// Assigns a page and maps it.
    pub(super) fn assign(&mut self, system: u32, guest: u32, size: Size) {
        self.rmp.assign(SystemPage(system), GuestPage(guest), size, false).unwrap();
        self.map(guest, system, size.pages());
    }

    /// Assigns, maps and validates a page.
    pub(super) fn validated(&mut self, system: u32, guest: u32, size: Size) {
        self.assign(system, guest, size);
        self.rmp.pvalidate(&self.map, GuestPage(guest), size, true).unwrap().unwrap();
    }

    /// A validated VMSA page.
    pub(super) fn save_area(&mut self, system: u32, guest: u32) {
        self.assign(system, guest, Size::Small);
        self.rmp.launch(SystemPage(system), true).unwrap();
    }

    pub(super) fn entry(&self, system: u32) -> Entry {
        self.rmp.entry(SystemPage(system)).unwrap().1
    }

    pub(super) fn view(&self) -> View<'_, 'static> {
        View { rmp: &self.rmp, map: &self.map }
    }
}
