//! The model of the MC146818 real-time clock in a PC.
//!
//! It comprises the clock with its alarm and interrupts, the 114 bytes of memory behind it, the
//! century byte at index 32h and the NMI mask. The source is Motorola's data sheet ("DS").
//!
//! Decided where the data sheet leaves room:
//! - The update takes no time: the registers change at the end of the second, and UIP is set for
//!   the 244 µs before it.
//! - A value that is no time (an hour of 77, say) is taken modulo its range when it is written. An
//!   alarm byte that is no time matches never.
//! - The time runs as long as the divider does, and while SET holds it back it is lost, as on
//!   silicon.
//! - Periodic interrupts that nobody took coalesce: the flag stays set until register C is read,
//!   so each costs the guest an exit and needs no further bound.
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
use device::{Device, Inspect, Instant, RestoreError};
use registers::*;

/// The real-time clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtc {
    latest: Instant,
    /// When the current second of the divider began.
    second_start: Instant,
    calendar: Calendar,
    /// Alarm bytes, in the order seconds, minutes, hours.
    alarm: [u8; 3],
    index: Index,
    /// UIP is kept clear here: it is computed when the guest reads it.
    a: RegisterA,
    b: Control,
    flags: Control,
    /// Memory by index; the places of registers stay zero.
    memory: [[u8; 32]; 4],
}

impl Rtc {
    /// A clock that shows the UTC `unix_seconds` at `now`, in BCD and 24-hour mode.
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

    /// Reads a byte from port 70h or 71h; all ones from any other, and from the index, which is
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

    /// Writes a byte to port 70h or 71h; to any other it is lost.
    pub fn write(&mut self, port: u16, value: u8, now: Instant) {
        self.advance(now);
        match port {
            INDEX => self.index = Index::from_bits(value),
            DATA => self.write_register(self.index.register(), value),
            _ => {}
        }
    }

    /// What a read of a register (0 to 127) would return, without clearing anything.
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

    /// Register B. SET ends an update in progress with its interrupt (DS, "Register B").
    fn write_b(&mut self, value: u8) {
        self.b = Control::from_bits_retain(value);
        if self.b.contains(Control::SET) {
            self.b.remove(Control::UPDATE_ENDED);
        }
    }

    fn encode(&self, value: u8) -> u8 {
        if self.b.contains(Control::BINARY) { value } else { ((value / 10) << 4) | (value % 10) }
    }

    /// The value of a byte; a digit above 9 counts as it stands.
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

    /// The alarm, unless one of its bytes is no time.
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

/// A value that counts from one.
fn from_one(value: u8, range: u8) -> u8 {
    if value == 0 { 1 } else { (value - 1) % range + 1 }
}

fn is_memory(index: u8) -> bool {
    index > D && index != CENTURY && usize::from(index) < SIZE
}

impl Device for Rtc {
    type Saved = Saved;

    /// The RESET pin: it disables the interrupts and the square wave, and clears the flags. The
    /// time, the alarm and the memory are the battery's (DS, "Reset").
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
