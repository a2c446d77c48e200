//! Linux bzImage (Documentation/arch/x86/boot.rst), entered in 64-bit or 32-bit mode.

use crate::Loading;
use crate::bytes::{put, u16_at, u32_at, u64_at};
use crate::entry::Entry;
use crate::error::LoadError;
use crate::layout::{FOUR_GIBIBYTES, MEBIBYTE, PAGE};

/// Offsets of header fields, the same in the file and in `boot_params`.
mod field {
    pub(super) const ACPI_RSDP_ADDR: usize = 0x070;
    pub(super) const E820_ENTRIES: usize = 0x1E8;
    pub(super) const SETUP_SECTS: usize = 0x1F1;
    pub(super) const SYSSIZE: usize = 0x1F4;
    pub(super) const BOOT_FLAG: usize = 0x1FE;
    pub(super) const JUMP: usize = 0x201;
    pub(super) const HEADER: usize = 0x202;
    pub(super) const VERSION: usize = 0x206;
    pub(super) const TYPE_OF_LOADER: usize = 0x210;
    pub(super) const LOADFLAGS: usize = 0x211;
    pub(super) const CODE32_START: usize = 0x214;
    pub(super) const RAMDISK_IMAGE: usize = 0x218;
    pub(super) const RAMDISK_SIZE: usize = 0x21C;
    pub(super) const CMD_LINE_PTR: usize = 0x228;
    pub(super) const INITRD_ADDR_MAX: usize = 0x22C;
    pub(super) const KERNEL_ALIGNMENT: usize = 0x230;
    pub(super) const RELOCATABLE_KERNEL: usize = 0x234;
    pub(super) const XLOADFLAGS: usize = 0x236;
    pub(super) const CMDLINE_SIZE: usize = 0x238;
    pub(super) const PREF_ADDRESS: usize = 0x258;
    pub(super) const INIT_SIZE: usize = 0x260;
    pub(super) const E820_TABLE: usize = 0x2D0;
}

const SIGNATURE: u32 = 0x5372_6448;
const BOOT_FLAG: u16 = 0xAA55;
const LOADED_HIGH: u8 = 1 << 0;
const XLF_KERNEL_64: u16 = 1 << 0;
const SECTOR: u64 = 512;
/// The 64-bit entry, from the start of the protected-mode code.
const ENTRY_64: u64 = 0x200;
/// No number is assigned to this loader.
const UNDEFINED_LOADER: u8 = 0xFF;
const BOOT_PARAMS: usize = 4096;

/// The fields of the setup header.
struct Header {
    version: u16,
    /// Where the protected-mode code starts in the file.
    code: u64,
    /// Where that code ends in the file, as the header says.
    file_end: u64,
    start: u64,
    align: u64,
    relocatable: bool,
    long: bool,
    initrd_end: u64,
    command_line_limit: u64,
    memory: u64,
}

/// Whether the file has a setup header.
pub(crate) fn is_linux(head: &[u8]) -> bool {
    u32_at(head, field::HEADER) == Some(SIGNATURE)
        && u16_at(head, field::BOOT_FLAG) == Some(BOOT_FLAG)
}

/// Loads the kernel; `head` is the file's first 8 KiB.
pub(crate) fn load(loading: &mut Loading<'_>, head: &[u8]) -> Result<Entry, LoadError> {
    let length = loading.kernel.len();
    let header =
        Header::parse(head, length).ok_or(LoadError::Truncated { needed: 1024, length })??;
    let code_length = length
        .checked_sub(header.code)
        .filter(|&left| left > if header.long { ENTRY_64 } else { 0 })
        .ok_or(LoadError::Truncated { needed: header.code + ENTRY_64 + 1, length })?;
    if length < header.file_end {
        return Err(LoadError::Truncated { needed: header.file_end, length });
    }
    let start = place(loading, &header, code_length)?;
    loading.place_kernel(header.code, start, code_length)?;
    let command_line = loading.place_command_line(header.command_line_limit)?;
    let initrd = loading.place_initrd(header.initrd_end)?;
    let params = boot_params(loading, head, &header, start, command_line, initrd);
    let params = loading.place(&params)?;
    let entry = if header.long {
        Entry::long(loading, start + ENTRY_64)?
    } else {
        Entry::protected(loading, start)?
    };
    Ok(Entry { rsi: params, ..entry })
}

impl Header {
    /// None if the header is cut off.
    fn parse(head: &[u8], length: u64) -> Option<Result<Self, LoadError>> {
        let version = u16_at(head, field::VERSION)?;
        if version < 0x202 {
            return Some(Err(LoadError::ProtocolTooOld { version }));
        }
        if head.get(field::LOADFLAGS)? & LOADED_HIGH == 0 {
            return Some(Err(LoadError::LoadedLow));
        }
        let since = |minimum: u16, value: u64, default: u64| {
            if version >= minimum { value } else { default }
        };
        let long = |offset| u32_at(head, offset).map(u64::from);
        let setup = match u64::from(*head.get(field::SETUP_SECTS)?) {
            // Zero means four, for the oldest kernels.
            0 => 4,
            sectors => sectors,
        };
        let code = (setup + 1) * SECTOR;
        let start = match since(0x20A, u64_at(head, field::PREF_ADDRESS)?, 0) {
            0 => long(field::CODE32_START)?,
            preferred => preferred,
        };
        let initrd_last = since(0x203, long(field::INITRD_ADDR_MAX)?, 0x37FF_FFFF);
        let align = since(0x205, long(field::KERNEL_ALIGNMENT)?, PAGE);
        let flags = since(0x20C, u64::from(u16_at(head, field::XLOADFLAGS)?), 0);
        let relocatable = u64::from(*head.get(field::RELOCATABLE_KERNEL)?);
        Some(Ok(Self {
            version,
            code,
            // In paragraphs, of which the last may be cut short; before protocol 2.04 the field has
            // 16 bits, too few for big kernels.
            file_end: code + (16 * since(0x204, long(field::SYSSIZE)?, 0)).saturating_sub(15),
            start,
            align: if align.is_power_of_two() { align.max(PAGE) } else { PAGE },
            relocatable: since(0x205, relocatable, 0) != 0,
            long: flags & u64::from(XLF_KERNEL_64) != 0,
            initrd_end: (initrd_last + 1).min(FOUR_GIBIBYTES),
            command_line_limit: since(0x206, long(field::CMDLINE_SIZE)?, 255),
            memory: since(0x20A, long(field::INIT_SIZE)?, 0).max(length.saturating_sub(code)),
        }))
    }
}

/// Memory for the kernel: at its preferred address, else where it can be relocated to.
fn place(loading: &mut Loading<'_>, header: &Header, code_length: u64) -> Result<u64, LoadError> {
    let length = header.memory.max(code_length);
    let fits = header.start.checked_add(length).is_some_and(|end| end <= FOUR_GIBIBYTES);
    let below = if header.long { FOUR_GIBIBYTES } else { header.initrd_end };
    let refusal = if fits {
        match loading.layout.claim(header.start, length) {
            Ok(()) => return Ok(header.start),
            Err(refusal) => refusal,
        }
    } else {
        LoadError::KernelTooBig { length, below: FOUR_GIBIBYTES }
    };
    if !header.relocatable {
        return Err(refusal);
    }
    // Loaded below its preferred address, the kernel would move itself there. A kernel that is
    // entered in 32-bit mode runs only in the part of memory that it maps permanently, and its
    // initrd must be there too.
    let from = header.start.max(MEBIBYTE);
    loading
        .layout
        .lowest(length, header.align, from, below)
        .ok_or(LoadError::KernelTooBig { length, below })
}

/// The "zero page", with the kernel's own header in it.
fn boot_params(
    loading: &Loading<'_>,
    head: &[u8],
    header: &Header,
    start: u64,
    command_line: u64,
    initrd: (u64, u64),
) -> [u8; BOOT_PARAMS] {
    let mut params = [0; BOOT_PARAMS];
    // The jump instruction before the signature gives the end of the header.
    let jump = head.get(field::JUMP).copied().unwrap_or(0);
    let end = (field::HEADER + usize::from(jump)).min(field::E820_TABLE);
    put(&mut params, field::SETUP_SECTS, head.get(field::SETUP_SECTS..end).unwrap_or_default());
    put(&mut params, field::TYPE_OF_LOADER, &[UNDEFINED_LOADER]);
    let mut put_32 = |offset, value: u64| put(&mut params, offset, &(value as u32).to_le_bytes());
    put_32(field::CODE32_START, start);
    put_32(field::CMD_LINE_PTR, command_line);
    put_32(field::RAMDISK_IMAGE, initrd.0);
    put_32(field::RAMDISK_SIZE, initrd.1);
    if header.version >= 0x20E {
        put(&mut params, field::ACPI_RSDP_ADDR, &loading.request.rsdp.to_le_bytes());
    }
    let map = loading.request.memory_map;
    put(&mut params, field::E820_ENTRIES, &[map.len() as u8]);
    for (index, entry) in map.iter().enumerate() {
        let at = field::E820_TABLE + 20 * index;
        put(&mut params, at, &entry.start.to_le_bytes());
        put(&mut params, at + 8, &entry.length.to_le_bytes());
        put(&mut params, at + 16, &(entry.kind as u32).to_le_bytes());
    }
    params
}
