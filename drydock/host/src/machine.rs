//! What all VPs of the emulated machine share.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use chipset::mailbox::Mailbox;
use chipset::{Chipset, Kick, MINIMUM_TIMER_PERIOD, Mailboxes};
use cpu_policy::{CpuidTable, Topology};
use device_model::{Clock, Instant};
use drydock_rmp::{GuestPage, LEVELS, SystemPage};
use fw_cfg::FwCfg;
use local_apic::LocalApic;
use platform_api::{Cpus, Time};
use snp::features::SevFeatures;
use snp::msr_protocol::Termination;
use spin::Mutex;

use crate::configuration::{Configuration, GuestFile, fill_clock_memory};
use crate::outside::Outside;
use crate::test_ports::TestPorts;

/// A save area that the host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Where the guest has it.
    pub guest: GuestPage,
    /// The system page.
    pub page: SystemPage,
    /// The SEV_FEATURES that the host was told, which say how events are injected.
    pub features: SevFeatures,
    /// A number of its own: the same page can be given to a level again. Zero before the host has
    /// taken the area.
    pub serial: u64,
}

/// How the VM ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest has powered it off.
    PowerOff,
    /// The guest has reset it: a confidential VM starts anew by a new launch.
    Reset,
    /// The guest asked for the end, with a reason.
    Terminated(Termination),
    /// The guest asked for the end by the port for that, with a number.
    Exit(u32),
    /// A VP has shut down by a triple fault.
    Shutdown {
        /// The VP.
        vp: u32,
    },
    /// A save area can not be run.
    Invalid {
        /// The VP.
        vp: u32,
        /// Its level.
        level: u8,
    },
    /// A VP's exit can not be answered.
    Unanswerable {
        /// The VP.
        vp: u32,
        /// The exit code.
        code: u64,
        /// EXITINFO1.
        info_1: u64,
        /// EXITINFO2.
        info_2: u64,
    },
    /// All VPs sleep, and only another VP could wake them.
    Halted,
}

/// What the host is made with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many VPs there are.
    pub vps: u32,
    /// The place of the C-bit.
    pub c_bit: u8,
    /// Bits of a physical address.
    pub physical_bits: u8,
    /// Bytes of the guest's RAM.
    pub memory: u64,
}

/// What others may change of a VP: the save areas that it runs.
#[derive(Debug, Default)]
pub(crate) struct SharedVp {
    pub(crate) areas: Mutex<[Option<Area>; LEVELS]>,
    /// The save areas that await an INIT.
    awaiting: Mutex<[Option<Area>; LEVELS]>,
    /// Their levels, one bit each.
    awaiting_levels: AtomicU8,
}

impl SharedVp {
    /// Notes the save area that awaits an INIT at a level, or that none does. False if there is no
    /// such level.
    fn await_init(&self, level: u8, area: Option<Area>) -> bool {
        let mut awaiting = self.awaiting.lock();
        let Some(place) = awaiting.get_mut(usize::from(level)) else { return false };
        *place = area;
        let bit = 1 << level;
        match area {
            Some(_) => self.awaiting_levels.fetch_or(bit, Ordering::Release),
            None => self.awaiting_levels.fetch_and(!bit, Ordering::Release),
        };
        true
    }
}

/// The host.
#[derive(Debug)]
pub struct Host<O> {
    pub(crate) outside: O,
    pub(crate) settings: Settings,
    /// The chip's certificates, in the form that a guest gets them.
    pub(crate) certificates: Vec<u8>,
    /// Each level's devices: a PC of its own.
    pub(crate) chipsets: [Chipset; LEVELS],
    /// What firmware is told, and the device of each level that tells it.
    pub(crate) configuration: Configuration,
    pub(crate) fw_cfgs: [Mutex<FwCfg>; LEVELS],
    pub(crate) test_ports: TestPorts,
    pub(crate) clock: Clock,
    pub(crate) cpuid: CpuidTable,
    pub(crate) vps: Vec<SharedVp>,
    /// Where the guest has put its jump table for APs.
    pub(crate) ap_jump_table: AtomicU64,
    serials: AtomicU64,
    /// How many VPs sleep until another VP wakes them.
    dormant: AtomicU32,
    pub(crate) end: Mutex<Option<End>>,
}

/// Interrupts CPUs by the emulating machine's host.
#[derive(Debug)]
pub(crate) struct Kicker<'a, O>(pub(crate) &'a O);

impl<O: Outside> Kick for Kicker<'_, O> {
    fn kick(&self, vp: u32, _: &Mailbox) {
        self.0.host().kick(vp);
    }
}

/// The local APIC of VP `index` after power-on.
pub(crate) fn local_apic(index: u32, physical_bits: u8) -> LocalApic {
    LocalApic::new(index, index == 0, physical_bits, MINIMUM_TIMER_PERIOD)
}

impl<O: Outside> Host<O> {
    /// A host for a VM whose VPs have no save area yet.
    pub fn new(outside: O, settings: Settings, certificates: Vec<u8>) -> Self {
        let Settings { vps, physical_bits, .. } = settings;
        let clock = Clock::new(outside.host().tsc(), outside.host().tsc_frequency());
        let wall_clock = outside.host().wall_clock();
        let chipsets = core::array::from_fn(|_| {
            let identities = (0..vps).map(|index| local_apic(index, physical_bits).identity());
            let mailboxes = Mailboxes::new(identities);
            let chipset = Chipset::new(wall_clock, Instant::from_nanos(0), mailboxes);
            fill_clock_memory(&chipset, settings);
            chipset
        });
        let vps = (0..vps).map(|_| SharedVp::default()).collect();
        let topology = Topology { vps: settings.vps, hypervisor: true };
        let cpuid = CpuidTable::new(topology, |leaf, sub| outside.host().cpuid(leaf, sub));
        Self {
            outside,
            settings,
            certificates,
            chipsets,
            configuration: Configuration::new(settings, Vec::new()),
            fw_cfgs: Default::default(),
            test_ports: TestPorts::default(),
            clock,
            cpuid,
            vps,
            ap_jump_table: AtomicU64::new(0),
            serials: AtomicU64::new(1),
            dormant: AtomicU32::new(0),
            end: Mutex::new(None),
        }
    }

    /// Gives the guest's firmware more files.
    #[must_use]
    pub fn with_files(mut self, files: Vec<GuestFile>) -> Self {
        self.configuration = Configuration::new(self.settings, files);
        self
    }

    /// Has VP `vp` start with a save area of level 0 that the launch has made.
    pub fn start(&self, vp: u32, area: Area) {
        self.give(vp, 0, Some(area));
    }

    /// Gives level `level` of VP `vp` a save area, or takes it away. False if there is no such VP or
    /// level.
    pub(crate) fn give(&self, vp: u32, level: u8, area: Option<Area>) -> bool {
        let Some(shared) = self.vps.get(vp as usize) else { return false };
        if !shared.await_init(level, None) {
            return false;
        }
        let serial = self.serials.fetch_add(1, Ordering::Relaxed);
        let mut areas = shared.areas.lock();
        let Some(place) = areas.get_mut(usize::from(level)) else { return false };
        *place = area.map(|area| Area { serial, ..area });
        true
    }

    /// Keeps a save area for a level of VP `vp` until an INIT comes. False if there is no such VP or
    /// level.
    pub(crate) fn keep_for_init(&self, vp: u32, level: u8, area: Area) -> bool {
        self.vps.get(vp as usize).is_some_and(|shared| shared.await_init(level, Some(area)))
    }

    /// Whether a level of VP `vp` has a save area that awaits an INIT.
    pub(crate) fn awaits_init(&self, vp: u32, level: u8) -> bool {
        let levels = self.vps.get(vp as usize).map(|vp| vp.awaiting_levels.load(Ordering::Acquire));
        levels.is_some_and(|levels| levels.checked_shr(level.into()).unwrap_or(0) & 1 != 0)
    }

    /// INIT at a level of VP `vp`: it gets the save area that has waited for that.
    pub(crate) fn init(&self, vp: u32, level: u8) {
        let Some(shared) = self.vps.get(vp as usize) else { return };
        let area = shared.awaiting.lock().get(usize::from(level)).copied().flatten();
        if area.is_some() {
            self.give(vp, level, area);
        }
    }

    /// The devices of a level, of which there is none beyond the last.
    pub(crate) fn chipset(&self, level: u8) -> &Chipset {
        let [first, ..] = &self.chipsets;
        self.chipsets.get(usize::from(level)).unwrap_or(first)
    }

    /// What the host stands on.
    pub const fn outside(&self) -> &O {
        &self.outside
    }

    /// Ends the VM; the first reason counts.
    pub(crate) fn end(&self, end: End) {
        let mut place = self.end.lock();
        if place.is_none() {
            *place = Some(end);
        }
    }

    /// Counts a VP that only another VP can wake. Ends the VM if that is the last one: a VP is
    /// counted no more before it reads its mail, so mail on its way is seen here.
    pub(crate) fn fall_asleep(&self) {
        let others = self.dormant.fetch_add(1, Ordering::SeqCst);
        let mut mailboxes = self.chipsets.iter().flat_map(|chipset| chipset.mailboxes().all());
        let mut waits = || mailboxes.any(chipset::mailbox::Mailbox::is_pending);
        if others + 1 == self.settings.vps && !waits() {
            self.end(End::Halted);
            (0..self.settings.vps).for_each(|vp| self.outside.host().kick(vp));
        }
    }

    pub(crate) fn wake_up(&self) {
        self.dormant.fetch_sub(1, Ordering::SeqCst);
    }

    /// How the VM ends, once it does.
    pub fn ended(&self) -> Option<End> {
        *self.end.lock()
    }

    /// The save areas of a VP.
    pub(crate) fn areas(&self, vp: u32) -> [Option<Area>; LEVELS] {
        self.vps.get(vp as usize).map_or([None; LEVELS], |vp| *vp.areas.lock())
    }
}
