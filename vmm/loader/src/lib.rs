//! Loads a guest kernel into guest memory, ready to be entered.
//!
//! It knows the kernels that VMMs load directly: Linux bzImage, ELF with a PVH note, Multiboot 1.
//! Files come from the host and may be hostile: no content causes a panic, an unbounded loop or
//! a write outside of the RAM that the memory map offers.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

extern crate alloc;

mod bytes;
mod elf;
mod entry;
mod error;
mod io;
mod layout;
mod linux;
mod multiboot;
mod pvh;

pub use entry::{Entry, Mode};
pub use error::LoadError;
pub use io::{GuestMemory, Source, TransferError};
pub use layout::{MapEntry, RangeKind};

use alloc::vec;
use alloc::vec::Vec;
use layout::Layout;

/// The input of a load.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The guest's memory map, 128 entries at most. Only RAM entries are written to, and only the
    /// parts of them that no other entry overlaps.
    pub memory_map: &'a [MapEntry],
    /// Command line without a terminator.
    pub command_line: &'a [u8],
    /// Guest-physical address of the ACPI RSDP, or 0.
    pub rsdp: u64,
    /// The name of the kernel's file, or nothing. Multiboot kernels get it as their command line's
    /// first word, which they drop.
    pub kernel_name: &'a [u8],
}

/// A file that the kernel gets in memory: an initrd, or a module of its boot protocol.
#[expect(missing_debug_implementations, reason = "a source is any type")]
pub struct Module<'a> {
    /// The file.
    pub file: &'a mut dyn Source,
    /// The text that the kernel finds with it, without a terminator.
    pub text: &'a [u8],
}

/// A kernel that is loaded in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The state of the first VP at its entry.
    pub entry: Entry,
    /// The command line that the kernel gets, without a terminator.
    pub command_line: Vec<u8>,
}

/// The bytes at the start of a file in which a Multiboot header may lie (Multiboot 0.6.96, 3.1).
const HEAD: u64 = 8192;

/// Puts kernel, modules and the structures of the kernel's boot protocol into guest memory. Linux
/// takes one module, as its initrd.
///
/// # Errors
/// [`LoadError`]; guest memory may be written in part then.
pub fn load<'a>(
    request: &'a Request<'a>,
    kernel: &'a mut dyn Source,
    modules: Vec<Module<'a>>,
    memory: &'a mut dyn GuestMemory,
) -> Result<Loaded, LoadError> {
    if request.memory_map.len() > 128 {
        return Err(LoadError::TooManyRanges { count: request.memory_map.len() });
    }
    let texts = modules.iter().map(|module| module.text);
    let mut texts = texts.chain([request.command_line, request.kernel_name]);
    if texts.any(|text| text.contains(&0)) {
        return Err(LoadError::CommandLineHasNul);
    }
    let head = read_head(kernel)?;
    let layout = Layout::new(request.memory_map);
    let command_line = request.command_line.to_vec();
    let mut loading = Loading { request, kernel, modules, memory, layout, command_line };
    let entry = load_by_kind(&mut loading, &head)?;
    Ok(Loaded { entry, command_line: loading.command_line })
}

fn load_by_kind(loading: &mut Loading<'_>, head: &[u8]) -> Result<Entry, LoadError> {
    if linux::is_linux(head) {
        return linux::load(loading, head);
    }
    match multiboot::find(head) {
        // Multiboot has no 64-bit entry: a 64-bit ELF file with its header needs a PVH note too.
        Some(header) if header.has_addresses() || !elf::is_64(head) => {
            multiboot::load(loading, head, &header)
        }
        _ if elf::is_elf(head) => pvh::load(loading, head),
        _ => Err(LoadError::NotAKernel),
    }
}

fn read_head(kernel: &mut dyn Source) -> Result<Vec<u8>, LoadError> {
    let length = kernel.len().min(HEAD);
    let mut head = vec![0; length as usize];
    kernel.read(0, &mut head)?;
    Ok(head)
}

/// The input and output of a loader.
struct Loading<'a> {
    request: &'a Request<'a>,
    kernel: &'a mut dyn Source,
    modules: Vec<Module<'a>>,
    memory: &'a mut dyn GuestMemory,
    layout: Layout,
    command_line: Vec<u8>,
}

/// The place of the modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ModulesPlace {
    /// In their order, as low as possible behind the kernel: for kernels that map little of their
    /// memory.
    BehindKernel,
    /// At the top of free RAM below 4 GiB: for kernels that use the memory behind them.
    Top,
}

/// The location of a module, and its text with a terminator.
#[derive(Clone, Copy, Debug)]
struct Placed {
    start: u64,
    length: u64,
    text: u64,
}

impl Loading<'_> {
    /// Moves a part of the kernel file to guest memory that was claimed for it.
    fn place_kernel(&mut self, offset: u64, gpa: u64, length: u64) -> Result<(), LoadError> {
        let end = offset.checked_add(length).ok_or(LoadError::Overflow)?;
        if end > self.kernel.len() {
            return Err(LoadError::Truncated { needed: end, length: self.kernel.len() });
        }
        if length > 0 {
            self.kernel.load(offset, gpa, length)?;
        }
        Ok(())
    }

    /// Puts the initrd at the top of free RAM below `end`; start and length, or zeros.
    fn place_initrd(&mut self, end: u64) -> Result<(u64, u64), LoadError> {
        let (initrd, more) = match &mut self.modules[..] {
            [] => return Ok((0, 0)),
            [first, more @ ..] => (first, more),
        };
        if !more.is_empty() {
            return Err(LoadError::TooManyModules { count: more.len() + 1 });
        }
        let length = initrd.file.len();
        if length == 0 {
            return Ok((0, 0));
        }
        let gpa = self
            .layout
            .allocate(length, layout::PAGE, layout::MEBIBYTE, end)
            .ok_or(LoadError::InitrdTooBig { length, below: end })?;
        initrd.file.load(0, gpa, length)?;
        Ok((gpa, length))
    }

    /// Puts all modules where VMMs put them for this boot protocol.
    fn place_modules(&mut self, place: ModulesPlace) -> Result<Vec<Placed>, LoadError> {
        if self.modules.is_empty() {
            return Ok(Vec::new());
        }
        let terminated = |module: &Module<'_>| [module.text, &[0]].concat();
        let texts: Vec<u8> = self.modules.iter().flat_map(terminated).collect();
        let mut text = self.place(&texts)?;
        let mut from = self.layout.claimed_end().max(layout::MEBIBYTE);
        let mut placed = Vec::new();
        for module in &mut self.modules {
            let length = module.file.len();
            let below = layout::FOUR_GIBIBYTES;
            let wanted = length.max(1);
            let start = match place {
                ModulesPlace::BehindKernel => self.layout.lowest(wanted, layout::PAGE, from, below),
                ModulesPlace::Top => {
                    self.layout.allocate(wanted, layout::PAGE, layout::MEBIBYTE, below)
                }
            };
            let start = start.ok_or(LoadError::InitrdTooBig { length, below })?;
            if length > 0 {
                module.file.load(0, start, length)?;
            }
            placed.push(Placed { start, length, text });
            text += module.text.len() as u64 + 1;
            from = start + length;
        }
        Ok(placed)
    }

    /// Writes a structure for the guest into low memory; returns its address.
    fn place(&mut self, bytes: &[u8]) -> Result<u64, LoadError> {
        let gpa = self.layout.structure(bytes.len() as u64)?;
        self.memory.write(gpa, bytes)?;
        Ok(gpa)
    }

    /// Writes the command line with its terminator, `limit` bytes at most without it.
    fn place_command_line(&mut self, limit: u64) -> Result<u64, LoadError> {
        let length = self.command_line.len() as u64;
        if length > limit {
            return Err(LoadError::CommandLineTooLong { limit, length });
        }
        let bytes = [&self.command_line[..], &[0]].concat();
        self.place(&bytes)
    }
}
