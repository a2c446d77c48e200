//! ELF kernels with a PVH note (Xen, docs/misc/pvh.pandoc), entered in 32-bit mode.

use crate::bytes::{u32_at, u64_at};
use crate::elf::Elf;
use crate::entry::Entry;
use crate::error::LoadError;
use crate::layout::FOUR_GIBIBYTES;
use crate::{Loading, ModulesPlace, Placed};
use alloc::vec::Vec;

/// The owner of the note. Another's is taken if there is none of this one, as other VMMs do.
const NOTE_NAME: &[u8] = b"Xen\0";
/// XEN_ELFNOTE_PHYS32_ENTRY.
const NOTE_ENTRY: u32 = 18;
const START_MAGIC: u32 = 0x336E_C578;
const START_VERSION: u32 = 1;
/// The protocol sets no limit; this is the limit of Linux and of common loaders.
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
    let modules = loading.place_modules(ModulesPlace::Top)?;
    let info = start_info(loading, command_line, &modules)?;
    Ok(Entry { rbx: info, ..Entry::protected(loading, entry)? })
}

/// Writes `hvm_start_info` with its lists; returns its address.
fn start_info(
    loading: &mut Loading<'_>,
    command_line: u64,
    modules: &[Placed],
) -> Result<u64, LoadError> {
    let fields = modules.iter().flat_map(|module| [module.start, module.length, module.text, 0]);
    let list: Vec<u8> = fields.flat_map(u64::to_le_bytes).collect();
    let list = if modules.is_empty() { 0 } else { loading.place(&list)? };
    let mut map = Vec::new();
    for entry in loading.request.memory_map {
        map.extend_from_slice(&entry.start.to_le_bytes());
        map.extend_from_slice(&entry.length.to_le_bytes());
        map.extend_from_slice(&u64::from(entry.kind as u32).to_le_bytes());
    }
    let map = loading.place(&map)?;
    let entries = loading.request.memory_map.len() as u64;
    let mut info = Vec::new();
    for field in [START_MAGIC, START_VERSION, 0, modules.len() as u32] {
        info.extend_from_slice(&field.to_le_bytes());
    }
    for field in [list, command_line, loading.request.rsdp, map, entries] {
        info.extend_from_slice(&field.to_le_bytes());
    }
    loading.place(&info)
}
