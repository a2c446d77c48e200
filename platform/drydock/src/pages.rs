//! The emulated host's way to memory.

use drydock_host::{Outside, PageState};
use drydock_rmp::{Backing, GuestPage, HostError, PAGES_IN_LARGE, Size, SystemPage};
use guest_memory::{Gpa, GuestMemory, PAGE_SIZE};
use home::PcHost;
use snp::status::Status;

use crate::division::Division;
use crate::{Drydock, State};

impl Outside for &'static Drydock {
    type Host = PcHost;

    fn host(&self) -> &PcHost {
        self.home.host()
    }

    fn read_shared(&self, gpa: u64, to: &mut [u8]) -> bool {
        self.is_shared(gpa, to.len()) && self.home.memory().read(Gpa(gpa), to).is_ok()
    }

    fn write_shared(&self, gpa: u64, from: &[u8]) -> bool {
        self.is_shared(gpa, from.len()) && self.home.memory().write(Gpa(gpa), from).is_ok()
    }

    fn change_page(&self, page: GuestPage, size: Size, to: PageState) -> Result<(), HostError> {
        let end = page.0.checked_add(size.pages()).ok_or(HostError::Input)?;
        let mut state = self.state.lock();
        let state = &mut *state;
        match (to, size) {
            (PageState::Private, Size::Large) if self.is_all_shared(state, page) => {
                self.make_private(state, page, Size::Large)?;
            }
            (PageState::Shared | PageState::Private, _) => {
                for number in page.0..end {
                    let one = GuestPage(number);
                    match to {
                        PageState::Private => self.make_private(state, one, Size::Small)?,
                        PageState::Shared => self.make_shared(state, one)?,
                    }
                }
            }
        }
        state.tables.update(state.space.view(), page, size.pages());
        self.shootdown.wait(self.home.vp_index(), self.home.host());
        Ok(())
    }

    fn save_area(&self, page: GuestPage) -> Option<SystemPage> {
        match self.state.lock().space.map.get(page)? {
            Backing::Private(system) => Some(system),
            Backing::Shared => None,
        }
    }

    fn guest_request(&self, request: u64, response: u64) -> Option<Status> {
        let length = PAGE_SIZE as usize;
        if !self.is_shared(request, length) || !self.is_shared(response, length) {
            return None;
        }
        let mut firmware = self.firmware.lock();
        let read = |to: &mut [u8]| self.read_shared(request, to);
        let write = |from: &[u8]| self.write_shared(response, from);
        Some(firmware.as_mut()?.request(read, write))
    }

    fn split_page(&self, page: GuestPage) -> Result<(), HostError> {
        let mut state = self.state.lock();
        self.split(&mut state, page)
    }
}

impl Drydock {
    /// Whether all of the bytes are memory that the guest shares.
    fn is_shared(&self, gpa: u64, length: usize) -> bool {
        let Some(last) = gpa.checked_add((length as u64).saturating_sub(1)) else { return false };
        let state = self.state.lock();
        let mut pages = gpa / PAGE_SIZE..=last / PAGE_SIZE;
        pages.all(|page| {
            GuestPage::of(page * PAGE_SIZE).is_some_and(|page| state.space.view().is_shared(page))
        })
    }

    fn is_all_shared(&self, state: &State, page: GuestPage) -> bool {
        let view = state.space.view();
        page.0.is_multiple_of(PAGES_IN_LARGE)
            && (page.0..page.0 + PAGES_IN_LARGE).all(|page| view.is_shared(GuestPage(page)))
    }

    /// Gives the page to the guest, if it is not the guest's already.
    fn make_private(
        &self,
        state: &mut State,
        page: GuestPage,
        size: Size,
    ) -> Result<(), HostError> {
        match state.space.map.get(page) {
            None => return Err(HostError::Input),
            Some(Backing::Private(_)) => return Ok(()),
            Some(Backing::Shared) => {}
        }
        state.space.rmp.assign(Division::usual(page), page, size, false)?;
        for number in page.0..page.0 + size.pages() {
            let one = GuestPage(number);
            state.space.map.set(one, Some(Backing::Private(Division::usual(one))));
        }
        Ok(())
    }

    /// Takes the page from the guest, and shares memory in its place.
    fn make_shared(&self, state: &mut State, page: GuestPage) -> Result<(), HostError> {
        if !self.division.can_be_shared(page) {
            return Err(HostError::Input);
        }
        let Some(Backing::Private(system)) = state.space.map.get(page) else { return Ok(()) };
        self.split(state, page)?;
        state.space.rmp.reclaim(system, Size::Small)?;
        state.space.map.set(page, Some(Backing::Shared));
        Ok(())
    }

    /// Splits the entry that stands for `page`, if it is a large one.
    fn split(&self, state: &mut State, page: GuestPage) -> Result<(), HostError> {
        let Some(Backing::Private(system)) = state.space.map.get(page) else { return Ok(()) };
        let (head, entry) = state.space.rmp.entry(system).ok_or(HostError::Input)?;
        if entry.is_large() { state.space.rmp.split(head) } else { Ok(()) }
    }
}
