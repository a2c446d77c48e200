//! The APIC timer.
//!
//! The input clock runs at 1 GHz, so before division one tick is one nanosecond of [`Instant`] (SDM
//! 11.5.4). TSC-deadline mode compares with the guest's TSC, whose frequency does not matter here
//! (SDM 11.5.4.1).

use crate::LocalApic;
use crate::registers::{DIVIDE_BITS, DivideConfiguration, LVT_TIMER, LvtEntry, TimerMode};
use device_model::{GuestTsc, Instant};

/// Frequency of the timer's input clock, in Hz.
pub const TIMER_INPUT_HZ: u64 = 1_000_000_000;

/// The time at which [`LocalApic::advance_timer`] must be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerDeadline {
    /// At this time.
    At(Instant),
    /// When the guest's TSC reaches this value.
    Tsc(GuestTsc),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) initial: u32,
    pub(crate) divide: u32,
    /// The exact time at which the count next reaches zero; `None` if it does not run.
    pub(crate) expiry: Option<Instant>,
    /// The earliest time allowed for the next interrupt of a periodic timer.
    pub(crate) not_before: Instant,
    /// IA32_TSC_DEADLINE; zero if disarmed.
    pub(crate) tsc_deadline: u64,
}

impl Timer {
    pub(crate) const RESET: Self =
        Self { initial: 0, divide: 0, expiry: None, not_before: Instant::START, tsc_deadline: 0 };

    /// Binary logarithm of the divisor.
    fn shift(&self) -> u32 {
        DivideConfiguration::from_bits(self.divide).shift()
    }

    /// Nanoseconds that the initial count takes to reach zero.
    fn period(&self) -> u64 {
        u64::from(self.initial) << self.shift()
    }

    /// The current count `nanos` before it reaches zero; a partial tick counts as a whole one.
    fn count_for(&self, nanos: u64) -> u32 {
        nanos.div_ceil(1 << self.shift()).min(u64::from(u32::MAX)) as u32
    }

    /// The count at `now`. A periodic timer keeps counting while its interrupt is delayed.
    fn current(&self, now: Instant) -> u32 {
        let Some(expiry) = self.expiry else { return 0 };
        let left = match now.since(expiry).checked_rem(self.period()) {
            Some(late) if now > expiry => self.period().saturating_sub(late),
            _ => expiry.since(now),
        };
        self.count_for(left)
    }
}

impl LocalApic {
    /// The time at which the timer next interrupts; `None` if it does not run or is masked.
    #[inline]
    pub fn timer_deadline(&self) -> Option<TimerDeadline> {
        if self.timer_entry().masked() {
            return None;
        }
        let timer = &self.registers.timer;
        if timer.tsc_deadline != 0 {
            return Some(TimerDeadline::Tsc(GuestTsc(timer.tsc_deadline)));
        }
        let expiry = timer.expiry?;
        Some(TimerDeadline::At(expiry.max(timer.not_before)))
    }

    /// Processes the timer's events up to `now`, at which the guest's TSC is `tsc`.
    ///
    /// Missed periods coalesce into one interrupt. A periodic timer never interrupts more often
    /// than the minimum period given at construction, so a guest that sets a count of one can not
    /// occupy the CPU. One-shot and TSC-deadline timers cost the guest an exit for each interrupt
    /// and need no such bound.
    #[inline]
    pub fn advance_timer(&mut self, now: Instant, tsc: GuestTsc) {
        let now = self.at(now);
        let timer = &mut self.registers.timer;
        if timer.tsc_deadline != 0 {
            if tsc >= GuestTsc(timer.tsc_deadline) {
                timer.tsc_deadline = 0;
                self.signal_local(LVT_TIMER);
            }
        } else if let Some(expiry) = timer.expiry
            && expiry.max(timer.not_before) <= now
        {
            self.expire(expiry, now);
        }
    }

    fn expire(&mut self, expiry: Instant, now: Instant) {
        let mode = self.timer_mode();
        let timer = &mut self.registers.timer;
        // The period is never zero, because a count of zero stops the timer; if it were, the timer
        // would end here.
        let late = now.since(expiry).checked_rem(timer.period());
        timer.expiry = match (mode, late) {
            (TimerMode::Periodic, Some(late)) => {
                Some(now.saturating_add(timer.period().saturating_sub(late)))
            }
            _ => None,
        };
        timer.not_before = now.saturating_add(self.config.minimum_period);
        self.signal_local(LVT_TIMER);
    }

    pub(crate) fn current_count(&mut self, now: Instant, tsc: GuestTsc) -> u32 {
        self.advance_timer(now, tsc);
        self.registers.timer.current(self.latest)
    }

    pub(crate) fn write_initial_count(&mut self, value: u32, now: Instant) {
        let now = self.at(now);
        let mode = self.timer_mode();
        if !mode.counts() {
            return;
        }
        // The bound also applies to the first period: rewriting the count must not evade it.
        let not_before = match mode {
            TimerMode::Periodic => now.saturating_add(self.config.minimum_period),
            TimerMode::OneShot | TimerMode::TscDeadline | TimerMode::Reserved => Instant::START,
        };
        let timer = &mut self.registers.timer;
        timer.initial = value;
        timer.expiry = (value != 0).then(|| now.saturating_add(timer.period()));
        timer.not_before = not_before;
    }

    /// Changes the rate at which the count runs; its current value stays (SDM 11.5.4).
    pub(crate) fn write_divide(&mut self, value: u32, now: Instant, tsc: GuestTsc) {
        let count = self.current_count(now, tsc);
        let now = self.latest;
        let timer = &mut self.registers.timer;
        timer.divide = value & DIVIDE_BITS;
        if timer.expiry.is_some() {
            timer.expiry = Some(now.saturating_add(u64::from(count) << timer.shift()));
        }
    }

    /// Replaces the LVT timer entry. An expiry under the old entry is processed first; entering or
    /// leaving TSC-deadline mode disarms the timer (SDM 11.5.4.1).
    pub(crate) fn write_lvt_timer(&mut self, entry: LvtEntry, now: Instant, tsc: GuestTsc) {
        self.advance_timer(now, tsc);
        let (old, new) = (self.timer_mode(), entry.timer_mode());
        self.registers.lvt[LVT_TIMER] = entry.into_bits();
        if old != new && !(old.counts() && new.counts()) {
            let divide = self.registers.timer.divide;
            self.registers.timer = Timer { divide, ..Timer::RESET };
        }
    }

    /// IA32_TSC_DEADLINE, which is zero if disarmed or in another mode (SDM 11.5.4.1).
    pub fn tsc_deadline(&self) -> u64 {
        self.registers.timer.tsc_deadline
    }

    /// Writes IA32_TSC_DEADLINE. Zero disarms the timer, and a value that `tsc` has already reached
    /// interrupts at once. Outside TSC-deadline mode the write is ignored (SDM 11.5.4.1). The
    /// caller must then read [`LocalApic::timer_deadline`] again.
    #[inline]
    pub fn set_tsc_deadline(&mut self, value: u64, now: Instant, tsc: GuestTsc) {
        if self.timer_mode() == TimerMode::TscDeadline {
            self.registers.timer.tsc_deadline = value;
            self.advance_timer(now, tsc);
        }
    }

    #[inline]
    fn timer_mode(&self) -> TimerMode {
        self.timer_entry().timer_mode()
    }

    #[inline]
    fn timer_entry(&self) -> LvtEntry {
        LvtEntry::from_bits(self.registers.lvt[LVT_TIMER])
    }
}
