//! Describes the virtual PC to its guest the way firmware would.
//!
//! ACPI tables, SMBIOS structures, the memory map: pure functions from a description to bytes.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod acpi;
mod bios;
mod dsdt;
mod loader_files;
mod map;
mod sdt;
mod smbios;
mod tpm;

pub use loader::{MapEntry, RangeKind};
pub use loader_files::{COMMANDS_FILE, LoaderFiles, RSDP_FILE, TABLES_FILE, loader_files};
pub use map::memory_map;
pub use tpm::{Tpm, presence};

use alloc::vec::Vec;

/// Local APIC registers (APM vol. 2, 16.3.1).
const LOCAL_APIC: u32 = 0xFEE0_0000;
/// I/O APIC registers, where PCs have them.
const IO_APIC: u32 = 0xFEC0_0000;
/// The area in which a guest without UEFI searches the RSDP and SMBIOS (ACPI 6.5, 5.2.5.1).
const ANCHORS: u64 = 0xF_0000;
const ANCHORS_END: u64 = 0x10_0000;
const PAGE: u64 = 4096;
const FOUR_GIBIBYTES: u64 = 1 << 32;

/// Guest-physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// Length in bytes.
    pub length: u64,
}

impl Range {
    const fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }
}

/// A 16550 serial port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialPort {
    /// First of eight I/O ports.
    pub port: u16,
    /// ISA interrupt.
    pub irq: u8,
}

/// Wiring of one PCI interrupt pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciRoute {
    /// Device number on bus 0, 0 to 31.
    pub device: u8,
    /// Pin, 0 (INTA) to 3 (INTD).
    pub pin: u8,
    /// I/O APIC input.
    pub gsi: u32,
}

/// The PCI host bridge.
#[derive(Clone, Copy, Debug)]
pub struct Pci<'a> {
    /// Start of the ECAM window, 1 MiB per bus.
    pub ecam: u32,
    /// Last bus number.
    pub last_bus: u8,
    /// Window for BARs below 4 GiB.
    pub window: Range,
    /// Window for BARs above 4 GiB.
    pub high_window: Option<Range>,
    /// Interrupt pins; empty where all devices use MSIs.
    pub routes: &'a [PciRoute],
}

/// I/O ports of the fixed power-management hardware (ACPI 6.5, 4.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerPorts {
    /// PM1a event block, 4 ports.
    pub event: u16,
    /// PM1a control block, 2 ports.
    pub control: u16,
    /// PM timer, 4 ports.
    pub timer: u16,
    /// SLP_TYP value that turns the power off, 0 to 7.
    pub sleep_type_off: u8,
}

/// The machine to be described.
#[derive(Clone, Copy, Debug)]
pub struct MachineDescription<'a> {
    /// RAM, before anything is taken from it.
    pub ram: &'a [Range],
    /// Ranges that the guest must not use: the paravisor, device memory.
    pub reserved: &'a [Range],
    /// The place of the ACPI tables: page-aligned, in RAM below 4 GiB.
    pub tables: u64,
    /// APIC ID of each VP; the first one boots.
    pub apic_ids: &'a [u32],
    /// APIC ID of the I/O APIC.
    pub io_apic_id: u8,
    /// Serial ports, COM1 first; four at most.
    pub serial_ports: &'a [SerialPort],
    /// Power management.
    pub power: PowerPorts,
    /// First of four ports at which firmware code reports a call of the BIOS: a double word with
    /// the interrupt's number, and above it AX.
    pub bios_call_port: u16,
    /// PCI.
    pub pci: Pci<'a>,
    /// The TPM, if there is one. Its memory must be among the reserved ranges.
    pub tpm: Option<Tpm>,
    /// SMBIOS system UUID, in the byte order of RFC 4122.
    pub uuid: [u8; 16],
    /// Version of the paravisor, for SMBIOS; printable ASCII, 64 bytes at most.
    pub version: &'a str,
}

/// The ACPI table of interrupt controllers (MADT), for a loader that hands it to the guest's own
/// firmware.
pub fn interrupt_controllers(apic_ids: &[u32], io_apic_id: u8) -> Vec<u8> {
    acpi::madt(apic_ids, io_apic_id)
}

/// Bytes for guest memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Guest-physical address.
    pub gpa: u64,
    /// Content.
    pub bytes: Vec<u8>,
}

/// The tables that firmware leaves to the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// The bytes to write into guest memory; the blobs do not overlap.
    pub blobs: Vec<Blob>,
    /// Guest-physical address of the RSDP.
    pub rsdp: u64,
    /// Memory map, sorted, page-aligned, without overlaps.
    pub memory_map: Vec<MapEntry>,
}

/// A description that no tables can be made of; always the paravisor's own fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// There is no VP, or more than 4,096.
    Processors,
    /// The place for the tables is misaligned, above 4 GiB, or not free RAM.
    TablesPlace,
    /// The PCI windows are empty, wrap or reach below 1 MiB, or ECAM is misaligned or too high.
    PciWindows,
    /// More serial ports or interrupt routes than there can be, or a route of no device.
    Devices,
    /// The version string is too long or has other than printable characters.
    Version,
    /// SMBIOS structures do not fit below 1 MiB: too many RAM ranges.
    SmbiosTooLong,
}

impl core::error::Error for BuildError {}

impl core::fmt::Display for BuildError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let what = match self {
            Self::Processors => "the number of VPs is out of range",
            Self::TablesPlace => "the ACPI tables have no place in RAM",
            Self::PciWindows => "the PCI windows are impossible",
            Self::Devices => "the devices are impossible",
            Self::Version => "the version string is not printable",
            Self::SmbiosTooLong => "the SMBIOS structures are too long",
        };
        write!(f, "machine description: {what}")
    }
}

/// Makes all tables of a machine.
///
/// # Errors
/// [`BuildError`] for a description that contradicts itself.
pub fn build(machine: &MachineDescription<'_>) -> Result<Firmware, BuildError> {
    check(machine)?;
    let mut blobs = acpi::build(machine);
    let tables_end = blobs.iter().map(|blob| blob.gpa + blob.bytes.len() as u64).max();
    let tables_end = tables_end.unwrap_or(machine.tables).next_multiple_of(PAGE);
    let tables = Range { start: machine.tables, length: tables_end - machine.tables };
    if !is_free_ram(machine, &tables) {
        return Err(BuildError::TablesPlace);
    }
    blobs.push(Blob { gpa: ANCHORS, bytes: acpi::rsdp(machine) });
    blobs.push(smbios::build(machine, ANCHORS + 64)?);
    blobs.extend(bios::build(machine));
    let memory_map = memory_map(machine.ram, &special_ranges(machine, &tables));
    Ok(Firmware { blobs, rsdp: ANCHORS, memory_map })
}

fn check(machine: &MachineDescription<'_>) -> Result<(), BuildError> {
    let pci = &machine.pci;
    let routed = |route: &PciRoute| route.device < 32 && route.pin < 4;
    let printable = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    let ecam_end = u64::from(pci.ecam) + ecam_length(pci);
    let low = pci.window.start >= ANCHORS_END
        && pci.window.length > 0
        && pci.window.end() <= FOUR_GIBIBYTES;
    let high = pci.high_window.is_none_or(|window| {
        window.length > 0 && window.start.checked_add(window.length).is_some()
    });
    let aligned = pci.ecam.is_multiple_of(1 << 28) && ecam_end <= FOUR_GIBIBYTES;
    if machine.apic_ids.is_empty() || machine.apic_ids.len() > 4096 {
        Err(BuildError::Processors)
    } else if !machine.tables.is_multiple_of(PAGE) || machine.tables < 1 << 20 {
        Err(BuildError::TablesPlace)
    } else if !(low && high && aligned) {
        Err(BuildError::PciWindows)
    } else if machine.serial_ports.len() > 4
        || pci.routes.len() > 128
        || !pci.routes.iter().all(routed)
    {
        Err(BuildError::Devices)
    } else if machine.version.len() > 64 || !machine.version.bytes().all(printable) {
        Err(BuildError::Version)
    } else {
        Ok(())
    }
}

/// 1 MiB of configuration space per bus (PCI Express base, 7.2.2).
fn ecam_length(pci: &Pci<'_>) -> u64 {
    (u64::from(pci.last_bus) + 1) << 20
}

fn is_free_ram(machine: &MachineDescription<'_>, wanted: &Range) -> bool {
    let holds = |ram: &Range| ram.start <= wanted.start && wanted.end() <= ram.end();
    let hits = |other: &Range| other.start < wanted.end() && wanted.start < other.end();
    machine.ram.iter().any(holds)
        && !machine.reserved.iter().any(hits)
        && wanted.end() <= FOUR_GIBIBYTES
}

/// The ranges that are not plain RAM.
fn special_ranges(machine: &MachineDescription<'_>, tables: &Range) -> Vec<MapEntry> {
    let entry = |start, length, kind| MapEntry { start, length, kind };
    let reserved = |start, length| entry(start, length, RangeKind::Reserved);
    let mut special = Vec::from([
        // Video memory and ROMs, with the anchors in them.
        reserved(0xA_0000, ANCHORS_END - 0xA_0000),
        reserved(machine.pci.ecam.into(), ecam_length(&machine.pci)),
        reserved(IO_APIC.into(), PAGE),
        reserved(LOCAL_APIC.into(), PAGE),
        // The first page holds the FACS alone, which is no reclaimable memory (ACPI 6.5, 5.2.10).
        entry(tables.start, PAGE, RangeKind::AcpiNvs),
        entry(tables.start + PAGE, tables.length - PAGE, RangeKind::AcpiReclaimable),
    ]);
    if bios::has_data(machine) {
        special.push(reserved(bios::EXTENDED_DATA.start, bios::EXTENDED_DATA.length));
    }
    special.extend(machine.tpm.map(|tpm| reserved(tpm.registers.start, tpm.registers.length)));
    special.extend(machine.reserved.iter().map(|range| reserved(range.start, range.length)));
    special
}
