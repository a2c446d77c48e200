//! The model of ACPI's fixed power-management registers.
//!
//! It comprises the PM1a event and control blocks and the 32-bit timer, in one block of 16 bytes
//! (ACPI 6.5, 4.8). The machine is always in ACPI mode: FADT SMI_CMD is 0, and SCI_EN always reads
//! 1 (ACPI 4.8.2.3). The only sleeping state is S5, soft off. The reset register is in the crate
//! `reset-control`.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

#[cfg(test)]
extern crate std;

mod inspect;
pub mod registers;
mod state;
#[cfg(test)]
mod tests;

pub use state::{SAVED_VERSION, Saved};

use device_model::{Device, Inspect, Instant, RestoreError};
use registers::*;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// A request of the guest to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Enter S5: switch the machine off.
    PowerOff,
}

/// A fixed event from outside the block (ACPI 4.8.3.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FixedEvent {
    /// Someone pressed the power button.
    PowerButton,
    /// The real-time clock's alarm fired.
    RtcAlarm,
    /// Firmware released the global lock.
    GlobalLock,
}

/// The power management block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcpiPm {
    latest: Instant,
    status: Events,
    enable: Events,
    control: Control,
}

impl AcpiPm {
    /// The block after reset. The timer counts from the start of the clock.
    pub fn new() -> Self {
        Self::power_on(Instant::START)
    }

    fn power_on(latest: Instant) -> Self {
        let (status, enable) = (Events::empty(), Events::empty());
        Self { latest, status, enable, control: Control::RESET }
    }

    /// Reads `width` bytes (1, 2 or 4) at `offset` in the block. Bytes without a register, or
    /// beyond the block, read zero.
    pub fn read(&mut self, offset: u16, width: u8, now: Instant) -> u32 {
        self.advance(now);
        let mut bytes = [0; 4];
        for (at, byte) in (offset..=u16::MAX).zip(bytes.iter_mut().take(usize::from(width))) {
            *byte = self.read_byte(at);
        }
        u32::from_le_bytes(bytes)
    }

    /// Writes `width` bytes (1, 2 or 4) at `offset` in the block. Sleep types other than that of S5
    /// have no effect, because the machine has no other sleeping state.
    pub fn write(&mut self, offset: u16, width: u8, value: u32, now: Instant) -> Option<Effect> {
        self.advance(now);
        let mut effect = None;
        let bytes = value.to_le_bytes().into_iter().take(usize::from(width));
        for (at, byte) in (offset..=u16::MAX).zip(bytes) {
            effect = self.write_byte(at, byte).or(effect);
        }
        effect
    }

    /// Sets the status bit of an event.
    pub fn raise(&mut self, event: FixedEvent) {
        self.status |= match event {
            FixedEvent::PowerButton => Events::POWER_BUTTON,
            FixedEvent::RtcAlarm => Events::RTC,
            FixedEvent::GlobalLock => Events::GLOBAL,
        };
    }

    /// The level of the system control interrupt, which is active while the status bit of an
    /// enabled event is set (ACPI 4.8.3.1).
    pub fn interrupt(&self) -> bool {
        self.status.intersects(self.enable)
    }

    fn read_byte(&self, offset: u16) -> u8 {
        let (register, place) = locate(offset);
        let value = match register {
            PM1_STATUS => u32::from(self.status.bits()),
            PM1_ENABLE => u32::from(self.enable.bits()),
            PM1_CONTROL => u32::from(self.control.into_bits()),
            PM_TIMER => ticks(self.latest) as u32,
            _ => 0,
        };
        (value >> (8 * place)) as u8
    }

    fn write_byte(&mut self, offset: u16, byte: u8) -> Option<Effect> {
        let (register, place) = locate(offset);
        let shift = 8 * u32::from(place & 1);
        let (mask, value) = (0xFF << shift, u16::from(byte) << shift);
        match register {
            PM1_STATUS => self.status -= Events::from_bits_truncate(value),
            PM1_ENABLE => {
                let kept = self.enable.bits() & !mask;
                self.enable = Events::from_bits_truncate(kept | value);
            }
            PM1_CONTROL => {
                let kept = self.control.into_bits() & !mask;
                let new = kept | (value & Control::WRITABLE);
                self.control = Control::from_bits(new).with_sci_enable(true);
                let sleeps = Control::from_bits(value).sleep_enable();
                let off = sleeps && self.control.sleep_type() == SLP_TYP_S5;
                return off.then_some(Effect::PowerOff);
            }
            _ => {}
        }
        None
    }
}

impl Default for AcpiPm {
    fn default() -> Self {
        Self::new()
    }
}

impl Device for AcpiPm {
    type Saved = Saved;

    fn reset(&mut self, now: Instant) {
        *self = Self::power_on(self.latest.max(now));
    }

    fn deadline(&self) -> Option<Instant> {
        let waits = self.enable.contains(Events::TIMER) && !self.status.contains(Events::TIMER);
        waits.then(|| instant((half_periods(self.latest) + 1) << (TIMER_BITS - 1)))
    }

    /// The timer's status is set each time the most significant bit changes (ACPI 4.8.2.1).
    fn advance(&mut self, now: Instant) {
        let before = half_periods(self.latest);
        self.latest = self.latest.max(now);
        if half_periods(self.latest) != before {
            self.status |= Events::TIMER;
        }
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

/// The register that contains a byte, and the byte's offset in the register.
fn locate(offset: u16) -> (u16, u16) {
    let start = if offset >= PM_TIMER { offset & !3 } else { offset & !1 };
    (start, offset - start)
}

/// Timer ticks since the start of the clock.
fn ticks(at: Instant) -> u64 {
    (u128::from(at.as_nanos()) * u128::from(TIMER_HZ) / NANOS_PER_SECOND) as u64
}

/// The number of changes of the timer's most significant bit.
fn half_periods(at: Instant) -> u64 {
    ticks(at) >> (TIMER_BITS - 1)
}

/// The first time at which [`ticks`] returns `ticks`.
fn instant(ticks: u64) -> Instant {
    let nanos = (u128::from(ticks) * NANOS_PER_SECOND).div_ceil(u128::from(TIMER_HZ));
    Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
