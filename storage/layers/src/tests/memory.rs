//! Memory for the data of requests, which notices each wrong use of the pool.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use block::{DataList, DataMemory, DataRange, PoolRange};

/// Bytes of the requesters, from address 0 on.
pub(super) const ROOM: u64 = 64 << 10;
/// Bytes of the pool, which follow.
const POOL: u64 = 4 << 20;

/// Plain bytes. The requesters' data lie in ranges below [`ROOM`], which no one has to allocate.
pub(super) struct TestMemory {
    bytes: RefCell<Vec<u8>>,
    /// Length of each allocation, by its start.
    allocated: RefCell<BTreeMap<u64, u64>>,
    next: Cell<u64>,
    /// The most bytes that may be allocated.
    pub(super) limit: Cell<u64>,
}

impl TestMemory {
    pub(super) fn new() -> Self {
        Self {
            bytes: RefCell::new(vec![0; (ROOM + POOL) as usize]),
            allocated: RefCell::default(),
            next: Cell::new(ROOM),
            limit: Cell::new(POOL),
        }
    }

    /// How many bytes of the pool are in use.
    pub(super) fn in_use(&self) -> u64 {
        self.allocated.borrow().values().sum()
    }

    /// The bytes of a range that was allocated, also after it was given back.
    pub(super) fn peek(&self, start: u64, length: usize) -> Vec<u8> {
        self.bytes.borrow()[start as usize..start as usize + length].to_vec()
    }

    fn place(&self, range: DataRange, offset: u64, length: usize) -> std::ops::Range<usize> {
        let DataRange::Pool(pool) = range else { panic!("the tests have no guest") };
        assert!(offset + length as u64 <= pool.length(), "beyond the range");
        let start = pool.start() + offset;
        let end = start + length as u64;
        let owned = self.allocated.borrow();
        let holds = owned.iter().any(|(at, length)| *at <= start && end <= at + length);
        assert!(end <= ROOM || holds, "memory of somebody else");
        start as usize..end as usize
    }
}

impl DataMemory for TestMemory {
    fn read(&self, range: DataRange, offset: u64, to: &mut [u8]) {
        to.copy_from_slice(&self.bytes.borrow()[self.place(range, offset, to.len())]);
    }

    fn write(&self, range: DataRange, offset: u64, from: &[u8]) {
        let place = self.place(range, offset, from.len());
        self.bytes.borrow_mut()[place].copy_from_slice(from);
    }

    fn allocate(&self, length: u64) -> Option<PoolRange> {
        // No address is given out twice, so that a use after the end is found.
        let start = self.next.get();
        let whole = length.next_multiple_of(4096);
        let fits = self.in_use() + length <= self.limit.get() && start + whole <= ROOM + POOL;
        fits.then(|| {
            self.next.set(start + whole);
            self.allocated.borrow_mut().insert(start, length);
            PoolRange::new(start, length)
        })
    }

    fn free(&self, range: PoolRange) {
        let length = self.allocated.borrow_mut().remove(&range.start());
        assert_eq!(length, Some(range.length()), "freed what was not allocated");
    }

    fn bus_address(&self, range: DataRange) -> u64 {
        self.place(range, 0, 0).start as u64
    }
}

/// The `length` bytes at `start` as ranges of the lengths in `pieces`, and the rest as one more.
pub(super) fn scattered(start: u64, length: u64, pieces: &[u64]) -> DataList {
    let mut list = DataList::new();
    let mut done = 0;
    for piece in pieces.iter().copied().chain([length]) {
        let piece = piece.min(length - done);
        list.push(DataRange::Pool(PoolRange::new(start + done, piece))).unwrap();
        done += piece;
    }
    list
}
