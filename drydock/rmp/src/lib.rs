//! The ownership of system pages: the reverse map table, with the host's map beside it.
//!
//! [`Rmp`] has one entry for each *system page* (AMD64 APM vol. 2, section 15.36.3). [`HostMap`] is
//! the host's own: which system page it puts behind a guest page. They are apart, so that a host can
//! remap a page, swap two, or give one page to two addresses; the guest's accesses then meet the
//! checks of the table. [`View`] is computed from both: what a level's CPU may reach.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

mod entry;
mod guest;
mod host_map;
mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod view;

pub use entry::{Entry, GUEST_PAGES, Rights};
pub use guest::{Adjustment, Changed, Fault, Outcome, Query};
pub use host_map::{Backing, HostMap};
pub use table::{HostError, Rmp};
pub use view::{Reach, Run, View};

/// Pages of 4 KiB in a page of 2 MiB.
pub const PAGES_IN_LARGE: u32 = 512;
/// The privilege levels of a VP.
pub const LEVELS: usize = 4;

/// The number of a page of system memory: an index of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SystemPage(pub u32);

/// The number of a page of the guest's physical memory: its address shifted right by 12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestPage(pub u32);

/// The size of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 4 KiB.
    Small,
    /// 2 MiB.
    Large,
}

impl Size {
    /// How many pages of 4 KiB it has.
    pub const fn pages(self) -> u32 {
        match self {
            Self::Small => 1,
            Self::Large => PAGES_IN_LARGE,
        }
    }

    /// Whether a page of this size can start at page `number`.
    pub const fn fits(self, number: u32) -> bool {
        number.is_multiple_of(self.pages())
    }
}

impl GuestPage {
    /// The page that `address` lies in, if there can be one.
    pub const fn of(address: u64) -> Option<Self> {
        let number = address >> 12;
        if number > u32::MAX as u64 { None } else { Some(Self(number as u32)) }
    }

    /// Its first address.
    pub const fn address(self) -> u64 {
        (self.0 as u64) << 12
    }
}
