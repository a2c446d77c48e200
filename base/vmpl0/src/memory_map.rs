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

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: usize = 16;

    /// A page with these entries: first page, pages, type.
    fn page(entries: &[(u64, u64, u64)]) -> [u8; PAGE_SIZE as usize] {
        let mut page = [0; PAGE_SIZE as usize];
        for (place, (start, pages, kind)) in page.as_chunks_mut::<ENTRY>().0.iter_mut().zip(entries)
        {
            place[..8].copy_from_slice(&start.to_le_bytes());
            place[8..KIND].copy_from_slice(&pages.to_le_bytes());
            place[KIND..].copy_from_slice(&kind.to_le_bytes());
        }
        page
    }

    #[test]
    fn ram_is_what_has_its_type_up_to_the_end_of_the_list() {
        let ram =
            memory_map(&page(&[(0, 1, 0), (1, 1, 3), (2, 1, 0), (0, 0, 0), (9, 1, 0)])).unwrap();
        let expected = [(0, 0x1000), (0x2000, 0x3000)];
        assert!(ram.ranges().iter().map(|range| (range.start(), range.end())).eq(expected));
        // The flags beside the type mean nothing.
        let flagged = memory_map(&page(&[(0, 1, 0xffff << 16)])).unwrap();
        assert_eq!(flagged.total(), 0x1000);
        assert_eq!(memory_map(&page(&[])).unwrap().total(), 0);
    }

    #[test]
    fn a_map_that_contradicts_itself_is_none() {
        let last = MAPPED / PAGE_SIZE - 1;
        assert!(memory_map(&page(&[(last, 1, 0)])).is_some());
        for (what, entries) in [
            ("beyond what is mapped", &[(last, 2, 0)][..]),
            ("a start that wraps", &[(u64::MAX, 1, 0)][..]),
            ("a length that wraps", &[(0, u64::MAX, 0)][..]),
            ("an end that wraps", &[((1 << 52) - 1, 2, 0)][..]),
            ("the same twice", &[(3, 2, 0), (3, 2, 0)][..]),
            ("an overlap", &[(3, 2, 0), (4, 2, 0)][..]),
        ] {
            assert!(memory_map(&page(entries)).is_none(), "{what}");
        }
    }

    #[test]
    fn more_ranges_than_can_be_kept_are_refused() {
        let mut entries = [(0, 1, 0); MOST_ENTRIES];
        for (place, entry) in (0..).step_by(2).zip(&mut entries) {
            entry.0 = place;
        }
        assert!(memory_map(&page(&entries)).is_none());
    }
}
