//! One VP of the emulated machine, on its CPU.

use alloc::boxed::Box;

use chipset::mailbox::{Away, Mailbox, Order};
use chipset::{Access, Chipset, NO_DEADLINE};
use device_model::{GuestTsc, HostTsc, Instant};
use drydock_rmp::LEVELS;
use local_apic::{LintPin, TimerDeadline};
use platform_api::{Console, Cpus, Time};
use snp::ghcb::Ghcb;
use zerocopy::FromZeros;

use crate::level::Level;
use crate::machine::{Area, End, Host, Kicker};
use crate::outside::{Outside, Vcpu};

/// The furthest deadline that the timer is asked for, in seconds: its counter is short.
const FURTHEST_DEADLINE: u64 = 4;

/// What a level does when nothing interrupts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It runs its save area.
    Running,
    /// Its guest has executed HLT.
    Halted,
    /// Its guest waits for a SIPI (AP reset hold), and for nothing else.
    ResetHold,
}

/// What the VP's CPU is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run this save area of this level, then call [`HostVp::exit`].
    Run {
        /// The level.
        level: u8,
        /// Its save area.
        area: Area,
    },
    /// Call again.
    Again,
    /// The VM has ended.
    End(End),
}

/// A VP.
#[derive(Debug)]
pub struct HostVp<'a, O> {
    pub(crate) host: &'a Host<O>,
    pub(crate) index: u32,
    pub(crate) levels: [Box<Level>; LEVELS],
    /// The level that runs.
    pub(crate) level: u8,
    /// It has no save area yet.
    pub(crate) is_waiting: bool,
    /// The TSC that the timer is set for.
    armed: Option<HostTsc>,
    pub(crate) timer_changed: bool,
    /// The copy of the GHCB that is being answered, while none is.
    pub(crate) ghcb: Option<Box<Ghcb>>,
    pub(crate) kicker: Kicker<'a, O>,
}

impl<'a, O: Outside> HostVp<'a, O> {
    /// VP `index` of `host`, if there is one.
    pub fn new(host: &'a Host<O>, index: u32) -> Option<Self> {
        let bits = host.settings.physical_bits;
        host.chipset(0).mailboxes().get(index)?;
        Some(Self {
            host,
            index,
            levels: core::array::from_fn(|_| Box::new(Level::new(index, bits))),
            level: 0,
            is_waiting: true,
            armed: None,
            timer_changed: false,
            ghcb: Some(Box::new(Ghcb::new_zeroed())),
            kicker: Kicker(&host.outside),
        })
    }

    pub(crate) fn tsc(&self) -> HostTsc {
        self.host.outside.host().tsc()
    }

    /// The level that runs.
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// The state of the level that runs.
    pub(crate) fn current(&self) -> &Level {
        let [first, ..] = &self.levels;
        self.levels.get(usize::from(self.level)).unwrap_or(first)
    }

    /// The state of the level that runs.
    pub(crate) fn current_mut(&mut self) -> &mut Level {
        // Only existing levels are run.
        let index = usize::from(self.level).min(LEVELS - 1);
        &mut self.levels[index]
    }

    /// The devices of the level that runs.
    pub(crate) fn chipset(&self) -> &'a Chipset {
        self.host.chipset(self.level)
    }

    pub(crate) fn access(&self) -> Access<'_, O::Host, Kicker<'a, O>> {
        self.access_at(self.host.clock.at(self.tsc()))
    }

    fn access_at(&self, now: Instant) -> Access<'_, O::Host, Kicker<'a, O>> {
        Access { now, vp: self.index, host: self.host.outside.host(), kick: &self.kicker }
    }

    /// One turn up to the entry. `vcpus` has the levels' control blocks.
    pub fn turn<V: Vcpu>(&mut self, vcpus: &mut [Box<V>; LEVELS]) -> Step {
        if let Some(end) = self.host.ended() {
            return Step::End(end);
        }
        self.read_mail();
        let areas = self.host.areas(self.index);
        self.note_areas(&areas);
        if self.is_waiting {
            self.idle(&areas, true);
            return Step::Again;
        }
        self.choose_level(&areas);
        let level = usize::from(self.level);
        let (Some(Some(area)), Some(vcpu)) = (areas.get(level).copied(), vcpus.get_mut(level))
        else {
            // The level has lost its save area.
            self.level = 0;
            return Step::Again;
        };
        let chipset = self.chipset();
        if !self.current_mut().wakes(vcpu.as_mut(), area, chipset) {
            let is_dormant = level == 0 && self.current().is_dormant(vcpu.as_ref(), area);
            self.idle(&areas, is_dormant);
            return Step::Again;
        }
        self.offer_interrupts(vcpu.as_mut(), area);
        self.arm_timer(&areas);
        if !self.leave(&areas, Away::Guest) {
            return Step::Again;
        }
        Step::Run { level: self.level, area }
    }

    /// A level that was given a save area since the last turn runs it, whatever it did before.
    fn note_areas(&mut self, areas: &[Option<Area>; LEVELS]) {
        for (level, area) in self.levels.iter_mut().zip(areas) {
            let serial = area.map_or(0, |area| area.serial);
            if core::mem::replace(&mut level.serial, serial) != serial {
                level.activity = Activity::Running;
            }
        }
        self.is_waiting = areas.first().copied().flatten().is_none();
    }

    /// The first level goes first, if it has an event (rule 4 of the contract).
    fn choose_level(&mut self, areas: &[Option<Area>; LEVELS]) {
        let [first, ..] = &self.levels;
        if let [Some(area), ..] = areas
            && self.level != 0
            && first.has_event(*area, self.host.chipset(0))
        {
            self.level = 0;
        }
    }

    fn mailboxes(&self, areas: &[Option<Area>; LEVELS]) -> impl Iterator<Item = &'a Mailbox> {
        let host = self.host;
        let index = self.index;
        let in_use = areas.map(|area| area.is_some());
        // A VP without a save area is told of one by the mail of level 0.
        let listens = move |level: &u8| {
            let has_area = in_use.get(usize::from(*level)) == Some(&true);
            *level == 0 || has_area || host.awaits_init(index, *level)
        };
        (0..LEVELS as u8)
            .filter(listens)
            .filter_map(move |level| host.chipset(level).mailboxes().get(index))
    }

    fn leave(&self, areas: &[Option<Area>; LEVELS], to: Away) -> bool {
        let left = self.mailboxes(areas).all(|mailbox| mailbox.leave(to));
        if !left {
            self.come_back();
        }
        left
    }

    pub(crate) fn come_back(&self) {
        for level in 0..LEVELS as u8 {
            if let Some(mailbox) = self.host.chipset(level).mailboxes().get(self.index) {
                mailbox.come_back();
            }
        }
    }

    fn read_mail(&mut self) {
        let (host, index) = (self.host, self.index);
        for (number, level) in (0u8..).zip(self.levels.iter_mut()) {
            let chipset = host.chipset(number);
            let Some(mailbox) = chipset.mailboxes().get(index) else { continue };
            // A level without a save area keeps its mail, unless an INIT can give it one.
            let has_area = level.serial != 0 || number == 0;
            if mailbox.is_pending() && (has_area || host.awaits_init(index, number)) {
                let mail = mailbox.drain();
                self.timer_changed |= level.read(&mail, chipset);
                if mail.has(Order::Init) {
                    host.init(index, number);
                }
            }
        }
    }

    /// Sleeps. `is_dormant` says that only another VP can wake this one.
    fn idle(&mut self, areas: &[Option<Area>; LEVELS], is_dormant: bool) {
        self.arm_timer(areas);
        if self.leave(areas, Away::Asleep) {
            if is_dormant {
                self.host.fall_asleep();
            }
            if self.host.ended().is_none() {
                self.host.outside.host().idle();
            }
            if is_dormant {
                self.host.wake_up();
            }
            self.come_back();
        }
        self.check_timers();
    }

    fn arm_timer(&mut self, areas: &[Option<Area>; LEVELS]) {
        if !core::mem::take(&mut self.timer_changed) {
            return;
        }
        let wanted = self.first_deadline(areas);
        if wanted != self.armed {
            self.armed = wanted;
            self.host.outside.host().set_timer(wanted);
        }
    }

    /// The TSC of the first deadline: a level's own timer's, or a device's.
    fn first_deadline(&self, areas: &[Option<Area>; LEVELS]) -> Option<HostTsc> {
        let clock = &self.host.clock;
        let mut first = HostTsc::NEVER;
        for (number, (level, area)) in (0u8..).zip(self.levels.iter().zip(areas)) {
            if area.is_none() {
                continue;
            }
            let own = match level.apic.timer_deadline() {
                // The guest's TSC is the host's.
                Some(TimerDeadline::Tsc(at)) => HostTsc(at.0),
                Some(TimerDeadline::At(at)) => clock.tsc_at(at),
                None => HostTsc::NEVER,
            };
            let devices = match self.host.chipset(number).deadline(self.index) {
                NO_DEADLINE => HostTsc::NEVER,
                at => clock.tsc_at(Instant::from_nanos(at)),
            };
            first = first.min(own).min(devices);
        }
        let furthest = self.tsc().saturating_add(FURTHEST_DEADLINE * clock.frequency());
        (first != HostTsc::NEVER).then(|| first.min(furthest))
    }

    /// Looks at everything that an interrupt of the emulating machine can have been about.
    pub(crate) fn check_timers(&mut self) {
        let tsc = self.tsc();
        if self.armed.is_some_and(|armed| tsc >= armed) {
            self.armed = None;
            self.timer_changed = true;
        }
        let now = self.host.clock.at(tsc);
        let areas = self.host.areas(self.index);
        for (number, (level, area)) in (0u8..).zip(self.levels.iter_mut().zip(&areas)) {
            if area.is_none() {
                continue;
            }
            level.apic.advance_timer(now, GuestTsc(tsc.0));
            let chipset = self.host.chipset(number);
            if now.as_nanos() >= chipset.deadline(self.index) {
                let host = self.host.outside.host();
                chipset.advance(&Access { now, vp: self.index, host, kick: &self.kicker });
            }
        }
        let host = self.host.outside.host();
        if self.index == 0 && host.device_event() {
            self.console_chipset(&areas).take_input(&self.access_at(now));
        }
        if host.take_nmi() {
            let level = self.current_mut();
            let delivery = level.apic.set_lint(LintPin::Lint1, true);
            level.take_local(delivery);
            let _ = level.apic.set_lint(LintPin::Lint1, false);
        }
    }

    /// The devices that get what is typed: those of the least privileged level whose system has the
    /// host's devices. A reflecting level's system has those of level 0.
    fn console_chipset(&self, areas: &[Option<Area>; LEVELS]) -> &'a Chipset {
        let has_devices = |area: &Area| !area.features.reflect_vc();
        let last = areas.iter().rposition(|area| area.as_ref().is_some_and(has_devices));
        let last = last.unwrap_or(0);
        self.host.chipset(last as u8)
    }
}
