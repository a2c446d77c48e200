//! The host's two serial ports: the console, plus a second channel.

use core::sync::atomic::{AtomicBool, Ordering};

use platform_api::{Received, Width};

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
const BREAK: u32 = 1 << 4;
const TRANSMIT_EMPTY: u32 = 1 << 5;

fn read(port: u16, register: u16) -> u32 {
    instructions::port_read(port + register, Width::Byte)
}

fn write(port: u16, register: u16, value: u32) {
    instructions::port_write(port + register, Width::Byte, value);
}

/// A break has been seen whose character, a zero, has not been read yet.
static BREAKS: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];

/// The line status of a port, or none: a missing one reads all-ones. A read clears the break in it,
/// which is kept for [`receive`].
fn status(channel: usize) -> Option<(u16, u32)> {
    let port = *PORTS.get(channel)?;
    let status = read(port, register::LINE_STATUS);
    if status == 0xff {
        return None;
    }
    if status & BREAK != 0
        && let Some(seen) = BREAKS.get(channel)
    {
        seen.store(true, Ordering::Relaxed);
    }
    Some((port, status))
}

/// Sets both ports up, with an interrupt for received bytes. It goes nowhere before [`route`].
pub(crate) fn start() {
    for (port, _) in (0..PORTS.len()).filter_map(status) {
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
        if status(channel).is_some() {
            apic::route_pin(pin, apic::SERIAL_VECTOR);
        }
    }
}

/// Set by the interrupt; set at the start, as bytes may have come before.
static EVENT: AtomicBool = AtomicBool::new(true);

/// Notes an interrupt that may be of either port.
pub(crate) fn note_event() {
    EVENT.store(true, Ordering::Release);
}

/// Whether there has been an interrupt since the last call.
pub(crate) fn take_event() -> bool {
    EVENT.load(Ordering::Relaxed) && EVENT.swap(false, Ordering::AcqRel)
}

/// What has come in.
///
/// QEMU tells of a break as soon as it has come, and not with its character, as a 16550 does: it is
/// the next zero, or one that found the FIFO full.
pub(crate) fn receive(channel: usize) -> Option<Received> {
    let (port, status) = status(channel)?;
    let seen = BREAKS.get(channel)?;
    if status & DATA_READY == 0 {
        return seen.swap(false, Ordering::Relaxed).then_some(Received::Break);
    }
    let byte = read(port, register::DATA) as u8;
    let is_break = byte == 0 && seen.swap(false, Ordering::Relaxed);
    Some(if is_break { Received::Break } else { Received::Byte(byte) })
}

/// Whether a port takes a byte now. A missing port swallows everything.
pub(crate) fn is_ready(channel: usize) -> bool {
    status(channel).is_none_or(|(_, status)| status & TRANSMIT_EMPTY != 0)
}

/// Sends a byte.
pub(crate) fn send(channel: usize, byte: u8) {
    if let Some(port) = PORTS.get(channel) {
        write(*port, register::DATA, byte.into());
    }
}
