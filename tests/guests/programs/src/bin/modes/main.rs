//! Every form of access to a device's memory and to ports, in every operating mode.
#![no_std]
#![no_main]

mod legacy;
mod long;
mod ports;

use guest::{Report, cpu};

/// The local APIC's page, and registers there that hold 32 bits or read a known value.
pub const APIC: u64 = 0xfee0_0000;
/// Task priority: holds 8 bits.
pub const TPR: u64 = APIC + 0x80;
/// Initial count of the masked timer: holds 32 bits.
pub const COUNT: u64 = APIC + 0x380;
/// Version: read-only.
pub const VERSION: u64 = APIC + 0x30;
/// The IOAPIC's register select and window.
pub const IOREGSEL: u64 = 0xfec0_0000;

guest::main!(modes);

fn modes(report: &mut Report) {
    guest::Apic::Page.switch_on();
    cpu::write32(APIC + 0x320, 0x1_0000);
    long::cases(report);
    legacy::cases(report);
    ports::cases(report);
}
