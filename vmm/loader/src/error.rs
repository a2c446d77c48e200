//! Errors of loading a kernel.

use crate::io::TransferError;
use core::fmt;

/// The reason why a kernel cannot be loaded; the message names the faulty party and a remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum LoadError {
    NotAKernel,
    NoEntryNote,
    Truncated { needed: u64, length: u64 },
    Overflow,
    HostRead,
    GuestMemory,
    BadElf { field: &'static str },
    BadMultiboot { field: &'static str },
    TooManySegments { count: u64 },
    NotesTooLong { length: u64, limit: u64 },
    ProtocolTooOld { version: u16 },
    LoadedLow,
    NeedsUnknown { flags: u32 },
    MultibootIn64Bit,
    OutsideRam { start: u64, end: u64 },
    Overlaps { start: u64, end: u64 },
    EntryOutside { entry: u64 },
    KernelTooBig { length: u64, below: u64 },
    InitrdTooBig { length: u64, below: u64 },
    TooManyModules { count: usize },
    NoRoom { length: u64 },
    CommandLineTooLong { limit: u64, length: u64 },
    CommandLineHasNul,
    TooManyRanges { count: usize },
}

impl From<TransferError> for LoadError {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Host => Self::HostRead,
            TransferError::Memory => Self::GuestMemory,
        }
    }
}

impl core::error::Error for LoadError {}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotAKernel => {
                f.write_str("the file is no kernel: give a bzImage, an ELF with a PVH note, or Multiboot 1")
            }
            Self::NoEntryNote => f.write_str(
                "the ELF file has no PVH note, so nothing says where to enter it: build it with CONFIG_PVH, or give its bzImage",
            ),
            Self::Truncated { needed, length } => {
                write!(f, "the kernel file is cut off: it has {length} bytes and needs {needed}; copy it again")
            }
            Self::Overflow => f.write_str("the kernel file gives addresses beyond 64 bits: it is damaged"),
            Self::HostRead => f.write_str("the host did not deliver a file that it offers: see the VMM's log"),
            Self::GuestMemory => f.write_str("guest memory is not where the memory map says: a fault of the paravisor"),
            Self::BadElf { field } => write!(f, "the ELF file is damaged: {field} is impossible"),
            Self::BadMultiboot { field } => write!(f, "the Multiboot header contradicts itself or the file: {field} is impossible"),
            Self::TooManySegments { count } => {
                write!(f, "the ELF file has {count} program headers, more than a kernel can need: it is damaged")
            }
            Self::NotesTooLong { length, limit } => {
                write!(f, "the ELF file's notes have {length} bytes or more, and {limit} are the most: strip it of those that the kernel does not need")
            }
            Self::ProtocolTooOld { version } => {
                write!(f, "the kernel has Linux boot protocol {}.{:02}; 2.02 is the oldest that works", version >> 8, version & 0xFF)
            }
            Self::LoadedLow => f.write_str("the kernel is a zImage, which loads below 1 MiB: give its bzImage"),
            Self::NeedsUnknown { flags } => {
                write!(f, "the Multiboot kernel demands features {flags:#x}, which this loader does not have")
            }
            Self::MultibootIn64Bit => f.write_str("Multiboot 1 has no 64-bit ELF files: give a 32-bit one, or add a PVH note"),
            Self::OutsideRam { start, end } => {
                write!(f, "the kernel wants memory {start:#x} to {end:#x}, which is not RAM: give the VM more, or link it elsewhere")
            }
            Self::Overlaps { start, end } => {
                write!(f, "the kernel wants memory {start:#x} to {end:#x}, which is reserved or taken by another part of it")
            }
            Self::EntryOutside { entry } => write!(f, "the kernel's entry {entry:#x} lies outside of what it loads: it is damaged"),
            Self::KernelTooBig { length, below } => {
                write!(f, "the kernel needs {length} bytes of RAM in one piece, where it can run, below {below:#x}: give the VM more")
            }
            Self::TooManyModules { count } => {
                write!(f, "the kernel takes one initrd and no modules, and {count} files are given: leave --module out")
            }
            Self::InitrdTooBig { length, below } => {
                write!(f, "the initrd or module of {length} bytes does not fit into free RAM below {below:#x}: give the VM more, or shrink it")
            }
            Self::NoRoom { length } => write!(f, "no {length} bytes of RAM are free for boot structures: give the VM more"),
            Self::CommandLineTooLong { limit, length } => {
                write!(f, "the command line has {length} bytes, and this kernel takes {limit} at most: shorten it")
            }
            Self::CommandLineHasNul => f.write_str("the command line contains a zero byte: remove it"),
            Self::TooManyRanges { count } => write!(f, "the memory map has {count} ranges, and 128 is the most: a fault of the paravisor"),
        }
    }
}
