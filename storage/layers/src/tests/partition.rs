//! The part of a disk.

use block::{BlockDevice, DataMemory, Event, Extent, Failure, Operation, Properties, Request, Tag};
use device_model::Instant;
use proptest::prelude::*;

use super::kit::*;
use super::memory::{TestMemory, scattered};
use super::model::{Model, batches};
use crate::{BeyondDisk, Content, Partition, RamDisk};

const NOW: Instant = Instant::START;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_partition_is_plain_memory_and_its_neighbours_stay_as_they_are(
        batches in batches(512, 40),
        first in 0..10_u64,
        room in 1..4_usize,
        late in proptest::collection::vec(0..900_u64, 0..5),
    ) {
        let memory = TestMemory::new();
        let content = Content::new(512, 50).unwrap();
        memory.write_list(&scattered(0, 25600, &[]), 0, &[0xa5; 25600]);
        let mut whole = RamDisk::new(content.clone(), &memory);
        prop_assert_eq!(one(&mut whole, WRITE, (0, 50), scattered(0, 25600, &[])), Ok(()));
        prop_assert_eq!(one(&mut whole, ZEROES, (first, 40), scattered(0, 0, &[])), Ok(()));
        let habits = Habits { room, late, ..Habits::default() };
        let below = Wayward::new(RamDisk::new(content, &memory), habits);
        let mut part = Partition::new(below, Extent { first, blocks: 40 }).unwrap();
        Model::of(&part, &memory).check(&mut part, batches);
        for block in (0..first).chain(first + 40..50) {
            memory.write_list(&scattered(0, 512, &[]), 0, &[0xa5; 512]);
            let compared = one(&mut whole, Operation::Compare, (block, 1), scattered(0, 512, &[]));
            prop_assert_eq!(compared, Ok(()), "block {}", block);
        }
    }
}

#[test]
fn an_extent_that_is_not_on_the_disk_makes_no_partition() {
    for (first, blocks, fine) in [
        (0, 10, true),
        (10, 0, true),
        (3, 7, true),
        (3, 8, false),
        (11, 0, false),
        (u64::MAX, 1, false),
        (1, u64::MAX, false),
    ] {
        let disk = RamDisk::new(Content::new(512, 10).unwrap(), TestMemory::new());
        let result = Partition::new(disk, Extent { first, blocks }).map(|_| ());
        assert_eq!(result, if fine { Ok(()) } else { Err(BeyondDisk) }, "{first} {blocks}");
    }
}

#[test]
fn a_request_handed_back_is_the_one_that_came() {
    let memory = TestMemory::new();
    let below = disk(&memory, 512, 10, Habits { room: 1, ..Habits::default() });
    let log = below.log.clone();
    let mut part = Partition::new(below, Extent { first: 4, blocks: 5 }).unwrap();
    let request = |tag, operation, first| Request {
        tag: Tag(tag),
        operation,
        extent: Extent { first, blocks: 0 },
        data: scattered(0, 0, &[]),
    };
    assert_eq!(part.submit(NOW, request(1, Operation::Flush, 0)), Ok(()));
    let second = request(2, Operation::Verify, 3);
    assert_eq!(part.submit(NOW, second.clone()), Err(second));
    part.cancel(NOW, Tag(1));
    assert_eq!(part.poll(NOW).map(|done| done.result), Some(Err(Failure::Cancelled)));
    // A flush has no blocks to be moved.
    assert_eq!(log.borrow().asked(), [(Operation::Flush, Extent { first: 0, blocks: 0 })]);
}

#[test]
fn a_disk_that_shrinks_takes_blocks_from_its_last_partition() {
    let memory = TestMemory::new();
    let below = disk(&memory, 512, 10, Habits::default());
    let (log, before) = (below.log.clone(), below.properties());
    let mut part = Partition::new(below, Extent { first: 4, blocks: 5 }).unwrap();
    for (blocks, left) in [(9, 5), (8, 4), (4, 0), (0, 0), (u64::MAX, 5)] {
        log.borrow_mut().properties = Some(Properties { blocks, ..before });
        assert_eq!(part.properties().blocks, left);
    }
    log.borrow_mut().properties = Some(Properties { blocks: 8, ..before });
    log.borrow_mut().events.push(Event::Changed);
    assert_eq!(part.event(), Some(Event::Changed));
    assert_eq!(one(&mut part, Operation::Verify, (3, 1), scattered(0, 0, &[])), Ok(()));
    let beyond = one(&mut part, Operation::Verify, (3, 2), scattered(0, 0, &[]));
    assert_eq!(beyond, Err(Failure::OutOfRange));
}

#[test]
fn the_unit_for_writes_has_a_border_at_the_start() {
    let memory = TestMemory::new();
    for (first, optimal) in [(0, 8), (8, 8), (16, 8), (4, 4), (6, 2), (7, 1), (1 << 40, 8)] {
        let below = disk(&memory, 512, 10, Habits::default());
        let blocks = u64::MAX;
        let before = below.properties();
        let optimal_blocks = 8;
        below.log.borrow_mut().properties = Some(Properties { blocks, optimal_blocks, ..before });
        let part = Partition::new(below, Extent { first, blocks: 5 }).unwrap();
        assert_eq!(part.properties().optimal_blocks, optimal, "{first}");
    }
}
