//! What the host has given this VM: memory, CPUs, SVM.

use core::fmt;

use guest_memory::{GpaRange, MapError, PAGE_SIZE, RamMap};
use pc::MAX_VPS;
use svm::{Features, Unusable};

use crate::PC;

/// The hole that PCs have below 1 MiB: video memory, option ROMs, firmware.
pub const LEGACY_HOLE: GpaRange = GpaRange::new(0xa_0000, 0x10_0000).unwrap();
const FOUR_GIB: u64 = 1 << 32;
/// `E820_RAM`.
const TYPE_RAM: u32 = 1;
/// An entry of the file: address, length, type.
const E820_ENTRY: usize = 20;
const MAX_E820_ENTRIES: u32 = 64;
/// Pages of our own that each CPU costs: the hole below its stack, its other stacks with their
/// holes, context, control block, host save area, and the state that VMLOAD brings back.
const PAGES_PER_CPU: u64 = 11;
/// Pages of the service's stack.
pub(crate) const SERVICE_STACK_PAGES: u64 = 16;
/// Pages for our own page tables, and the service's stack with the hole below it.
const FIXED_PAGES: u64 = 16 + 1 + SERVICE_STACK_PAGES;

/// What an image needs beside its code, its stacks, and the page tables of its own.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Pages of each CPU's stack.
    pub stack_pages: u64,
    /// Bytes of heap.
    pub heap: u64,
    /// Bytes of heap for each CPU.
    pub heap_per_cpu: u64,
    /// Pages in any VM.
    pub pages: u64,
    /// Pages for each CPU.
    pub pages_per_cpu: u64,
    /// Pages for each GiB of RAM.
    pub pages_per_gib: u64,
    /// Bytes of RAM that must be left below 4 GiB.
    pub left: u64,
}

/// Why the VM can not be used. The fault is the host's, or that of its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The CPU can run no guest.
    Cpu(Unusable),
    /// No fw_cfg device with DMA.
    NoFwCfg,
    /// The memory map is missing or can not be read.
    NoMemoryMap,
    /// The memory map contradicts itself.
    BadMemoryMap(MapError),
    /// A range of the memory map goes past the end of the address space.
    EndlessRange(u64),
    /// The host told of another machine when it was asked again.
    Changed,
    /// Too little RAM: bytes of low RAM, bytes wanted.
    TooLittleRam(u64, u64),
    /// Zero CPUs, or too many.
    CpuCount(u32),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(reason) => write!(f, "{reason}"),
            Self::NoFwCfg => f.write_str("the host offers no fw_cfg device with DMA"),
            Self::NoMemoryMap => f.write_str("the host gives no memory map (fw_cfg etc/e820)"),
            Self::BadMemoryMap(error) => write!(f, "the host's memory map is wrong: {error}"),
            Self::EndlessRange(start) => write!(
                f,
                "the host's memory map is wrong: the range at {start:#x} goes past 64 bits"
            ),
            Self::Changed => f.write_str(
                "the host gave another memory map or number of CPUs when it was asked again",
            ),
            Self::TooLittleRam(found, wanted) => write!(
                f,
                "the VM has {} MiB of RAM below 4 GiB; the paravisor and a guest need {} MiB",
                found >> 20,
                (wanted + (1 << 20) - 1) >> 20
            ),
            Self::CpuCount(count) => {
                write!(f, "the VM has {count} CPUs; 1 to {MAX_VPS} can carry a VP")
            }
        }
    }
}

impl core::error::Error for StartError {}

/// What the host has given this VM.
#[derive(Clone, Copy, Debug)]
pub struct Discovered {
    /// CPUs.
    pub cpus: u32,
    /// The first so many CPUs carry no VP.
    pub spare_cpus: u32,
    /// The guest's RAM: all but the hole below 1 MiB and our own range.
    pub ram: RamMap,
    /// Our own range, at the top of low RAM.
    pub own: GpaRange,
    /// What this CPU offers.
    pub features: Features,
    /// Bits of a physical address.
    pub physical_bits: u8,
    /// Pages of each CPU's stack.
    pub(crate) stack_pages: u64,
    /// Bytes of heap.
    pub(crate) heap: u64,
}

/// Asks the CPU and the host; `image_size` is what our own code and data take, and `needs` what
/// comes on top.
///
/// # Errors
/// [`StartError`].
pub fn discover(image_size: u64, needs: Needs) -> Result<Discovered, StartError> {
    let features = Features::find().map_err(StartError::Cpu)?;
    if !PC.has_fw_cfg() {
        return Err(StartError::NoFwCfg);
    }
    let cpus = PC.cpu_count();
    let spare_cpus = svm::spare_cpus(cpus, features);
    if cpus == 0 || (cpus - spare_cpus) as usize > MAX_VPS {
        return Err(StartError::CpuCount(cpus));
    }
    let mut ram = read_memory_map()?;
    let own = place_own_range(&ram, image_size, cpus, needs)?;
    for taken in [own, LEGACY_HOLE] {
        ram.remove(taken).map_err(StartError::BadMemoryMap)?;
    }
    let physical_bits = instructions::cpuid(0x8000_0008, 0)[0] as u8;
    let heap = needs.heap + needs.heap_per_cpu * u64::from(cpus);
    let stack_pages = needs.stack_pages;
    Ok(Discovered { cpus, spare_cpus, ram, own, features, physical_bits, stack_pages, heap })
}

/// Reads QEMU's `etc/e820`.
fn read_memory_map() -> Result<RamMap, StartError> {
    let file = PC.find_file("etc/e820").ok_or(StartError::NoMemoryMap)?;
    let mut map = RamMap::new();
    for index in 0..(file.length / E820_ENTRY as u32).min(MAX_E820_ENTRIES) {
        let mut entry = [0; E820_ENTRY];
        PC.read_file(file, index * E820_ENTRY as u32, &mut entry)
            .map_err(|_| StartError::NoMemoryMap)?;
        let (words, kind) = entry.split_at(16);
        if kind != TYPE_RAM.to_le_bytes() {
            continue;
        }
        let (words, _) = words.as_chunks::<8>();
        let [start, length] = [0, 1].map(|i| words.get(i).map_or(0, |w| u64::from_le_bytes(*w)));
        let range = GpaRange::from_length(start, length).ok_or(StartError::EndlessRange(start))?;
        map.add(range).map_err(StartError::BadMemoryMap)?;
    }
    Ok(map)
}

/// The top of the highest RAM below 4 GiB, as large as our own needs.
fn place_own_range(
    ram: &RamMap,
    image_size: u64,
    cpus: u32,
    needs: Needs,
) -> Result<GpaRange, StartError> {
    let gib = ram.total().div_ceil(1 << 30);
    let pages = FIXED_PAGES
        + needs.pages
        + (PAGES_PER_CPU + needs.stack_pages + needs.pages_per_cpu) * u64::from(cpus)
        + (TABLES_PER_GIB + needs.pages_per_gib) * gib;
    let heap = needs.heap + needs.heap_per_cpu * u64::from(cpus);
    let size = image_size.next_multiple_of(PAGE_SIZE) + pages * PAGE_SIZE + heap;
    let wanted = size + needs.left;
    let low = ram.ranges().iter().rfind(|range| range.end() <= FOUR_GIB);
    let top = low.map_or(0, |range| range.end() & !(PAGE_SIZE - 1));
    let start = low.map_or(0, GpaRange::start);
    if top - start < wanted {
        return Err(StartError::TooLittleRam(top - start, wanted));
    }
    GpaRange::new(top - size, top).ok_or(StartError::NoMemoryMap)
}

/// Our own page tables for each GiB of RAM, on a CPU without pages of 1 GiB.
const TABLES_PER_GIB: u64 = 1;
