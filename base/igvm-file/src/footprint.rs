//! The guest-physical addresses that a file needs memory at.

use alloc::vec::Vec;
use core::ops::Range;

use crate::directive::{Directive, ParameterArea};
use crate::file::Igvm;

impl Igvm<'_> {
    /// Where the file loads pages and parameters and where it requires RAM: ranges of addresses, in
    /// order, none of which touches the next one. Save areas do not count, as a host can keep them
    /// outside the guest's memory. There are as many ranges as headers at most.
    pub fn footprint(&self) -> Vec<Range<u64>> {
        let mut sizes = Vec::new();
        let mut found = Vec::new();
        for directive in self.directives() {
            let (gpa, size) = match directive {
                Directive::Page(page) => (page.gpa, page.size.bytes()),
                Directive::RequiredMemory { gpa, size } | Directive::ErrorRange { gpa, size } => {
                    (gpa, size)
                }
                Directive::ParameterInsert { gpa, area } => {
                    let size = sizes.iter().find(|(index, _)| *index == area);
                    (gpa, size.map_or(0, |(_, size)| *size))
                }
                Directive::ParameterArea(ParameterArea { index, size, .. }) => {
                    sizes.push((index, size));
                    continue;
                }
                Directive::Parameter { .. } | Directive::VpContext(_) | Directive::Identity(_) => {
                    continue;
                }
            };
            push(&mut found, gpa..gpa.saturating_add(size));
        }
        found.sort_unstable_by_key(|range| range.start);
        let mut merged = Vec::new();
        found.into_iter().for_each(|range| push(&mut merged, range));
        merged
    }
}

/// Adds a range, as a part of the last one if it touches that.
fn push(ranges: &mut Vec<Range<u64>>, next: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.start <= next.start && next.start <= last.end => {
            last.end = last.end.max(next.end);
        }
        Some(_) | None if next.is_empty() => {}
        Some(_) | None => ranges.push(next),
    }
}
