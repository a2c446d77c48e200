//! The model of a PC's MC146818 real-time clock.
//!
//! It comprises the clock with its alarm and interrupts, 113 bytes of memory, the century byte at
//! index 32h and the NMI mask. It follows Motorola's data sheet ("DS").
//!
//! Choices that the data sheet leaves open:
//! - An update takes no time: the registers change at the end of the second, and UIP is set for the
//!   244 µs before.
//! - An invalid value (for example hour 77) is reduced modulo its range when it is written. An
//!   invalid alarm byte never matches.
//! - The time advances only while the divider runs. Seconds that pass while SET is on are lost, as
//!   on silicon.
//! - Periodic interrupts coalesce: the flag stays set until register C is read. Each interrupt thus
//!   costs the guest an exit, and no further bound on the rate is needed.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

#[cfg(test)]
extern crate std;

mod calendar;
mod inspect;
mod registers;
mod state;
#[cfg(test)]
mod tests;
mod timing;

pub use state::{SAVED_VERSION, Saved};

use calendar::{Alarm, Calendar};
use device_model::{Device, Inspect, Instant, RestoreError};
use registers::*;

/// The real-time clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtc {
    latest: Instant,
    /// The time at which the divider's current second began.
    second_start: Instant,
    calendar: Calendar,
    /// Alarm bytes, in the order seconds, minutes, hours.
    alarm: [u8; 3],
    index: Index,
    /// UIP is kept clear here: it is computed when the guest reads it.
    a: RegisterA,
    b: Control,
    flags: Control,
    /// Memory by index; the bytes at the indices of registers stay zero.
    memory: [[u8; 32]; 4],
}

impl Rtc {
    /// A clock that shows the UTC time `unix_seconds` at `now`, in BCD and 24-hour mode.
    pub fn new(unix_seconds: u64, now: Instant) -> Self {
        Self {
            latest: now,
            second_start: now,
            calendar: Calendar::from_unix(unix_seconds),
            alarm: [0; 3],
            index: Index::new(),
            a: RegisterA::BY_BIOS,
            b: Control::HOURS_24,
            flags: Control::empty(),
            memory: [[0; 32]; 4],
        }
    }

    /// Reads a byte from port 71h. Other ports read all ones, and so does port 70h, which is
    /// write-only.
    pub fn read(&mut self, port: u16, now: Instant) -> u8 {
        self.advance(now);
        if port != DATA {
            return 0xFF;
        }
        match self.index.register() {
            C => {
                let value = self.c();
                self.flags = Control::empty();
                value
            }
            index => self.peek(index),
        }
    }

    /// Writes a byte to port 70h or 71h; writes to other ports are ignored.
    pub fn write(&mut self, port: u16, value: u8, now: Instant) {
        self.advance(now);
        match port {
            INDEX => self.index = Index::from_bits(value),
            DATA => self.write_register(self.index.register(), value),
            _ => {}
        }
    }

    /// The value that a read of a register (0 to 127) returns, without its side effects.
    pub fn peek(&self, index: u8) -> u8 {
        let [second, minute, hour] = self.alarm;
        match index & 0x7F {
            SECONDS => self.encode(self.calendar.second),
            MINUTES => self.encode(self.calendar.minute),
            HOURS => self.encode_hour(self.calendar.hour),
            WEEKDAY => self.encode(self.calendar.weekday),
            DAY => self.encode(self.calendar.day),
            MONTH => self.encode(self.calendar.month),
            YEAR => self.encode(self.calendar.year),
            CENTURY => self.encode(self.calendar.century),
            ALARM_SECONDS => second,
            ALARM_MINUTES => minute,
            ALARM_HOURS => hour,
            A => self.a.with_update_in_progress(self.update_in_progress()).into_bits(),
            B => self.b.bits(),
            C => self.c(),
            D => D_VALID,
            index => self.memory[usize::from(index >> 5) & 3][usize::from(index & 31)],
        }
    }

    /// Puts a byte into memory, as the maker of a board does before the power comes on. The indices of
    /// registers stay what they are.
    pub fn set_memory(&mut self, index: u8, value: u8) {
        let index = index & 0x7F;
        if index > D && index != CENTURY {
            self.write_register(index, value);
        }
    }

    /// The level of IRQ 8, active high.
    pub fn interrupt(&self) -> bool {
        self.flags.intersects(self.b & Control::INTERRUPTS)
    }

    fn c(&self) -> u8 {
        self.flags.bits() | if self.interrupt() { C_REQUEST } else { 0 }
    }

    fn write_register(&mut self, index: u8, value: u8) {
        match index {
            SECONDS => self.calendar.second = self.decode(value) % 60,
            MINUTES => self.calendar.minute = self.decode(value) % 60,
            HOURS => self.calendar.hour = self.decode_hour(value) % 24,
            WEEKDAY => self.calendar.weekday = from_one(self.decode(value), 7),
            DAY => self.calendar.day = from_one(self.decode(value), 31),
            MONTH => self.calendar.month = from_one(self.decode(value), 12),
            YEAR => self.calendar.year = self.decode(value) % 100,
            CENTURY => self.calendar.century = self.decode(value) % 100,
            ALARM_SECONDS => self.alarm[0] = value,
            ALARM_MINUTES => self.alarm[1] = value,
            ALARM_HOURS => self.alarm[2] = value,
            A => self.write_a(value),
            B => self.write_b(value),
            C | D => {}
            _ => self.memory[usize::from(index >> 5) & 3][usize::from(index & 31)] = value,
        }
    }

    /// Writes register B. SET aborts an update in progress and clears UIE (DS, "Register B").
    fn write_b(&mut self, value: u8) {
        self.b = Control::from_bits_retain(value);
        if self.b.contains(Control::SET) {
            self.b.remove(Control::UPDATE_ENDED);
        }
    }

    fn encode(&self, value: u8) -> u8 {
        if self.b.contains(Control::BINARY) { value } else { ((value / 10) << 4) | (value % 10) }
    }

    /// The value of a byte. A BCD digit above 9 counts with its binary value.
    fn decode(&self, byte: u8) -> u8 {
        if self.b.contains(Control::BINARY) { byte } else { (byte >> 4) * 10 + (byte & 0xF) }
    }

    fn encode_hour(&self, hour: u8) -> u8 {
        if self.b.contains(Control::HOURS_24) {
            return self.encode(hour);
        }
        let afternoon = if hour >= 12 { HOURS_PM } else { 0 };
        self.encode((hour + 11) % 12 + 1) | afternoon
    }

    fn decode_hour(&self, byte: u8) -> u8 {
        if self.b.contains(Control::HOURS_24) {
            return self.decode(byte);
        }
        let afternoon = if byte & HOURS_PM != 0 { 12 } else { 0 };
        self.decode(byte & !HOURS_PM) % 12 + afternoon
    }

    /// The alarm; `None` if one of its bytes is invalid.
    fn alarm_time(&self) -> Option<Alarm> {
        let [second, minute, hour] = self.alarm;
        let place = |byte: u8, value: u8, range: u8| match byte & ALARM_ANY {
            ALARM_ANY => Some(None),
            _ => (value < range).then_some(Some(value)),
        };
        Some(Alarm {
            hour: place(hour, self.decode_hour(hour), 24)?,
            minute: place(minute, self.decode(minute), 60)?,
            second: place(second, self.decode(second), 60)?,
        })
    }
}

/// Reduces a value to the range from 1 to `range`.
fn from_one(value: u8, range: u8) -> u8 {
    if value == 0 { 1 } else { (value - 1) % range + 1 }
}

fn is_memory(index: u8) -> bool {
    index > D && index != CENTURY && usize::from(index) < SIZE
}

impl Device for Rtc {
    type Saved = Saved;

    /// Acts as the RESET pin: disables the interrupts and the square wave, and clears the flags.
    /// The battery keeps the time, the alarm and the memory (DS, "Reset").
    fn reset(&mut self, now: Instant) {
        self.advance(now);
        self.b -= Control::INTERRUPTS | Control::SQUARE_WAVE;
        self.flags = Control::empty();
        self.index = Index::new();
    }

    fn deadline(&self) -> Option<Instant> {
        self.next_event()
    }

    fn advance(&mut self, now: Instant) {
        self.run_until(now);
    }

    fn save(&self) -> Saved {
        state::save(self)
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), RestoreError> {
        *self = state::restore(saved)?;
        Ok(())
    }

    fn inspect(&self, to: &mut dyn Inspect) {
        inspect::inspect(self, to);
    }
}
