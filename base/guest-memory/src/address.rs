//! Guest-physical addresses.

use core::fmt;

/// Bytes in a page.
pub const PAGE_SIZE: u64 = 4096;

/// A guest-physical address, equal to the paravisor's own physical address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gpa(pub u64);

impl Gpa {
    /// The address `bytes` further on, if there is one.
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}

impl fmt::Display for Gpa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A range of guest-physical addresses that does not wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GpaRange {
    start: u64,
    end: u64,
}

impl GpaRange {
    /// The range from `start` up to, not including, `end`; none if it would be backwards.
    pub const fn new(start: u64, end: u64) -> Option<Self> {
        if start <= end { Some(Self { start, end }) } else { None }
    }

    /// The range of `length` bytes from `start`; none if it would wrap.
    pub const fn from_length(start: u64, length: u64) -> Option<Self> {
        match start.checked_add(length) {
            Some(end) => Some(Self { start, end }),
            None => None,
        }
    }

    /// The first address.
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// The first address behind the range.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Length in bytes.
    pub const fn length(&self) -> u64 {
        self.end - self.start
    }

    /// Whether the range holds no address.
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether all of `other` lies within this range.
    pub const fn contains(&self, other: &Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Whether any address lies in both ranges.
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

impl fmt::Display for GpaRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;

    use super::*;

    #[test]
    fn no_range_wraps_or_runs_backwards() {
        assert_eq!(GpaRange::new(2, 1), None);
        assert_eq!(GpaRange::from_length(u64::MAX, 1), None);
        assert_eq!(GpaRange::from_length(1, u64::MAX), None);
        let last = GpaRange::from_length(u64::MAX - 4, 4).unwrap();
        assert_eq!((last.start(), last.end(), last.length()), (u64::MAX - 4, u64::MAX, 4));
        assert_eq!(Gpa(u64::MAX).checked_add(1), None);
        assert_eq!(Gpa(5).checked_add(3), Some(Gpa(8)));
    }

    #[test]
    fn ranges_touch_without_overlap() {
        let range = |start, end| GpaRange::new(start, end).unwrap();
        let middle = range(10, 20);
        // The other range; whether it overlaps, whether it lies within.
        for (other, overlaps, within) in [
            (range(0, 10), false, false),
            (range(20, 30), false, false),
            (range(0, 11), true, false),
            (range(19, 30), true, false),
            (range(10, 20), true, true),
            (range(12, 13), true, true),
            (range(9, 20), true, false),
            (range(0, 30), true, false),
            // An empty range has no address that could be in another.
            (range(10, 10), false, true),
            (range(20, 20), false, true),
        ] {
            assert_eq!(middle.overlaps(&other), overlaps, "{other}");
            assert_eq!(middle.contains(&other), within, "{other}");
        }
        assert!(range(7, 7).is_empty() && !middle.is_empty());
        assert_eq!(
            (format!("{middle}"), format!("{}", Gpa(255))),
            ("0xa..0x14".into(), "0xff".into())
        );
    }
}
