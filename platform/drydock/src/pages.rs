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
        let at = self.shared(gpa, to.len());
        at.is_some_and(|at| self.home.memory().read(at, to).is_ok())
    }

    fn write_shared(&self, gpa: u64, from: &[u8]) -> bool {
        let at = self.shared(gpa, from.len());
        at.is_some_and(|at| self.home.memory().write(at, from).is_ok())
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
        if self.shared(request, length).is_none() || self.shared(response, length).is_none() {
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
    /// Where the bytes lie, if all of them are memory that the guest shares.
    fn shared(&self, gpa: u64, length: usize) -> Option<Gpa> {
        let last = gpa.checked_add((length as u64).saturating_sub(1))?;
        let state = self.state.lock();
        let view = state.space.view();
        let first = GuestPage::of(gpa)?;
        let start = view.map.shared_at(first)?;
        let mut pages = first.0..=GuestPage::of(last)?.0;
        // Pages of the guest that follow each other do so here, too, but for the end of a range.
        let is_in_place = |number: u32| {
            let at = start + (u64::from(number - first.0) << 12);
            let page = GuestPage(number);
            view.is_shared(page) && view.map.shared_at(page) == Some(at)
        };
        pages.all(is_in_place).then_some(Gpa(start + gpa % PAGE_SIZE))
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
        let first = state.space.map.usual(page).ok_or(HostError::Input)?;
        state.space.rmp.assign(first, page, size, false)?;
        for number in 0..size.pages() {
            let system = SystemPage(first.0 + number);
            state.space.map.set(GuestPage(page.0 + number), Some(Backing::Private(system)));
        }
        Ok(())
    }

    /// Takes the page from the guest, and shares memory in its place.
    pub(crate) fn make_shared(&self, state: &mut State, page: GuestPage) -> Result<(), HostError> {
        if !Division::can_be_shared(page) {
            return Err(HostError::Input);
        }
        let system = match state.space.map.get(page) {
            None => return Err(HostError::Input),
            Some(Backing::Shared) => return Ok(()),
            Some(Backing::Private(system)) => system,
        };
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
