//! Sleeps while counting presses of the power button. It reports the count when it receives a
//! character; from the second press on it then powers off.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, Ordering};

use guest::{Apic, Frame, Report, cpu, machine, println};

guest::main!(button);

/// Has a higher priority than the serial port's vector, so that a press is counted before the count
/// is reported.
const VECTOR: u8 = 0x72;
const SERIAL_VECTOR: u8 = 0x63;
/// The first serial port (PC16550D, section 8.0): data, interrupts of received bytes, OUT2, status.
const DATA: u16 = 0x3f8;
const INTERRUPT_ENABLE: u16 = 0x3f9;
const MODEM_CONTROL: u16 = 0x3fc;
const LINE_STATUS: u16 = 0x3fd;
const PM1_STATUS: u16 = 0x600;
const PM1_ENABLE: u16 = 0x602;
/// The power button in both registers (ACPI 6.5, section 4.8.3.1).
const POWER_BUTTON: u16 = 1 << 8;
const IOAPIC: u64 = 0xfec0_0000;
/// Pins of the system control interrupt and of the serial port.
const SCI: u32 = 9;
const SERIAL: u32 = 4;
const LEVEL: u32 = 1 << 15;

static PRESSES: AtomicU32 = AtomicU32::new(0);

fn button(_: &mut Report) {
    Apic::Msr.switch_on();
    guest::set_handler(VECTOR, Some(pressed));
    guest::set_handler(SERIAL_VECTOR, Some(typed));
    set_pin(SCI, LEVEL | u32::from(VECTOR));
    set_pin(SERIAL, SERIAL_VECTOR.into());
    cpu::out8(MODEM_CONTROL, 0x0b);
    cpu::out8(INTERRUPT_ENABLE, 1);
    cpu::out16(PM1_ENABLE, POWER_BUTTON);
    println!("waits for the button");
    cpu::enable_interrupts();
    loop {
        cpu::wait_for_interrupt();
    }
}

fn set_pin(pin: u32, low: u32) {
    for (register, value) in [(0x11 + 2 * pin, 0), (0x10 + 2 * pin, low)] {
        cpu::write32(IOAPIC, register);
        cpu::write32(IOAPIC + 0x10, value);
    }
}

fn pressed(_: &mut Frame) {
    let status = cpu::in16(PM1_STATUS);
    cpu::out16(PM1_STATUS, status);
    Apic::Msr.end();
    if status & POWER_BUTTON != 0 {
        PRESSES.fetch_add(1, Ordering::Relaxed);
    }
}

fn typed(_: &mut Frame) {
    while cpu::in8(LINE_STATUS) & 1 != 0 {
        cpu::in8(DATA);
    }
    Apic::Msr.end();
    let presses = PRESSES.load(Ordering::Relaxed);
    println!("pressed {presses}");
    if presses >= 2 {
        machine::power_off();
    }
}
