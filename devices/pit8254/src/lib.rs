//! The model of an Intel 8254 timer as a PC wires it.
//!
//! It comprises the three counters at ports 40h to 43h, and port 61h with the gate and the output
//! of counter 2. It follows Intel's data sheet 231164 ("DS").
//!
//! Counter 0 drives IRQ 0. Interrupt controllers react to the rising edges of its output, so the
//! shell reads these from [`Pit::take_edge`] and pulses the line (low, then high) for each. Edges
//! are reported no more often than once in the minimum period given at construction, and edges
//! between coalesce, so a count of one can not starve the machine. [`Pit::output`] has the exact
//! level of each output.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

#[cfg(test)]
extern crate std;

mod counter;
mod inspect;
mod registers;
mod state;
#[cfg(test)]
mod tests;

pub use state::{SAVED_VERSION, Saved, SavedCounter, SavedRun};

use counter::Counter;
use device_model::{Device, Inspect, Instant, RestoreError};
use registers::*;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// The three counters and port 61h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pit {
    /// Minimum time between two interrupts, in nanoseconds.
    minimum_period: u64,
    latest: Instant,
    counters: [Counter; 3],
    /// The writable bits of port 61h.
    speaker: SpeakerPort,
    /// The tick up to which OUT0 has been checked for rising edges.
    examined: i64,
    /// OUT0 has risen, and the interrupt is still delayed by the minimum period.
    due: bool,
    /// There is an interrupt that the shell has not taken yet.
    edge: bool,
    not_before: Instant,
}

impl Pit {
    /// A timer at power-on, with no counter running. `minimum_period` is in nanoseconds.
    pub fn new(minimum_period: u64) -> Self {
        Self::power_on(minimum_period, Instant::START)
    }

    fn power_on(minimum_period: u64, latest: Instant) -> Self {
        Self {
            minimum_period,
            latest,
            // Gates 0 and 1 are tied high; port 61h drives gate 2.
            counters: [Counter::power_on(true), Counter::power_on(true), Counter::power_on(false)],
            speaker: SpeakerPort::new(),
            examined: tick(latest),
            due: false,
            edge: false,
            not_before: Instant::START,
        }
    }

    /// Reads a byte from port 40h to 43h or 61h. Other ports read all ones, and so does the control
    /// word, which is write-only.
    pub fn read(&mut self, port: u16, now: Instant) -> u8 {
        self.advance(now);
        let tick = tick(self.latest);
        match port {
            COUNTER_0..=COUNTER_2 => self.counter(port).map_or(0xFF, |counter| counter.read(tick)),
            SPEAKER => self.read_speaker(),
            _ => 0xFF,
        }
    }

    /// Writes a byte to port 40h to 43h or 61h; writes to other ports are ignored.
    pub fn write(&mut self, port: u16, value: u8, now: Instant) {
        self.advance(now);
        let tick = tick(self.latest);
        let was_high = self.out(0);
        match port {
            COUNTER_0..=COUNTER_2 => {
                if let Some(counter) = self.counter(port) {
                    counter.write(value, tick);
                }
            }
            CONTROL => self.write_control(ControlWord::from_bits(value), tick),
            SPEAKER => {
                self.speaker = SpeakerPort::from_bits(value & SpeakerPort::WRITABLE);
                let [_, _, counter] = &mut self.counters;
                counter.set_gate(self.speaker.gate(), tick);
            }
            _ => {}
        }
        // A change of the mode can also raise OUT0.
        self.due |= self.out(0) && !was_high;
        self.fire();
    }

    /// The level of an output (0 to 2) at `now`; outputs beyond 2 are low.
    pub fn output(&mut self, counter: usize, now: Instant) -> bool {
        self.advance(now);
        self.out(counter)
    }

    /// Whether OUT0 has risen since the last call, so that the shell must pulse IRQ 0.
    #[must_use]
    pub fn take_edge(&mut self) -> bool {
        core::mem::take(&mut self.edge)
    }

    /// The level at the speaker: OUT2 if port 61h connects it.
    pub fn speaker(&mut self, now: Instant) -> bool {
        self.output(2, now) && self.speaker.data()
    }

    fn counter(&mut self, port: u16) -> Option<&mut Counter> {
        self.counters.get_mut(usize::from(port.checked_sub(COUNTER_0)?))
    }

    fn out(&self, counter: usize) -> bool {
        let tick = tick(self.latest);
        self.counters.get(counter).is_some_and(|counter| counter.out(tick))
    }

    fn write_control(&mut self, word: ControlWord, tick: i64) {
        let select = word.select();
        if select == READ_BACK {
            self.read_back(ReadBack::from_bits(word.into_bits()), tick);
        } else if let Some(counter) = self.counters.get_mut(usize::from(select)) {
            if word.access() == Access::Latch {
                counter.latch_count(tick);
            } else {
                counter.write_control(word.with_select(0));
            }
        }
    }

    fn read_back(&mut self, command: ReadBack, tick: i64) {
        for (index, counter) in self.counters.iter_mut().enumerate() {
            if command.counters() >> index & 1 == 0 {
                continue;
            }
            if !command.no_count() {
                counter.latch_count(tick);
            }
            if !command.no_status() {
                counter.latch_status(tick);
            }
        }
    }

    fn read_speaker(&self) -> u8 {
        let refresh = (self.latest.as_nanos() / REFRESH_NANOS) & 1 != 0;
        self.speaker.with_refresh(refresh).with_out2(self.out(2)).into_bits()
    }

    /// Makes an interrupt of a rising edge, as soon as the minimum period allows.
    fn fire(&mut self) {
        if self.due && self.latest >= self.not_before {
            self.due = false;
            self.edge = true;
            self.not_before = self.latest.saturating_add(self.minimum_period);
        }
    }
}

impl Device for Pit {
    type Saved = Saved;

    fn reset(&mut self, now: Instant) {
        *self = Self::power_on(self.minimum_period, self.latest.max(now));
    }

    fn deadline(&self) -> Option<Instant> {
        if self.due {
            return Some(self.not_before);
        }
        let [counter, _, _] = &self.counters;
        let rise = counter.next_rise(self.examined)?;
        Some(instant(rise).max(self.not_before))
    }

    fn advance(&mut self, now: Instant) {
        self.latest = self.latest.max(now);
        let tick = tick(self.latest);
        let [counter, _, _] = &self.counters;
        self.due |= counter.next_rise(self.examined).is_some_and(|rise| rise <= tick);
        self.examined = tick;
        for counter in &mut self.counters {
            counter.settle(tick);
        }
        self.fire();
    }

    fn save(&self) -> Saved {
        state::save(self)
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), RestoreError> {
        *self = state::restore(self.minimum_period, saved)?;
        Ok(())
    }

    fn inspect(&self, to: &mut dyn Inspect) {
        inspect::inspect(self, to);
    }
}

/// The number of clock ticks up to a time. It is below 2^55, since time has 64 bits of nanoseconds.
fn tick(at: Instant) -> i64 {
    (u128::from(at.as_nanos()) * u128::from(CLOCK_HZ) / NANOS_PER_SECOND) as i64
}

/// The first time at which [`tick`] returns `tick`.
fn instant(tick: i64) -> Instant {
    let nanos = u128::from(tick.max(0) as u64) * NANOS_PER_SECOND;
    let nanos = nanos.div_ceil(u128::from(CLOCK_HZ));
    Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
