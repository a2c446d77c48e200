//! The model of an Intel 82093AA I/O APIC.
//!
//! It has 24 pins, and the EOI register of version 20h. It follows data sheet 290566 ("DS").
//!
//! The shell passes a pin's state as *asserted* or not. The polarity bit keeps the written value
//! but does not invert the pin: virtual devices have no voltage levels, and guests may take the
//! polarity from tables that describe other boards.
//!
//! Messages are returned to the shell, which delivers them to the local APICs at once. Therefore
//! the delivery status always reads idle, and remote IRR is set as soon as a level-triggered
//! message is returned.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

#[cfg(test)]
extern crate std;

mod inspect;
mod registers;
mod state;
#[cfg(test)]
mod tests;

pub use state::{SAVED_VERSION, Saved};

use device_model::{Device, Inspect, Instant, RestoreError};
use registers::*;

/// How a message addresses its receivers (DS 3.2.4, bit 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestinationMode {
    /// The destination is an APIC ID.
    Physical,
    /// The destination is a set of logical IDs.
    Logical,
}

/// The effect of a message at its receivers (DS 3.2.4, bits 10:8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// The vector is requested at each receiver.
    Fixed,
    /// The vector is requested at one receiver.
    LowestPriority,
    /// System management interrupt.
    Smi,
    /// Non-maskable interrupt.
    Nmi,
    /// INIT.
    Init,
    /// The receiver reads the vector from the 8259A.
    ExtInt,
}

impl DeliveryMode {
    /// Decodes bits 10:8 of an entry; `None` for the reserved codes.
    const fn of_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Fixed),
            1 => Some(Self::LowestPriority),
            2 => Some(Self::Smi),
            4 => Some(Self::Nmi),
            5 => Some(Self::Init),
            7 => Some(Self::ExtInt),
            _ => None,
        }
    }
}

/// How the interrupt is triggered, which decides whether it ends with an EOI message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerMode {
    /// Edge.
    Edge,
    /// Level: the shell reports the end to [`IoApic::end_of_interrupt`].
    Level,
}

/// An interrupt message to the local APICs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The destination in eight bits; 0xFF means all APICs.
    pub destination: u8,
    /// How to interpret `destination`.
    pub destination_mode: DestinationMode,
    /// The effect at the receivers.
    pub delivery_mode: DeliveryMode,
    /// The vector, which only fixed and lowest priority use.
    pub vector: u8,
    /// The trigger mode.
    pub trigger_mode: TriggerMode,
}

/// Messages to send now, at most one for each pin.
#[derive(Debug)]
#[must_use]
pub struct Messages<'a> {
    entries: &'a [Entry; PINS],
    pins: u32,
}

impl Iterator for Messages<'_> {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        let pin = self.pins.trailing_zeros();
        let entry = self.entries.get(pin as usize)?;
        self.pins &= self.pins.wrapping_sub(1);
        entry.message()
    }
}

impl Entry {
    /// Only fixed and lowest-priority interrupts can be level-triggered; the others are treated as
    /// edges even if programmed otherwise (DS 3.2.4, delivery mode).
    fn is_level(self) -> bool {
        let by_vector = matches!(
            self.delivery_mode(),
            Some(DeliveryMode::Fixed | DeliveryMode::LowestPriority)
        );
        by_vector && self.level()
    }

    /// The message that the entry sends; `None` for the reserved delivery modes.
    fn message(self) -> Option<Message> {
        Some(Message {
            destination: self.destination(),
            destination_mode: if self.logical() {
                DestinationMode::Logical
            } else {
                DestinationMode::Physical
            },
            delivery_mode: self.delivery_mode()?,
            vector: self.vector(),
            trigger_mode: if self.is_level() { TriggerMode::Level } else { TriggerMode::Edge },
        })
    }
}

/// One I/O APIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoApic {
    select: u8,
    id: u32,
    entries: [Entry; PINS],
    /// Bit n: pin n is asserted.
    pins: u32,
}

impl IoApic {
    /// An I/O APIC after reset, with no pin asserted.
    pub fn new() -> Self {
        Self::power_on(0)
    }

    fn power_on(pins: u32) -> Self {
        Self { select: 0, id: 0, entries: [Entry::RESET; PINS], pins }
    }

    /// Reads 32 bits at a byte offset of the register page. Offsets without a register read zero.
    pub fn read(&self, offset: u16) -> u32 {
        match offset {
            IOREGSEL => u32::from(self.select),
            IOWIN => self.peek(self.select),
            _ => 0,
        }
    }

    /// The register with this index, as a read of IOWIN returns it.
    pub fn peek(&self, index: u8) -> u32 {
        match index {
            // Writing the ID also sets the arbitration ID (DS 3.2.3).
            IOAPICID | IOAPICARB => self.id,
            IOAPICVER => VERSION,
            _ => match self.half_entry(index) {
                Some((entry, high)) => (entry.into_bits() >> if high { 32 } else { 0 }) as u32,
                None => 0,
            },
        }
    }

    /// Writes 32 bits at a byte offset of the register page. Writes to read-only registers and to
    /// offsets without a register are ignored.
    pub fn write(&mut self, offset: u16, value: u32) -> Messages<'_> {
        match offset {
            IOREGSEL => self.select = value as u8,
            IOWIN if self.select == IOAPICID => self.id = value & ID_BITS,
            IOWIN => return self.write_entry(self.select, value),
            EOIR => return self.end_of_interrupt(value as u8),
            _ => {}
        }
        self.messages(0)
    }

    /// Sets whether a pin is asserted. Pins beyond the last are ignored.
    ///
    /// An edge at a masked pin is lost (DS 3.2.4, interrupt mask); a level waits until the pin is
    /// unmasked.
    pub fn set_pin(&mut self, pin: u8, asserted: bool) -> Option<Message> {
        let entry = *self.entries.get(usize::from(pin))?;
        let bit = 1 << pin;
        let rises = asserted && self.pins & bit == 0;
        self.pins = if asserted { self.pins | bit } else { self.pins & !bit };
        if entry.is_level() {
            return if self.raise_level(pin) { entry.message() } else { None };
        }
        if rises && !entry.masked() { entry.message() } else { None }
    }

    /// Whether an unmasked pin sends NMI, SMI or INIT, which reach a CPU with interrupts disabled.
    pub fn reaches_cpus(&self) -> bool {
        let mut open = self.entries.iter().filter(|entry| !entry.masked());
        open.any(|entry| {
            let mode = entry.delivery_mode();
            matches!(mode, Some(DeliveryMode::Nmi | DeliveryMode::Smi | DeliveryMode::Init))
        })
    }

    /// Ends the level-triggered interrupts with this vector. Pins that are still asserted interrupt
    /// again (DS 3.2.4, remote IRR).
    pub fn end_of_interrupt(&mut self, vector: u8) -> Messages<'_> {
        let mut resend = 0;
        for pin in 0..PINS as u8 {
            let Some(entry) = self.entries.get_mut(usize::from(pin)) else { continue };
            if entry.vector() == vector && entry.remote_irr() {
                entry.set_remote_irr(false);
                resend |= u32::from(self.raise_level(pin)) << pin;
            }
        }
        self.messages(resend)
    }

    fn messages(&self, pins: u32) -> Messages<'_> {
        Messages { entries: &self.entries, pins }
    }

    /// Sets remote IRR and returns true if a level-triggered pin must send its message now.
    fn raise_level(&mut self, pin: u8) -> bool {
        let asserted = self.pins >> pin & 1 != 0;
        let Some(entry) = self.entries.get_mut(usize::from(pin)) else { return false };
        let idle = !entry.masked() && !entry.remote_irr();
        let raises = asserted && idle && entry.is_level();
        entry.set_remote_irr(raises || entry.remote_irr());
        raises
    }

    fn write_entry(&mut self, index: u8, value: u32) -> Messages<'_> {
        let Some((old, high)) = self.half_entry(index) else { return self.messages(0) };
        let (keep, shift) = if high { (0xFFFF_FFFF, 32) } else { (!0xFFFF_FFFF, 0) };
        let bits = (old.into_bits() & keep) | u64::from(value) << shift;
        let mut new = Entry::from_bits(bits & Entry::WRITABLE);
        // Edges have no remote IRR, so software can clear a stuck bit by changing the trigger mode.
        if new.is_level() {
            new.set_remote_irr(old.remote_irr());
        }
        let pin = (index - IOREDTBL) / 2;
        if let Some(entry) = self.entries.get_mut(usize::from(pin)) {
            *entry = new;
        }
        let resend = u32::from(self.raise_level(pin)) << pin;
        self.messages(resend)
    }

    /// The entry of a register index, and true if the register is its upper half.
    fn half_entry(&self, index: u8) -> Option<(Entry, bool)> {
        let place = index.checked_sub(IOREDTBL)?;
        let entry = self.entries.get(usize::from(place / 2))?;
        Some((*entry, place % 2 != 0))
    }
}

impl Default for IoApic {
    fn default() -> Self {
        Self::new()
    }
}

impl Device for IoApic {
    type Saved = Saved;

    /// The pins stay as they are, since the devices drive them.
    fn reset(&mut self, _now: Instant) {
        *self = Self::power_on(self.pins);
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
