//! SMBIOS structures, version 3.0 (DMTF DSP0134 3.0.0).

use crate::sdt::set_checksum;
use crate::{Blob, BuildError, MachineDescription, bios};
use alloc::vec::Vec;

const MANUFACTURER: &str = "Paravane";
const PRODUCT: &str = "Paravane virtual machine";
const UNKNOWN: u8 = 2;
/// "No other handle", "no error information".
const NO_HANDLE: u16 = 0xFFFE;
const ENTRY_64: usize = 24;
const ENTRY_32: usize = 31;

/// Handles that other structures point to.
mod handle {
    pub(super) const CHASSIS: u16 = 0x300;
    pub(super) const PROCESSOR: u16 = 0x400;
    pub(super) const MEMORY_ARRAY: u16 = 0x1000;
    pub(super) const MEMORY_DEVICE: u16 = 0x1100;
    pub(super) const ARRAY_ADDRESS: u16 = 0x1300;
}

/// Both entry points with the structures behind them, at `gpa`, a multiple of 16.
pub(crate) fn build(machine: &MachineDescription<'_>, gpa: u64) -> Result<Blob, BuildError> {
    let table_at = gpa + 64;
    let mut table = Table::default();
    fill(&mut table, machine);
    let room = bios::CODE - table_at;
    let length = u16::try_from(table.bytes.len()).ok().filter(|length| u64::from(*length) <= room);
    let length = length.ok_or(BuildError::SmbiosTooLong)?;
    let mut bytes = entry_64(table_at, length);
    bytes.resize(32, 0);
    bytes.extend(entry_32(table_at, length, &table));
    bytes.resize(64, 0);
    bytes.extend_from_slice(&table.bytes);
    Ok(Blob { gpa, bytes })
}

/// 64-bit entry point (5.2.2).
fn entry_64(table_at: u64, length: u16) -> Vec<u8> {
    let mut entry = Vec::from(*b"_SM3_");
    // Checksum, length, version 3.0.0, entry point revision 1, reserved.
    entry.extend_from_slice(&[0, ENTRY_64 as u8, 3, 0, 0, 1, 0]);
    entry.extend_from_slice(&u32::from(length).to_le_bytes());
    entry.extend_from_slice(&table_at.to_le_bytes());
    set_checksum(&mut entry, 5);
    entry
}

/// 32-bit entry point, for guests that know no other (5.2.1).
fn entry_32(table_at: u64, length: u16, table: &Table) -> Vec<u8> {
    let mut inner = Vec::from(*b"_DMI_\0");
    inner.extend_from_slice(&length.to_le_bytes());
    inner.extend_from_slice(&(table_at as u32).to_le_bytes());
    inner.extend_from_slice(&table.count.to_le_bytes());
    // BCD revision 3.0.
    inner.push(0x30);
    set_checksum(&mut inner, 5);
    let mut entry = Vec::from(*b"_SM_");
    entry.extend_from_slice(&[0, ENTRY_32 as u8, 3, 0]);
    entry.extend_from_slice(&table.longest.to_le_bytes());
    entry.extend_from_slice(&[0; 6]);
    entry.extend(inner);
    set_checksum(&mut entry, 4);
    entry
}

/// Structures one behind the other.
#[derive(Default)]
struct Table {
    bytes: Vec<u8>,
    count: u16,
    longest: u16,
}

impl Table {
    /// Adds a structure: header, fields, strings (6.1.2).
    fn add(&mut self, kind: u8, handle: u16, fields: &[u8], strings: &[&str]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[kind, fields.len() as u8 + 4]);
        self.bytes.extend_from_slice(&handle.to_le_bytes());
        self.bytes.extend_from_slice(fields);
        for string in strings {
            self.bytes.extend_from_slice(string.as_bytes());
            self.bytes.push(0);
        }
        let end: &[u8] = if strings.is_empty() { &[0, 0] } else { &[0] };
        self.bytes.extend_from_slice(end);
        self.count = self.count.saturating_add(1);
        let length = self.bytes.len() - start;
        self.longest = self.longest.max(u16::try_from(length).unwrap_or(u16::MAX));
    }
}

fn fill(table: &mut Table, machine: &MachineDescription<'_>) {
    firmware(table, machine);
    system(table, machine);
    chassis(table);
    processor(table, machine);
    memory_array(table, machine);
    memory_device(table, machine);
    for (index, range) in (0..).zip(machine.ram) {
        array_address(table, index, range.start, range.end());
    }
    // System boot (7.33): no error.
    table.add(32, 0x2000, &[0; 7], &[]);
    table.add(127, 0x7F00, &[], &[]);
}

/// Type 0, BIOS information (7.1).
fn firmware(table: &mut Table, machine: &MachineDescription<'_>) {
    /// Characteristics are not supported (bit 3).
    const NO_CHARACTERISTICS: u64 = 1 << 3;
    /// Extension byte 2: it is a virtual machine (bit 4).
    const VIRTUAL: u8 = 1 << 4;
    let mut fields = Vec::from([1, 2, 0x00, 0xF0, 3, 0]);
    fields.extend_from_slice(&NO_CHARACTERISTICS.to_le_bytes());
    // Releases of firmware and embedded controller: none.
    fields.extend_from_slice(&[0, VIRTUAL, 0xFF, 0xFF, 0xFF, 0xFF]);
    table.add(0, 0, &fields, &[MANUFACTURER, machine.version, "01/01/2026"]);
}

/// Type 1, system information (7.2).
fn system(table: &mut Table, machine: &MachineDescription<'_>) {
    const POWER_SWITCH: u8 = 6;
    let mut fields = Vec::from([1, 2, 3, 0]);
    let [a, b, c, d, e, f, g, h, rest @ ..] = machine.uuid;
    // The first three parts of a UUID are little-endian here (7.2.1).
    fields.extend_from_slice(&[d, c, b, a, f, e, h, g]);
    fields.extend_from_slice(&rest);
    fields.extend_from_slice(&[POWER_SWITCH, 0, 0]);
    table.add(1, 0x100, &fields, &[MANUFACTURER, PRODUCT, machine.version]);
}

/// Type 3, system enclosure (7.4).
fn chassis(table: &mut Table) {
    const OTHER: u8 = 1;
    const SAFE: u8 = 3;
    // No version, serial number, tag; safe states; no security; no OEM data, height, cords, parts.
    let fields = [1, OTHER, 0, 0, 0, SAFE, SAFE, SAFE, UNKNOWN, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    table.add(3, handle::CHASSIS, &fields, &[MANUFACTURER]);
}

/// Type 4, processor information (7.5): all VPs in one socket.
fn processor(table: &mut Table, machine: &MachineDescription<'_>) {
    const CENTRAL: u8 = 3;
    const ENABLED_POPULATED: u8 = 0x41;
    const UPGRADE_UNKNOWN: u8 = 2;
    const NO_CACHE: u16 = 0xFFFF;
    /// 64-bit capable, multi-core.
    const CHARACTERISTICS: u16 = (1 << 2) | (1 << 3);
    let cores = u16::try_from(machine.apic_ids.len()).unwrap_or(u16::MAX);
    let short = u8::try_from(cores).unwrap_or(0xFF);
    let mut fields = Vec::from([1, CENTRAL, UNKNOWN, 2]);
    // ID, version string, voltage, clocks: the guest has CPUID for all that.
    fields.extend_from_slice(&[0; 8]);
    fields.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, ENABLED_POPULATED, UPGRADE_UNKNOWN]);
    for cache in [NO_CACHE; 3] {
        fields.extend_from_slice(&cache.to_le_bytes());
    }
    fields.extend_from_slice(&[0, 0, 0, short, short, short]);
    for field in [CHARACTERISTICS, 2, cores, cores, cores] {
        fields.extend_from_slice(&field.to_le_bytes());
    }
    table.add(4, handle::PROCESSOR, &fields, &["CPU 0", MANUFACTURER]);
}

fn total(machine: &MachineDescription<'_>) -> u64 {
    machine.ram.iter().fold(0, |sum: u64, range| sum.saturating_add(range.length))
}

/// Type 16, physical memory array (7.17).
fn memory_array(table: &mut Table, machine: &MachineDescription<'_>) {
    const OTHER: u8 = 1;
    const SYSTEM_MEMORY: u8 = 3;
    const MULTI_BIT_ECC: u8 = 6;
    /// Says that the extended field counts.
    const EXTENDED: u32 = 0x8000_0000;
    let mut fields = Vec::from([OTHER, SYSTEM_MEMORY, MULTI_BIT_ECC]);
    fields.extend_from_slice(&EXTENDED.to_le_bytes());
    fields.extend_from_slice(&NO_HANDLE.to_le_bytes());
    fields.extend_from_slice(&1_u16.to_le_bytes());
    fields.extend_from_slice(&total(machine).to_le_bytes());
    table.add(16, handle::MEMORY_ARRAY, &fields, &[]);
}

/// Type 17, memory device (7.18): one module for all RAM.
fn memory_device(table: &mut Table, machine: &MachineDescription<'_>) {
    const UNKNOWN_WIDTH: u16 = 0xFFFF;
    const DIMM: u8 = 9;
    const RAM: u8 = 7;
    /// Sizes from 32 GiB on stand in the extended field.
    const EXTENDED: u64 = 0x7FFF;
    let mebibytes = total(machine) >> 20;
    let short = mebibytes.min(EXTENDED) as u16;
    let extended = if mebibytes < EXTENDED { 0 } else { mebibytes.min(0x7FFF_FFFF) as u32 };
    let mut fields = Vec::new();
    for field in [handle::MEMORY_ARRAY, NO_HANDLE, UNKNOWN_WIDTH, UNKNOWN_WIDTH, short] {
        fields.extend_from_slice(&field.to_le_bytes());
    }
    // No set; locator; no bank; type detail "unknown"; no speed, serial, tag, part number, rank.
    fields.extend_from_slice(&[DIMM, 0, 1, 0, RAM, 1 << 2, 0, 0, 0, 2, 0, 0, 0, 0]);
    fields.extend_from_slice(&extended.to_le_bytes());
    // Configured speed and voltages: unknown.
    fields.extend_from_slice(&[0; 8]);
    table.add(17, handle::MEMORY_DEVICE, &fields, &["DIMM 0", MANUFACTURER]);
}

/// Type 19, memory array mapped address (7.20).
fn array_address(table: &mut Table, index: u16, start: u64, end: u64) {
    let last = end.saturating_sub(1);
    let kibibytes = |address: u64| u32::try_from(address >> 10).ok().filter(|&k| k != u32::MAX);
    let mut fields = Vec::new();
    let (first, last_short, extended) = match (kibibytes(start), kibibytes(last)) {
        (Some(first), Some(last_short)) => (first, last_short, [0, 0]),
        // All ones say that the byte addresses at the end count.
        _ => (u32::MAX, u32::MAX, [start, last]),
    };
    fields.extend_from_slice(&first.to_le_bytes());
    fields.extend_from_slice(&last_short.to_le_bytes());
    fields.extend_from_slice(&handle::MEMORY_ARRAY.to_le_bytes());
    fields.push(1);
    for address in extended {
        fields.extend_from_slice(&address.to_le_bytes());
    }
    table.add(19, handle::ARRAY_ADDRESS.wrapping_add(index), &fields, &[]);
}
