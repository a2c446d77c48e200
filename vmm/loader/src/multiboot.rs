//! Multiboot 1 kernels (specification 0.6.96), entered in 32-bit mode.

use crate::bytes::{put, u32_at};
use crate::elf::{self, Elf};
use crate::entry::Entry;
use crate::error::LoadError;
use crate::layout::{MEBIBYTE, RangeKind};
use crate::{Loading, ModulesPlace};
use alloc::vec::Vec;

const HEADER_MAGIC: u32 = 0x1BAD_B002;
const LOADER_MAGIC: u64 = 0x2BAD_B002;
/// Flags 0 to 15 are requirements; modules are always aligned and memory is always reported. Flag 2
/// asks for a video mode, but kernels work without one, as on every VMM that loads them directly.
const KNOWN_DEMANDS: u32 = 0b111;
const DEMANDS: u32 = 0xFFFF;
const HAS_ADDRESSES: u32 = 1 << 16;
/// Memory, command line, memory map, loader's name.
const INFO_FLAGS: u32 = (1 << 0) | (1 << 2) | (1 << 6) | (1 << 9);
const INFO_MODULES: u32 = 1 << 3;
const INFO: usize = 116;
const COMMAND_LINE_LIMIT: u64 = 4095;
const LOADER_NAME: &[u8] = b"Paravane\0";

/// A Multiboot header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// The header's offset in the file.
    offset: u64,
    flags: u32,
    addresses: Option<Addresses>,
}

/// The "address fields", for files that are not ELF.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    header: u64,
    load: u64,
    load_end: u64,
    bss_end: u64,
    entry: u64,
}

impl Header {
    /// Whether the header gives the load addresses itself.
    pub(crate) const fn has_addresses(&self) -> bool {
        self.addresses.is_some()
    }
}

/// Finds the header in the file's first 8 KiB (3.1).
pub(crate) fn find(head: &[u8]) -> Option<Header> {
    (0..head.len()).step_by(4).find_map(|offset| header_at(head, offset))
}

fn header_at(head: &[u8], offset: usize) -> Option<Header> {
    let field = |index: usize| u32_at(head, offset + 4 * index);
    let (magic, flags, checksum) = (field(0)?, field(1)?, field(2)?);
    if magic != HEADER_MAGIC || magic.wrapping_add(flags).wrapping_add(checksum) != 0 {
        return None;
    }
    let address = |index| field(index).map(u64::from);
    let addresses = if flags & HAS_ADDRESSES != 0 {
        Some(Addresses {
            header: address(3)?,
            load: address(4)?,
            load_end: address(5)?,
            bss_end: address(6)?,
            entry: address(7)?,
        })
    } else {
        None
    };
    Some(Header { offset: offset as u64, flags, addresses })
}

/// Loads the kernel; `head` is the file's first 8 KiB.
pub(crate) fn load(
    loading: &mut Loading<'_>,
    head: &[u8],
    header: &Header,
) -> Result<Entry, LoadError> {
    let unknown = header.flags & DEMANDS & !KNOWN_DEMANDS;
    if unknown != 0 {
        return Err(LoadError::NeedsUnknown { flags: unknown });
    }
    let entry = match header.addresses {
        Some(addresses) => place_flat(loading, header.offset, &addresses)?,
        None if elf::is_64(head) => return Err(LoadError::MultibootIn64Bit),
        None if !elf::is_elf(head) => return Err(LoadError::NotAKernel),
        None => {
            let elf = Elf::parse(loading.kernel, head)?;
            elf.place(loading)?;
            elf.physical_entry()
        }
    };
    if !loading.layout.is_claimed(entry) {
        return Err(LoadError::EntryOutside { entry });
    }
    let info = information(loading)?;
    let entry = Entry::protected(loading, entry)?;
    Ok(Entry { rax: LOADER_MAGIC, rbx: info, ..entry })
}

/// Loads by the header's address fields (3.1.3); returns the entry.
fn place_flat(
    loading: &mut Loading<'_>,
    header_offset: u64,
    addresses: &Addresses,
) -> Result<u64, LoadError> {
    let bad = |field| LoadError::BadMultiboot { field };
    let before = addresses.header.checked_sub(addresses.load).ok_or(bad("header_addr"))?;
    let offset = header_offset.checked_sub(before).ok_or(bad("load_addr"))?;
    let length = match addresses.load_end {
        0 => loading.kernel.len().saturating_sub(offset),
        end => end.checked_sub(addresses.load).ok_or(bad("load_end_addr"))?,
    };
    let loaded_end = addresses.load.checked_add(length).ok_or(LoadError::Overflow)?;
    let bss = match addresses.bss_end {
        0 => 0,
        end => end.checked_sub(loaded_end).ok_or(bad("bss_end_addr"))?,
    };
    loading.layout.claim(addresses.load, length.saturating_add(bss))?;
    loading.place_kernel(offset, addresses.load, length)?;
    if bss > 0 {
        loading.memory.zero(loaded_end, bss)?;
    }
    Ok(addresses.entry)
}

/// Writes the information structure with everything that it points to (3.3); returns its address.
fn information(loading: &mut Loading<'_>) -> Result<u64, LoadError> {
    name_kernel(loading);
    let command_line = loading.place_command_line(COMMAND_LINE_LIMIT)?;
    let modules = loading.place_modules(ModulesPlace::BehindKernel)?;
    let name = loading.place(LOADER_NAME)?;
    let map = memory_map(loading);
    let map_at = loading.place(&map)?;
    let (lower, upper) = memory_sizes(loading);
    let mut info = [0; INFO];
    let mut put_32 = |offset, value: u64| put(&mut info, offset, &(value as u32).to_le_bytes());
    put_32(4, lower);
    put_32(8, upper);
    put_32(16, command_line);
    put_32(44, map.len() as u64);
    put_32(48, map_at);
    put_32(64, name);
    let mut flags = INFO_FLAGS;
    if !modules.is_empty() {
        let fields = modules
            .iter()
            .flat_map(|module| [module.start, module.start + module.length, module.text, 0]);
        let list: Vec<u8> = fields.flat_map(|field| (field as u32).to_le_bytes()).collect();
        put_32(20, modules.len() as u64);
        put_32(24, loading.place(&list)?);
        flags |= INFO_MODULES;
    }
    put_32(0, flags.into());
    loading.place(&info)
}

/// Puts the name of the kernel's file in front of the command line.
fn name_kernel(loading: &mut Loading<'_>) {
    let name = loading.request.kernel_name;
    if !name.is_empty() {
        loading.command_line = [name, b" ", loading.request.command_line].concat();
    }
}

/// Entries of 24 bytes; the first field holds the size of the rest.
fn memory_map(loading: &Loading<'_>) -> Vec<u8> {
    let mut map = Vec::new();
    for entry in loading.request.memory_map {
        map.extend_from_slice(&20_u32.to_le_bytes());
        map.extend_from_slice(&entry.start.to_le_bytes());
        map.extend_from_slice(&entry.length.to_le_bytes());
        map.extend_from_slice(&(entry.kind as u32).to_le_bytes());
    }
    map
}

/// KiB of RAM from address 0 on, 640 at most, and from 1 MiB on up to the first hole.
fn memory_sizes(loading: &Loading<'_>) -> (u64, u64) {
    let from = |address: u64| {
        loading
            .request
            .memory_map
            .iter()
            .filter(|entry| entry.kind == RangeKind::Ram && entry.start <= address)
            .map(|entry| entry.start.saturating_add(entry.length).saturating_sub(address))
            .max()
            .unwrap_or(0)
            / 1024
    };
    (from(0).min(640), from(MEBIBYTE).min(u32::MAX.into()))
}
