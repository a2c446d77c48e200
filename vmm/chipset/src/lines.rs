//! The interrupt lines from the devices to the 8259 pair and the IOAPIC.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use device_model::{Device, Instant};
use ioapic::{DeliveryMode, DestinationMode, IoApic, Message, TriggerMode};
use local_apic::{Delivery, Destination, Ipi};
use pic8259::Pic;
use spin::Mutex;

/// IRQs of the devices, as the ACPI tables say.
pub mod irq {
    /// PIT channel 0.
    pub const TIMER: u8 = 0;
    /// Second serial port.
    pub const SERIAL_2: u8 = 3;
    /// First serial port.
    pub const SERIAL_1: u8 = 4;
    /// Real-time clock.
    pub const RTC: u8 = 8;
    /// ACPI's system control interrupt.
    pub const SCI: u8 = 9;
}

/// IRQ 0 is wired to this IOAPIC pin, since pin 0 is the 8259's.
const TIMER_PIN: u8 = 2;

/// The two controllers that every line leads to.
#[derive(Debug)]
pub(crate) struct Controllers {
    pic: Pic,
    ioapic: IoApic,
}

/// All lines.
#[derive(Debug)]
pub struct Lines {
    pub(crate) controllers: Mutex<Controllers>,
    /// Levels by IRQ, so that a level that has not changed costs no lock. Only the holder of a
    /// device's lock changes that device's bit.
    levels: AtomicU32,
    /// The 8259 pair's output, as last seen.
    pic_output: AtomicBool,
}

/// The consequences of a line's change, to be delivered once no device is locked any more.
#[derive(Debug, Default)]
#[must_use]
pub struct Signals {
    /// Messages to local APICs in the form of IPIs, with whether they are level triggered.
    pub messages: [Option<(Ipi, bool)>; 2],
    /// The 8259 pair's output has changed.
    pub pic_changed: bool,
}

impl Signals {
    fn add(&mut self, message: Option<(Ipi, bool)>) {
        if let Some(slot) = self.messages.iter_mut().find(|slot| slot.is_none()) {
            *slot = message;
        }
    }
}

/// The IOAPIC's message in the form of an IPI. None for ExtINT: the 8259 pair reaches the VPs by
/// LINT0.
fn as_ipi(message: &Message) -> Option<(Ipi, bool)> {
    let delivery = match message.delivery_mode {
        DeliveryMode::Fixed => Delivery::Fixed,
        DeliveryMode::LowestPriority => Delivery::LowestPriority,
        DeliveryMode::Smi => Delivery::Smi,
        DeliveryMode::Nmi => Delivery::Nmi,
        DeliveryMode::Init => Delivery::Init,
        DeliveryMode::ExtInt => return None,
    };
    let destination = match message.destination_mode {
        DestinationMode::Physical => Destination::physical8(message.destination),
        DestinationMode::Logical => Destination::logical8(message.destination),
    };
    let level = message.trigger_mode == TriggerMode::Level;
    Some((Ipi { destination, delivery, vector: message.vector }, level))
}

impl Lines {
    /// Controllers after power-on, all lines low.
    pub(crate) fn new() -> Self {
        Self {
            controllers: Mutex::new(Controllers { pic: Pic::new(), ioapic: IoApic::new() }),
            levels: AtomicU32::new(0),
            pic_output: AtomicBool::new(false),
        }
    }

    /// Sets the level of `irq`.
    pub fn set(&self, irq: u8, level: bool) -> Signals {
        let bit = 1u32 << (irq & 31);
        let mut signals = Signals::default();
        if (self.levels.load(Ordering::Relaxed) & bit != 0) == level {
            return signals;
        }
        if level {
            self.levels.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.levels.fetch_and(!bit, Ordering::Relaxed);
        }
        let pin = if irq == irq::TIMER { TIMER_PIN } else { irq };
        let mut controllers = self.controllers.lock();
        controllers.pic.set_line(irq, level);
        signals.add(controllers.ioapic.set_pin(pin, level).as_ref().and_then(as_ipi));
        self.note_output(&controllers, &mut signals);
        signals
    }

    /// Gives `irq` a rising edge.
    pub fn pulse(&self, irq: u8) -> Signals {
        let mut signals = self.set(irq, false);
        let up = self.set(irq, true);
        for message in up.messages {
            signals.add(message);
        }
        signals.pic_changed |= up.pic_changed;
        signals
    }

    fn note_output(&self, controllers: &Controllers, signals: &mut Signals) {
        let output = controllers.pic.output();
        signals.pic_changed = self.pic_output.swap(output, Ordering::SeqCst) != output;
    }

    /// Reads a port of the 8259 pair.
    pub fn read_pic(&self, port: u16) -> (u8, Signals) {
        let mut controllers = self.controllers.lock();
        let value = controllers.pic.read(port);
        let mut signals = Signals::default();
        self.note_output(&controllers, &mut signals);
        (value, signals)
    }

    /// Writes a port of the 8259 pair.
    pub fn write_pic(&self, port: u16, value: u8) -> Signals {
        let mut controllers = self.controllers.lock();
        controllers.pic.write(port, value);
        let mut signals = Signals::default();
        self.note_output(&controllers, &mut signals);
        signals
    }

    /// Whether the 8259 pair asks for an interrupt.
    #[inline]
    pub fn pic_output(&self) -> bool {
        self.pic_output.load(Ordering::SeqCst)
    }

    /// The vector that an acknowledge cycle would return now, if the 8259 pair asks for an
    /// interrupt.
    pub fn next_pic_vector(&self) -> Option<u8> {
        let controllers = self.controllers.lock();
        controllers.pic.output().then(|| controllers.pic.next_vector())
    }

    /// A CPU's acknowledge cycle: the vector, or none if another CPU has taken the interrupt
    /// meanwhile.
    pub fn acknowledge_pic(&self) -> Option<u8> {
        let mut controllers = self.controllers.lock();
        if !controllers.pic.output() {
            return None;
        }
        let vector = controllers.pic.acknowledge();
        let mut signals = Signals::default();
        self.note_output(&controllers, &mut signals);
        Some(vector)
    }

    /// Whether a device's line may reach a CPU that has interrupts disabled.
    pub fn reach_cpus(&self) -> bool {
        self.controllers.lock().ioapic.reaches_cpus()
    }

    /// Reads the IOAPIC's page.
    pub fn read_ioapic(&self, offset: u16) -> u32 {
        self.controllers.lock().ioapic.read(offset)
    }

    /// Writes the IOAPIC's page; `deliver` gets the messages, after the lock is free again.
    pub fn write_ioapic(&self, offset: u16, value: u32, deliver: impl FnMut(Ipi, bool)) {
        let messages = collect(self.controllers.lock().ioapic.write(offset, value));
        messages.into_iter().flatten().for_each(pass(deliver));
    }

    /// Tells the IOAPIC that a level-triggered interrupt ended.
    pub fn end_of_interrupt(&self, vector: u8, deliver: impl FnMut(Ipi, bool)) {
        let messages = collect(self.controllers.lock().ioapic.end_of_interrupt(vector));
        messages.into_iter().flatten().for_each(pass(deliver));
    }

    /// Returns both controllers to their power-on state.
    pub fn reset(&self, now: Instant) {
        let mut controllers = self.controllers.lock();
        controllers.pic.reset(now);
        controllers.ioapic.reset(now);
        self.levels.store(0, Ordering::Relaxed);
        self.pic_output.store(false, Ordering::Release);
    }
}

fn pass(mut deliver: impl FnMut(Ipi, bool)) -> impl FnMut((Ipi, bool)) {
    move |(ipi, level)| deliver(ipi, level)
}

/// Copies the messages out, at most one for each pin, so that the lock can be released.
fn collect(messages: impl Iterator<Item = Message>) -> [Option<(Ipi, bool)>; 24] {
    let mut all = [None; 24];
    for (slot, message) in all.iter_mut().zip(messages) {
        *slot = as_ipi(&message);
    }
    all
}
