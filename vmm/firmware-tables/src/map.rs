//! The memory map that e820 and its successors give (ACPI 6.5, 15).

use crate::{MapEntry, PAGE, Range, RangeKind};
use alloc::vec::Vec;

/// A memory map of RAM with `special` ranges cut out of it.
///
/// The result is sorted, page-aligned and without overlaps. RAM shrinks to whole pages, special
/// ranges grow to them; where special ranges overlap, the more forbidding kind wins.
pub fn memory_map(ram: &[Range], special: &[MapEntry]) -> Vec<MapEntry> {
    let shrunk = ram.iter().map(|range| {
        let start = range.start.div_ceil(PAGE).saturating_mul(PAGE);
        (start, range.end() & !(PAGE - 1), RangeKind::Ram)
    });
    let grown = special.iter().map(|entry| {
        let end = entry.start.saturating_add(entry.length);
        let end = end.checked_next_multiple_of(PAGE).unwrap_or(!(PAGE - 1));
        (entry.start & !(PAGE - 1), if entry.length == 0 { 0 } else { end }, entry.kind)
    });
    let ranges: Vec<_> = shrunk.chain(grown).filter(|(start, end, _)| start < end).collect();
    let mut borders: Vec<u64> = ranges.iter().flat_map(|(start, end, _)| [*start, *end]).collect();
    borders.sort_unstable();
    borders.dedup();
    let mut map: Vec<MapEntry> = Vec::new();
    for (&start, &end) in borders.iter().zip(borders.iter().skip(1)) {
        let covering = ranges.iter().filter(|(from, to, _)| *from <= start && end <= *to);
        if let Some(kind) = covering.map(|(_, _, kind)| *kind).max_by_key(|kind| severity(*kind)) {
            append(&mut map, MapEntry { start, length: end - start, kind });
        }
    }
    map
}

const fn severity(kind: RangeKind) -> u8 {
    match kind {
        RangeKind::Ram => 0,
        RangeKind::AcpiReclaimable => 1,
        RangeKind::AcpiNvs => 2,
        RangeKind::Reserved => 3,
        RangeKind::Unusable => 4,
    }
}

/// Adds an entry at the end, joined with its neighbour if they are alike.
fn append(map: &mut Vec<MapEntry>, entry: MapEntry) {
    if let Some(last) = map.last_mut()
        && last.kind == entry.kind
        && last.start + last.length == entry.start
    {
        last.length += entry.length;
    } else {
        map.push(entry);
    }
}
