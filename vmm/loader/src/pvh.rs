//! ELF kernels with a PVH note (Xen, docs/misc/pvh.pandoc), entered in 32-bit mode.

use crate::Loading;
use crate::bytes::{u32_at, u64_at};
use crate::elf::Elf;
use crate::entry::Entry;
use crate::error::LoadError;
use crate::layout::FOUR_GIBIBYTES;
use alloc::vec::Vec;

const NOTE_NAME: &[u8] = b"Xen\0";
/// XEN_ELFNOTE_PHYS32_ENTRY.
const NOTE_ENTRY: u32 = 18;
const START_MAGIC: u32 = 0x336E_C578;
const START_VERSION: u32 = 1;
/// The protocol sets no limit; this one holds for Linux and for what loaders offer.
const COMMAND_LINE_LIMIT: u64 = 4095;

/// Loads the kernel; `head` is the file's first 8 KiB.
pub(crate) fn load(loading: &mut Loading<'_>, head: &[u8]) -> Result<Entry, LoadError> {
    let elf = Elf::parse(loading.kernel, head)?;
    let note = elf.note(loading.kernel, NOTE_NAME, NOTE_ENTRY)?.ok_or(LoadError::NoEntryNote)?;
    let entry = match note.len() {
        4 => u32_at(&note, 0).map(u64::from),
        _ => u64_at(&note, 0),
    }
    .ok_or(LoadError::BadElf { field: "the PVH note" })?;
    elf.place(loading)?;
    if entry >= FOUR_GIBIBYTES || !loading.layout.is_claimed(entry) {
        return Err(LoadError::EntryOutside { entry });
    }
    let command_line = loading.place_command_line(COMMAND_LINE_LIMIT)?;
    let initrd = loading.place_initrd(FOUR_GIBIBYTES)?;
    let info = start_info(loading, command_line, initrd)?;
    Ok(Entry { rbx: info, ..Entry::protected(loading, entry)? })
}

/// Writes `hvm_start_info` with its lists; gives its address.
fn start_info(
    loading: &mut Loading<'_>,
    command_line: u64,
    initrd: (u64, u64),
) -> Result<u64, LoadError> {
    let modules = u32::from(initrd.1 > 0);
    let list = [initrd.0, initrd.1, 0, 0];
    let list: Vec<u8> = list.iter().flat_map(|field| field.to_le_bytes()).collect();
    let list = if modules > 0 { loading.place(&list)? } else { 0 };
    let mut map = Vec::new();
    for entry in loading.request.memory_map {
        map.extend_from_slice(&entry.start.to_le_bytes());
        map.extend_from_slice(&entry.length.to_le_bytes());
        map.extend_from_slice(&u64::from(entry.kind as u32).to_le_bytes());
    }
    let map = loading.place(&map)?;
    let entries = loading.request.memory_map.len() as u64;
    let mut info = Vec::new();
    for field in [START_MAGIC, START_VERSION, 0, modules] {
        info.extend_from_slice(&field.to_le_bytes());
    }
    for field in [list, command_line, loading.request.rsdp, map, entries] {
        info.extend_from_slice(&field.to_le_bytes());
    }
    loading.place(&info)
}
