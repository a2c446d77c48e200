//! The platform for SEV-SNP: the paravisor at VMPL0, its guest at VMPL1.
//!
//! The host is reached by calls alone ([`Calls`]), and sees the pages that a CPU shares with it: a
//! GHCB, a doorbell page, one for transfers. Each exit of the guest is reflected: the host runs our
//! level, which finds the cause in the guest's save area ([`SnpVp`]). Which level runs next is the
//! host's part of a contract (`docs/host-contract.md`); a host that breaks it can stop the guest,
//! and learn nothing of it.
#![no_std]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

extern crate alloc;

mod accept;
mod acceptance;
mod calls;
mod counts;
mod cpus;
mod firmware;
mod found;
mod host;
mod measured_files;
mod outbox;
mod probe;
mod start;
mod timer;
mod vp;

use alloc::vec::Vec;
use core::fmt::Arguments;
use core::sync::atomic::{AtomicBool, Ordering};

use guest_memory::{GpaRange, RamMap};
use host_wire::Status;
use host_wire::paravisor_image::{REASON_SET, Reason};
use kernel::interrupts::Frame;
use kernel::service;
use log::Level;
use pc::{Frequencies, Pc, Sample, TIMER_VECTOR};
use platform_api::{
    Arrival, Capabilities, Ending, ExitStatus, NotConfidential, Platform, Service, StartUp,
};
use snp::instruction::{Outcome, PageSize, Permissions};
use snp::msr_protocol::Termination;
use spin::Mutex;
use vmpl0::doorbell::Event;

use accept::GiveToGuest;
use acceptance::Acceptance;
use calls::{CpuPages, Note};
use cpus::CpuSetup;
use firmware::SecureTsc;
use found::Found;
use probe::NotIntercepted;
use timer::Fired;

pub use acceptance::SnpMemory;
pub use calls::Calls;
pub use host::SnpHost;
pub use vp::SnpVp;

/// The host's devices.
// SAFETY: calls name the APICs' pages by their addresses; nothing of ours is mapped there.
pub static PC: Pc<Calls> = unsafe { Pc::new(Calls) };

/// The platform.
#[derive(Debug)]
pub struct Snp {
    host: SnpHost,
    memory: SnpMemory,
    acceptance: &'static Acceptance<GiveToGuest>,
    found: Found<'static>,
    arrival: Arrival,
    first_sample: Sample,
    coarse: Frequencies,
    cpus: Vec<CpuSetup>,
    tables_root: u64,
    secure_tsc: Option<SecureTsc>,
    /// A page with the instructions of the probe. The guest's level has rights to it while one VP
    /// executes them.
    probe_page: Mutex<u64>,
    service_stack: u64,
    has_service: AtomicBool,
    settled: AtomicBool,
}

/// Ends the VM with a reason that the user can be told.
pub fn end_with(reason: Reason) -> ! {
    sev_guest::terminate(Termination { set: REASON_SET, reason: reason as u8 })
}

/// Writes a part of a crash record to an observer, or to the console, as soon as there is a way to it.
pub fn write_report(text: &str) {
    PC.write_report(text);
}

/// #HV: an event stands in the doorbell page, which is looked at before this CPU leaves.
fn on_doorbell(_: u64, frame: &mut Frame) {
    frame.rip = sev_guest::leave_window(frame.rip);
    service::put_aside_soon(frame);
}

/// The context for long work, which events of the host put aside.
#[derive(Clone, Copy, Debug)]
pub struct SnpService;

impl Service for SnpService {
    fn run(&self) -> bool {
        let pages = CpuPages::own();
        let has_events = || pages.is_some_and(CpuPages::has_events);
        // An event that waits in the doorbell page already is signalled by no further #HV.
        let lives = service::resume_unless(has_events);
        // The caller may do nothing else until the service has done its work.
        if let Some(pages) = pages.filter(|pages| pages.has_events()) {
            take_events(pages);
        }
        lives
    }

    fn leave(&self) {
        service::leave();
    }
}

impl Snp {
    /// Has the guest's level of a VP execute what must exit, and ends the VM if something does not.
    fn probe(&self, vp: &mut SnpVp) {
        let page = self.probe_page.lock();
        let level = Permissions::new().with_vmpl(vp::GUEST_LEVEL);
        let execute = level.with_user_execute(true).with_supervisor_execute(true);
        give_page(*page, execute.with_read(true));
        let probed = probe::probe(*page, |state| vp.execute(state));
        give_page(*page, level);
        if let Err(NotIntercepted { name, exit }) = probed {
            log::error!("the host lets the guest execute {name} by itself ({exit:?})");
            self.host.exit(ExitStatus(Status::UnusableVm as u8))
        }
    }
}

/// Gives a level these rights to the probe's page, and no others.
fn give_page(page: u64, rights: Permissions) {
    // SAFETY: the page holds the probe's instructions and nothing else.
    let outcome = unsafe { sev_guest::rmpadjust(page, PageSize::SIZE_4K, rights) };
    if outcome != Outcome::SUCCESS {
        end_with(Reason::Levels)
    }
}

/// Takes what the host has put into the doorbell page, and notes if there was anything for the
/// machine.
fn take_events(pages: CpuPages) {
    let looked = pages.take_events(|event| match event {
        Event::Nmi => {
            Note::own().set();
            kernel::cpu::note_nmi();
        }
        Event::Interrupt(vector) => {
            if vector != TIMER_VECTOR || timer_is_due() {
                Note::own().set();
            }
            PC.interrupt(vector);
        }
    });
    calls::count_dropped(looked.dropped);
}

/// The timer has fired. Sets it again if that was too early; answers whether the machine is to know.
fn timer_is_due() -> bool {
    let Some(timer) = timer::own() else { return true };
    let Fired { is_due, next } = timer.fired(instructions::rdtsc());
    if next.is_some() {
        PC.set_deadline(next);
    }
    is_due
}

impl Platform for Snp {
    type Host = SnpHost;
    type Vp = SnpVp;
    type Memory = SnpMemory;
    type Service = SnpService;
    type Confidential = NotConfidential;

    fn host(&self) -> &SnpHost {
        &self.host
    }

    fn service(&self) -> &SnpService {
        &SnpService
    }

    fn confidential(&self) -> Option<&NotConfidential> {
        None
    }

    fn capabilities(&self) -> Capabilities {
        // The host owns the intercept of an interrupt window. The TSC is the host's, or that of the
        // hardware. QEMU's software CPU, on which Drydock runs, forgets an interrupt shadow.
        Capabilities {
            interrupt_window: false,
            tsc_offset: false,
            task_priority: true,
            interrupt_shadow: false,
        }
    }

    fn cpus(&self) -> u32 {
        self.found.vps
    }

    fn memory(&self) -> &SnpMemory {
        &self.memory
    }

    fn ram(&self) -> &RamMap {
        &self.found.ram
    }

    fn own_range(&self) -> GpaRange {
        self.found.own
    }

    fn physical_bits(&self) -> u8 {
        self.found.physical_bits
    }

    fn arrival(&self) -> Arrival {
        self.arrival
    }
}

impl StartUp for Snp {
    fn log_line(level: Level, line: Arguments<'_>) {
        PC.report_line(format_args!("log {level} {line}"));
    }

    fn start_other_cpus(&'static self, main: extern "C" fn() -> !) -> Result<(), u32> {
        self.start_cpus(main)
    }

    fn settle(&self) {
        if !self.settled.swap(true, Ordering::AcqRel) {
            self.host.set_frequencies(PC.refine_clocks(&self.first_sample, self.coarse));
            PC.set_timer(0);
        }
    }

    fn start_service(&self, body: extern "C" fn() -> !) {
        if !self.has_service.swap(true, Ordering::AcqRel) {
            // SAFETY: the first and only call; the stack was taken for this.
            unsafe { kernel::service::start(self.service_stack, body) };
        }
    }

    fn vp_index(&self) -> Option<u32> {
        Some(kernel::cpu::index())
    }

    fn vp(&self) -> Option<SnpVp> {
        let index = self.vp_index()?;
        let cpu = self.cpus.get(index as usize)?;
        if cpu.has_vp.swap(true, Ordering::AcqRel) {
            return None;
        }
        if index == 0 {
            PC.route_devices();
        }
        // SAFETY: the page was taken for this, and this is the first call.
        let vp = unsafe { SnpVp::new(cpu.guest_area, index, self) };
        let mut vp = vp.unwrap_or_else(|reason| end_with(reason));
        self.probe(&mut vp);
        Some(vp)
    }

    fn rest(&self) -> ! {
        instructions::stop()
    }
}
