//! What the PVH loader tells of the memory that firmware took (Xen, hvm_start_info version 1).

use core::sync::atomic::{AtomicU64, Ordering};

use guest_memory::GpaRange;

const MAGIC: u32 = 0x336e_c578;
/// Offsets in the structure.
const VERSION: u64 = 4;
const MEMORY_MAP: u64 = 40;
const MEMORY_MAP_ENTRIES: u64 = 48;
/// An entry: address, size, type, reserved.
const ENTRY_SIZE: u64 = 24;
const TYPE_RAM: u32 = 1;
const MAX_ENTRIES: u32 = 128;
const FOUR_GIB: u64 = 1 << 32;
/// How far below the end of its RAM firmware leaves things: SeaBIOS moves itself below a TSEG of
/// 16 MiB, also where there is none. Tables lie above the end.
const BELOW: u64 = 18 << 20;
const ABOVE: u64 = 1 << 20;

/// Where the RAM ends that firmware left below 4 GiB. It is set at the load address and moves with
/// the image.
static RAM_END: AtomicU64 = AtomicU64::new(0);

/// The TSC when [`note_firmware`] was called.
static ARRIVED: AtomicU64 = AtomicU64::new(0);

/// The TSC at the image's first instructions.
pub fn arrived() -> u64 {
    ARRIVED.load(Ordering::Relaxed)
}

/// Notes the time, then what the structure at `start_info` says. The image's first call.
///
/// # Safety
/// The structure, if it is one, and its memory map must be mapped at their physical addresses, as
/// the early page tables map all below 4 GiB.
pub unsafe fn note_firmware(start_info: u64) {
    ARRIVED.store(instructions::rdtsc(), Ordering::Relaxed);
    // SAFETY: the caller vouches for this and for the reads below.
    let read = |address: u64| unsafe { (address as *const u32).read_unaligned() };
    let read_64 = |address: u64| u64::from(read(address)) | u64::from(read(address + 4)) << 32;
    if start_info == 0 || read(start_info) != MAGIC || read(start_info + VERSION) == 0 {
        return;
    }
    let map = read_64(start_info + MEMORY_MAP);
    let entries = read(start_info + MEMORY_MAP_ENTRIES).min(MAX_ENTRIES);
    if map == 0 || map >= FOUR_GIB - u64::from(MAX_ENTRIES) * ENTRY_SIZE {
        return;
    }
    for index in 0..u64::from(entries) {
        let entry = map + index * ENTRY_SIZE;
        let end = read_64(entry).saturating_add(read_64(entry + 8));
        if read(entry + 16) == TYPE_RAM && end <= FOUR_GIB {
            RAM_END.fetch_max(end, Ordering::Relaxed);
        }
    }
}

/// Where firmware may have left its tables and what it worked with.
pub(crate) fn firmware_leftovers() -> GpaRange {
    let end = RAM_END.load(Ordering::Relaxed);
    GpaRange::new(end.saturating_sub(BELOW), end.saturating_add(ABOVE)).unwrap_or_default()
}
