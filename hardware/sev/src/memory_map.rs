//! The memory map that an IGVM file's loader gives.

use guest_memory::{GpaRange, PAGE_SIZE, RamMap};

/// An entry: first page, pages, type, flags, reserved (IGVM specification,
/// IGVM_VHS_MEMORY_MAP_ENTRY).
const ENTRY: usize = 24;
const MOST_ENTRIES: usize = 128;
const TYPE_MEMORY: u16 = 0;
/// The entry code maps so much.
const MAPPED: u64 = 4 << 30;

/// The RAM in the page of the memory map, which the host has filled. None if the map contradicts
/// itself, or has RAM that the entry code does not map.
pub fn memory_map(page: &[u8; PAGE_SIZE as usize]) -> Option<RamMap> {
    let mut ram = RamMap::new();
    for entry in page.as_chunks::<ENTRY>().0.iter().take(MOST_ENTRIES) {
        let word = |at: usize| {
            let bytes = entry.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        let (start, pages, kind) = (word(0), word(8), word(16) as u16);
        if pages == 0 {
            break;
        }
        if kind != TYPE_MEMORY {
            continue;
        }
        let (start, length) = (start.checked_mul(PAGE_SIZE)?, pages.checked_mul(PAGE_SIZE)?);
        let range = GpaRange::from_length(start, length)?;
        if range.end() > MAPPED {
            return None;
        }
        ram.add(range).ok()?;
    }
    Some(ram)
}
