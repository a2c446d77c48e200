//! The files that the guest's firmware finds by name.

use alloc::vec::Vec;

use drydock_host::{Content, GuestFile};
use firmware_tables::{
    COMMANDS_FILE, LoaderFiles, MachineDescription, Pci, PowerPorts, RSDP_FILE, Range, SerialPort,
    TABLES_FILE, loader_files,
};
use host_wire::guest_files;
use platform_api::Files;

/// The files that the user has named, and the ACPI tables, unless the user has others.
pub(crate) fn all(files: &impl Files, memory: u64, vps: u32) -> Vec<GuestFile> {
    let mut all = users(files);
    let LoaderFiles { rsdp, tables, commands } = describe(memory, vps);
    for (name, bytes) in [(RSDP_FILE, rsdp), (TABLES_FILE, tables), (COMMANDS_FILE, commands)] {
        if all.iter().all(|file| file.name != name) {
            all.push(GuestFile { name: name.into(), content: Content::Bytes(bytes) });
        }
    }
    all
}

fn users(files: &impl Files) -> Vec<GuestFile> {
    let Some(list) = files.file(guest_files::NAMES) else { return Vec::new() };
    let names = super::read(files, list);
    let names = core::str::from_utf8(&names).unwrap_or_default().lines();
    let named = names.zip(guest_files::CONTENTS).filter_map(|(name, content)| {
        let content = files.file(content)?;
        Some(GuestFile { name: name.into(), content: Content::Host(content) })
    });
    named.collect()
}

/// The emulated PC in ACPI's words.
fn describe(memory: u64, vps: u32) -> LoaderFiles {
    let apic_ids: Vec<u32> = (0..vps).collect();
    let serial_ports = [SerialPort { port: 0x3f8, irq: 4 }, SerialPort { port: 0x2f8, irq: 3 }];
    loader_files(&MachineDescription {
        ram: &[Range { start: 0, length: memory }],
        reserved: &[],
        tables: 0,
        apic_ids: &apic_ids,
        io_apic_id: vps as u8,
        serial_ports: &serial_ports,
        power: PowerPorts {
            event: chipset::PM_BASE,
            control: chipset::PM_BASE + acpi_pm::registers::PM1_CONTROL,
            timer: chipset::PM_BASE + acpi_pm::registers::PM_TIMER,
            sleep_type_off: acpi_pm::registers::SLP_TYP_S5,
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
    })
}
