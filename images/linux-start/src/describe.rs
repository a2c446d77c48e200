//! The machine as Linux is told of it: ACPI tables, memory map, boot parameters.

use alloc::vec::Vec;

use acpi_pm::registers;
use firmware_tables::{
    Blob, MachineDescription, MapEntry, Pci, PowerPorts, Range, RangeKind, SerialPort,
};
use guest_memory::{Gpa, GuestMemory, MappedMemory, RamMap};
use host_wire::linux_start::{self as layout, Info};
use zerocopy::{Immutable, IntoBytes};

use crate::end::Reason;
use crate::{files, put};

/// Room for the ACPI tables at the top of RAM.
const TABLES_ROOM: u64 = 64 << 10;
/// The VPs that a PC of ours can have.
const MOST_VPS: u32 = 64;
/// Offsets in Linux' boot parameters (Documentation/arch/x86/boot.rst, zero-page.rst).
mod parameters {
    pub(super) const E820_ENTRIES: u64 = 0x1e8;
    pub(super) const SETUP_DATA: u64 = 0x250;
    pub(super) const E820_TABLE: u64 = 0x2d0;
    pub(super) const MOST_E820_ENTRIES: usize = 128;
}

/// A described machine.
pub(crate) struct Described {
    blobs: Vec<Blob>,
    /// Where the RSDP is.
    pub(crate) rsdp: u64,
    /// Where the entry of Linux' list of set-up data goes.
    setup_data: u64,
    /// The memory map for the loader, which must spare the files.
    pub(crate) loading_map: Vec<MapEntry>,
    /// The memory map for Linux.
    map: Vec<MapEntry>,
}

/// Describes the machine.
pub(crate) fn machine(
    launched: &MappedMemory,
    ram: &RamMap,
    info: &Info,
) -> Result<Described, Reason> {
    let mut count = [0; 4];
    launched.read(Gpa(layout::VP_COUNT), &mut count).map_err(|_| Reason::VpCount)?;
    let vps = u32::from_le_bytes(count);
    if !(1..=MOST_VPS).contains(&vps) {
        return Err(Reason::VpCount);
    }
    let ranges: Vec<Range> = ram
        .ranges()
        .iter()
        .map(|range| Range { start: range.start(), length: range.length() })
        .collect();
    let tables = ranges.last().map_or(0, |last| last.start + last.length - TABLES_ROOM);
    let own = Range { start: layout::INFO, length: layout::STUB_END - layout::INFO };
    let files = Range { start: layout::FILES, length: files::end(info) - layout::FILES };
    // Linux reads the list by a mapping that is private only where it has RAM, and reserves it.
    let setup_data = tables.saturating_sub(0x1000);
    if setup_data < files.start + files.length {
        return Err(Reason::MemoryMap);
    }
    let list = Range { start: setup_data, length: 0x1000 };
    let for_linux = build(&ranges, &[own], tables, vps)?;
    let for_loader = build(&ranges, &[own, files, list], tables, vps)?;
    let mut blobs = for_linux.blobs;
    // The area below 1 MiB where firmware is looked for is not this VM's memory: Linux gets the
    // RSDP's address, behind the other tables.
    let place = tables + TABLES_ROOM - 0x1000;
    let rsdp = blobs.iter().find(|blob| blob.gpa == for_linux.rsdp).ok_or(Reason::Tables)?;
    let rsdp = Blob { gpa: place, bytes: rsdp.bytes.clone() };
    blobs.retain(|blob| ram.contains(blob.gpa, blob.bytes.len() as u64));
    if blobs.iter().any(|blob| blob.gpa + blob.bytes.len() as u64 > place && blob.gpa < place) {
        return Err(Reason::Tables);
    }
    blobs.push(rsdp);
    let (loading_map, map) = (for_loader.memory_map, for_linux.memory_map);
    Ok(Described { blobs, rsdp: place, setup_data, loading_map, map })
}

fn build(
    ram: &[Range],
    reserved: &[Range],
    tables: u64,
    vps: u32,
) -> Result<firmware_tables::Firmware, Reason> {
    let apic_ids: Vec<u32> = (0..vps).collect();
    let serial = [SerialPort { port: 0x3f8, irq: 4 }, SerialPort { port: 0x2f8, irq: 3 }];
    let described = MachineDescription {
        ram,
        reserved,
        tables,
        apic_ids: &apic_ids,
        io_apic_id: 0,
        serial_ports: &serial,
        power: PowerPorts {
            event: chipset::PM_BASE,
            control: chipset::PM_BASE + registers::PM1_CONTROL,
            timer: chipset::PM_BASE + registers::PM_TIMER,
            sleep_type_off: registers::SLP_TYP_S5,
        },
        bios_call_port: chipset::BIOS_CALL_PORT,
        pci: Pci {
            ecam: chipset::memory::ECAM_BASE as u32,
            last_bus: 0,
            window: Range { start: 0xc000_0000, length: 0x2000_0000 },
            high_window: None,
            routes: &[],
        },
        tpm: None,
        uuid: [0; 16],
        version: env!("CARGO_PKG_VERSION"),
    };
    firmware_tables::build(&described).map_err(|_| Reason::Tables)
}

/// Writes the tables.
pub(crate) fn write(memory: &MappedMemory, described: &Described) -> Result<(), Reason> {
    described.blobs.iter().try_for_each(|blob| put(memory, blob.gpa, &blob.bytes))
}

/// The entry of Linux' list of set-up data that leads to a [`CcBlob`] (Documentation/arch/x86/boot.rst,
/// SETUP_CC_BLOB).
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct SetupData {
    next: u64,
    kind: u32,
    length: u32,
    address: u32,
    padding: u32,
}

/// What tells Linux of its secrets page and CPUID page (Linux' struct cc_blob_sev_info).
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct CcBlob {
    magic: u32,
    version: u16,
    reserved_1: u16,
    secrets: u64,
    secrets_length: u32,
    reserved_2: u32,
    cpuid: u64,
    cpuid_length: u32,
    reserved_3: u32,
}

const SETUP_CC_BLOB: u32 = 7;
const CC_BLOB_MAGIC: u32 = 0x4544_4d41;

/// Finishes the boot parameters: Linux may use the files' memory, and finds its two pages.
pub(crate) fn finish(
    memory: &MappedMemory,
    parameters: u64,
    described: &Described,
) -> Result<(), Reason> {
    let blob = CcBlob {
        magic: CC_BLOB_MAGIC,
        version: 0,
        reserved_1: 0,
        secrets: layout::SECRETS,
        secrets_length: 4096,
        reserved_2: 0,
        cpuid: layout::CPUID,
        cpuid_length: 4096,
        reserved_3: 0,
    };
    let address = layout::CC_BLOB as u32;
    let list = SetupData { next: 0, kind: SETUP_CC_BLOB, length: 4, address, padding: 0 };
    put(memory, layout::CC_BLOB, blob.as_bytes())?;
    put(memory, described.setup_data, list.as_bytes())?;
    put(memory, parameters + parameters::SETUP_DATA, &described.setup_data.to_le_bytes())?;
    let count = described.map.len().min(parameters::MOST_E820_ENTRIES);
    put(memory, parameters + parameters::E820_ENTRIES, &[count as u8])?;
    let mut at = parameters + parameters::E820_TABLE;
    for entry in described.map.iter().take(count) {
        let kind = match entry.kind {
            RangeKind::Ram => 1_u32,
            RangeKind::Reserved => 2,
            RangeKind::AcpiReclaimable => 3,
            RangeKind::AcpiNvs => 4,
            RangeKind::Unusable => 5,
        };
        put(memory, at, &entry.start.to_le_bytes())?;
        put(memory, at + 8, &entry.length.to_le_bytes())?;
        put(memory, at + 16, &kind.to_le_bytes())?;
        at += 20;
    }
    Ok(())
}
