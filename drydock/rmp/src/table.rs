//! The table, with what the host and the firmware do to it.

use core::fmt;

use crate::entry::GUEST_PAGES;
use crate::{Entry, GuestPage, PAGES_IN_LARGE, Size, SystemPage};

/// Why a host's change is refused (AMD64 APM vol. 3, RMPUPDATE, PSMASH).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostError {
    /// There is no such page, or it can not have that size.
    Input,
    /// The entry is immutable.
    Permission,
    /// The page is run as a VMSA.
    InUse,
    /// A page of another size is in the way.
    Overlap,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "no such page",
            Self::Permission => "the entry is immutable",
            Self::InUse => "the page is run as a VMSA",
            Self::Overlap => "a page of another size is in the way",
        })
    }
}

impl core::error::Error for HostError {}

/// The reverse map table.
#[derive(Debug)]
pub struct Rmp<'a> {
    entries: &'a mut [Entry],
}

impl<'a> Rmp<'a> {
    /// A table over `entries`: one for each system page, none of them assigned.
    pub fn new(entries: &'a mut [Entry]) -> Self {
        entries.fill(Entry::new());
        Self { entries }
    }

    /// How many system pages there are.
    pub const fn len(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Whether there is no system page.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry that counts for `page`, which may stand for more pages, and its place.
    pub fn entry(&self, page: SystemPage) -> Option<(SystemPage, Entry)> {
        let head = SystemPage(page.0 & !(PAGES_IN_LARGE - 1));
        let first = *self.entries.get(head.0 as usize)?;
        if first.assigned() && first.is_large() {
            return Some((head, first));
        }
        Some((page, *self.entries.get(page.0 as usize)?))
    }

    pub(crate) fn set(&mut self, page: SystemPage, entry: Entry) {
        if let Some(place) = self.entries.get_mut(page.0 as usize) {
            *place = entry;
        }
    }

    /// Makes sure that the entries of a page of `size` may be replaced.
    fn check(&self, page: SystemPage, size: Size) -> Result<(), HostError> {
        if !size.fits(page.0) || page.0.saturating_add(size.pages()) > self.len() {
            return Err(HostError::Input);
        }
        let (head, first) = self.entry(page).ok_or(HostError::Input)?;
        if first.is_large() && (head != page || size == Size::Small) {
            return Err(HostError::Overlap);
        }
        let covered = self.entries.iter().skip(page.0 as usize).take(size.pages() as usize);
        for entry in covered {
            if entry.in_use() {
                return Err(HostError::InUse);
            }
            if entry.immutable() {
                return Err(HostError::Permission);
            }
            if size == Size::Large && entry.assigned() && !entry.is_large() {
                return Err(HostError::Overlap);
            }
        }
        Ok(())
    }

    /// Gives the page to the guest at `guest`. It is not validated then. `immutable` is for the
    /// firmware's own pages and those that are being launched.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn assign(
        &mut self,
        page: SystemPage,
        guest: GuestPage,
        size: Size,
        immutable: bool,
    ) -> Result<(), HostError> {
        if !size.fits(guest.0) || guest.0 > GUEST_PAGES - size.pages() {
            return Err(HostError::Input);
        }
        self.check(page, size)?;
        self.clear(page, size);
        self.set(page, Entry::of_new(guest, size, immutable));
        Ok(())
    }

    /// Takes the page from the guest.
    ///
    /// # Errors
    /// [`HostError`].
    pub fn reclaim(&mut self, page: SystemPage, size: Size) -> Result<(), HostError> {
        self.check(page, size)?;
        self.clear(page, size);
        Ok(())
    }

    fn clear(&mut self, page: SystemPage, size: Size) {
        let covered = self.entries.iter_mut().skip(page.0 as usize).take(size.pages() as usize);
        covered.for_each(|entry| *entry = Entry::new());
    }

    /// Splits the entry of a page of 2 MiB into 512 with the same attributes (PSMASH).
    ///
    /// # Errors
    /// [`HostError`].
    pub fn split(&mut self, page: SystemPage) -> Result<(), HostError> {
        let (head, first) = self.entry(page).ok_or(HostError::Input)?;
        if head != page || !first.assigned() || !first.is_large() {
            return Err(HostError::Input);
        }
        if first.immutable() {
            return Err(HostError::Permission);
        }
        for index in 0..PAGES_IN_LARGE {
            self.set(SystemPage(page.0 + index), first.part(index));
        }
        Ok(())
    }

    /// The firmware's end of the launch of a page: it is validated, as the guest had it launched,
    /// and the host may change its entry again. `vmsa` lets it be run.
    ///
    /// # Errors
    /// [`HostError::Input`] if the page is not assigned.
    pub fn launch(&mut self, page: SystemPage, vmsa: bool) -> Result<(), HostError> {
        let (head, entry) = self.entry(page).ok_or(HostError::Input)?;
        if !entry.assigned() {
            return Err(HostError::Input);
        }
        self.set(head, entry.with_validated(true).with_immutable(false).with_vmsa(vmsa));
        Ok(())
    }

    /// Takes the page into use as a VMSA that a CPU runs, as VMRUN does, or frees it.
    ///
    /// True if it is a validated VMSA page of the guest at `guest`, and was not in use.
    pub fn run(&mut self, page: SystemPage, guest: GuestPage) -> bool {
        let Some((head, entry)) = self.entry(page) else { return false };
        let fine = head == page
            && entry.assigned()
            && !entry.is_large()
            && entry.validated()
            && entry.vmsa()
            && !entry.in_use()
            && entry.guest() == guest;
        if fine {
            self.set(page, entry.with_in_use(true));
        }
        fine
    }

    /// The CPU has left the VMSA.
    pub fn stop(&mut self, page: SystemPage) {
        if let Some((head, entry)) = self.entry(page) {
            self.set(head, entry.with_in_use(false));
        }
    }
}
