//! A plain model of the table for tests: one record for each page of 4 KiB, whatever the sizes.

use snp::instruction::Outcome as Code;

use crate::{
    Adjustment, Backing, Changed, Fault, GuestPage, HostError, HostMap, Outcome, PAGES_IN_LARGE,
    Reach, Rights, Rmp, Size, SystemPage, View,
};

/// How many system pages there are, and how many guest pages: two large ones.
pub const PAGES: u32 = 2 * PAGES_IN_LARGE;

/// The system pages that an operation may name: the ends of both large pages.
pub const NAMED: [u32; 6] = [0, 1, 511, 512, 513, 1023];

/// The system pages that the model follows. Those that no operation names stand for all pages
/// between the ends: they change with their whole large page, and stay when it is split.
pub const FOLLOWED: [u32; 8] = [0, 1, 2, 511, 512, 513, 514, 1023];

/// The owner of a page, with what the guest has done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of the entry's fields")]
pub struct Owner {
    pub guest: u32,
    pub is_large: bool,
    pub validated: bool,
    pub immutable: bool,
    pub vmsa: bool,
    pub in_use: bool,
    pub rights: [u8; 4],
}

/// An operation of the host, the firmware, a CPU or the guest. `behind` is the system page that the
/// host has put behind the guest's.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names are those of the table's functions")]
pub enum Operation {
    Assign { system: u32, guest: u32, size: Size, immutable: bool },
    Reclaim { system: u32, size: Size },
    Split { system: u32 },
    Launch { system: u32, vmsa: bool },
    Run { system: u32, guest: u32 },
    Stop { system: u32 },
    Validate { guest: u32, behind: u32, size: Size, validate: bool },
    Adjust { guest: u32, behind: u32, size: Size, change: Adjustment },
}

/// The result of an operation.
#[derive(Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the operations")]
pub enum Answer {
    Host(Result<(), HostError>),
    Ran(bool),
    Stopped,
    Validated(Outcome<Changed>),
    Adjusted(Outcome<()>),
}

/// The owners of the pages of [`FOLLOWED`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reference {
    /// One for each followed page.
    pub owners: [Option<Owner>; FOLLOWED.len()],
}

const fn start(page: u32, size: Size) -> u32 {
    page - page % size.pages()
}

impl Reference {
    /// Has the model do an operation.
    pub fn apply(&mut self, operation: Operation) -> Answer {
        match operation {
            Operation::Assign { system, guest, size, immutable } => {
                Answer::Host(self.assign(system, guest, size, immutable))
            }
            Operation::Reclaim { system, size } => Answer::Host(self.free(system, size)),
            Operation::Split { system } => Answer::Host(self.split(system)),
            Operation::Launch { system, vmsa } => Answer::Host(self.launch(system, vmsa)),
            Operation::Run { system, guest } => Answer::Ran(self.run(system, guest)),
            Operation::Stop { system } => {
                self.each_of(system, |owner| owner.in_use = false);
                Answer::Stopped
            }
            Operation::Validate { guest, behind, size, validate } => {
                Answer::Validated(self.validate(guest, behind, size, validate))
            }
            Operation::Adjust { guest, behind, size, change } => {
                Answer::Adjusted(self.adjust(guest, behind, size, change))
            }
        }
    }

    /// The owner of a followed page.
    pub fn owner(&self, system: u32) -> Option<Owner> {
        let index = FOLLOWED.iter().position(|&page| page == system)?;
        self.owners[index]
    }

    /// The followed pages from `system` on.
    fn covered(
        &mut self,
        system: u32,
        size: Size,
    ) -> impl Iterator<Item = (u32, &mut Option<Owner>)> {
        let places = FOLLOWED.into_iter().zip(&mut self.owners);
        places.filter(move |(page, _)| (system..system + size.pages()).contains(page))
    }

    /// Changes all pages that share the entry of `system`.
    fn each_of(&mut self, system: u32, mut change: impl FnMut(&mut Owner)) {
        let Some(owner) = self.owner(system) else { return };
        let size = if owner.is_large { Size::Large } else { Size::Small };
        self.covered(start(system, size), size)
            .filter_map(|(_, owner)| owner.as_mut())
            .for_each(&mut change);
    }

    /// Takes the pages from their owner.
    fn free(&mut self, system: u32, size: Size) -> Result<(), HostError> {
        if !size.fits(system) || system + size.pages() > PAGES {
            return Err(HostError::Input);
        }
        if size == Size::Small && self.owner(system).is_some_and(|owner| owner.is_large) {
            return Err(HostError::Overlap);
        }
        for owner in self.covered(system, size).filter_map(|(_, owner)| *owner) {
            if owner.in_use {
                return Err(HostError::InUse);
            }
            if owner.immutable {
                return Err(HostError::Permission);
            }
            if size == Size::Large && !owner.is_large {
                return Err(HostError::Overlap);
            }
        }
        self.covered(system, size).for_each(|(_, owner)| *owner = None);
        Ok(())
    }

    fn assign(
        &mut self,
        system: u32,
        guest: u32,
        size: Size,
        immutable: bool,
    ) -> Result<(), HostError> {
        if !size.fits(guest) {
            return Err(HostError::Input);
        }
        self.free(system, size)?;
        for (page, owner) in self.covered(system, size) {
            *owner = Some(Owner {
                guest: guest + page - system,
                is_large: size == Size::Large,
                validated: false,
                immutable,
                vmsa: false,
                in_use: false,
                rights: [0xf, 0, 0, 0],
            });
        }
        Ok(())
    }

    fn split(&mut self, system: u32) -> Result<(), HostError> {
        let owner = self.owner(system).filter(|owner| owner.is_large).ok_or(HostError::Input)?;
        if !Size::Large.fits(system) {
            return Err(HostError::Input);
        }
        if owner.immutable {
            return Err(HostError::Permission);
        }
        self.each_of(system, |owner| owner.is_large = false);
        Ok(())
    }

    fn launch(&mut self, system: u32, vmsa: bool) -> Result<(), HostError> {
        self.owner(system).ok_or(HostError::Input)?;
        self.each_of(system, |owner| {
            (owner.validated, owner.immutable, owner.vmsa) = (true, false, vmsa);
        });
        Ok(())
    }

    fn run(&mut self, system: u32, guest: u32) -> bool {
        let Some(owner) = self.owner(system) else { return false };
        let is_fit = owner.vmsa && owner.validated && !owner.is_large && !owner.in_use;
        if is_fit && owner.guest == guest {
            self.each_of(system, |owner| owner.in_use = true);
        }
        is_fit && owner.guest == guest
    }

    /// The guest's own page, if the host has put it at this address.
    fn own(&self, guest: u32, behind: u32) -> Result<Owner, Fault> {
        self.owner(behind).filter(|owner| owner.guest == guest).ok_or(Fault::NotAssigned)
    }

    /// The refusals that PVALIDATE and RMPADJUST have in common.
    fn changeable(owner: Owner, behind: u32, size: Size) -> Outcome<()> {
        match (owner.is_large, size) {
            (true, Size::Small) => {
                return Err(Fault::SizeMismatch(SystemPage(start(behind, Size::Large))));
            }
            (false, Size::Large) => return Ok(Err(Code::FAIL_SIZEMISMATCH)),
            (true, Size::Large) | (false, Size::Small) => {}
        }
        let is_held = owner.in_use || owner.immutable;
        Ok(if is_held { Err(Code::FAIL_INUSE) } else { Ok(()) })
    }

    fn validate(
        &mut self,
        guest: u32,
        behind: u32,
        size: Size,
        validate: bool,
    ) -> Outcome<Changed> {
        if !size.fits(guest) {
            return Ok(Err(Code::FAIL_INPUT));
        }
        let owner = self.own(guest, behind)?;
        if let Err(code) = Self::changeable(owner, behind, size)? {
            return Ok(Err(code));
        }
        if owner.validated == validate {
            return Ok(Ok(Changed(false)));
        }
        self.each_of(behind, |owner| {
            owner.validated = validate;
            if !validate {
                (owner.vmsa, owner.rights) = (false, [0xf, 0, 0, 0]);
            }
        });
        Ok(Ok(Changed(true)))
    }

    fn adjust(&mut self, guest: u32, behind: u32, size: Size, change: Adjustment) -> Outcome<()> {
        if !size.fits(guest) {
            return Ok(Err(Code::FAIL_INPUT));
        }
        if change.target <= change.current {
            return Ok(Err(Code::FAIL_PERMISSION));
        }
        let owner = self.own(guest, behind)?;
        if !owner.validated {
            return Err(Fault::NotValidated);
        }
        if let Err(code) = Self::changeable(owner, behind, size)? {
            return Ok(Err(code));
        }
        let had = Rights::from_bits(owner.rights[usize::from(change.current)]);
        if !had.include(change.rights) {
            return Ok(Err(Code::FAIL_PERMISSION));
        }
        if change.current == 0 && change.vmsa && size == Size::Large {
            return Ok(Err(Code::FAIL_INPUT));
        }
        self.each_of(behind, |owner| {
            owner.rights[usize::from(change.target)] = change.rights.into_bits();
            if change.current == 0 {
                owner.vmsa = change.vmsa;
            }
        });
        Ok(Ok(()))
    }
}

fn put_behind(map: &mut HostMap<'_>, guest: u32, system: u32) {
    assert!(map.set(GuestPage(guest), Some(Backing::Private(SystemPage(system)))));
}

/// Has the table do an operation.
pub fn apply(rmp: &mut Rmp<'_>, map: &mut HostMap<'_>, operation: Operation) -> Answer {
    match operation {
        Operation::Assign { system, guest, size, immutable } => {
            let (system, guest) = (SystemPage(system), GuestPage(guest));
            Answer::Host(rmp.assign(system, guest, size, immutable))
        }
        Operation::Reclaim { system, size } => Answer::Host(rmp.reclaim(SystemPage(system), size)),
        Operation::Split { system } => Answer::Host(rmp.split(SystemPage(system))),
        Operation::Launch { system, vmsa } => Answer::Host(rmp.launch(SystemPage(system), vmsa)),
        Operation::Run { system, guest } => {
            Answer::Ran(rmp.run(SystemPage(system), GuestPage(guest)))
        }
        Operation::Stop { system } => {
            rmp.stop(SystemPage(system));
            Answer::Stopped
        }
        Operation::Validate { guest, behind, size, validate } => {
            put_behind(map, guest, behind);
            let guest = GuestPage(guest);
            Answer::Validated(rmp.pvalidate(map, guest, size, validate))
        }
        Operation::Adjust { guest, behind, size, change } => {
            put_behind(map, guest, behind);
            Answer::Adjusted(rmp.rmpadjust(map, GuestPage(guest), size, change))
        }
    }
}

/// Tries every access of the guest with every system page behind it: it gets to a page only if
/// that is assigned to it at this address, and validated.
pub fn check_accesses(rmp: &Rmp<'_>, map: &mut HostMap<'_>, reference: &Reference) {
    for guest in FOLLOWED {
        for system in FOLLOWED {
            put_behind(map, guest, system);
            for vmpl in 0..4 {
                let owner = reference.owner(system).filter(|owner| owner.guest == guest);
                let expected = match owner {
                    None => Reach::NotAssigned,
                    Some(owner) if !owner.validated => Reach::NotValidated,
                    Some(owner) => Reach::Page {
                        page: SystemPage(system),
                        rights: Rights::from_bits(owner.rights[usize::from(vmpl)]),
                    },
                };
                let reach = View { rmp, map }.private(GuestPage(guest), vmpl);
                assert_eq!(reach, expected, "{guest} at {system} in {reference:?}");
            }
        }
    }
}

/// Compares the entries of the followed pages with the model.
pub fn check_attributes(rmp: &Rmp<'_>, reference: &Reference) {
    for system in FOLLOWED {
        let entry = rmp.entry(SystemPage(system)).unwrap().1;
        let owner = reference.owner(system);
        assert_eq!(entry.assigned(), owner.is_some(), "{system} in {reference:?}");
        let expected = owner.map_or([false; 5], |owner| {
            [owner.is_large, owner.validated, owner.immutable, owner.vmsa, owner.in_use]
        });
        let flags =
            [entry.is_large(), entry.validated(), entry.immutable(), entry.vmsa(), entry.in_use()];
        assert_eq!(flags, expected, "{system} in {reference:?}");
    }
}
