//! The model of one counter of the 8254.
//!
//! It does not count step by step: each value is computed from the clock tick at which the count
//! began, so the cost does not depend on the time that has passed.

use crate::registers::{Access, ControlWord, Status};

/// The activity of the counting element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    /// No count has been written since the control word.
    Idle,
    /// It waits for the gate to rise.
    Armed,
    /// It has been counting since this tick, or begins then.
    Counting(i64),
    /// The gate has stopped it after this many ticks.
    Stopped(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counter {
    /// The control word without its selection of a counter.
    pub(crate) control: ControlWord,
    /// The count register.
    pub(crate) count: u16,
    /// The count that the counting element was loaded with last.
    pub(crate) active: u16,
    /// The count register has a new count that is not loaded into the counting element yet.
    pub(crate) reload: bool,
    /// The tick at which it will be loaded, unless that depends on the gate.
    pub(crate) reload_at: Option<i64>,
    pub(crate) run: Run,
    pub(crate) gate: bool,
    /// The low byte of a count whose high byte has not been written yet.
    pub(crate) low_byte: Option<u8>,
    /// The next read returns the high byte of a two-byte count.
    pub(crate) reads_high: bool,
    pub(crate) latched_count: Option<u16>,
    pub(crate) latched_status: Option<u8>,
}

impl Counter {
    /// A counter at power-on, which the data sheet leaves undefined: mode 3, OUT high, idle.
    pub(crate) const fn power_on(gate: bool) -> Self {
        Self {
            control: ControlWord::new().with_access(Access::LowThenHigh).with_mode(3),
            count: 0,
            active: 0,
            reload: false,
            reload_at: None,
            run: Run::Idle,
            gate,
            low_byte: None,
            reads_high: false,
            latched_count: None,
            latched_status: None,
        }
    }

    pub(crate) fn access(&self) -> Access {
        self.control.access()
    }

    /// The mode; bit 2 is not decoded in modes 2 and 3 (DS figure 7).
    pub(crate) fn mode(&self) -> u8 {
        let mode = self.control.mode();
        if mode >= 6 { mode - 4 } else { mode }
    }

    fn modulus(&self) -> i64 {
        if self.control.bcd() { 10_000 } else { 0x1_0000 }
    }

    /// The number of ticks of a count. Zero is the largest count (DS, "Minimum and maximum initial
    /// counts"). One is illegal in modes 2 and 3 and counts as two there.
    pub(crate) fn ticks(&self, count: u16) -> i64 {
        let value = if self.control.bcd() { from_bcd(count) } else { i64::from(count) };
        match (value, self.mode()) {
            (0, _) => self.modulus(),
            (1, 2 | 3) => 2,
            _ => value,
        }
    }

    pub(crate) fn write_control(&mut self, control: ControlWord) {
        *self =
            Self { control, count: self.count, active: self.active, ..Self::power_on(self.gate) };
    }

    pub(crate) fn write(&mut self, byte: u8, tick: i64) {
        match self.access() {
            Access::Low => self.load(u16::from(byte), tick),
            Access::High => self.load(u16::from(byte) << 8, tick),
            Access::LowThenHigh | Access::Latch => match self.low_byte.take() {
                Some(low) => self.load(u16::from_le_bytes([low, byte]), tick),
                None => {
                    self.low_byte = Some(byte);
                    // "Writing the first byte disables counting" (DS, mode 0).
                    if self.mode() == 0 {
                        self.run = Run::Idle;
                    }
                }
            },
        }
    }

    /// Takes a complete count. Counting begins with the tick after the write (DS, "Mode
    /// definitions").
    fn load(&mut self, count: u16, tick: i64) {
        self.count = count;
        match (self.mode(), self.run) {
            (1 | 5, Run::Idle | Run::Armed) => {
                self.run = Run::Armed;
                self.reload = true;
            }
            (1 | 5, _) => self.reload = true,
            (2 | 3, Run::Counting(start)) => {
                self.reload = true;
                self.reload_at = Some(self.boundary(start, tick));
            }
            (2 | 3, Run::Idle) if !self.gate => {
                self.run = Run::Armed;
                self.reload = true;
            }
            (2 | 3, _) if !self.gate => self.reload = true,
            (0 | 4, _) if !self.gate => {
                self.active = count;
                self.run = Run::Stopped(0);
            }
            _ => self.begin(tick),
        }
    }

    fn begin(&mut self, tick: i64) {
        self.active = self.count;
        self.reload = false;
        self.reload_at = None;
        self.run = Run::Counting(tick.saturating_add(1));
    }

    /// Sets the level of the gate (DS figure 21).
    pub(crate) fn set_gate(&mut self, gate: bool, tick: i64) {
        if gate == self.gate {
            return;
        }
        self.gate = gate;
        match (self.mode(), self.run, gate) {
            (_, Run::Idle, _) => {}
            (1 | 2 | 3 | 5, _, true) => self.begin(tick),
            (2 | 3, Run::Counting(start), false) => {
                let elapsed = tick.saturating_sub(start).max(0);
                self.run = Run::Stopped(elapsed % self.ticks(self.active));
                self.reload_at = None;
            }
            (0 | 4, Run::Counting(start), false) => {
                self.run = Run::Stopped(tick.saturating_sub(start).max(0));
            }
            (0 | 4, Run::Stopped(elapsed), true) => {
                self.run = Run::Counting(tick.saturating_sub(elapsed));
            }
            _ => {}
        }
    }

    /// Loads a new count once the period (mode 2) or half period (mode 3) has ended.
    pub(crate) fn settle(&mut self, tick: i64) {
        let Some(boundary) = self.reload_at.filter(|at| *at <= tick) else { return };
        let was_high = self.ends_high(boundary);
        self.active = self.count;
        self.reload = false;
        self.reload_at = None;
        let skipped = if was_high { self.high_ticks(self.active) } else { 0 };
        self.run = Run::Counting(boundary.saturating_sub(skipped));
    }

    /// The first tick after `tick` at which a new count is loaded: the end of the period, or in
    /// mode 3 the end of either half.
    fn boundary(&self, start: i64, tick: i64) -> i64 {
        let ticks = self.ticks(self.active);
        let elapsed = tick.saturating_sub(start).max(0);
        let high = self.high_ticks(self.active);
        let left = match elapsed.rem_euclid(ticks) {
            phase if self.mode() == 3 && phase < high => high - phase,
            phase => ticks - phase,
        };
        start.saturating_add(elapsed).saturating_add(left)
    }

    /// Whether `boundary` ends the high half of a period in mode 3.
    fn ends_high(&self, boundary: i64) -> bool {
        let Run::Counting(start) = self.run else { return false };
        self.mode() == 3 && boundary.saturating_sub(start) % self.ticks(self.active) != 0
    }

    /// Ticks of the high half period in mode 3, which is the longer one of an odd count (DS, mode
    /// 3).
    fn high_ticks(&self, count: u16) -> i64 {
        (self.ticks(count) + 1) / 2
    }

    /// The OUT pin at `tick` (DS, "Mode definitions").
    pub(crate) fn out(&self, tick: i64) -> bool {
        let ticks = self.ticks(self.active);
        let elapsed = match self.run {
            Run::Counting(start) => tick.saturating_sub(start),
            Run::Stopped(elapsed) => return self.mode() != 0 || elapsed >= ticks,
            Run::Idle | Run::Armed => return self.mode() != 0,
        };
        match self.mode() {
            0 | 1 => elapsed >= ticks,
            2 => elapsed.rem_euclid(ticks) != ticks - 1 || elapsed < 0,
            3 => elapsed.rem_euclid(ticks) < self.high_ticks(self.active) || elapsed < 0,
            _ => elapsed != ticks,
        }
    }

    /// The first tick after `tick` at which OUT rises by itself.
    pub(crate) fn next_rise(&self, tick: i64) -> Option<i64> {
        let Run::Counting(start) = self.run else { return None };
        let ticks = self.ticks(self.active);
        let rise = match self.mode() {
            0 | 1 => start.saturating_add(ticks),
            2 | 3 => match self.reload_at {
                Some(boundary) if self.ends_high(boundary) => {
                    let low = self.ticks(self.count) - self.high_ticks(self.count);
                    boundary.saturating_add(low)
                }
                _ => {
                    let periods = tick.saturating_sub(start).max(0) / ticks + 1;
                    start.saturating_add(periods.saturating_mul(ticks))
                }
            },
            _ => start.saturating_add(ticks).saturating_add(1),
        };
        (rise > tick).then_some(rise)
    }

    /// The value of the counting element at `tick`.
    fn value(&self, tick: i64) -> u16 {
        let elapsed = match self.run {
            Run::Counting(start) if tick >= start => tick.saturating_sub(start),
            Run::Stopped(elapsed) => elapsed,
            Run::Idle | Run::Armed | Run::Counting(_) => return self.active,
        };
        let ticks = self.ticks(self.active);
        let value = match self.mode() {
            2 => ticks - elapsed % ticks,
            3 => {
                // In each half it counts down by two, from the count rounded down to an even
                // number.
                let (phase, high) = (elapsed % ticks, self.high_ticks(self.active));
                let in_half = if phase < high { phase } else { phase - high };
                (ticks & !1) - 2 * in_half
            }
            _ => ticks.saturating_sub(elapsed),
        };
        let value = value.rem_euclid(self.modulus());
        if self.control.bcd() { to_bcd(value) } else { value as u16 }
    }

    pub(crate) fn latch_count(&mut self, tick: i64) {
        if self.latched_count.is_none() {
            self.latched_count = Some(self.value(tick));
        }
    }

    pub(crate) fn latch_status(&mut self, tick: i64) {
        if self.latched_status.is_none() {
            self.latched_status = Some(self.status(tick));
        }
    }

    fn status(&self, tick: i64) -> u8 {
        let waits = match self.run {
            Run::Idle => true,
            Run::Counting(start) => tick < start || self.reload,
            Run::Armed | Run::Stopped(_) => self.reload,
        };
        let control = Status::from_bits(self.control.into_bits());
        control.with_null_count(waits).with_out(self.out(tick)).into_bits()
    }

    /// Reads the counter's port, which returns a latched status first, then a latched count, then
    /// the current count.
    pub(crate) fn read(&mut self, tick: i64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let [low, high] = self.latched_count.unwrap_or_else(|| self.value(tick)).to_le_bytes();
        let (byte, last) = match self.access() {
            Access::Low => (low, true),
            Access::High => (high, true),
            Access::LowThenHigh | Access::Latch => {
                self.reads_high = !self.reads_high;
                if self.reads_high { (low, false) } else { (high, true) }
            }
        };
        if last {
            self.latched_count = None;
        }
        byte
    }
}

/// The value of four BCD digits. A digit above 9, which is illegal, counts with its binary value.
fn from_bcd(digits: u16) -> i64 {
    [12, 8, 4, 0].iter().fold(0, |value, shift| value * 10 + i64::from((digits >> shift) & 0xF))
}

fn to_bcd(value: i64) -> u16 {
    let digit = |place: i64| (value / place % 10) as u16;
    digit(1000) << 12 | digit(100) << 8 | digit(10) << 4 | digit(1)
}
