//! Which guest-physical addresses are the guest's RAM.

use crate::GpaRange;

/// Ranges that a map can hold: low RAM in front of and behind the paravisor, RAM above 4 GiB in a
/// few pieces. A host that describes more is refused.
const MAX_RANGES: usize = 16;

/// Why a RAM map could not be built. The host described its memory, so the fault is the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// More ranges than [`RamMap`] holds.
    TooMany,
    /// Two ranges share addresses.
    Overlap(GpaRange, GpaRange),
}

impl core::fmt::Display for MapError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooMany => write!(f, "the host lists more than {MAX_RANGES} ranges of RAM"),
            Self::Overlap(a, b) => write!(f, "the host lists RAM twice: {a} overlaps {b}"),
        }
    }
}

impl core::error::Error for MapError {}

/// The guest's RAM as disjoint ranges in ascending order.
#[derive(Clone, Copy, Debug, Default)]
pub struct RamMap {
    ranges: [GpaRange; MAX_RANGES],
    used: usize,
}

impl RamMap {
    /// A map without any RAM.
    pub const fn new() -> Self {
        Self { ranges: [GpaRange::new(0, 0).unwrap(); MAX_RANGES], used: 0 }
    }

    /// Adds `range`; an empty one changes nothing.
    pub fn add(&mut self, range: GpaRange) -> Result<(), MapError> {
        if range.is_empty() {
            return Ok(());
        }
        if let Some(other) = self.ranges().iter().find(|other| other.overlaps(&range)) {
            return Err(MapError::Overlap(range, *other));
        }
        *self.ranges.get_mut(self.used).ok_or(MapError::TooMany)? = range;
        self.used += 1;
        if let Some(used) = self.ranges.get_mut(..self.used) {
            used.sort_unstable_by_key(GpaRange::start);
        }
        Ok(())
    }

    /// Takes the addresses of `range` out of the map.
    pub fn remove(&mut self, range: GpaRange) -> Result<(), MapError> {
        let mut left = Self::new();
        for old in self.ranges() {
            let below = GpaRange::new(old.start(), old.end().min(range.start()));
            let above = GpaRange::new(old.start().max(range.end()), old.end());
            for piece in [below, above].into_iter().flatten() {
                left.add(piece)?;
            }
        }
        *self = left;
        Ok(())
    }

    /// The ranges in ascending order.
    pub fn ranges(&self) -> &[GpaRange] {
        self.ranges.get(..self.used).unwrap_or(&[])
    }

    /// Whether `length` bytes at `start` are all RAM of one range.
    #[inline]
    pub fn contains(&self, start: u64, length: u64) -> bool {
        let Some(range) = GpaRange::from_length(start, length) else { return false };
        self.ranges().iter().any(|ram| ram.contains(&range))
    }

    /// RAM in bytes.
    pub fn total(&self) -> u64 {
        self.ranges().iter().map(GpaRange::length).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> GpaRange {
        GpaRange::new(start, end).expect("forward")
    }

    #[test]
    fn the_removed_range_is_not_ram_and_its_neighbours_are() {
        let mut map = RamMap::new();
        map.add(range(0, 0xa0000)).unwrap();
        map.add(range(0x10_0000, 0x800_0000)).unwrap();
        map.remove(range(0x7c0_0000, 0x800_0000)).unwrap();
        assert!(map.contains(0x7bf_ffff, 1));
        assert!(!map.contains(0x7bf_ffff, 2));
        assert!(!map.contains(0x7c0_0000, 1));
        assert!(!map.contains(0x9ffff, 2));
        map.remove(range(0x20_0000, 0x30_0000)).unwrap();
        assert_eq!(map.ranges().len(), 3);
        assert_eq!(map.total(), 0xa0000 + 0x10_0000 + 0x790_0000);
    }

    #[test]
    fn an_access_that_wraps_is_not_ram() {
        let mut map = RamMap::new();
        map.add(range(0, u64::MAX)).unwrap();
        assert!(!map.contains(u64::MAX, 2));
        assert!(!map.contains(8, u64::MAX));
    }

    #[test]
    fn overlap_and_excess_are_the_hosts_fault() {
        let mut map = RamMap::new();
        for i in 0..16 {
            map.add(range(i * 0x2000, i * 0x2000 + 0x1000)).unwrap();
        }
        assert_eq!(map.add(range(0x10_0000, 0x10_1000)), Err(MapError::TooMany));
        assert!(matches!(map.add(range(0xfff, 0x1001)), Err(MapError::Overlap(..))));
        assert_eq!(map.ranges().len(), 16);
    }

    #[test]
    fn a_range_can_be_removed_anywhere_in_the_map() {
        // The range removed from 1000h..2000h and 3000h..4000h; the remaining ranges.
        type Bounds = (u64, u64);
        let cases: &[(Bounds, &[Bounds])] = &[
            ((0, 0x1000), &[(0x1000, 0x2000), (0x3000, 0x4000)]),
            ((0x2000, 0x3000), &[(0x1000, 0x2000), (0x3000, 0x4000)]),
            ((0x1000, 0x2000), &[(0x3000, 0x4000)]),
            ((0x1800, 0x3800), &[(0x1000, 0x1800), (0x3800, 0x4000)]),
            ((0x1400, 0x1800), &[(0x1000, 0x1400), (0x1800, 0x2000), (0x3000, 0x4000)]),
            ((0, u64::MAX), &[]),
        ];
        for ((start, end), left) in cases {
            let mut map = RamMap::new();
            // In any order.
            map.add(range(0x3000, 0x4000)).unwrap();
            map.add(range(0x1000, 0x2000)).unwrap();
            map.add(range(5, 5)).unwrap();
            map.remove(range(*start, *end)).unwrap();
            let found = map.ranges().iter().map(|range| (range.start(), range.end()));
            assert!(found.eq(left.iter().copied()), "{start:#x}..{end:#x}: {:?}", map.ranges());
        }
    }

    #[test]
    fn one_hole_too_many_is_refused_and_the_map_is_unchanged() {
        let mut map = RamMap::new();
        for i in 0..16 {
            map.add(range(i * 0x4000, i * 0x4000 + 0x3000)).unwrap();
        }
        assert_eq!(map.remove(range(0x1000, 0x2000)), Err(MapError::TooMany));
        assert!(map.contains(0x1000, 0x1000));
    }
}
