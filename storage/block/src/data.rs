//! Where the data of a request lies.

use alloc::vec::Vec;

use guest_memory::RamRange;

/// A range of the paravisor's own memory that devices may reach: encrypted or copied data on its
/// way. Only [`DataMemory::allocate`] makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolRange {
    start: u64,
    length: u64,
}

impl PoolRange {
    /// The `length` bytes at physical address `start`, for an implementor of [`DataMemory`], whose
    /// pool they must lie in.
    pub const fn new(start: u64, length: u64) -> Self {
        Self { start, length }
    }

    /// The physical address.
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// The length in bytes.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The `length` bytes at `offset`, if they lie within.
    pub const fn part(&self, offset: u64, length: u64) -> Option<Self> {
        match offset.checked_add(length) {
            Some(end) if end <= self.length => Some(Self { start: self.start + offset, length }),
            _ => None,
        }
    }
}

/// One range of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataRange {
    /// The guest's own memory, which the guest may change at any time.
    Guest(RamRange),
    /// The paravisor's pool.
    Pool(PoolRange),
}

impl DataRange {
    /// The length in bytes.
    pub const fn length(&self) -> u64 {
        match self {
            Self::Guest(range) => range.length(),
            Self::Pool(range) => range.length(),
        }
    }

    /// The `length` bytes at `offset`, if they lie within.
    pub fn part(&self, offset: u64, length: u64) -> Option<Self> {
        match self {
            Self::Guest(range) => range.part(offset, length).map(Self::Guest),
            Self::Pool(range) => range.part(offset, length).map(Self::Pool),
        }
    }
}

/// A request would have more ranges than [`DataList::MOST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRanges;

/// The data of a request: ranges, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataList {
    ranges: Vec<DataRange>,
    length: u64,
}

impl DataList {
    /// The most ranges of one request: 8 MiB in pages, and one more for a start amid a page.
    pub const MOST: usize = 2049;

    /// No data.
    pub const fn new() -> Self {
        Self { ranges: Vec::new(), length: 0 }
    }

    /// Appends a range. An empty one is left out.
    pub fn push(&mut self, range: DataRange) -> Result<(), TooManyRanges> {
        if range.length() == 0 {
            return Ok(());
        }
        if self.ranges.len() >= Self::MOST {
            return Err(TooManyRanges);
        }
        self.length = self.length.checked_add(range.length()).ok_or(TooManyRanges)?;
        self.ranges.push(range);
        Ok(())
    }

    /// The ranges in their order.
    pub fn ranges(&self) -> &[DataRange] {
        &self.ranges
    }

    /// The length of all ranges in bytes.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The `length` bytes from `offset` on, if they lie within.
    pub fn part(&self, offset: u64, length: u64) -> Option<Self> {
        let end = offset.checked_add(length).filter(|end| *end <= self.length)?;
        let mut part = Self::new();
        let mut start = 0;
        for range in &self.ranges {
            let next = start + range.length();
            let (from, to) = (offset.max(start), end.min(next));
            if from < to {
                part.push(range.part(from - start, to - from)?).ok()?;
            }
            start = next;
        }
        Some(part)
    }
}

impl From<DataRange> for DataList {
    fn from(range: DataRange) -> Self {
        let mut list = Self::new();
        // One range is never too many.
        let _ = list.push(range);
        list
    }
}

/// Access to data, for layers that look into it or change it, and for devices.
///
/// A range lies in the guest's RAM or in the pool, so none of these can fail. An access beyond the
/// end of its range is a mistake of the paravisor's own, and panics.
pub trait DataMemory {
    /// Copies out of the range, from `offset` on.
    fn read(&self, range: DataRange, offset: u64, to: &mut [u8]);

    /// Copies into the range, from `offset` on.
    fn write(&self, range: DataRange, offset: u64, from: &[u8]);

    /// Takes `length` bytes of the pool, aligned to 4,096, if it has them.
    fn allocate(&self, length: u64) -> Option<PoolRange>;

    /// Gives bytes back that `allocate` gave, the whole range.
    fn free(&self, range: PoolRange);

    /// The address by which a device reaches the range's first byte. All of the range follows it.
    fn bus_address(&self, range: DataRange) -> u64;

    /// Copies out of the list, from `offset` on.
    fn read_list(&self, list: &DataList, offset: u64, to: &mut [u8]) {
        each(list, offset, to.len(), |range, inside, from, length| {
            self.read(range, inside, &mut to[from..from + length]);
        });
    }

    /// Copies into the list, from `offset` on.
    fn write_list(&self, list: &DataList, offset: u64, from: &[u8]) {
        each(list, offset, from.len(), |range, inside, start, length| {
            self.write(range, inside, &from[start..start + length]);
        });
    }
}

/// Each layer of a disk holds a reference to the one memory.
impl<M: DataMemory + ?Sized> DataMemory for &M {
    fn read(&self, range: DataRange, offset: u64, to: &mut [u8]) {
        (**self).read(range, offset, to);
    }

    fn write(&self, range: DataRange, offset: u64, from: &[u8]) {
        (**self).write(range, offset, from);
    }

    fn allocate(&self, length: u64) -> Option<PoolRange> {
        (**self).allocate(length)
    }

    fn free(&self, range: PoolRange) {
        (**self).free(range);
    }

    fn bus_address(&self, range: DataRange) -> u64 {
        (**self).bus_address(range)
    }
}

/// Calls `access` for each range that has some of the `length` bytes at `offset`: with the range,
/// where in it they start, which of the bytes they are, and how many.
fn each(
    list: &DataList,
    offset: u64,
    length: usize,
    mut access: impl FnMut(DataRange, u64, usize, usize),
) {
    assert!(offset.checked_add(length as u64).is_some_and(|end| end <= list.length()));
    let (mut skip, mut done) = (offset, 0);
    for range in list.ranges() {
        if skip >= range.length() {
            skip -= range.length();
            continue;
        }
        let here = (range.length() - skip).min((length - done) as u64) as usize;
        if here == 0 {
            return;
        }
        access(*range, skip, done, here);
        done += here;
        skip = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool of plain bytes from address zero on, which are never given out.
    struct Plain(core::cell::RefCell<Vec<u8>>);

    impl DataMemory for Plain {
        fn read(&self, range: DataRange, offset: u64, to: &mut [u8]) {
            let start = (self.bus_address(range) + offset) as usize;
            to.copy_from_slice(&self.0.borrow()[start..start + to.len()]);
        }
        fn write(&self, range: DataRange, offset: u64, from: &[u8]) {
            let start = (self.bus_address(range) + offset) as usize;
            self.0.borrow_mut()[start..start + from.len()].copy_from_slice(from);
        }
        fn allocate(&self, _: u64) -> Option<PoolRange> {
            None
        }
        fn free(&self, _: PoolRange) {}
        fn bus_address(&self, range: DataRange) -> u64 {
            match range {
                DataRange::Guest(range) => range.start().0,
                DataRange::Pool(range) => range.start(),
            }
        }
    }

    #[test]
    fn bytes_cross_the_ranges_of_a_list_in_order() {
        let memory = Plain(core::cell::RefCell::new((0..40).collect()));
        let mut list = DataList::from(pool(30, 4));
        list.push(pool(10, 2)).unwrap();
        list.push(pool(20, 5)).unwrap();
        let mut all = [0; 11];
        memory.read_list(&list, 0, &mut all);
        assert_eq!(all, [30, 31, 32, 33, 10, 11, 20, 21, 22, 23, 24]);
        let mut some = [0; 4];
        memory.read_list(&list, 3, &mut some);
        assert_eq!(some, [33, 10, 11, 20]);
        memory.write_list(&list, 2, &[90, 91, 92, 93, 94]);
        memory.read_list(&list, 0, &mut all);
        assert_eq!(all, [30, 31, 90, 91, 92, 93, 94, 21, 22, 23, 24]);
        // Nothing else has changed.
        let bytes = memory.0.borrow();
        let changed = (0..40).filter(|at| bytes[*at] != *at as u8);
        assert!(changed.eq([10, 11, 20, 32, 33]));
    }

    #[test]
    #[should_panic = "assertion failed"]
    fn an_access_beyond_the_list_is_a_mistake() {
        let memory = Plain(core::cell::RefCell::new(Vec::from([0; 40])));
        memory.read_list(&pool(0, 8).into(), 5, &mut [0; 4]);
    }

    #[test]
    fn a_part_of_a_range_stays_within() {
        let range = pool(0x1000, 0x200);
        for (offset, length, part) in [
            (0, 0x200, Some(range)),
            (0x1ff, 1, Some(pool(0x11ff, 1))),
            (0x200, 0, Some(pool(0x1200, 0))),
            (0x200, 1, None),
            (0, 0x201, None),
            (u64::MAX, 2, None),
        ] {
            assert_eq!(range.part(offset, length), part, "{offset:#x} {length:#x}");
        }
    }

    fn pool(start: u64, length: u64) -> DataRange {
        DataRange::Pool(PoolRange::new(start, length))
    }

    fn list() -> DataList {
        let mut list = DataList::from(pool(0x1000, 100));
        list.push(pool(0x9000, 0)).unwrap();
        list.push(pool(0x2000, 50)).unwrap();
        list
    }

    #[test]
    fn a_part_of_a_list_spans_ranges() {
        let list = list();
        assert_eq!((list.length(), list.ranges().len()), (150, 2));
        let part = list.part(90, 20).unwrap();
        assert_eq!(part.ranges(), [pool(0x105a, 10), pool(0x2000, 10)]);
        assert_eq!(list.part(100, 50).unwrap().ranges(), [pool(0x2000, 50)]);
        assert_eq!(list.part(150, 0).unwrap().ranges(), []);
        assert_eq!(list.part(150, 1), None);
        assert_eq!(list.part(u64::MAX, 2), None);
    }

    #[test]
    fn a_list_has_a_bounded_number_of_ranges() {
        let mut list = DataList::new();
        for _ in 0..DataList::MOST {
            list.push(pool(0, 1)).unwrap();
        }
        assert_eq!(list.push(pool(0, 1)), Err(TooManyRanges));
        assert_eq!(list.push(pool(0, 0)), Ok(()));
        let mut long = DataList::from(pool(0, u64::MAX));
        assert_eq!(long.push(pool(0, 1)), Err(TooManyRanges));
    }

    #[test]
    fn an_access_to_a_list_meets_each_range_once() {
        let mut seen = Vec::new();
        each(&list(), 90, 20, |range, inside, from, length| {
            seen.push((range, inside, from, length));
        });
        assert_eq!(seen, [(pool(0x1000, 100), 90, 0, 10), (pool(0x2000, 50), 0, 10, 10)]);
        each(&list(), 150, 0, |_, _, _, _| panic!("there is nothing to access"));
    }
}
