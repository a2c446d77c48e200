//! A virtual processor as the machine sees it: a less privileged level of this CPU's VP.

use device_model::TscOffset;
use guest_memory::PAGE_SIZE;
use host_wire::paravisor_image::Reason;
use platform_api::{Event, Exit, GuestVp};
use sev_guest::SaveArea;
use snp::exit::ExitCode;
use snp::vmsa::EventInj;
use svm::{EXIT_KINDS, EXIT_NAMES, events, exit_kind};
use vmpl0::guest_exit::{GuestExit, NO_EXIT};
use x86::{Combined, Registers, SystemRegisters, VpState, rflags};

use crate::accept::GiveToGuest;
use crate::acceptance::{Acceptance, Touch};
use crate::calls::{CpuPages, Note};
use crate::counts::{self, Why};
use crate::{Snp, cpus, end_with, found, host, take_events};

/// Our own level.
pub(crate) const OWN_LEVEL: u8 = 0;
/// The level of the guest.
pub(crate) const GUEST_LEVEL: u8 = 1;
/// Bytes of VMGEXIT, which the CPU has completed when it exits.
const VMGEXIT_LENGTH: u64 = 4;
/// So many entries of ours in a row without an exit of the guest's and without an event mean that
/// the CPU refuses to run the guest's save area.
const MOST_EMPTY_ENTRIES: u32 = 10_000;

/// A virtual processor.
#[derive(Debug)]
pub struct SnpVp {
    area: SaveArea,
    acceptance: &'static Acceptance<GiveToGuest>,
    /// What the VP's CPU shares with the host.
    pages: Option<CpuPages>,
    note: Note,
    /// The page at which the guest has just been told to try again.
    retried: Option<u64>,
    /// Where the guest's private memory ends, at its start. The guest can move that.
    top: u64,
    /// The vector on offer, while the guest has not taken it.
    offered: Option<u8>,
    /// The offered vector that the guest has taken.
    taken: Option<u8>,
    /// An interrupt or NMI whose delivery an exception cut short: it comes after the exception.
    displaced: Option<Event>,
    shut_down: bool,
    /// The length of the exiting instruction, where the CPU tells it.
    length: Option<u8>,
    empty_entries: u32,
    counts: [u64; EXIT_KINDS],
    /// The kind of the exit that is being answered, and the TSC at which it came.
    kind: Option<usize>,
    back: u64,
}

impl SnpVp {
    /// Makes the guest's level of VP `index`, whose save area is to lie in `page`.
    ///
    /// # Errors
    /// [`Reason::Levels`].
    ///
    /// # Safety
    /// The page must be ours, private, zeroed and used for this only, for ever.
    pub(crate) unsafe fn new(page: u64, index: u32, platform: &Snp) -> Result<Self, Reason> {
        // SAFETY: the caller gives the page.
        let mut area = unsafe { SaveArea::new(page) };
        let bitmap = found::register_protection();
        if bitmap.is_some_and(|bitmap| !area.protect(bitmap)) && index == 0 {
            log::warn!("the CPU's register protection is of a kind that is not supported");
        }
        area.set_sev_features(found::guest_features(area.is_protected()));
        if let Some(clock) = &platform.secure_tsc {
            clock.set(&mut area);
        }
        let mut vp = Self::with_area(area, platform.found.physical_bits, platform.acceptance);
        (vp.pages, vp.note) = (CpuPages::own(), Note::own());
        // SAFETY: the guest's level has rights to its own memory alone.
        unsafe { cpus::create(&vp.area, index, GUEST_LEVEL)? };
        Ok(vp)
    }

    /// Fills the save area of a guest that no host knows yet.
    fn with_area(
        mut area: SaveArea,
        physical_bits: u8,
        acceptance: &'static Acceptance<GiveToGuest>,
    ) -> Self {
        area.set_vmpl(GUEST_LEVEL);
        // The guest has no shared memory: its addresses end where private memory does.
        let top = 1 << physical_bits;
        area.set_virtual_tom(top);
        area.reset(&VpState::init(0), true);
        area.set_guest_exit_code(NO_EXIT);
        Self {
            area,
            acceptance,
            pages: None,
            note: Note::nobodys(),
            retried: None,
            top,
            offered: None,
            taken: None,
            displaced: None,
            shut_down: false,
            length: None,
            empty_entries: 0,
            counts: [0; EXIT_KINDS],
            kind: None,
            back: 0,
        }
    }

    /// Runs the level from `state` on, until it leaves for something other than an interrupt of the
    /// host's. Such a run is not counted.
    pub(crate) fn execute(&mut self, state: &VpState) -> Exit {
        self.reset(state, true);
        let exit = loop {
            let exit = self.run();
            if exit != Exit::HostInterrupt {
                break exit;
            }
        };
        (self.counts, self.kind) = ([0; EXIT_KINDS], None);
        exit
    }

    /// Runs the guest until this level is entered again. The guest's save area is marked as busy
    /// before anything is read from it: no host can run it meanwhile.
    fn enter(&mut self, pages: CpuPages) {
        if let Some(event) = self.displaced
            && !self.has_injection()
            && (event == Event::Nmi || self.can_take_interrupt())
        {
            self.displaced = None;
            self.inject_now(&event);
        }
        counts::add(Why::Run);
        self.area.set_vintr_ctrl(self.area.vintr_ctrl().with_busy(false));
        // SAFETY: the doorbell page is mapped, the hook for #HV is set, and the guest's level has
        // rights to its own memory alone.
        let ran =
            unsafe { pages.ghcb().run_level(GUEST_LEVEL, pages.doorbell(), instructions::rdtsc) };
        self.area.set_vintr_ctrl(self.area.vintr_ctrl().with_busy(true));
        self.area.note_nonce();
        let Ok(away) = ran else { end_with(Reason::Levels) };
        if let Some(kind) = self.kind.take() {
            counts::spend(kind, away.left.wrapping_sub(self.back));
        }
        self.back = away.back;
    }

    /// The exit that the guest's save area tells, once.
    fn take_exit(&mut self) -> Option<Exit> {
        let exit = self.take_information()?;
        if self.offered.is_some() && !self.area.vintr_ctrl().irq() {
            self.taken = self.offered.take();
        }
        if let Some(event) = events::decode(exit.int_info.into_bits()) {
            self.inject_now(&event);
        }
        self.length = exit.length();
        if exit.code == ExitCode::VMGEXIT {
            // The guest has no such instruction: it gets #UD, a fault, at the place of it.
            self.area.set_rip(self.area.rip().wrapping_sub(VMGEXIT_LENGTH));
        }
        if let Some(behind) = exit.rip_of_trap() {
            self.area.set_rip(behind);
        }
        if let Some(address) = exit.fault_address() {
            self.area.set_cr2(address);
        }
        let kind = exit_kind(exit.code.0);
        if let Some(count) = self.counts.get_mut(kind) {
            *count += 1;
        }
        self.kind = Some(kind);
        if let Some(gpa) = exit.refused_page() {
            match self.refused_page(gpa) {
                None => return Some(Exit::HostInterrupt),
                Some(Touch::Before) => return Some(Exit::Shutdown),
                Some(Touch::NotRam | Touch::Accepted) => {}
            }
        }
        self.retried = None;
        Some(without_failure(exit.decode()))
    }

    /// Takes the exit out of the save area: none is left there. `None` if there was none.
    fn take_information(&mut self) -> Option<GuestExit> {
        let code = self.area.guest_exit_code();
        if code == NO_EXIT {
            return None;
        }
        self.area.set_guest_exit_code(NO_EXIT);
        Some(GuestExit {
            code,
            info_1: self.area.guest_exit_info_1(),
            info_2: self.area.guest_exit_info_2(),
            int_info: self.area.guest_exit_int_info(),
            nrip: self.area.guest_nrip(),
            rip: self.area.rip(),
        })
    }

    /// Counts an entry of ours that brought neither an exit nor an event for the machine.
    fn count_empty_entry(&mut self) -> Option<Exit> {
        self.empty_entries += 1;
        if self.empty_entries <= MOST_EMPTY_ENTRIES {
            return None;
        }
        self.empty_entries = 0;
        Some(Exit::InvalidState)
    }

    /// What to do about an access to `gpa` that the CPU refused. `None`: the guest tries again.
    ///
    /// Another CPU may have accepted the page since, so one more try is due. A page that is refused
    /// then, too, was taken away by the host, at the guest's own wish or by itself: it is gone for
    /// the guest, which can not go on.
    fn refused_page(&mut self, gpa: u64) -> Option<Touch> {
        match self.acceptance.touch(gpa) {
            Touch::NotRam => Some(Touch::NotRam),
            Touch::Accepted => None,
            Touch::Before => {
                let page = gpa / PAGE_SIZE;
                let is_second = self.retried.replace(page) == Some(page);
                is_second.then_some(Touch::Before)
            }
        }
    }

    fn offer(&mut self, vector: Option<u8>, ignores_priority: bool) {
        if self.offered.is_none() && vector.is_none() {
            return;
        }
        self.offered = vector;
        let number = vector.unwrap_or(0);
        let control = self.area.vintr_ctrl().with_irq(vector.is_some()).with_vector(number);
        let control = control.with_priority(number >> 4).with_ignore_tpr(ignores_priority);
        self.area.set_vintr_ctrl(control);
    }

    fn has_injection(&self) -> bool {
        self.area.event_inj().valid()
    }

    fn inject_now(&mut self, event: &Event) {
        self.area.set_event_inj(EventInj::from_bits(events::encode(event)));
    }
}

/// The host chooses what is intercepted: an exit that nothing asked for is no bug of ours. The
/// instruction can be neither completed nor skipped, so the guest can not go on.
fn without_failure(exit: Exit) -> Exit {
    let Exit::Failed(code) = exit else { return exit };
    log::error!("the host has the guest exit with code {code:#x}, which nothing asked for");
    Exit::Shutdown
}

impl GuestVp for SnpVp {
    type Registers = SaveArea;

    fn run(&mut self) -> Exit {
        if core::mem::take(&mut self.shut_down) {
            return Exit::Shutdown;
        }
        if self.note.take() {
            return Exit::HostInterrupt;
        }
        let Some(pages) = self.pages else { end_with(Reason::Share) };
        loop {
            host::send_due_output();
            self.enter(pages);
            take_events(pages);
            // Events that came with an exit are told of at the next call, or when the CPU idles.
            if let Some(exit) = self.take_exit() {
                self.empty_entries = 0;
                return exit;
            }
            if self.note.take() {
                self.empty_entries = 0;
                return Exit::HostInterrupt;
            }
            if let Some(exit) = self.count_empty_entry() {
                return exit;
            }
        }
    }

    fn reset(&mut self, state: &VpState, power_on: bool) {
        self.area.reset(state, power_on);
        self.area.set_virtual_tom(self.top);
        self.area.set_event_inj(EventInj::new());
        self.area.set_vintr_ctrl(snp::vmsa::VintrCtrl::new().with_nmi_enable(true).with_busy(true));
        self.area.set_guest_exit_code(NO_EXIT);
        self.area.set_spec_ctrl(0);
        (self.offered, self.taken, self.displaced) = (None, None, None);
        self.shut_down = false;
        self.retried = None;
    }

    fn registers(&self) -> &SaveArea {
        &self.area
    }

    fn registers_mut(&mut self) -> &mut SaveArea {
        &mut self.area
    }

    fn speculation_control(&self) -> u64 {
        self.area.spec_ctrl()
    }

    fn set_speculation_control(&mut self, control: u64) {
        self.area.set_spec_ctrl(control);
    }

    fn forget_branches(&mut self) {
        const IBPB: u64 = 1 << 0;
        // SAFETY: the caller knows that the CPU has the command, which changes no value.
        unsafe { instructions::wrmsr(x86::msr::PRED_CMD, IBPB) };
    }

    fn tsc_offset(&self) -> TscOffset {
        TscOffset::default()
    }

    fn set_tsc_offset(&mut self, _: TscOffset) {
        // The platform has no such capability.
    }

    fn instruction_length(&self) -> Option<u8> {
        self.length
    }

    fn interrupt_shadow(&self) -> bool {
        self.area.vintr_ctrl().shadow()
    }

    fn can_take_interrupt(&self) -> bool {
        self.area.rflags() & rflags::IF != 0 && !self.interrupt_shadow() && !self.has_injection()
    }

    fn can_take_nmi(&self) -> bool {
        !self.nmi_is_masked() && !self.interrupt_shadow() && !self.has_event()
    }

    fn nmi_is_masked(&self) -> bool {
        self.area.vintr_ctrl().nmi_mask()
    }

    fn has_event(&self) -> bool {
        self.displaced.is_some() || self.has_injection()
    }

    fn inject(&mut self, event: Event) {
        let event = match events::decode(self.area.event_inj().into_bits()) {
            None => event,
            Some(first) => match events::combine(&first, &event) {
                Combined::Second => {
                    if matches!(first, Event::Interrupt(_) | Event::Nmi) {
                        self.displaced = Some(first);
                    }
                    event
                }
                Combined::DoubleFault => events::DOUBLE_FAULT,
                Combined::Shutdown => {
                    self.shut_down = true;
                    return;
                }
            },
        };
        self.inject_now(&event);
    }

    fn offer_interrupt(&mut self, vector: Option<u8>) {
        self.offer(vector, false);
    }

    fn offer_external_interrupt(&mut self, vector: u8) {
        self.offer(Some(vector), true);
    }

    fn watch_task_priority(&mut self, _: bool) {
        // The CPU holds the offered interrupt back by itself.
    }

    fn taken_interrupt(&mut self) -> Option<u8> {
        self.taken.take()
    }

    fn request_interrupt_window(&mut self) {
        // The platform has no such capability.
    }

    fn exit_names() -> &'static [&'static str] {
        &EXIT_NAMES
    }

    fn exit_counts(&self) -> &[u64] {
        &self.counts
    }
}

#[cfg(test)]
mod tests;
