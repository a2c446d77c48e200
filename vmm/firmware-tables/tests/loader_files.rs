//! The tables as firmware places them by the commands of the third file.

use firmware_tables::{
    MachineDescription, Pci, PowerPorts, Range, SerialPort, build, loader_files,
};

const RAM: [Range; 2] =
    [Range { start: 0, length: 0xA_0000 }, Range { start: 0x10_0000, length: 0x1FF0_0000 }];
const TABLES: u64 = 0x1F00_0000;

fn machine() -> MachineDescription<'static> {
    MachineDescription {
        ram: &RAM,
        reserved: &[],
        tables: TABLES,
        apic_ids: &[0, 1, 2],
        io_apic_id: 3,
        serial_ports: &[SerialPort { port: 0x3F8, irq: 4 }],
        power: PowerPorts { event: 0x600, control: 0x604, timer: 0x608, sleep_type_off: 5 },
        bios_call_port: 0x610,
        pci: Pci {
            ecam: 0xB000_0000,
            last_bus: 0,
            window: Range { start: 0xC000_0000, length: 0x1000_0000 },
            high_window: None,
            routes: &[],
        },
        tpm: None,
        uuid: [0; 16],
        version: "0.1.0",
    }
}

/// Firmware: the RSDP's file, and the file of tables with its address.
struct Firmware {
    rsdp: Vec<u8>,
    tables: Vec<u8>,
    allocated: Vec<(String, u32, u8)>,
}

impl Firmware {
    fn file(&mut self, name: &str) -> &mut Vec<u8> {
        match name {
            "etc/acpi/rsdp" => &mut self.rsdp,
            "etc/acpi/tables" => &mut self.tables,
            other => panic!("no file {other:?}"),
        }
    }

    fn obey(&mut self, command: &[u8]) {
        let number = |at: usize| u32::from_le_bytes(command[at..at + 4].try_into().unwrap());
        let name = |at: usize| {
            let bytes = &command[at..at + 56];
            let end = bytes.iter().position(|byte| *byte == 0).unwrap();
            String::from_utf8(bytes[..end].to_vec()).unwrap()
        };
        match number(0) {
            1 => self.allocated.push((name(4), number(60), command[64])),
            2 => {
                assert_eq!(name(60), "etc/acpi/tables");
                let (at, size) = (number(116) as usize, usize::from(command[120]));
                let field = &mut self.file(&name(4))[at..at + size];
                let mut bytes = [0; 8];
                bytes[..size].copy_from_slice(field);
                let sum = u64::from_le_bytes(bytes) + TABLES;
                field.copy_from_slice(&sum.to_le_bytes()[..size]);
            }
            3 => {
                let (at, start) = (number(60) as usize, number(64) as usize);
                let length = number(68) as usize;
                let file = self.file(&name(4));
                let sum = file[start..start + length].iter().fold(0_u8, |a, b| a.wrapping_add(*b));
                file[at] = 0_u8.wrapping_sub(sum);
            }
            other => panic!("no command {other}"),
        }
    }
}

#[test]
fn firmware_makes_the_tables_of_a_direct_start_from_the_files() {
    let files = loader_files(&machine());
    let mut firmware = Firmware { rsdp: files.rsdp, tables: files.tables, allocated: Vec::new() };
    assert!(files.commands.len().is_multiple_of(128));
    files.commands.chunks(128).for_each(|command| firmware.obey(command));
    let expected = [("etc/acpi/rsdp".into(), 16, 2), ("etc/acpi/tables".into(), 4096, 1)];
    assert_eq!(firmware.allocated, expected);
    let direct = build(&machine()).unwrap();
    let mut compared = 0;
    for blob in &direct.blobs {
        if blob.gpa == direct.rsdp {
            assert_eq!(firmware.rsdp, blob.bytes[..36]);
        } else if (TABLES..TABLES + 0x1_0000).contains(&blob.gpa) {
            let at = (blob.gpa - TABLES) as usize;
            assert_eq!(firmware.tables[at..at + blob.bytes.len()], blob.bytes, "{at:#x}");
        } else {
            continue;
        }
        compared += 1;
    }
    // RSDP, FACS, DSDT, FADT, MADT, MCFG, WAET, RSDT, XSDT.
    assert_eq!(compared, 9);
}

/// COCONUT-SVSM finds tables by the offsets in the RSDT, and places nothing.
#[test]
fn pointers_are_offsets_before_firmware_has_placed_the_tables() {
    let files = loader_files(&machine());
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let rsdt = word(&files.rsdp, 16) as usize;
    assert_eq!(&files.tables[rsdt..rsdt + 4], b"RSDT");
    let end = rsdt + word(&files.tables, rsdt + 4) as usize;
    let tables = (rsdt + 36..end).step_by(4).map(|at| word(&files.tables, at) as usize);
    let names: Vec<&[u8]> = tables.map(|at| &files.tables[at..at + 4]).collect();
    assert_eq!(names, [b"FACP", b"APIC", b"MCFG", b"WAET"]);
}
