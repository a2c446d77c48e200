//! ACPI tables other than the DSDT (ACPI 6.5, 5.2).

use crate::sdt::{OEM, set_checksum, table};
use crate::{Blob, IO_APIC, LOCAL_APIC, MachineDescription, PAGE, dsdt, tpm};
use alloc::vec::Vec;

/// Power-management interrupt, as on PCs.
const SCI: u16 = 9;
/// Tables behind the FACS: RSDT and XSDT first, for which the RSDP needs fixed places.
const FIRST: u64 = PAGE;
const XSDT: u64 = FIRST + 256;
const DSDT: u64 = FIRST + 512;

/// All tables but the RSDP, from `machine.tables` on.
pub(crate) fn build(machine: &MachineDescription<'_>) -> Vec<Blob> {
    let base = machine.tables;
    let mut blobs = Vec::from([Blob { gpa: base, bytes: facs() }]);
    let mut next = base + DSDT;
    let mut place = |bytes: Vec<u8>| {
        let gpa = next;
        next = (next + bytes.len() as u64).next_multiple_of(64);
        blobs.push(Blob { gpa, bytes });
        gpa
    };
    let dsdt = place(dsdt::build(machine));
    let tables =
        [fadt(machine, dsdt), madt(machine.apic_ids, machine.io_apic_id), mcfg(machine), waet()];
    let tables = tables.into_iter().chain(machine.tpm.as_ref().map(tpm::tpm2));
    let listed: Vec<u64> = tables.map(&mut place).collect();
    let short: Vec<u8> = listed.iter().flat_map(|gpa| (*gpa as u32).to_le_bytes()).collect();
    let long: Vec<u8> = listed.iter().flat_map(|gpa| gpa.to_le_bytes()).collect();
    blobs.push(Blob { gpa: base + FIRST, bytes: table(b"RSDT", 1, &short) });
    blobs.push(Blob { gpa: base + XSDT, bytes: table(b"XSDT", 1, &long) });
    blobs
}

/// Root pointer, revision 2 (5.2.5.3).
pub(crate) fn rsdp(machine: &MachineDescription<'_>) -> Vec<u8> {
    let mut rsdp = Vec::from(*b"RSD PTR \0");
    rsdp.extend_from_slice(OEM);
    rsdp.push(2);
    rsdp.extend_from_slice(&((machine.tables + FIRST) as u32).to_le_bytes());
    // The old checksum covers the first 20 bytes only.
    set_checksum(&mut rsdp, 8);
    rsdp.extend_from_slice(&36_u32.to_le_bytes());
    rsdp.extend_from_slice(&(machine.tables + XSDT).to_le_bytes());
    rsdp.extend_from_slice(&[0; 4]);
    set_checksum(&mut rsdp, 32);
    rsdp
}

/// Firmware control structure, without a waking vector (5.2.10).
fn facs() -> Vec<u8> {
    let mut facs = Vec::from(*b"FACS");
    facs.extend_from_slice(&64_u32.to_le_bytes());
    facs.resize(32, 0);
    facs.push(2);
    facs.resize(64, 0);
    facs
}

/// Generic address of I/O ports (5.2.3.2).
fn io_address(port: u16, bits: u8, access: u8) -> [u8; 12] {
    let [low, high] = port.to_le_bytes();
    [1, bits, 0, access, low, high, 0, 0, 0, 0, 0, 0]
}

/// Fixed hardware, revision 6.3 (5.2.9): no SMM, no 8042, no VGA.
///
/// Of the fixed features, the PM1 blocks need the power button and the timer only.
fn fadt(machine: &MachineDescription<'_>, dsdt: u64) -> Vec<u8> {
    const LEGACY_DEVICES: u16 = 1 << 0;
    const NO_VGA: u16 = 1 << 2;
    const WBINVD: u32 = 1 << 0;
    const C1: u32 = 1 << 2;
    // The fixed power button is there: bit 4 is clear.
    const NO_SLEEP_BUTTON: u32 = 1 << 5;
    const NO_RTC_WAKE: u32 = 1 << 6;
    const TIMER_32_BITS: u32 = 1 << 8;
    const RESET_REGISTER: u32 = 1 << 10;
    const RESET_PORT: u16 = 0xCF9;
    const RESET_VALUE: u8 = 0x06;
    const ENTERPRISE_SERVER: u8 = 4;
    const ABSENT: [u8; 12] = [0; 12];
    let power = &machine.power;
    let mut body = Vec::new();
    body.extend_from_slice(&(machine.tables as u32).to_le_bytes());
    body.extend_from_slice(&(dsdt as u32).to_le_bytes());
    body.extend_from_slice(&[0, ENTERPRISE_SERVER]);
    body.extend_from_slice(&SCI.to_le_bytes());
    // SMI_CMD and its related fields: zero means that ACPI mode is always on.
    body.extend_from_slice(&[0; 8]);
    for port in [power.event, 0, power.control, 0, 0, power.timer, 0, 0] {
        body.extend_from_slice(&u32::from(port).to_le_bytes());
    }
    // Lengths: PM1 event, PM1 control, PM2 control, timer; no GPEs, no C-state control.
    body.extend_from_slice(&[4, 2, 0, 4, 0, 0, 0, 0]);
    // Latencies that say "no C2, no C3"; no flush sizes, no duty cycle, no alarms.
    for field in [101_u16, 1001, 0, 0] {
        body.extend_from_slice(&field.to_le_bytes());
    }
    // The century is in CMOS byte 0x32.
    body.extend_from_slice(&[0, 0, 0, 0, 0x32]);
    body.extend_from_slice(&(LEGACY_DEVICES | NO_VGA).to_le_bytes());
    body.push(0);
    let flags = WBINVD | C1 | NO_SLEEP_BUTTON | NO_RTC_WAKE | TIMER_32_BITS | RESET_REGISTER;
    body.extend_from_slice(&flags.to_le_bytes());
    body.extend_from_slice(&io_address(RESET_PORT, 8, 1));
    // Reset value, no ARM flags, minor version 3.
    body.extend_from_slice(&[RESET_VALUE, 0, 0, 3]);
    // With the 32-bit FACS address given, the 64-bit one has to be zero (5.2.9, X_FIRMWARE_CTRL).
    body.extend_from_slice(&0_u64.to_le_bytes());
    body.extend_from_slice(&dsdt.to_le_bytes());
    let event = io_address(power.event, 32, 2);
    let control = io_address(power.control, 16, 2);
    let timer = io_address(power.timer, 32, 3);
    for block in [event, ABSENT, control, ABSENT, ABSENT, timer, ABSENT, ABSENT, ABSENT, ABSENT] {
        body.extend_from_slice(&block);
    }
    body.extend_from_slice(b"Paravane");
    table(b"FACP", 6, &body)
}

/// Interrupt controllers (5.2.12).
pub(crate) fn madt(apic_ids: &[u32], io_apic_id: u8) -> Vec<u8> {
    /// Two 8259s are there too.
    const PCAT_COMPATIBLE: u32 = 1;
    const ENABLED: u32 = 1;
    const LEVEL_ACTIVE_HIGH: u8 = 0b1101;
    const CONFORMING: u8 = 0;
    /// The highest ID with a short entry; 255 is the broadcast.
    const LAST_SHORT: u32 = 254;
    let mut body = Vec::new();
    body.extend_from_slice(&LOCAL_APIC.to_le_bytes());
    body.extend_from_slice(&PCAT_COMPATIBLE.to_le_bytes());
    for &id in apic_ids {
        if id <= LAST_SHORT {
            body.extend_from_slice(&[0, 8, id as u8, id as u8]);
            body.extend_from_slice(&ENABLED.to_le_bytes());
        } else {
            body.extend_from_slice(&[9, 16, 0, 0]);
            for field in [id, ENABLED, id] {
                body.extend_from_slice(&field.to_le_bytes());
            }
        }
    }
    body.extend_from_slice(&[1, 12, io_apic_id, 0]);
    body.extend_from_slice(&IO_APIC.to_le_bytes());
    body.extend_from_slice(&0_u32.to_le_bytes());
    // The PIT's ISA interrupt 0 is wired to input 2; the SCI is a level interrupt.
    body.extend_from_slice(&[2, 10, 0, 0, 2, 0, 0, 0, CONFORMING, 0]);
    body.extend_from_slice(&[2, 10, 0, SCI as u8, SCI as u8, 0, 0, 0, LEVEL_ACTIVE_HIGH, 0]);
    // NMI at LINT1 of all processors.
    body.extend_from_slice(&[4, 6, 0xFF, CONFORMING, 0, 1]);
    if apic_ids.iter().any(|id| *id > LAST_SHORT) {
        body.extend_from_slice(&[0x0A, 12, CONFORMING, 0, 0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0]);
    }
    table(b"APIC", 4, &body)
}

/// Memory-mapped PCI configuration space (PCI firmware 3.2, 4.1.2).
fn mcfg(machine: &MachineDescription<'_>) -> Vec<u8> {
    let mut body = Vec::from([0; 8]);
    body.extend_from_slice(&u64::from(machine.pci.ecam).to_le_bytes());
    body.extend_from_slice(&[0, 0, 0, machine.pci.last_bus, 0, 0, 0, 0]);
    table(b"MCFG", 1, &body)
}

/// RTC and PM timer are good: one acknowledge, one read are enough (Microsoft, WAET 1.0).
fn waet() -> Vec<u8> {
    table(b"WAET", 1, &0b11_u32.to_le_bytes())
}
