//! The state that all VPs share.

use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;

use chipset::mailbox::Mailbox;
use chipset::{Access, Chipset, Kick, Mailboxes};
use cpu_policy::{CpuidTable, Topology};
use device_model::{Clock, GuestTsc, HostTsc, Instant, TscOffset};
use guest_memory::RamMap;
use host_wire::Config;
use hyperv::Partition;
use local_apic::TIMER_INPUT_HZ;
use platform_api::{Cpus, GuestVp, Platform, Time};
use spin::Mutex;
use x86::Vendor;

use crate::files::GuestFiles;
use crate::guest::tables_place;
use crate::identity::Identity;
use crate::lifecycle::Lifecycle;
use crate::tpm::{Area, VirtualTpm};
use crate::vp::local_apic;

/// Lines of the log that a guest may cause: after so many it gets none, as it could fill the host's
/// disk with them.
const MAX_GUEST_LINES: u32 = 200;

/// The clock of the Hyper-V interface before the machine has started.
const NO_CLOCK: hyperv::Clock =
    hyperv::Clock { tsc_frequency: 1, apic_frequency: TIMER_INPUT_HZ, tsc_at_zero: 0 };

/// The machine, but for its VPs.
#[derive(Debug)]
pub struct Machine<P: Platform> {
    pub(crate) platform: &'static P,
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    pub(crate) files: GuestFiles,
    pub(crate) identity: Identity,
    pub(crate) cpuid: CpuidTable,
    pub(crate) vendor: Vendor,
    pub(crate) chipset: Chipset,
    pub(crate) hyperv: Option<Mutex<Partition>>,
    pub(crate) lifecycle: Lifecycle,
    /// The host's TSC at the last start of the machine.
    pub(crate) start_tsc: AtomicU64,
    /// Exit counts of parked VPs: those of VP 0 by reason, then those of VP 1, and so on.
    pub(crate) counts: Mutex<Vec<u64>>,
    /// Lines of the log that the guest may still cause.
    pub(crate) guest_lines: AtomicU32,
    /// Starts of the guest so far.
    pub(crate) starts: AtomicU64,
    /// TSC ticks from the paravisor's first instructions to the guest's first one, without timed
    /// waits and without the loading of the guest's files.
    pub(crate) start_ticks: AtomicU64,
    /// When the guest started last, in nanoseconds.
    pub(crate) started: AtomicU64,
    /// The 8259 pair's interrupt is on offer to a VP, on CPUs without an interrupt window.
    pic_is_on_offer: AtomicBool,
    /// TSC ticks in which a VP in the guest pays for a kick.
    pub(crate) kick_cost: AtomicU64,
    /// The TPM, unless the guest is to have none.
    pub(crate) tpm: Option<VirtualTpm<P>>,
}

impl<P: Platform> Machine<P> {
    /// Puts the machine together; nothing of the guest is loaded yet.
    pub fn new(platform: &'static P, config: Config, files: GuestFiles) -> Self {
        let host = platform.host();
        let vps = platform.cpus();
        let vendor = Vendor::of(host.cpuid(0, 0));
        let clock = Clock::new(host.tsc(), host.tsc_frequency());
        let topology = Topology { vps, hypervisor: config.hyperv };
        // Their owners are not made yet. The guest may address them before that.
        let identity = |index| local_apic(index, platform.physical_bits()).identity();
        let mailboxes = Mailboxes::new((0..vps).map(identity));
        let machine = Self {
            platform,
            clock,
            config,
            files,
            identity: Identity::new(host),
            vendor,
            cpuid: CpuidTable::new(topology, |leaf, subleaf| host.cpuid(leaf, subleaf)),
            chipset: Chipset::new(host.wall_clock(), clock.at(host.tsc()), mailboxes),
            hyperv: config.hyperv.then(|| Mutex::new(Partition::new(NO_CLOCK, vendor))),
            lifecycle: Lifecycle::default(),
            start_tsc: AtomicU64::new(0),
            counts: Mutex::new(vec![0; vps as usize * P::Vp::exit_names().len()]),
            guest_lines: AtomicU32::new(MAX_GUEST_LINES),
            starts: AtomicU64::new(0),
            start_ticks: AtomicU64::new(0),
            started: AtomicU64::new(0),
            pic_is_on_offer: AtomicBool::new(false),
            kick_cost: AtomicU64::new(0),
            tpm: config.tpm.then(|| VirtualTpm::new(Area::below(tables_place(platform.ram())))),
        };
        machine.restart_clocks();
        machine
    }

    /// Starts the guest's time at zero: its reference time, and its TSC where that can be offset.
    pub(crate) fn restart_clocks(&self) {
        self.start_tsc.store(self.platform.host().tsc().0, Ordering::Release);
        if let Some(partition) = &self.hyperv {
            *partition.lock() = Partition::new(self.hyperv_clock(), self.vendor);
        }
    }

    /// Reserves the 8259 pair's interrupt for the VP that is to be offered it. False if another VP
    /// has it: two must not take the same interrupt.
    pub(crate) fn claim_pic(&self) -> bool {
        !self.pic_is_on_offer.swap(true, Ordering::AcqRel)
    }

    /// The VP has taken the interrupt, or it is no longer on offer.
    pub(crate) fn release_pic(&self) {
        self.pic_is_on_offer.store(false, Ordering::Release);
    }

    /// The host's TSC at the last start of the machine.
    fn start(&self) -> HostTsc {
        HostTsc(self.start_tsc.load(Ordering::Acquire))
    }

    /// The guest's TSC minus the host's, as the machine's start sets it.
    pub(crate) fn tsc_offset(&self) -> TscOffset {
        if !self.platform.capabilities().tsc_offset {
            return TscOffset::default();
        }
        TscOffset::between(GuestTsc(0), self.start())
    }

    fn hyperv_clock(&self) -> hyperv::Clock {
        hyperv::Clock {
            tsc_frequency: self.clock.frequency(),
            apic_frequency: TIMER_INPUT_HZ,
            tsc_at_zero: self.tsc_offset().guest(self.start()).0,
        }
    }

    /// How long the guest's machine has run since its start, when the host's TSC is `tsc`.
    pub(crate) fn uptime(&self, tsc: HostTsc) -> Duration {
        let [now, start] = [tsc, self.start()].map(|tsc| self.clock.at(tsc).as_nanos());
        Duration::from_nanos(now.saturating_sub(start))
    }

    /// The platform.
    pub const fn platform(&self) -> &'static P {
        self.platform
    }

    /// The host.
    pub(crate) fn host(&self) -> &'static P::Host {
        self.platform.host()
    }

    /// The guest's RAM.
    pub(crate) fn ram(&self) -> &RamMap {
        self.platform.ram()
    }

    /// The CPU's signature, as the guest's CPUID tells it.
    pub(crate) fn cpu_signature(&self) -> u32 {
        let [signature, ..] = self.cpuid.look_up(1, 0, 0, false, 1);
        signature
    }

    /// Whether one more line that the guest has caused may be logged.
    pub(crate) fn may_log(&self) -> bool {
        let less = |left: u32| left.checked_sub(1);
        let took = self.guest_lines.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        if took == Ok(1) {
            log::warn!("the guest has caused {MAX_GUEST_LINES} lines: no more of them are logged");
        }
        took.is_ok()
    }

    /// The time now.
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        self.clock.at(self.host().tsc())
    }

    /// The arguments of a device access.
    pub(crate) fn access(&self, now: Instant, vp: u32) -> Access<'_, P::Host, Self> {
        Access { now, vp, host: self.host(), kick: self }
    }

    /// Number of VPs.
    pub(crate) fn vps(&self) -> u32 {
        self.chipset.mailboxes().all().len() as u32
    }

    /// Posts to VP `vp`, then kicks its CPU if that is needed.
    pub(crate) fn post(&self, vp: u32, post: impl FnOnce(&Mailbox) -> bool) {
        self.chipset.mailboxes().post(vp, self, post);
    }
}

impl<P: Platform> Kick for Machine<P> {
    /// Kicks the CPU of VP `vp` as soon as the VP can bear it, unless it reads its mail first.
    #[inline(never)]
    fn kick(&self, vp: u32, mailbox: &Mailbox) {
        let cost = self.kick_cost.load(Ordering::Relaxed);
        if mailbox.wait_to_kick(cost, || self.host().tsc().0) {
            self.host().kick(vp);
        }
    }
}
