//! One VP of the emulated machine, on its CPU.

use alloc::boxed::Box;
use core::sync::atomic::Ordering;

use chipset::mailbox::{Away, Mailbox, Order};
use chipset::{Access, NO_DEADLINE};
use cpu_policy::Mtrrs;
use device_model::{GuestTsc, HostTsc, Instant};
use drydock_rmp::LEVELS;
use local_apic::{LintPin, LocalApic, LocalDelivery, TimerDeadline};
use platform_api::{Console, Cpus, Time};
use snp::ghcb::Ghcb;
use zerocopy::FromZeros;

use crate::machine::{Area, End, Host, Kicker, local_apic};
use crate::outside::{Outside, Vcpu};

/// The furthest deadline that the timer is asked for, in seconds: its counter is short.
const FURTHEST_DEADLINE: u64 = 4;

/// What a VP does when nothing interrupts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It runs a save area.
    Running,
    /// Its guest has executed HLT, or waits for a SIPI in its own way.
    Halted,
    /// It has no save area yet.
    WaitingForArea,
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
    mailbox: &'a Mailbox,
    pub(crate) apic: LocalApic,
    pub(crate) activity: Activity,
    pub(crate) level: u8,
    /// The GHCB that each level has registered.
    pub(crate) registered: [Option<u64>; LEVELS],
    pub(crate) nmis_pending: u8,
    /// The TSC that the timer is set for.
    armed: Option<HostTsc>,
    pub(crate) timer_changed: bool,
    pub(crate) mtrrs: Mtrrs,
    /// The copy of the GHCB that is being answered, while none is.
    pub(crate) ghcb: Option<Box<Ghcb>>,
    pub(crate) kicker: Kicker<'a, O>,
}

impl<'a, O: Outside> HostVp<'a, O> {
    /// VP `index` of `host`, if there is one.
    pub fn new(host: &'a Host<O>, index: u32) -> Option<Self> {
        Some(Self {
            host,
            index,
            mailbox: host.chipset.mailboxes().get(index)?,
            apic: local_apic(index, host.settings.physical_bits),
            activity: Activity::WaitingForArea,
            level: 0,
            registered: [None; LEVELS],
            nmis_pending: 0,
            armed: None,
            timer_changed: false,
            mtrrs: Mtrrs::new(host.settings.physical_bits),
            ghcb: Some(Box::new(Ghcb::new_zeroed())),
            kicker: Kicker(&host.outside),
        })
    }

    pub(crate) fn tsc(&self) -> HostTsc {
        self.host.outside.host().tsc()
    }

    pub(crate) fn access(&self) -> Access<'_, O::Host, Kicker<'a, O>> {
        self.access_at(self.host.clock.at(self.tsc()))
    }

    fn access_at(&self, now: Instant) -> Access<'_, O::Host, Kicker<'a, O>> {
        Access { now, vp: self.index, host: self.host.outside.host(), kick: &self.kicker }
    }

    /// One turn up to the entry. `vcpu` is the level that [`HostVp::level`] names.
    pub fn turn(&mut self, vcpu: &mut impl Vcpu) -> Step {
        if let Some(end) = self.host.ended() {
            return Step::End(end);
        }
        if self.mailbox.is_pending() {
            self.read_mail();
        }
        if self.activity != Activity::Running && !self.wakes(vcpu) {
            self.idle();
            return Step::Again;
        }
        let Some(area) = self.host.area(self.index, self.level) else {
            self.activity = Activity::WaitingForArea;
            return Step::Again;
        };
        self.offer_interrupts(vcpu);
        self.arm_timer();
        if !self.mailbox.leave(Away::Guest) {
            return Step::Again;
        }
        Step::Run { level: self.level, area }
    }

    /// The level that runs next.
    pub const fn level(&self) -> u8 {
        self.level
    }

    pub(crate) fn come_back(&self) {
        self.mailbox.come_back();
    }

    fn read_mail(&mut self) {
        let mail = self.mailbox.drain();
        if mail.has(Order::Timer) {
            self.timer_changed = true;
        }
        if mail.has(Order::ExtInt) {
            let level = self.host.chipset.lines().pic_output();
            let delivery = self.apic.set_lint(LintPin::Lint0, level);
            self.take_local(delivery);
        }
        // A VP starts by a save area, so INIT and SIPI find nothing to do but to wake a VP that
        // waits for them in its own way (AP reset hold).
        if mail.has(Order::Startup) && self.activity == Activity::Halted {
            self.activity = Activity::Running;
        }
        self.nmis_pending = self.nmis_pending.saturating_add(mail.nmis()).min(2);
        for (word, (requests, level)) in (0u8..).zip(mail.requests.iter().zip(mail.level)) {
            let mut left = *requests;
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                self.apic.accept(word * 64 + bit as u8, level >> bit & 1 != 0);
            }
        }
    }

    fn take_local(&mut self, delivery: Option<LocalDelivery>) {
        match delivery {
            Some(LocalDelivery::Nmi) => self.nmis_pending = (self.nmis_pending + 1).min(2),
            // Registers are out of reach: a VP is reset by a new save area.
            Some(LocalDelivery::Init | LocalDelivery::Smi) | None => {}
        }
    }

    fn wakes(&mut self, vcpu: &mut impl Vcpu) -> bool {
        let woken = match self.activity {
            Activity::Running => true,
            Activity::Halted => {
                let asked = self.apic.pending().is_some() || self.ext_int_waits();
                self.nmis_pending != 0 || vcpu.has_event() || vcpu.interrupts_enabled() && asked
            }
            Activity::WaitingForArea => {
                let shared = self.host.vps.get(self.index as usize);
                shared.is_some_and(|vp| vp.is_started.swap(false, Ordering::AcqRel))
            }
        };
        if woken {
            self.activity = Activity::Running;
        }
        woken
    }

    pub(crate) fn ext_int_waits(&self) -> bool {
        self.host.chipset.lines().pic_output() && self.apic.accepts_ext_int()
    }

    fn idle(&mut self) {
        self.arm_timer();
        if self.mailbox.leave(Away::Asleep) {
            self.host.outside.host().idle();
            self.mailbox.come_back();
        }
        self.check_timers();
    }

    fn arm_timer(&mut self) {
        if !core::mem::take(&mut self.timer_changed) {
            return;
        }
        let wanted = self.first_deadline();
        if wanted != self.armed {
            self.armed = wanted;
            self.host.outside.host().set_timer(wanted);
        }
    }

    /// The TSC of the first deadline: the VP's own timer's, or a device's.
    fn first_deadline(&self) -> Option<HostTsc> {
        let clock = &self.host.clock;
        let own = match self.apic.timer_deadline() {
            // The guest's TSC is the host's.
            Some(TimerDeadline::Tsc(at)) => HostTsc(at.0),
            Some(TimerDeadline::At(at)) => clock.tsc_at(at),
            None => HostTsc::NEVER,
        };
        let first = match self.host.chipset.deadline(self.index) {
            NO_DEADLINE => own,
            at => own.min(clock.tsc_at(Instant::from_nanos(at))),
        };
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
        self.apic.advance_timer(now, GuestTsc(tsc.0));
        if now.as_nanos() >= self.host.chipset.deadline(self.index) {
            self.host.chipset.advance(&self.access_at(now));
        }
        let host = self.host.outside.host();
        if self.index == 0 && host.device_event() {
            self.host.chipset.take_input(&self.access_at(now));
        }
        if host.take_nmi() {
            let delivery = self.apic.set_lint(LintPin::Lint1, true);
            self.take_local(delivery);
            let _ = self.apic.set_lint(LintPin::Lint1, false);
        }
    }
}
