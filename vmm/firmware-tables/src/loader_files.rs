//! The ACPI tables as a virtual machine monitor hands them to firmware, which places them itself.
//!
//! The tables lie in one file, and the RSDP in another. Each pointer holds an offset in the file of
//! tables. A third file has the commands by which firmware allocates memory for both, adds the
//! addresses to the pointers, and computes the checksums (SeaBIOS, `src/fw/romfile_loader.c`, has the
//! commands).

use alloc::vec::Vec;

use crate::{MachineDescription, acpi};

/// The file of the RSDP.
pub const RSDP_FILE: &str = "etc/acpi/rsdp";
/// The file of all other tables.
pub const TABLES_FILE: &str = "etc/acpi/tables";
/// The file of commands.
pub const COMMANDS_FILE: &str = "etc/table-loader";

/// Bytes of a command, and of a file's name in it.
const COMMAND: usize = 128;
const NAME: usize = 56;

/// The three files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderFiles {
    /// [`RSDP_FILE`].
    pub rsdp: Vec<u8>,
    /// [`TABLES_FILE`].
    pub tables: Vec<u8>,
    /// [`COMMANDS_FILE`].
    pub commands: Vec<u8>,
}

/// Describes a machine to its firmware. The place of the tables counts as zero, whatever the
/// description says.
pub fn loader_files(machine: &MachineDescription<'_>) -> LoaderFiles {
    let machine = MachineDescription { tables: 0, ..*machine };
    let mut rsdp = acpi::rsdp(&machine);
    let mut tables = Vec::new();
    let mut pointers = Vec::new();
    let mut sums = Vec::new();
    for blob in acpi::build(&machine) {
        let (start, length) = (blob.gpa as usize, blob.bytes.len());
        if tables.len() < start + length {
            tables.resize(start + length, 0);
        }
        let fields: Vec<(usize, usize)> = match blob.bytes.first_chunk() {
            // FIRMWARE_CTRL, DSDT, X_DSDT (ACPI 6.5, 5.2.9).
            Some(b"FACP") => Vec::from([(36, 4), (40, 4), (140, 8)]),
            Some(b"RSDT") => (36..length).step_by(4).map(|at| (at, 4)).collect(),
            Some(b"XSDT") => (36..length).step_by(8).map(|at| (at, 8)).collect(),
            _ => Vec::new(),
        };
        if let Some(place) = tables.get_mut(start..start + length) {
            place.copy_from_slice(&blob.bytes);
        }
        if !fields.is_empty() {
            sums.push((start, length));
        }
        pointers.extend(fields.into_iter().map(|(at, size)| (start + at, size)));
    }
    let mut commands = Vec::new();
    commands.extend(allocate(RSDP_FILE, 16, Zone::BelowOneMebibyte));
    commands.extend(allocate(TABLES_FILE, 4096, Zone::BelowFourGibibytes));
    for (at, size) in pointers {
        commands.extend(add_pointer(TABLES_FILE, at, size));
    }
    for (start, length) in sums {
        clear(&mut tables, start + 9);
        commands.extend(add_checksum(TABLES_FILE, start + 9, start, length));
    }
    // The RSDT's and the XSDT's address, and the sums over the old and over the whole structure.
    for (at, size) in [(16, 4), (24, 8)] {
        commands.extend(add_pointer(RSDP_FILE, at, size));
    }
    for (at, length) in [(8, 20), (32, 36)] {
        clear(&mut rsdp, at);
        commands.extend(add_checksum(RSDP_FILE, at, 0, length));
    }
    LoaderFiles { rsdp, tables, commands }
}

/// Firmware computes a checksum over the byte that it replaces, too.
fn clear(bytes: &mut [u8], at: usize) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = 0;
    }
}

#[derive(Clone, Copy)]
enum Zone {
    BelowFourGibibytes = 1,
    BelowOneMebibyte = 2,
}

/// The number of a command, and its operands.
fn command(number: u32, operands: impl IntoIterator<Item = u8>) -> [u8; COMMAND] {
    let mut bytes = [0; COMMAND];
    let all = number.to_le_bytes().into_iter().chain(operands);
    bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from);
    bytes
}

fn name(file: &str) -> impl Iterator<Item = u8> {
    file.bytes().chain(core::iter::repeat(0)).take(NAME)
}

fn allocate(file: &str, alignment: u32, zone: Zone) -> [u8; COMMAND] {
    command(1, name(file).chain(alignment.to_le_bytes()).chain([zone as u8]))
}

/// Adds the address of the file of tables.
fn add_pointer(file: &str, at: usize, size: usize) -> [u8; COMMAND] {
    let operands = name(file).chain(name(TABLES_FILE));
    command(2, operands.chain((at as u32).to_le_bytes()).chain([size as u8]))
}

fn add_checksum(file: &str, at: usize, start: usize, length: usize) -> [u8; COMMAND] {
    let numbers = [at, start, length].into_iter().flat_map(|number| (number as u32).to_le_bytes());
    command(3, name(file).chain(numbers))
}
