//! The guest memory that is free while a kernel is put into it.

use crate::error::LoadError;
use alloc::vec::Vec;

pub(crate) const PAGE: u64 = 4096;
pub(crate) const MEBIBYTE: u64 = 1 << 20;
pub(crate) const FOUR_GIBIBYTES: u64 = 1 << 32;
/// The first page holds the real-mode vectors, and many kernels take address zero for "none".
const LOWEST: u64 = PAGE;
const CONVENTIONAL_END: u64 = 0xA_0000;

/// The kind of a range of guest-physical addresses, by its e820 number (ACPI 6.5, table 15.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RangeKind {
    /// Usable.
    Ram = 1,
    /// Not to be touched.
    Reserved = 2,
    /// ACPI tables, usable after they are read.
    AcpiReclaimable = 3,
    /// Firmware memory to be saved across sleep.
    AcpiNvs = 4,
    /// Broken memory.
    Unusable = 5,
}

/// One range of a memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapEntry {
    /// First guest-physical address.
    pub start: u64,
    /// Length in bytes.
    pub length: u64,
    /// The range's kind.
    pub kind: RangeKind,
}

/// Addresses from `start` up to `end`, without `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: u64,
    end: u64,
}

impl Range {
    const fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// RAM, with the parts of it that are taken.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    ram: Vec<Range>,
    taken: Vec<Range>,
    /// The taken ranges that hold parts of the kernel.
    claimed: Vec<Range>,
}

impl Layout {
    pub(crate) fn new(map: &[MapEntry]) -> Self {
        let range = |entry: &MapEntry| Range {
            start: entry.start,
            end: entry.start.saturating_add(entry.length),
        };
        let of = |wanted: bool| {
            map.iter().filter(move |entry| (entry.kind == RangeKind::Ram) == wanted).map(range)
        };
        let mut ram: Vec<Range> = of(true).collect();
        ram.sort_unstable_by_key(|range| range.start);
        // Neighbours become one, so that a kernel may lie across their border.
        ram.dedup_by(|next, previous| {
            let joins = next.start <= previous.end;
            if joins {
                previous.end = previous.end.max(next.end);
            }
            joins
        });
        Self { ram, taken: of(false).collect(), claimed: Vec::new() }
    }

    /// Takes exactly this range.
    pub(crate) fn claim(&mut self, start: u64, length: u64) -> Result<(), LoadError> {
        if length == 0 {
            return Ok(());
        }
        let end = start.checked_add(length).ok_or(LoadError::Overflow)?;
        let wanted = Range { start, end };
        if !self.ram.iter().any(|ram| ram.start <= start && end <= ram.end) {
            return Err(LoadError::OutsideRam { start, end });
        }
        if self.taken.iter().any(|taken| taken.overlaps(&wanted)) {
            return Err(LoadError::Overlaps { start, end });
        }
        self.taken.push(wanted);
        self.claimed.push(wanted);
        Ok(())
    }

    /// Takes the highest free place between `from` and `to`; `align` is a power of two.
    pub(crate) fn allocate(&mut self, length: u64, align: u64, from: u64, to: u64) -> Option<u64> {
        let start = self.ram.iter().rev().find_map(|ram| {
            let window = Range { start: ram.start.max(from).max(LOWEST), end: ram.end.min(to) };
            self.highest_in(window, length, align)
        })?;
        self.taken.push(Range { start, end: start.checked_add(length)? });
        Some(start)
    }

    /// Takes the lowest free place between `from` and `to`; `align` is a power of two.
    pub(crate) fn lowest(&mut self, length: u64, align: u64, from: u64, to: u64) -> Option<u64> {
        let start = self.ram.iter().find_map(|ram| {
            let window = Range { start: ram.start.max(from).max(LOWEST), end: ram.end.min(to) };
            self.lowest_in(window, length, align)
        })?;
        self.taken.push(Range { start, end: start.checked_add(length)? });
        Some(start)
    }

    fn lowest_in(&self, window: Range, length: u64, align: u64) -> Option<u64> {
        let mut from = window.start;
        // Each round steps above one more taken range, so there are at most as many.
        for _ in 0..=self.taken.len() {
            let start = from.checked_add(align - 1)? & !(align - 1);
            let wanted = Range { start, end: start.checked_add(length)? };
            if wanted.end > window.end {
                return None;
            }
            let blockers = self.taken.iter().filter(|taken| taken.overlaps(&wanted));
            match blockers.map(|taken| taken.end).max() {
                None => return Some(start),
                Some(above) => from = above,
            }
        }
        None
    }

    fn highest_in(&self, window: Range, length: u64, align: u64) -> Option<u64> {
        let mut end = window.end;
        // Each round steps below one more taken range, so there are at most as many.
        for _ in 0..=self.taken.len() {
            let start = end.checked_sub(length)? & !(align - 1);
            if start < window.start {
                return None;
            }
            let wanted = Range { start, end: start.checked_add(length)? };
            let blocker = self.taken.iter().filter(|taken| taken.overlaps(&wanted));
            match blocker.map(|taken| taken.start).min() {
                None => return Some(start),
                Some(below) => end = below,
            }
        }
        None
    }

    /// Takes pages for a boot structure: below 640 KiB as high as possible, where small kernels
    /// put nothing of their own, else anywhere below 4 GiB.
    pub(crate) fn structure(&mut self, length: u64) -> Result<u64, LoadError> {
        let length = length.max(1).next_multiple_of(PAGE);
        self.allocate(length, PAGE, LOWEST, CONVENTIONAL_END)
            .or_else(|| self.allocate(length, PAGE, LOWEST, FOUR_GIBIBYTES))
            .ok_or(LoadError::NoRoom { length })
    }

    /// The end of the highest range that was claimed, or zero.
    pub(crate) fn claimed_end(&self) -> u64 {
        self.claimed.iter().map(|range| range.end).max().unwrap_or(0)
    }

    /// Whether `gpa` is in a claimed range.
    pub(crate) fn is_claimed(&self, gpa: u64) -> bool {
        self.claimed.iter().any(|range| range.start <= gpa && gpa < range.end)
    }
}
