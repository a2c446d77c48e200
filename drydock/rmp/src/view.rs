//! What a level's CPU reaches, as its nested page tables are to say.

use crate::{Backing, GuestPage, HostMap, PAGES_IN_LARGE, Rights, Rmp, SystemPage};

/// What becomes of a private access to a guest page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// There is no page of the guest: a nested page fault, which is the host's to resolve. The host
    /// has shared memory there, or no memory, or memory that is not assigned to this address.
    NotAssigned,
    /// The page awaits PVALIDATE: #VC.
    NotValidated,
    /// It is the guest's, with the level's rights.
    Page {
        /// The system page.
        page: SystemPage,
        /// The level's rights.
        rights: Rights,
    },
}

/// Consecutive guest pages that a level reaches with the same rights in consecutive system pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first guest page.
    pub guest: GuestPage,
    /// How many pages.
    pub pages: u32,
    /// The first system page with the rights, if the level reaches anything.
    pub reach: Option<(SystemPage, Rights)>,
}

/// What both tables say together.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, 'b> {
    /// The owners.
    pub rmp: &'a Rmp<'b>,
    /// The host's map.
    pub map: &'a HostMap<'b>,
}

impl View<'_, '_> {
    /// What level `vmpl` gets by a private access to `guest` (AMD64 APM vol. 2, section 15.36.10).
    pub fn private(&self, guest: GuestPage, vmpl: u8) -> Reach {
        let Some(Backing::Private(page)) = self.map.get(guest) else { return Reach::NotAssigned };
        let Some((head, entry)) = self.rmp.entry(page) else { return Reach::NotAssigned };
        let offset = page.0 - head.0;
        if !entry.assigned() || entry.guest().0.checked_add(offset) != Some(guest.0) {
            return Reach::NotAssigned;
        }
        if !entry.validated() {
            return Reach::NotValidated;
        }
        Reach::Page { page, rights: entry.rights(vmpl) }
    }

    /// Whether a shared access to `guest` reaches memory that the host sees, too.
    pub fn is_shared(&self, guest: GuestPage) -> bool {
        self.map.get(guest) == Some(Backing::Shared)
    }

    /// What level `vmpl` reaches by private accesses, from `start` to before `end`: the longest
    /// runs, for the largest pages.
    pub fn runs(&self, start: GuestPage, end: GuestPage, vmpl: u8) -> impl Iterator<Item = Run> {
        let mut next = start.0;
        core::iter::from_fn(move || {
            if next >= end.0 {
                return None;
            }
            let guest = GuestPage(next);
            let reach = self.reach(guest, vmpl);
            let mut pages = 1;
            while next + pages < end.0 {
                // One entry of the table decides about 512 pages, if the host has not torn them
                // apart.
                let expected = reach.map(|(page, rights)| (SystemPage(page.0 + pages), rights));
                if self.reach(GuestPage(next + pages), vmpl) != expected {
                    break;
                }
                pages += 1;
            }
            next += pages;
            Some(Run { guest, pages, reach })
        })
    }

    fn reach(&self, guest: GuestPage, vmpl: u8) -> Option<(SystemPage, Rights)> {
        match self.private(guest, vmpl) {
            Reach::Page { page, rights } if rights.read() => Some((page, rights)),
            Reach::Page { .. } | Reach::NotValidated | Reach::NotAssigned => None,
        }
    }
}

/// The guest pages of 2 MiB around `guest`.
pub(crate) const fn large_around(guest: GuestPage) -> GuestPage {
    GuestPage(guest.0 & !(PAGES_IN_LARGE - 1))
}
