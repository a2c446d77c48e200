//! The disk in memory.

use block::{
    BlockDevice, Completion, DataMemory, DataRange, Extent, Failure, Operation, Request, Tag,
};
use device_model::Instant;
use proptest::prelude::*;
use std::vec::Vec;

use super::kit::*;
use super::memory::{TestMemory, scattered};
use super::model::{Model, batches};
use crate::{Content, ContentError, RamDisk};

const NOW: Instant = Instant::START;

fn request(tag: u64, operation: Operation, first: u64, blocks: u64) -> Request {
    let length = if operation.has_data() { blocks * 512 } else { 0 };
    let data = scattered(0, length, &[]);
    Request { tag: Tag(tag), operation, extent: Extent { first, blocks }, data }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_ram_disk_of_short_blocks_is_plain_memory(batches in batches(512, 100)) {
        let memory = TestMemory::new();
        let mut disk = RamDisk::new(Content::new(512, 100).unwrap(), &memory);
        Model::of(&disk, &memory).check(&mut disk, batches);
    }

    #[test]
    fn a_ram_disk_of_long_blocks_is_plain_memory(batches in batches(4096, 20)) {
        let memory = TestMemory::new();
        let mut disk = RamDisk::new(Content::new(4096, 20).unwrap(), &memory);
        Model::of(&disk, &memory).check(&mut disk, batches);
    }
}

#[test]
fn sizes_of_blocks_are_those_of_the_contract() {
    for bytes in [0, 1, 256, 513, 520, 8192, u32::MAX] {
        assert_eq!(Content::new(bytes, 1).err(), Some(ContentError::BlockBytes), "{bytes}");
    }
    for bytes in [512, 1024, 2048, 4096] {
        let disk = RamDisk::new(Content::new(bytes, 3).unwrap(), TestMemory::new());
        let properties = disk.properties();
        assert_eq!((properties.block_bytes, properties.blocks), (bytes, 3));
    }
    for blocks in [u64::MAX, u64::MAX / 512, 1 << 54] {
        assert_eq!(Content::new(512, blocks).err(), Some(ContentError::NoMemory), "{blocks:#x}");
    }
}

#[test]
fn requests_complete_in_their_order() {
    let memory = TestMemory::new();
    let mut disk = RamDisk::new(Content::new(512, 8).unwrap(), &memory);
    memory.write_list(&scattered(0, 512, &[]), 0, &[7; 512]);
    disk.submit(NOW, request(9, WRITE, 3, 1)).unwrap();
    disk.submit(NOW, request(2, Operation::Flush, 0, 0)).unwrap();
    disk.submit(NOW, request(5, Operation::Read, 8, 1)).unwrap();
    disk.submit(NOW, request(3, Operation::Compare, 3, 1)).unwrap();
    assert_eq!(disk.deadline(), Some(NOW));
    let done: Vec<_> = std::iter::from_fn(|| disk.poll(NOW)).collect();
    let wanted = [(9, Ok(())), (2, Ok(())), (5, Err(Failure::OutOfRange)), (3, Ok(()))];
    assert_eq!(done, wanted.map(|(tag, result)| Completion { tag: Tag(tag), result }));
    assert_eq!((disk.deadline(), disk.event()), (None, None));
}

/// Rule 2, and the work of one call has a bound.
#[test]
fn a_long_request_is_done_in_parts_and_can_be_cancelled_amid() {
    let memory = TestMemory::new();
    let blocks = 6000;
    let content = Content::new(512, blocks).unwrap();
    let mut disk = RamDisk::new(content.clone(), &memory);
    let mut fill = RamDisk::new(content, &memory);
    memory.write_list(&scattered(0, 512, &[]), 0, &[7; 512]);
    for first in 0..blocks {
        assert_eq!(one(&mut fill, WRITE, (first, 1), scattered(0, 512, &[])), Ok(()));
    }
    disk.submit(NOW, request(1, ZEROES, 0, blocks)).unwrap();
    disk.submit(NOW, request(2, ZEROES, 5999, 1)).unwrap();
    assert_eq!((disk.poll(NOW), disk.deadline()), (None, Some(NOW)));
    disk.cancel(NOW, Tag(2));
    disk.cancel(NOW, Tag(1));
    disk.cancel(NOW, Tag(3));
    let cancelled = |tag| Some(Completion { tag: Tag(tag), result: Err(Failure::Cancelled) });
    assert_eq!(disk.poll(NOW), cancelled(1));
    assert_eq!(disk.poll(NOW), cancelled(2));
    assert_eq!((disk.poll(NOW), disk.deadline()), (None, None));
    // 1 MiB is done. Both ways lead to the same bytes.
    for (first, byte) in [(0, 0), (2047, 0), (2048, 7), (5999, 7)] {
        memory.write_list(&scattered(0, 512, &[]), 0, &[byte; 512]);
        assert_eq!(one(&mut fill, Operation::Compare, (first, 1), scattered(0, 512, &[])), Ok(()));
    }
}

/// Rule 5: room is bounded, and comes with a completion.
#[test]
fn a_full_queue_hands_the_request_back() {
    let mut disk = RamDisk::new(Content::new(512, 8).unwrap(), TestMemory::new());
    for tag in 0..256 {
        disk.submit(NOW, request(tag, Operation::Flush, 0, 0)).unwrap();
    }
    let more = request(256, Operation::Read, 1, 2);
    assert_eq!(disk.submit(NOW, more.clone()), Err(more.clone()));
    assert_eq!(disk.poll(NOW), Some(Completion { tag: Tag(0), result: Ok(()) }));
    assert_eq!(disk.submit(NOW, more), Ok(()));
}

/// A long request is done in steps, each with its place on the disk and in the data.
#[test]
fn data_of_many_steps_come_back_and_the_byte_that_differs_is_found() {
    let memory = TestMemory::new();
    let mut disk = RamDisk::new(Content::new(512, 600).unwrap(), &memory);
    let length = 500 * 512;
    let bytes: Vec<u8> = (0..length).map(|at| (at / 512 * 3 + at) as u8).collect();
    let [from, to] = [(); 2].map(|()| DataRange::Pool(memory.allocate(length).unwrap()));
    memory.write(from, 0, &bytes);
    assert_eq!(one(&mut disk, WRITE, (90, 500), from.into()), Ok(()));
    assert_eq!(one(&mut disk, Operation::Read, (90, 500), to.into()), Ok(()));
    assert!(memory.peek(memory.bus_address(to), bytes.len()) == bytes);
    memory.write(to, 200_003, &[!bytes[200_003], 0, 1, 2]);
    let differs = Err(Failure::Miscompare { offset: Some(200_003) });
    assert_eq!(one(&mut disk, Operation::Compare, (90, 500), to.into()), differs);
}
