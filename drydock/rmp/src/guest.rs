//! The guest's three instructions: PVALIDATE, RMPADJUST, RMPQUERY.
//!
//! Each takes a page that the guest's own tables map privately. CPL, mode and operands that do not
//! depend on the table are the caller's to check first.

use snp::instruction::Outcome as Code;

use crate::view::large_around;
use crate::{Backing, Entry, GuestPage, HostMap, Rights, Rmp, Size, SystemPage};

/// What ends an instruction that is not completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A nested page fault: there is no page that is assigned to this address.
    NotAssigned,
    /// A nested page fault: the entry stands for 2 MiB, and the instruction for 4 KiB. The host
    /// splits the entry, and lets the guest try again.
    SizeMismatch(SystemPage),
    /// #VC: the page awaits PVALIDATE.
    NotValidated,
}

/// What became of an instruction: it faulted, or it completed with a code other than zero in EAX, or
/// it had its effect.
pub type Outcome<T> = Result<Result<T, Code>, Fault>;

/// Whether PVALIDATE changed anything: CF is clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed(pub bool);

/// The operands of RMPADJUST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// The level that runs.
    pub current: u8,
    /// The level whose rights change.
    pub target: u8,
    /// Its new rights.
    pub rights: Rights,
    /// Whether the page may be run as a VMSA; counts at VMPL0 only.
    pub vmsa: bool,
}

/// The answer of RMPQUERY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// The rights of the level that was asked for.
    pub rights: Rights,
    /// Whether the page may be run as a VMSA.
    pub vmsa: bool,
    /// The size of the entry.
    pub size: Size,
}

impl Rmp<'_> {
    /// The page behind `guest`, with its entry, if that is assigned to this address.
    fn assigned(
        &self,
        map: &HostMap<'_>,
        guest: GuestPage,
    ) -> Result<(SystemPage, SystemPage, Entry), Fault> {
        let Some(Backing::Private(page)) = map.get(guest) else { return Err(Fault::NotAssigned) };
        let (head, entry) = self.entry(page).ok_or(Fault::NotAssigned)?;
        let offset = page.0 - head.0;
        let is_guests = entry.assigned() && entry.guest().0.checked_add(offset) == Some(guest.0);
        if is_guests { Ok((page, head, entry)) } else { Err(Fault::NotAssigned) }
    }

    /// Compares the size of an instruction with that of the entry.
    fn sized(
        &self,
        page: SystemPage,
        head: SystemPage,
        entry: Entry,
        size: Size,
    ) -> Result<Result<(), Code>, Fault> {
        match (entry.size(), size) {
            (Size::Large, Size::Small) => Err(Fault::SizeMismatch(head)),
            (Size::Small, Size::Large) => Ok(Err(Code::FAIL_SIZEMISMATCH)),
            // The host has put the middle of a large page behind the start of the guest's.
            (Size::Large, Size::Large) if page != head => Err(Fault::NotAssigned),
            (Size::Large, Size::Large) | (Size::Small, Size::Small) => Ok(Ok(())),
        }
    }

    /// PVALIDATE: validates the page, or rescinds its validation.
    ///
    /// # Errors
    /// [`Fault`] if it does not complete, a code of [`snp::instruction::Outcome`] if it completes without effect.
    pub fn pvalidate(
        &mut self,
        map: &HostMap<'_>,
        guest: GuestPage,
        size: Size,
        validate: bool,
    ) -> Outcome<Changed> {
        if size == Size::Large && large_around(guest) != guest {
            return Ok(Err(Code::FAIL_INPUT));
        }
        let (page, head, entry) = self.assigned(map, guest)?;
        if let Err(failure) = self.sized(page, head, entry, size)? {
            return Ok(Err(failure));
        }
        if entry.immutable() || entry.in_use() {
            return Ok(Err(Code::FAIL_INUSE));
        }
        if entry.validated() == validate {
            return Ok(Ok(Changed(false)));
        }
        // A page that loses its validation can not be run, and no other level keeps rights.
        let cleared = Entry::of_new(entry.guest(), entry.size(), false);
        let next = if validate { entry.with_validated(true) } else { cleared };
        self.set(head, next);
        Ok(Ok(Changed(true)))
    }

    /// RMPADJUST: changes the rights of a level that is less privileged.
    ///
    /// # Errors
    /// As for [`Rmp::pvalidate`].
    pub fn rmpadjust(
        &mut self,
        map: &HostMap<'_>,
        guest: GuestPage,
        size: Size,
        change: Adjustment,
    ) -> Outcome<()> {
        if size == Size::Large && large_around(guest) != guest {
            return Ok(Err(Code::FAIL_INPUT));
        }
        if change.target <= change.current {
            return Ok(Err(Code::FAIL_PERMISSION));
        }
        let (page, head, entry) = self.assigned(map, guest)?;
        if !entry.validated() {
            return Err(Fault::NotValidated);
        }
        if let Err(failure) = self.sized(page, head, entry, size)? {
            return Ok(Err(failure));
        }
        if entry.immutable() || entry.in_use() {
            return Ok(Err(Code::FAIL_INUSE));
        }
        if !entry.rights(change.current).include(change.rights) {
            return Ok(Err(Code::FAIL_PERMISSION));
        }
        let mut next = entry.with_rights(change.target, change.rights);
        if change.current == 0 {
            // A VMSA of 2 MiB there is not.
            if change.vmsa && size == Size::Large {
                return Ok(Err(Code::FAIL_INPUT));
            }
            next = next.with_vmsa(change.vmsa);
        }
        self.set(head, next);
        Ok(Ok(()))
    }

    /// RMPQUERY: reads the rights of a level that is less privileged.
    ///
    /// # Errors
    /// As for [`Rmp::pvalidate`].
    pub fn rmpquery(
        &self,
        map: &HostMap<'_>,
        guest: GuestPage,
        current: u8,
        target: u8,
    ) -> Outcome<Query> {
        if target < current {
            return Ok(Err(Code::FAIL_PERMISSION));
        }
        let (_, _, entry) = self.assigned(map, guest)?;
        if !entry.validated() {
            return Err(Fault::NotValidated);
        }
        let query = Query { rights: entry.rights(target), vmsa: entry.vmsa(), size: entry.size() };
        Ok(Ok(query))
    }
}
