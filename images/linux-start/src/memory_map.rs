//! The VM's RAM, as the host tells it.

use guest_memory::{Gpa, GpaRange, GuestMemory, MappedMemory, PAGE_SIZE, RamMap};
use host_wire::linux_start::{self as layout, Info};

use crate::end::Reason;
use crate::files;

/// An entry: first page, pages, type, flags, reserved (IGVM specification,
/// IGVM_VHS_MEMORY_MAP_ENTRY).
const ENTRY: usize = 24;
const MOST_ENTRIES: usize = 128;
const TYPE_MEMORY: u16 = 0;
/// The stub maps so much.
const MAPPED: u64 = 4 << 30;

/// The pages of the layout that are read and written by copying: all but the stub's own.
pub(crate) fn fixed_ram() -> RamMap {
    let mut ram = RamMap::new();
    let range = GpaRange::new(layout::INFO, layout::PAGES_END).unwrap_or_default();
    // An empty map takes any range.
    let _ = ram.add(range);
    ram
}

/// What was launched: the fixed pages, the stub, the files.
pub(crate) fn launched(info: &Info) -> [GpaRange; 2] {
    let stub = &raw const crate::__stub_end;
    [(layout::INFO, stub as u64), (layout::FILES, files::end(info))]
        .map(|(start, end)| GpaRange::new(start, end.max(start)).unwrap_or_default())
}

/// Reads the memory map. All that was launched must be RAM in it.
pub(crate) fn read(memory: &MappedMemory, info: &Info) -> Result<RamMap, Reason> {
    let wrong = Reason::MemoryMap;
    let mut page = [0; PAGE_SIZE as usize];
    // The host could write the page only before the launch; it is private now.
    memory.read(Gpa(layout::MEMORY_MAP), &mut page).map_err(|_| wrong)?;
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
        let start = start.checked_mul(PAGE_SIZE).ok_or(wrong)?;
        let length = pages.checked_mul(PAGE_SIZE).ok_or(wrong)?;
        let range = GpaRange::from_length(start, length).ok_or(wrong)?;
        if range.end() > MAPPED {
            return Err(wrong);
        }
        ram.add(range).map_err(|_| wrong)?;
    }
    let stub = GpaRange::new(layout::INFO, layout::STUB_END).unwrap_or_default();
    let needed = launched(info).into_iter().chain([stub]);
    let has_all = needed.into_iter().all(|range| ram.contains(range.start(), range.length()));
    if has_all { Ok(ram) } else { Err(wrong) }
}

/// The RAM without the stub's own memory.
pub(crate) fn usable(ram: &RamMap) -> Result<RamMap, Reason> {
    let mut usable = *ram;
    let own = GpaRange::new(layout::STUB, layout::STUB_END).unwrap_or_default();
    usable.remove(own).map_err(|_| Reason::MemoryMap)?;
    Ok(usable)
}
