//! The host's map from the guest's pages to system pages.

use crate::{GuestPage, PAGES_IN_LARGE, SystemPage};

/// What the host puts behind a page of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Memory that the host sees, too, at the place that the map names.
    Shared,
    /// A page of system memory.
    Private(SystemPage),
}

/// How many ranges of guest pages can have entries, the one from page zero on included.
const RANGES: usize = 9;

/// Guest pages with entries of the map.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    first: u32,
    pages: u32,
    /// The entry of the first page.
    entry: u32,
}

impl Range {
    /// The entry of `page`, if that lies in the range.
    fn entry(self, page: GuestPage) -> Option<u32> {
        let offset = page.0.checked_sub(self.first)?;
        (offset < self.pages).then(|| self.entry + offset)
    }
}

/// The map of the guest's memory: one entry a page, from page zero on, and for ranges far above.
///
/// An entry is the number of the system page plus two, or [`ABSENT`] or [`SHARED`]. What the host
/// shares in place of a page far above lies at an address of its own, because the machine that
/// emulates has no memory there.
#[derive(Debug)]
pub struct HostMap<'a> {
    entries: &'a mut [u32],
    ranges: [Range; RANGES],
    /// Where the memory lies that the host shares in place of the pages far above.
    far: u64,
}

const ABSENT: u32 = 0;
const SHARED: u32 = 1;
const FIRST: u32 = 2;

impl<'a> HostMap<'a> {
    /// A map over `entries`, with nothing behind any page.
    pub fn new(entries: &'a mut [u32]) -> Self {
        let pages = entries.len() as u32;
        Self::with_far(entries, pages, 0)
    }

    /// As [`HostMap::new`], with `pages` from zero on. The entries behind them are left for
    /// [`HostMap::add`]; `far` is the address of the memory that is shared in their place.
    pub fn with_far(entries: &'a mut [u32], pages: u32, far: u64) -> Self {
        entries.fill(ABSENT);
        let mut ranges = [Range::default(); RANGES];
        let [near, ..] = &mut ranges;
        near.pages = pages.min(entries.len() as u32);
        Self { entries, ranges, far }
    }

    /// Gives entries to `pages` pages from `first` on, so that a large page of theirs can have a
    /// large system page. False if one of them has an entry, or if too few entries or ranges are
    /// left.
    pub fn add(&mut self, first: GuestPage, pages: u32) -> bool {
        let Some(end) = first.0.checked_add(pages) else { return false };
        if self.ranges().any(|range| first.0 < range.end && range.start < end) {
            return false;
        }
        let used = self.ranges.iter().map(|range| range.entry + range.pages).max();
        let used = used.unwrap_or_default();
        let entry = used + (first.0.wrapping_sub(used) & (PAGES_IN_LARGE - 1));
        let fits = entry.checked_add(pages).is_some_and(|end| end as usize <= self.entries.len());
        let free = self.ranges.iter_mut().skip(1).find(|range| range.pages == 0);
        match free {
            Some(range) if fits => *range = Range { first: first.0, pages, entry },
            Some(_) | None => return false,
        }
        true
    }

    /// The ranges of pages that have entries.
    pub fn ranges(&self) -> impl Iterator<Item = core::ops::Range<u32>> {
        let used = self.ranges.into_iter().filter(|range| range.pages != 0);
        used.map(|range| range.first..range.first + range.pages)
    }

    /// How many guest pages from zero on can have something behind them.
    pub fn len(&self) -> u32 {
        let [near, ..] = self.ranges;
        near.pages
    }

    /// Whether it has no page.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The system page that is meant to lie behind `page`: as many pages from the start as its
    /// entry.
    pub fn usual(&self, page: GuestPage) -> Option<SystemPage> {
        self.ranges.iter().find_map(|range| range.entry(page)).map(SystemPage)
    }

    /// Where the memory lies that the host shares in place of `page`.
    pub fn shared_at(&self, page: GuestPage) -> Option<u64> {
        let near = self.len();
        if page.0 < near {
            return Some(page.address());
        }
        let entry = self.usual(page)?.0;
        Some(self.far + (u64::from(entry - near) << 12))
    }

    /// What is behind `page`; none where there is no memory.
    pub fn get(&self, page: GuestPage) -> Option<Backing> {
        match *self.entries.get(self.usual(page)?.0 as usize)? {
            ABSENT => None,
            SHARED => Some(Backing::Shared),
            number => Some(Backing::Private(SystemPage(number - FIRST))),
        }
    }

    /// Puts something behind `page`, or nothing. False if the map has no such page.
    pub fn set(&mut self, page: GuestPage, backing: Option<Backing>) -> bool {
        let entry = self.usual(page);
        let Some(place) = entry.and_then(|entry| self.entries.get_mut(entry.0 as usize)) else {
            return false;
        };
        *place = match backing {
            None => ABSENT,
            Some(Backing::Shared) => SHARED,
            Some(Backing::Private(page)) => page.0.saturating_add(FIRST),
        };
        true
    }
}
