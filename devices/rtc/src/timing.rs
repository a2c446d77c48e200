//! The divider chain, which causes updates, alarms, periodic interrupts.

use crate::Rtc;
use crate::registers::*;
use device_model::Instant;

impl Rtc {
    /// Whether the divider runs, which it does with the setting for a PC's crystal only (DS table
    /// 4).
    pub(crate) fn divider_runs(&self) -> bool {
        self.a.divider() == RegisterA::DIVIDER_32768_HZ
    }

    /// Whether the calendar is updated each second.
    fn updates(&self) -> bool {
        self.divider_runs() && !self.b.contains(Control::SET)
    }

    pub(crate) fn update_in_progress(&self) -> bool {
        self.updates() && self.latest.since(self.second_start) >= SECOND - UPDATE_WARNING
    }

    /// Writes register A. After the divider is started, the first update follows half a second
    /// later (DS, "Divider control").
    pub(crate) fn write_a(&mut self, value: u8) {
        let ran = self.divider_runs();
        self.a = RegisterA::from_bits(value).with_update_in_progress(false);
        if self.divider_runs() && !ran {
            // Time can not go below zero: right after the clock's start, the second is a full one.
            let start = self.latest.as_nanos().saturating_sub(SECOND / 2);
            self.second_start = Instant::from_nanos(start);
        }
    }

    pub(crate) fn run_until(&mut self, now: Instant) {
        let before = self.latest;
        self.latest = self.latest.max(now);
        if !self.divider_runs() {
            return;
        }
        let seconds = self.latest.since(self.second_start) / SECOND;
        let periods = self.periods(before);
        if self.rate().is_some() && (seconds != 0 || self.periods(self.latest) != periods) {
            self.flags |= Control::PERIODIC;
        }
        self.second_start = self.second_start.saturating_add(seconds * SECOND);
        if seconds == 0 || !self.updates() {
            return;
        }
        self.flags |= Control::UPDATE_ENDED;
        if self.alarm_time().is_some_and(|alarm| alarm.next(&self.calendar) <= seconds) {
            self.flags |= Control::ALARM;
        }
        self.calendar = self.calendar.after(seconds);
    }

    /// The periodic rate in Hz for a 32,768 Hz crystal (DS table 5). Codes 1 and 2 have the rates
    /// of codes 8 and 9.
    fn rate(&self) -> Option<u64> {
        match self.a.rate() {
            0 => None,
            1 => Some(256),
            2 => Some(128),
            code => Some(32_768 >> (code - 1)),
        }
    }

    /// Whole periods from the start of the current second to `at`.
    fn periods(&self, at: Instant) -> u64 {
        let elapsed = at.since(self.second_start);
        self.rate().map_or(0, |rate| elapsed.saturating_mul(rate) / SECOND)
    }

    /// The earliest time at which an enabled interrupt becomes active.
    pub(crate) fn next_event(&self) -> Option<Instant> {
        if !self.divider_runs() || self.interrupt() {
            return None;
        }
        let wants = |source| self.b.contains(source);
        let after = |seconds: u64| self.second_start.saturating_add(seconds.saturating_mul(SECOND));
        let updates = self.updates();
        let update = (updates && wants(Control::UPDATE_ENDED)).then(|| after(1));
        let alarm = self
            .alarm_time()
            .filter(|_| updates && wants(Control::ALARM))
            .map(|alarm| after(alarm.next(&self.calendar)));
        let periodic = self.rate().filter(|_| wants(Control::PERIODIC)).map(|rate| {
            let next = self.periods(self.latest) + 1;
            self.second_start.saturating_add((next * SECOND).div_ceil(rate))
        });
        [update, alarm, periodic].into_iter().flatten().min()
    }
}
