//! Sleeps until the power button is pressed: at the first press it says so and goes on sleeping, at
//! the second one it powers off.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, Ordering};

use guest::{Apic, Frame, Report, cpu, machine, println};

guest::main!(button);

const VECTOR: u8 = 0x62;
const PM1_STATUS: u16 = 0x600;
const PM1_ENABLE: u16 = 0x602;
/// The power button in both registers (ACPI 6.5, section 4.8.3.1).
const POWER_BUTTON: u16 = 1 << 8;
const IOAPIC: u64 = 0xfec0_0000;
/// The lower and upper half of the system control interrupt's entry: pin 9.
const ENTRY: [u32; 2] = [0x22, 0x23];
const LEVEL: u32 = 1 << 15;

static PRESSES: AtomicU32 = AtomicU32::new(0);

fn button(_: &mut Report) {
    Apic::Msr.switch_on();
    guest::set_handler(VECTOR, Some(pressed));
    let [low, high] = ENTRY;
    for (register, value) in [(high, 0), (low, LEVEL | u32::from(VECTOR))] {
        cpu::write32(IOAPIC, register);
        cpu::write32(IOAPIC + 0x10, value);
    }
    cpu::out16(PM1_ENABLE, POWER_BUTTON);
    println!("waits for the button");
    cpu::enable_interrupts();
    while PRESSES.load(Ordering::Relaxed) < 2 {
        cpu::wait_for_interrupt();
    }
    machine::power_off()
}

fn pressed(_: &mut Frame) {
    let status = cpu::in16(PM1_STATUS);
    cpu::out16(PM1_STATUS, status);
    Apic::Msr.end();
    if status & POWER_BUTTON != 0 {
        let presses = PRESSES.fetch_add(1, Ordering::Relaxed) + 1;
        println!("pressed {presses}");
    }
}
