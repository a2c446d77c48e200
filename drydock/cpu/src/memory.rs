//! Memory as one level of a VP reaches it.

use drydock_rmp::{GuestPage, HostMap, Reach, Rights, Rmp, View};
use emulator::{BusError, PhysicalMemory};
use guest_memory::{Gpa, GuestMemory};

use crate::addressing::{Addressing, Kind, Place};
use crate::mode::Mode;

/// The owners of system pages, the host's map, and where system pages lie.
#[derive(Debug)]
pub struct Space<'a> {
    /// The owners.
    pub rmp: Rmp<'a>,
    /// The host's map.
    pub map: HostMap<'a>,
    /// The address of system page zero, in the memory of the machine that emulates.
    pub pool: u64,
}

impl Space<'_> {
    /// Both tables.
    pub const fn view(&self) -> View<'_, '_> {
        View { rmp: &self.rmp, map: &self.map }
    }

    /// Where the access of level `vmpl` to `place` goes, in the memory of the machine that
    /// emulates.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn find(&self, place: Place, vmpl: u8, needed: Rights) -> Result<u64, Refusal> {
        let page = GuestPage::of(place.gpa).ok_or(Refusal::NoMemory)?;
        let view = self.view();
        if !place.is_private {
            return if view.is_shared(page) {
                let at = self.map.shared_at(page).ok_or(Refusal::NoMemory)?;
                Ok(at + (place.gpa & 0xfff))
            } else if self.map.get(page).is_some() {
                Err(Refusal::IsPrivate)
            } else {
                Err(Refusal::NoMemory)
            };
        }
        match view.private(page, vmpl) {
            Reach::NotAssigned if self.map.get(page).is_none() => Err(Refusal::NoMemory),
            Reach::NotAssigned => Err(Refusal::NotAssigned),
            Reach::NotValidated => Err(Refusal::NotValidated),
            Reach::Page { rights, .. } if !rights.include(needed) => Err(Refusal::Rights),
            Reach::Page { page, .. } => {
                Ok(self.pool + (u64::from(page.0) << 12) + (place.gpa & 0xfff))
            }
        }
    }
}

/// Why an access does not reach memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An address without memory: a device may be there.
    NoMemory,
    /// A shared access to a page that is private.
    IsPrivate,
    /// A private access to a page that the host has not assigned there, or shares.
    NotAssigned,
    /// A private access to a page that awaits PVALIDATE.
    NotValidated,
    /// The level has no right to do this.
    Rights,
}

/// Memory as a level of a VP reaches it, for the emulator.
#[derive(Debug)]
pub struct LevelMemory<'a, 'b, M> {
    space: &'a Space<'b>,
    memory: &'a M,
    vmpl: u8,
    addressing: Addressing,
    mode: Mode,
    /// The access that was refused last.
    pub refused: Option<(Place, Refusal)>,
}

const READ: Rights = Rights::new().with_read(true);
const WRITE: Rights = READ.with_write(true);

impl<'a, 'b, M: GuestMemory> LevelMemory<'a, 'b, M> {
    /// Memory for level `vmpl` of a VP in this mode.
    pub const fn new(
        space: &'a Space<'b>,
        memory: &'a M,
        vmpl: u8,
        addressing: Addressing,
        mode: Mode,
    ) -> Self {
        Self { space, memory, vmpl, addressing, mode, refused: None }
    }

    fn find(&mut self, address: u64, kind: Kind, needed: Rights) -> Result<Gpa, BusError> {
        let place = self.addressing.place(address, kind, self.mode);
        match self.space.find(place, self.vmpl, needed) {
            Ok(found) => Ok(Gpa(found)),
            Err(refusal) => {
                self.refused = Some((place, refusal));
                Err(BusError { gpa: address })
            }
        }
    }
}

impl<M: GuestMemory> PhysicalMemory for LevelMemory<'_, '_, M> {
    fn read(&mut self, gpa: u64, bytes: &mut [u8]) -> Result<(), BusError> {
        let found = self.find(gpa, Kind::Data, READ)?;
        self.memory.read(found, bytes).map_err(|_| BusError { gpa })
    }

    fn read_entry(&mut self, gpa: u64) -> u64 {
        let found = self.find(gpa, Kind::Walk, READ);
        found.map_or(u64::MAX, |found| self.memory.read_u64(found).unwrap_or(u64::MAX))
    }

    fn exchange_entry(&mut self, gpa: u64, old: u64, new: u64, size: u8) -> Result<u64, BusError> {
        let found = self.find(gpa, Kind::Walk, WRITE)?;
        self.memory.compare_exchange(found, size, old, new).map_err(|_| BusError { gpa })
    }

    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), BusError> {
        let found = self.find(gpa, Kind::Data, WRITE)?;
        self.memory.write(found, bytes).map_err(|_| BusError { gpa })
    }

    fn fetch(&mut self, gpa: u64, bytes: &mut [u8]) -> Result<(), BusError> {
        let found = self.find(gpa, Kind::Fetch, READ)?;
        self.memory.read(found, bytes).map_err(|_| BusError { gpa })
    }

    fn compare_exchange(
        &mut self,
        gpa: u64,
        old: u128,
        new: u128,
        size: u8,
    ) -> Result<u128, BusError> {
        let found = self.find(gpa, Kind::Data, WRITE)?;
        let exchanged = self.memory.compare_exchange(found, size, old as u64, new as u64);
        exchanged.map(u128::from).map_err(|_| BusError { gpa })
    }
}
