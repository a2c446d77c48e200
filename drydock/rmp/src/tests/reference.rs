//! A plain model of the table: one record for each page of 4 KiB, whatever the sizes.

use snp::instruction::Outcome as Code;

use super::fixture::PAGES;
use crate::{Adjustment, Changed, Fault, HostError, Outcome, Rights, Size, SystemPage};

/// The system pages that the model follows: the ends of both large pages.
pub(super) const FOLLOWED: [u32; 6] = [0, 1, 511, 512, 513, 1023];

/// The owner of a page, with what the guest has done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    pub(super) guest: u32,
    pub(super) is_large: bool,
    pub(super) validated: bool,
    pub(super) immutable: bool,
    pub(super) vmsa: bool,
    pub(super) in_use: bool,
    pub(super) rights: [u8; 4],
}

/// An operation of the host, the firmware, a CPU or the guest. `behind` is the system page that the
/// host has put behind the guest's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
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
pub(super) enum Answer {
    Host(Result<(), HostError>),
    Ran(bool),
    Stopped,
    Validated(Outcome<Changed>),
    Adjusted(Outcome<()>),
}

/// The owners of the pages of [`FOLLOWED`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Reference {
    pub(super) owners: [Option<Owner>; FOLLOWED.len()],
}

const fn start(page: u32, size: Size) -> u32 {
    page - page % size.pages()
}

impl Reference {
    pub(super) fn apply(&mut self, operation: Operation) -> Answer {
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

    pub(super) fn owner(&self, system: u32) -> Option<Owner> {
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
