//! The host's map from the guest's pages to system pages.

use crate::{GuestPage, SystemPage};

/// What the host puts behind a page of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Memory that the host sees, too, at the same address.
    Shared,
    /// A page of system memory.
    Private(SystemPage),
}

/// The map of the guest's RAM: one entry a page, from page zero on.
///
/// An entry is the number of the system page plus two, or [`ABSENT`] or [`SHARED`].
#[derive(Debug)]
pub struct HostMap<'a> {
    entries: &'a mut [u32],
}

const ABSENT: u32 = 0;
const SHARED: u32 = 1;
const FIRST: u32 = 2;

impl<'a> HostMap<'a> {
    /// A map over `entries`, with nothing behind any page.
    pub fn new(entries: &'a mut [u32]) -> Self {
        entries.fill(ABSENT);
        Self { entries }
    }

    /// How many guest pages can have something behind them.
    pub const fn len(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Whether it has no page.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is behind `page`; none where there is no memory.
    pub fn get(&self, page: GuestPage) -> Option<Backing> {
        match *self.entries.get(page.0 as usize)? {
            ABSENT => None,
            SHARED => Some(Backing::Shared),
            number => Some(Backing::Private(SystemPage(number - FIRST))),
        }
    }

    /// Puts something behind `page`, or nothing. False if the map has no such page.
    pub fn set(&mut self, page: GuestPage, backing: Option<Backing>) -> bool {
        let Some(place) = self.entries.get_mut(page.0 as usize) else { return false };
        *place = match backing {
            None => ABSENT,
            Some(Backing::Shared) => SHARED,
            Some(Backing::Private(page)) => page.0.saturating_add(FIRST),
        };
        true
    }
}
