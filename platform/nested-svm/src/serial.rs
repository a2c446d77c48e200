//! The host's two serial ports: the console, plus a second channel.

use core::sync::atomic::{AtomicBool, Ordering};

use platform_api::Width;

use crate::{apic, instructions};

const PORTS: [u16; 2] = [0x3f8, 0x2f8];
/// IOAPIC pins of the two.
const PINS: [u32; 2] = [4, 3];

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
const TRANSMIT_EMPTY: u32 = 1 << 5;

fn read(port: u16, register: u16) -> u32 {
    instructions::port_read(port + register, Width::Byte)
}

fn write(port: u16, register: u16, value: u32) {
    instructions::port_write(port + register, Width::Byte, value);
}

/// Whether channel `channel` exists: a missing port reads all-ones.
fn port(channel: usize) -> Option<u16> {
    let port = *PORTS.get(channel)?;
    (read(port, register::LINE_STATUS) != 0xff).then_some(port)
}

/// Sets both ports up, with an interrupt for received bytes. It goes nowhere before [`route`].
pub(crate) fn start() {
    for port in (0..PORTS.len()).filter_map(port) {
        write(port, register::INTERRUPT_ENABLE, 0);
        write(port, register::LINE_CONTROL, 0x80);
        write(port, register::DATA, 1);
        write(port, register::INTERRUPT_ENABLE, 0);
        write(port, register::LINE_CONTROL, 0x03);
        write(port, register::FIFO_CONTROL, 0x07);
        write(port, register::MODEM_CONTROL, 0x0b);
        write(port, register::INTERRUPT_ENABLE, 0x01);
    }
}

/// Brings both ports' interrupts to the CPU of VP 0, whose APIC must be on.
pub(crate) fn route() {
    for (channel, pin) in PINS.into_iter().enumerate() {
        if port(channel).is_some() {
            apic::route_pin(pin, apic::SERIAL_VECTOR);
        }
    }
}

/// Set by the interrupt; set at the start, as bytes may have come before.
static EVENT: AtomicBool = AtomicBool::new(true);

/// Notes an interrupt of either port.
pub(crate) fn note_event() {
    EVENT.store(true, Ordering::Release);
}

/// Whether there has been an interrupt since the last call.
pub(crate) fn take_event() -> bool {
    EVENT.load(Ordering::Relaxed) && EVENT.swap(false, Ordering::AcqRel)
}

/// A received byte.
pub(crate) fn receive(channel: usize) -> Option<u8> {
    let port = *PORTS.get(channel)?;
    let status = read(port, register::LINE_STATUS);
    (status != 0xff && status & DATA_READY != 0).then(|| read(port, register::DATA) as u8)
}

/// Whether a port takes a byte now. A missing port swallows everything.
pub(crate) fn is_ready(channel: usize) -> bool {
    PORTS.get(channel).is_none_or(|port| read(*port, register::LINE_STATUS) & TRANSMIT_EMPTY != 0)
}

/// Sends a byte.
pub(crate) fn send(channel: usize, byte: u8) {
    if let Some(port) = PORTS.get(channel) {
        write(*port, register::DATA, byte.into());
    }
}
