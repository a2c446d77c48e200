//! The host's two serial ports: the console, plus a second channel.

use core::sync::atomic::Ordering;

use platform_api::{Received, Width};

use crate::{Access, Pc, apic};

/// Bytes that a port takes when it is ready (PC16550D, section 8.4).
pub const SERIAL_FIFO: usize = 16;
/// How many there are.
pub(crate) const PORTS: usize = 2;
const BASES: [u16; PORTS] = [0x3f8, 0x2f8];
/// IOAPIC pins of the two.
const PINS: [u32; PORTS] = [4, 3];

/// Register offsets (PC16550D, section 8.0).
mod register {
    pub(super) const DATA: u16 = 0;
    pub(super) const INTERRUPT_ENABLE: u16 = 1;
    pub(super) const FIFO_CONTROL: u16 = 2;
    pub(super) const LINE_CONTROL: u16 = 3;
    pub(super) const MODEM_CONTROL: u16 = 4;
    pub(super) const LINE_STATUS: u16 = 5;
}

const DATA_READY: u32 = 1 << 0;
const BREAK: u32 = 1 << 4;
const TRANSMIT_EMPTY: u32 = 1 << 5;

impl<A: Access> Pc<A> {
    fn read_serial(&self, port: u16, register: u16) -> u32 {
        self.access.port_read(port + register, Width::Byte)
    }

    fn write_serial(&self, port: u16, register: u16, value: u32) {
        self.access.port_write(port + register, Width::Byte, value);
    }

    /// The line status of a port, or none: a missing one reads all-ones. A read clears the break in
    /// it, which is kept for [`Pc::receive`].
    fn status(&self, channel: usize) -> Option<(u16, u32)> {
        let port = *BASES.get(channel)?;
        let status = self.read_serial(port, register::LINE_STATUS);
        if status == 0xff {
            return None;
        }
        if status & BREAK != 0
            && let Some(seen) = self.breaks.get(channel)
        {
            seen.store(true, Ordering::Relaxed);
        }
        Some((port, status))
    }

    /// Sets both ports up, with an interrupt for received bytes. It goes nowhere before
    /// [`Pc::route_devices`].
    pub(crate) fn start_serial(&self) {
        for (port, _) in (0..PORTS).filter_map(|channel| self.status(channel)) {
            self.write_serial(port, register::INTERRUPT_ENABLE, 0);
            self.write_serial(port, register::LINE_CONTROL, 0x80);
            self.write_serial(port, register::DATA, 1);
            self.write_serial(port, register::INTERRUPT_ENABLE, 0);
            self.write_serial(port, register::LINE_CONTROL, 0x03);
            self.write_serial(port, register::FIFO_CONTROL, 0x07);
            self.write_serial(port, register::MODEM_CONTROL, 0x0b);
            self.write_serial(port, register::INTERRUPT_ENABLE, 0x01);
        }
    }

    /// Brings both ports' interrupts to the CPU of VP 0, whose APIC must be on.
    pub(crate) fn route_serial(&self) {
        for (channel, pin) in PINS.into_iter().enumerate() {
            if self.status(channel).is_some() {
                self.route_pin(pin, apic::SERIAL_VECTOR);
            }
        }
    }

    /// Notes an interrupt that may be of either port.
    pub(crate) fn note_serial_event(&self) {
        self.serial_event.store(true, Ordering::Release);
    }

    /// Whether there has been an interrupt since the last call.
    pub fn take_serial_event(&self) -> bool {
        self.serial_event.load(Ordering::Relaxed) && self.serial_event.swap(false, Ordering::AcqRel)
    }

    /// What has come in.
    ///
    /// QEMU tells of a break as soon as it has come, and not with its character, as a 16550 does:
    /// it is the next zero, or one that found the FIFO full.
    pub fn receive(&self, channel: usize) -> Option<Received> {
        let (port, status) = self.status(channel)?;
        let seen = self.breaks.get(channel)?;
        if status & DATA_READY == 0 {
            return seen.swap(false, Ordering::Relaxed).then_some(Received::Break);
        }
        let byte = self.read_serial(port, register::DATA) as u8;
        let is_break = byte == 0 && seen.swap(false, Ordering::Relaxed);
        Some(if is_break { Received::Break } else { Received::Byte(byte) })
    }

    /// Whether a port takes a byte now. A missing port swallows everything.
    pub fn is_ready(&self, channel: usize) -> bool {
        self.status(channel).is_none_or(|(_, status)| status & TRANSMIT_EMPTY != 0)
    }

    /// Sends bytes, at most [`SERIAL_FIFO`], through a port that is ready.
    pub fn send_bytes(&self, channel: usize, bytes: &[u8]) {
        if let Some(port) = BASES.get(channel) {
            self.access.port_write_bytes(port + register::DATA, bytes);
        }
    }

    /// Sends a byte.
    pub fn send(&self, channel: usize, byte: u8) {
        if let Some(port) = BASES.get(channel) {
            self.write_serial(*port, register::DATA, byte.into());
        }
    }
}
