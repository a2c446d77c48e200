//! DSDT: devices that the guest cannot discover by itself (ACPI 6.5, 5.2.11.1).

use crate::sdt::table;
use crate::{IO_APIC, LOCAL_APIC, MachineDescription, PAGE, Range, ecam_length, tpm};
use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, IO, Interrupt, Memory32Fixed, Name, Package,
    PackageBuilder, Path, ResourceTemplate, Scope, ZERO,
};
use alloc::boxed::Box;
use alloc::vec::Vec;

pub(crate) type Resource = Box<dyn Aml>;

/// Makes the table.
pub(crate) fn build(machine: &MachineDescription<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    power_off(machine).to_aml_bytes(&mut body);
    let mut devices = host_bridge(machine);
    devices.extend(motherboard(machine));
    devices.extend(serial_ports(machine));
    devices.extend(device("PIC_", "PNP0000", 0, Vec::from([ports(0x20, 2), ports(0xA0, 2)])));
    devices.extend(device("TIMR", "PNP0100", 0, Vec::from([ports(0x40, 4), interrupt(0)])));
    devices.extend(device("RTC_", "PNP0B00", 0, Vec::from([ports(0x70, 2), interrupt(8)])));
    devices.extend(machine.tpm.iter().flat_map(tpm::device));
    body.extend(Scope::raw("\\_SB_".into(), devices));
    table(b"DSDT", 2, &body)
}

/// \_S5: the sleep type for PM1a, for PM1b which is absent, two reserved (7.4.2).
fn power_off(machine: &MachineDescription<'_>) -> Name {
    let sleep_type = machine.power.sleep_type_off & 7;
    Name::new(
        "_S5_".into(),
        &Package::new(Vec::from([&sleep_type as &dyn Aml, &ZERO, &ZERO, &ZERO])),
    )
}

fn ports(first: u16, count: u8) -> Resource {
    Box::new(IO::new(first, first, 1, count))
}

/// An ISA interrupt: edge, active high, exclusive.
fn interrupt(number: u8) -> Resource {
    Box::new(Interrupt::new(true, true, false, false, number.into()))
}

pub(crate) fn memory(start: u32, length: u64) -> Resource {
    Box::new(Memory32Fixed::new(true, start, u32::try_from(length).unwrap_or(u32::MAX)))
}

pub(crate) fn resources(list: &[Resource]) -> Name {
    Name::new("_CRS".into(), &ResourceTemplate::new(list.iter().map(|one| &**one).collect()))
}

/// One device with fixed resources.
fn device(name: &str, id: &str, unique: u8, list: Vec<Resource>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let hid = Name::new("_HID".into(), &eisa_id(id));
    let uid = Name::new("_UID".into(), &unique);
    let crs = resources(&list);
    Device::new(name.into(), Vec::from([&hid as &dyn Aml, &uid, &crs])).to_aml_bytes(&mut bytes);
    bytes
}

fn serial_ports(machine: &MachineDescription<'_>) -> Vec<u8> {
    let names = ["COM1", "COM2", "COM3", "COM4"];
    let numbered = names.iter().zip(1..).zip(machine.serial_ports);
    numbered
        .flat_map(|((name, number), serial)| {
            let list = Vec::from([ports(serial.port, 8), interrupt(serial.irq)]);
            device(name, "PNP0501", number, list)
        })
        .collect()
}

/// Resources that no driver owns, declared so that the guest assigns nothing else there. Linux uses
/// ECAM only if it is listed here.
fn motherboard(machine: &MachineDescription<'_>) -> Vec<u8> {
    let power = &machine.power;
    let list = Vec::from([
        memory(machine.pci.ecam, ecam_length(&machine.pci)),
        memory(IO_APIC, PAGE),
        memory(LOCAL_APIC, PAGE),
        ports(power.event, 4),
        ports(power.control, 2),
        ports(power.timer, 4),
        ports(machine.bios_call_port, 4),
        ports(0x61, 1),
    ]);
    device("MBRD", "PNP0C02", 0, list)
}

/// The PCI Express host bridge, which decodes all that is not listed elsewhere.
fn host_bridge(machine: &MachineDescription<'_>) -> Vec<u8> {
    let pci = &machine.pci;
    let memory_kind = AddressSpaceCacheable::NotCacheable;
    // The description was checked: both ends lie below 4 GiB.
    let (first, last) = (pci.window.start as u32, last_of(&pci.window) as u32);
    let mut list: Vec<Resource> = Vec::from([
        Box::new(AddressSpace::new_bus_number(0_u16, pci.last_bus.into())) as Resource,
        ports(0xCF8, 8),
        Box::new(AddressSpace::new_io(0_u16, 0xCF7, None)),
        Box::new(AddressSpace::new_io(0xD00_u16, 0xFFFF, None)),
        Box::new(AddressSpace::new_memory(memory_kind, true, first, last, None)),
    ]);
    if let Some(window) = &pci.high_window {
        let (first, last) = (window.start, last_of(window));
        list.push(Box::new(AddressSpace::new_memory(memory_kind, true, first, last, None)));
    }
    let names = [
        Name::new("_HID".into(), &eisa_id("PNP0A08")),
        Name::new("_CID".into(), &eisa_id("PNP0A03")),
        Name::new("_UID".into(), &ZERO),
        Name::new("_SEG".into(), &ZERO),
        Name::new("_BBN".into(), &ZERO),
        resources(&list),
        routes(machine),
    ];
    let mut bytes = Vec::new();
    let children = names.iter().map(|name| name as &dyn Aml).collect();
    Device::new(Path::new("PCI0"), children).to_aml_bytes(&mut bytes);
    bytes
}

/// Last address of a range that is not empty.
const fn last_of(range: &Range) -> u64 {
    range.end().saturating_sub(1)
}

/// _PRT: address of the device, pin, no link device, input of the I/O APIC (6.2.13).
fn routes(machine: &MachineDescription<'_>) -> Name {
    const ANY_FUNCTION: u32 = 0xFFFF;
    let mut table = PackageBuilder::new();
    for route in machine.pci.routes {
        let address = u32::from(route.device) << 16 | ANY_FUNCTION;
        let entry: Vec<&dyn Aml> = Vec::from([&address as &dyn Aml, &route.pin, &ZERO, &route.gsi]);
        table.add_element(&Package::new(entry));
    }
    Name::new("_PRT".into(), &table)
}

/// A compressed identifier such as PNP0A08 (ACPI 6.5, 19.6.36): three letters of five bits, four
/// hexadecimal digits, most significant byte first. Another character counts as zero.
fn eisa_id(name: &str) -> u32 {
    let mut value = 0_u32;
    for (place, byte) in name.bytes().enumerate().take(7) {
        let (bits, digit) = match (place, byte) {
            (0..=2, b'A'..=b'Z') => (5, byte - b'@'),
            (_, b'0'..=b'9') => (4, byte - b'0'),
            (_, b'A'..=b'F') => (4, byte - b'A' + 10),
            _ => (4, 0),
        };
        value = value << bits | u32::from(digit);
    }
    value.swap_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_those_of_the_specification() {
        assert_eq!(eisa_id("PNP0C02"), 0x020c_d041);
        assert_eq!(eisa_id("PNP0A08"), 0x080a_d041);
        assert_eq!(eisa_id("PNP0501"), 0x0105_d041);
    }
}
