//! The disk that can not be written.

use std::vec::Vec;

use block::{
    BlockDevice, DataList, DataMemory, Event, Extent, Failure, Operation, Properties, Request, Tag,
};
use device_model::Instant;
use proptest::prelude::*;

use super::kit::*;
use super::memory::{TestMemory, scattered};
use crate::{Content, RamDisk, ReadOnly};

const NOW: Instant = Instant::START;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn only_what_reads_reaches_the_disk(
        steps in proptest::collection::vec((0..7_usize, 0..12_u64, 0..4_u64), 1..30),
        room in 1..4_usize,
        late in proptest::collection::vec(0..900_u64, 0..5),
    ) {
        let operations = [
            Operation::Read, Operation::Compare, Operation::Verify, Operation::Flush,
            WRITE, ZEROES, Operation::Deallocate,
        ];
        let memory = TestMemory::new();
        let below = disk(&memory, 512, 10, Habits { room, late, ..Habits::default() });
        let log = below.log.clone();
        let mut disk = ReadOnly::new(below);
        let (mut requests, mut wanted, mut passed) = (Vec::new(), Vec::new(), Vec::new());
        for (tag, (kind, first, blocks)) in (0..).zip(steps) {
            let operation = operations[kind];
            let length = if operation.has_data() { blocks * 512 } else { 0 };
            let (data, extent) = (scattered(0, length, &[]), Extent { first, blocks });
            requests.push(Request { tag: Tag(tag), operation, extent, data });
            wanted.push(match () {
                () if first + blocks > 10 => Err(Failure::OutOfRange),
                () if kind > 3 => Err(Failure::ReadOnly),
                () => Ok(()),
            });
            if wanted[tag as usize].is_ok() {
                passed.push((operation, extent));
            }
        }
        let done = carry_out(&mut disk, &mut NOW.clone(), requests);
        let results: Vec<_> = done.iter().map(|completion| completion.result).collect();
        prop_assert_eq!(results, wanted);
        prop_assert_eq!(log.borrow().asked(), passed);
    }
}

#[test]
fn a_read_finds_what_was_written_past_the_layer() {
    let memory = TestMemory::new();
    let content = Content::new(4096, 4).unwrap();
    memory.write_list(&scattered(0, 4096, &[]), 0, &[9; 4096]);
    let mut below = RamDisk::new(content.clone(), &memory);
    assert_eq!(one(&mut below, WRITE, (2, 1), scattered(0, 4096, &[])), Ok(()));
    let mut disk = ReadOnly::new(RamDisk::new(content, &memory));
    assert_eq!(one(&mut disk, Operation::Compare, (2, 1), scattered(0, 4096, &[])), Ok(()));
    let differs = Err(Failure::Miscompare { offset: Some(0) });
    assert_eq!(one(&mut disk, Operation::Compare, (1, 1), scattered(0, 4096, &[])), differs);
}

#[test]
fn its_properties_say_that_it_is_read_only_and_the_rest_is_the_disks() {
    let memory = TestMemory::new();
    let below = disk(&memory, 512, 10, Habits::default());
    let log = below.log.clone();
    let properties = below.properties();
    let mut disk = ReadOnly::new(below);
    let wanted = Properties { read_only: true, deallocates: false, ..properties };
    assert_eq!(disk.properties(), wanted);
    log.borrow_mut().events.push(Event::Gone);
    assert_eq!((disk.event(), disk.event()), (Some(Event::Gone), None));
    disk.cancel(NOW, Tag(4));
    assert_eq!(log.borrow().cancelled, [Tag(4)]);
}

/// Rule 5: refusals need memory as well, so there is an end to them.
#[test]
fn refusals_that_nobody_takes_are_bounded() {
    let mut disk = ReadOnly::new(RamDisk::new(Content::new(512, 4).unwrap(), TestMemory::new()));
    let zeroes = |tag| Request {
        tag: Tag(tag),
        operation: ZEROES,
        extent: Extent { first: 0, blocks: 1 },
        data: DataList::new(),
    };
    for tag in 0..64 {
        assert_eq!(disk.submit(NOW, zeroes(tag)), Ok(()));
    }
    assert_eq!(disk.submit(NOW, zeroes(64)), Err(zeroes(64)));
    assert_eq!(disk.deadline(), Some(NOW));
    assert_eq!(disk.poll(NOW).map(|done| done.tag), Some(Tag(0)));
    assert_eq!(disk.submit(NOW, zeroes(64)), Ok(()));
}
