//! Loads a guest kernel into guest memory, ready to be entered.
//!
//! Understands what QEMU's `-kernel` takes: Linux bzImage, ELF with a PVH note, Multiboot 1.
//! Files come from the host and may be hostile: no content causes a panic, an unbounded loop or
//! a write outside of the RAM that the memory map offers.
#![no_std]
#![forbid(unsafe_code)]

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

pub use entry::{Descriptor, Entry, Mode};
pub use error::LoadError;
pub use io::{GuestMemory, Source, TransferError};
pub use layout::{MapEntry, RangeKind};

use alloc::vec;
use alloc::vec::Vec;
use layout::Layout;

/// What the guest is to be told.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The guest's memory map, 128 entries at most. Only RAM entries are written to, and of them
    /// only what no other entry overlaps.
    pub memory_map: &'a [MapEntry],
    /// Command line without a terminator.
    pub command_line: &'a [u8],
    /// Guest-physical address of the ACPI RSDP, or 0.
    pub rsdp: u64,
}

/// How far into a file a Multiboot header may lie (Multiboot 0.6.96, 3.1).
const HEAD: u64 = 8192;

/// Puts kernel, initrd and all that the kernel's boot protocol wants into guest memory.
///
/// # Errors
/// [`LoadError`]; guest memory may be written in part then.
pub fn load<'a>(
    request: &'a Request<'a>,
    kernel: &'a mut dyn Source,
    initrd: Option<&'a mut dyn Source>,
    memory: &'a mut dyn GuestMemory,
) -> Result<Entry, LoadError> {
    if request.memory_map.len() > 128 {
        return Err(LoadError::TooManyRanges { count: request.memory_map.len() });
    }
    if request.command_line.contains(&0) {
        return Err(LoadError::CommandLineHasNul);
    }
    let head = read_head(kernel)?;
    let mut loading =
        Loading { request, kernel, initrd, memory, layout: Layout::new(request.memory_map) };
    if linux::is_linux(&head) {
        return linux::load(&mut loading, &head);
    }
    let is_elf = elf::is_elf(&head);
    match multiboot::find(&head) {
        // Multiboot is a 32-bit matter; a 64-bit ELF file with its header needs a PVH note too.
        Some(header) if header.has_addresses() || !elf::is_64(&head) => {
            multiboot::load(&mut loading, &head, &header)
        }
        _ if is_elf => pvh::load(&mut loading, &head),
        _ => Err(LoadError::NotAKernel),
    }
}

fn read_head(kernel: &mut dyn Source) -> Result<Vec<u8>, LoadError> {
    let length = kernel.len().min(HEAD);
    let mut head = vec![0; length as usize];
    kernel.read(0, &mut head)?;
    Ok(head)
}

/// All that a loader works on.
struct Loading<'a> {
    request: &'a Request<'a>,
    kernel: &'a mut dyn Source,
    initrd: Option<&'a mut dyn Source>,
    memory: &'a mut dyn GuestMemory,
    layout: Layout,
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
        let Some(initrd) = self.initrd.as_mut() else { return Ok((0, 0)) };
        let length = initrd.len();
        if length == 0 {
            return Ok((0, 0));
        }
        let gpa = self
            .layout
            .allocate(length, layout::PAGE, layout::MEBIBYTE, end)
            .ok_or(LoadError::InitrdTooBig { length, below: end })?;
        initrd.load(0, gpa, length)?;
        Ok((gpa, length))
    }

    /// Writes a structure for the guest into low memory; gives its address.
    fn place(&mut self, bytes: &[u8]) -> Result<u64, LoadError> {
        let gpa = self.layout.structure(bytes.len() as u64)?;
        self.memory.write(gpa, bytes)?;
        Ok(gpa)
    }

    /// Writes the command line with its terminator, `limit` bytes at most without it.
    fn place_command_line(&mut self, limit: u64) -> Result<u64, LoadError> {
        let line = self.request.command_line;
        if line.len() as u64 > limit {
            return Err(LoadError::CommandLineTooLong { limit, length: line.len() as u64 });
        }
        let mut bytes = line.to_vec();
        bytes.push(0);
        self.place(&bytes)
    }
}
