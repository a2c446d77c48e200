//! State of the first VP when it enters the kernel.

use crate::Loading;
use crate::error::LoadError;
use alloc::vec::Vec;
use x86::page_table::entry;
use x86::{Attributes, Segment};

/// CPU mode at entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// CR0.PE set, paging off, CR4 and EFER zero.
    Protected32,
    /// 64-bit mode: CR0.PE and PG, CR4.PAE, EFER.LME and LMA.
    Long64 {
        /// CR3: tables in guest memory that map the first 4 GiB to themselves.
        page_tables: u64,
    },
}

/// State of the first VP; registers that are not here are zero, RFLAGS is 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// CPU mode.
    pub mode: Mode,
    /// RIP.
    pub rip: u64,
    /// RAX: Multiboot's magic number, else zero.
    pub rax: u64,
    /// RBX: address of the PVH or Multiboot information, else zero.
    pub rbx: u64,
    /// RSI: address of Linux' boot parameters, else zero.
    pub rsi: u64,
    /// CS; base zero.
    pub code: Segment,
    /// DS, ES, SS, FS and GS; base zero.
    pub data: Segment,
    /// TR; base zero, as PVH wants it. The LDT is null.
    pub task: Segment,
    /// Guest-physical address of the GDT.
    pub gdt: u64,
    /// Limit of the GDT in bytes.
    pub gdt_limit: u16,
}

/// Selectors that Linux prescribes (boot protocol, "32-bit boot protocol").
const CODE: u16 = 0x10;
const DATA: u16 = 0x18;
const TASK: u16 = 0x20;

/// A segment with base zero.
const fn flat(selector: u16, attributes: u16, limit: u32) -> Segment {
    Segment { selector, attributes: Attributes::from_bits(attributes), limit, base: 0 }
}

const CODE_32: Segment = flat(CODE, 0xC9B, u32::MAX);
const CODE_64: Segment = flat(CODE, 0xA9B, u32::MAX);
const FLAT_DATA: Segment = flat(DATA, 0xC93, u32::MAX);
const BUSY_TASK: Segment = flat(TASK, 0x8B, 0x67);

impl Entry {
    /// A 32-bit entry at `rip`.
    pub(crate) fn protected(loading: &mut Loading<'_>, rip: u64) -> Result<Self, LoadError> {
        Self::new(loading, rip, Mode::Protected32, CODE_32)
    }

    /// A 64-bit entry at `rip`.
    pub(crate) fn long(loading: &mut Loading<'_>, rip: u64) -> Result<Self, LoadError> {
        let page_tables = identity_map(loading)?;
        Self::new(loading, rip, Mode::Long64 { page_tables }, CODE_64)
    }

    fn new(
        loading: &mut Loading<'_>,
        rip: u64,
        mode: Mode,
        code: Segment,
    ) -> Result<Self, LoadError> {
        let table = [0, 0, code.descriptor(), FLAT_DATA.descriptor(), BUSY_TASK.descriptor()];
        let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        let gdt_limit = bytes.len() as u16 - 1;
        let gdt = loading.place(&bytes)?;
        let (data, task) = (FLAT_DATA, BUSY_TASK);
        Ok(Self { mode, rip, rax: 0, rbx: 0, rsi: 0, code, data, task, gdt, gdt_limit })
    }
}

/// Maps the first 4 GiB to themselves with 2 MiB pages: six tables (APM vol. 2, 5.3).
fn identity_map(loading: &mut Loading<'_>) -> Result<u64, LoadError> {
    const PRESENT_WRITABLE: u64 = entry::PRESENT | entry::WRITABLE;
    const TABLE: u64 = 4096;
    let root = loading.layout.structure(6 * TABLE)?;
    let table = |number: u64| (root + number * TABLE) | PRESENT_WRITABLE;
    let mut entries: Vec<u64> = Vec::new();
    entries.push(table(1));
    entries.resize(512, 0);
    entries.extend((2..6).map(table));
    entries.resize(1024, 0);
    entries.extend((0..4 * 512).map(|number| (number << 21) | entry::LARGE | PRESENT_WRITABLE));
    let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    loading.memory.write(root, &bytes)?;
    Ok(root)
}
