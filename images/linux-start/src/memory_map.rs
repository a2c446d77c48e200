//! The VM's RAM, as the host tells it.

use guest_memory::{Gpa, GpaRange, GuestMemory, MappedMemory, PAGE_SIZE, RamMap};
use host_wire::linux_start::{self as layout, Info};

use crate::end::Reason;
use crate::files;

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
    let ram = sev_guest::memory_map(&page).ok_or(wrong)?;
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
