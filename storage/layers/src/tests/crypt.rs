//! The encrypted disk.

use std::format;
use std::vec;
use std::vec::Vec;

use block::{
    BlockDevice, Completion, DataList, DataMemory, DataRange, Event, Extent, Failure, Operation,
    Properties, Request, Tag,
};
use device_model::Instant;
use proptest::prelude::*;

use super::kit::*;
use super::memory::{TestMemory, scattered};
use super::model::{Model, batches};
use crate::{Content, Crypt, CryptError, RamDisk, XtsKey, XtsKeyError};

const NOW: Instant = Instant::START;
const SLOT: u64 = 32 << 10;

/// Key1 and Key2 of IEEE 1619-2018, Annex B, vector 10.
const KEY: &str = "2718281828459045235360287471352662497757247093699959574966967627\
                   3141592653589793238462643383279502884197169399375105820974944592";
/// The beginning and the end of what that vector encrypts the bytes 0 to 255, twice, to.
const ENCRYPTED: [&str; 2] = [
    "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b",
    "773dad38014bd2092fa755c824bb5e54c4f36ffda9fcea70b9c6e693e148c151",
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn key() -> XtsKey {
    XtsKey::new(&bytes(KEY)).unwrap()
}

fn crypt<'a>(
    memory: &'a TestMemory,
    blocks: u64,
    habits: Habits,
    slots: usize,
) -> Crypt<TestDisk<'a>, &'a TestMemory> {
    Crypt::new(disk(memory, 512, blocks, habits), memory, &key(), slots).unwrap()
}

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

fn done(tag: u64, result: Result<(), Failure>) -> Option<Completion> {
    Some(Completion { tag: Tag(tag), result })
}

fn request(tag: u64, operation: Operation, first: u64, data: DataList) -> Request {
    let blocks = data.length() / 512;
    Request { tag: Tag(tag), operation, extent: Extent { first, blocks }, data }
}

/// All that a device has at this time.
fn poll(device: &mut impl BlockDevice, nanos: u64) -> Vec<(u64, Result<(), Failure>)> {
    let mut all = Vec::new();
    loop {
        match device.poll(at(nanos)) {
            Some(done) => all.push((done.tag.0, done.result)),
            None if device.deadline().is_some_and(|deadline| deadline <= at(nanos)) => {}
            None => return all,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_encrypted_disk_is_plain_memory(
        batches in batches(512, 100),
        room in 1..4_usize,
        slots in 1..4_usize,
        late in proptest::collection::vec(0..900_u64, 0..5),
    ) {
        let memory = TestMemory::new();
        let mut disk = crypt(&memory, 100, Habits { room, late, ..Habits::default() }, slots);
        // What was never written decrypts to noise.
        prop_assert_eq!(one(&mut disk, ZEROES, (0, 100), DataList::new()), Ok(()));
        let mut model = Model::of(&disk, &memory);
        model.zeroes = false;
        model.check(&mut disk, batches);
        prop_assert_eq!(memory.in_use(), slots as u64 * SLOT);
        drop(disk);
        prop_assert_eq!(memory.in_use(), 0);
    }

    #[test]
    fn an_encrypted_disk_of_long_blocks_is_plain_memory(batches in batches(4096, 12)) {
        let memory = TestMemory::new();
        let below = RamDisk::new(Content::new(4096, 12).unwrap(), &memory);
        let mut disk = Crypt::new(below, &memory, &key(), 2).unwrap();
        prop_assert_eq!(one(&mut disk, ZEROES, (0, 12), DataList::new()), Ok(()));
        let mut model = Model::of(&disk, &memory);
        model.zeroes = false;
        model.check(&mut disk, batches);
    }

    /// Rule 2. Each slot comes back, and each request ends as one of its pieces did.
    #[test]
    fn each_request_completes_once_whatever_the_device_does(
        steps in proptest::collection::vec((0..150_u64, any::<bool>(), any::<bool>()), 1..12),
        fails in proptest::collection::btree_set(0..20_usize, 0..4),
        room in 1..4_usize,
        slots in 1..4_usize,
        late in proptest::collection::vec(0..900_u64, 1..5),
        cancel in proptest::collection::vec(0..12_u64, 0..4),
        stubborn in any::<bool>(),
    ) {
        let memory = TestMemory::new();
        let fails = fails.into_iter().map(|at| (at, Failure::MediumWrite)).collect();
        let mut disk = crypt(&memory, 200, Habits { room, late, fails, stubborn }, slots);
        let data = DataRange::Pool(memory.allocate(150 * 512).unwrap());
        let (mut completions, mut now) = (Vec::new(), NOW);
        for (tag, (blocks, read, wait)) in (0..).zip(&steps) {
            let operation = if *read { Operation::Read } else { WRITE };
            let part = data.part(0, blocks * 512).unwrap().into();
            disk.submit(now, request(tag, operation, 9, part)).unwrap();
            if *wait {
                finish(&mut disk, &mut now, &mut completions);
            }
            if cancel.contains(&tag) {
                disk.cancel(now, Tag(tag));
            }
        }
        while disk.deadline().is_some() {
            finish(&mut disk, &mut now, &mut completions);
        }
        completions.sort_by_key(|done| done.tag);
        let tags: Vec<_> = completions.iter().map(|done| done.tag.0).collect();
        prop_assert_eq!(tags, (0..steps.len() as u64).collect::<Vec<_>>());
        let cancelled = |done: &&Completion| done.result == Err(Failure::Cancelled);
        prop_assert!(completions.iter().filter(cancelled).all(|done| cancel.contains(&done.tag.0)));
        drop(disk);
        prop_assert_eq!(memory.in_use(), 150 * 512);
    }
}

/// IEEE 1619-2018, Annex B, vector 10: data unit 0xff.
#[test]
fn the_device_has_what_the_standard_says() {
    let memory = TestMemory::new();
    let content = Content::new(512, 300).unwrap();
    let below = RamDisk::new(content.clone(), &memory);
    let mut disk = Crypt::new(below, &memory, &key(), 4).unwrap();
    let plain: Vec<u8> = (0..512).map(|at| at as u8).collect();
    // Also as one of several blocks, and as zeroes.
    memory.write_list(&scattered(1024, 512, &[]), 0, &plain);
    assert_eq!(one(&mut disk, WRITE, (0xfd, 4), scattered(0, 2048, &[100, 1000])), Ok(()));
    let mut below = RamDisk::new(content, &memory);
    let mut raw = |first| {
        assert_eq!(one(&mut below, Operation::Read, (first, 1), scattered(0, 512, &[])), Ok(()));
        memory.peek(0, 512)
    };
    let (encrypted, zeroes, other) = (raw(0xff), raw(0xfd), raw(0xfe));
    assert_eq!(encrypted[..32], bytes(ENCRYPTED[0]));
    assert_eq!(encrypted[480..], bytes(ENCRYPTED[1]));
    // Equal blocks do not look equal.
    assert_ne!(zeroes, other);
    assert_eq!(one(&mut disk, ZEROES, (0xff, 1), DataList::new()), Ok(()));
    assert_eq!(one(&mut disk, WRITE, (0xff, 1), scattered(4096, 512, &[])), Ok(()));
    assert_eq!(one(&mut disk, Operation::Read, (0xff, 1), scattered(0, 512, &[])), Ok(()));
    assert_eq!(memory.peek(0, 512), [0; 512]);
}

#[test]
fn only_encrypted_data_reach_the_device() {
    let memory = TestMemory::new();
    let mut disk = crypt(&memory, 200, Habits::default(), 4);
    let pool = memory.in_use();
    assert_eq!(pool, 4 * SLOT);
    memory.write_list(&scattered(0, 51200, &[]), 0, &[0x5a; 51200]);
    assert_eq!(one(&mut disk, WRITE, (3, 100), scattered(0, 51200, &[])), Ok(()));
    assert_eq!(one(&mut disk, Operation::Read, (3, 100), scattered(0, 51200, &[])), Ok(()));
    assert_eq!(one(&mut disk, Operation::Compare, (3, 100), scattered(0, 51200, &[])), Ok(()));
    let slots = memory.peek(super::memory::ROOM, pool as usize);
    assert!(slots.iter().any(|byte| *byte != 0));
    assert!(!slots.windows(4).any(|four| four == [0x5a; 4]));
}

/// What a piece needs is not more than a slot, and is asked for in order.
#[test]
fn a_long_request_is_done_in_pieces() {
    let memory = TestMemory::new();
    let below = disk(&memory, 512, 200, Habits { late: vec![5], ..Habits::default() });
    let log = below.log.clone();
    let mut disk = Crypt::new(below, &memory, &key(), 2).unwrap();
    let durable = Operation::Write { force_unit_access: true };
    assert_eq!(one(&mut disk, ZEROES, (7, 150), DataList::new()), Ok(()));
    assert_eq!(one(&mut disk, Operation::Compare, (7, 1), scattered(0, 512, &[])), Ok(()));
    assert_eq!(one(&mut disk, Operation::Verify, (7, 150), DataList::new()), Ok(()));
    assert_eq!(one(&mut disk, Operation::Flush, (0, 0), DataList::new()), Ok(()));
    assert_eq!(one(&mut disk, Operation::Deallocate, (7, 150), DataList::new()), Ok(()));
    let wanted = [
        (durable, 7, 64),
        (durable, 71, 64),
        (durable, 135, 22),
        (Operation::Read, 7, 1),
        (Operation::Verify, 7, 150),
        (Operation::Flush, 0, 0),
    ];
    let wanted = wanted.map(|(operation, first, blocks)| (operation, Extent { first, blocks }));
    assert_eq!((log.borrow().asked(), log.borrow().deepest), (wanted.to_vec(), 2));
}

#[test]
fn one_call_encrypts_a_bounded_part() {
    let memory = TestMemory::new();
    let below = disk(&memory, 512, 4000, Habits::default());
    let log = below.log.clone();
    let mut disk = Crypt::new(below, &memory, &key(), 20).unwrap();
    let data = DataRange::Pool(memory.allocate(4000 * 512).unwrap());
    for (tag, operation) in [(1, WRITE), (2, Operation::Read)] {
        let before = log.borrow().taken.len();
        disk.submit(NOW, request(tag, operation, 0, data.into())).unwrap();
        assert_eq!(disk.deadline(), Some(NOW));
        // 64 KiB, and the part of a read that has not come back.
        assert_eq!((disk.poll(NOW), disk.deadline()), (None, Some(NOW)));
        assert_eq!(log.borrow().taken.len() - before, tag as usize + 1);
        assert_eq!(poll(&mut disk, 0), [(tag, Ok(()))]);
        assert_eq!((disk.poll(NOW), disk.deadline()), (None, None));
    }
}

#[test]
fn the_first_byte_that_differs_is_found_in_any_piece() {
    let memory = TestMemory::new();
    for late in [[10, 20, 30], [30, 20, 10]] {
        let mut disk = crypt(&memory, 200, Habits { late: late.into(), ..Habits::default() }, 3);
        assert_eq!(one(&mut disk, ZEROES, (0, 200), DataList::new()), Ok(()));
        let data = scattered(0, 60000 / 512 * 512, &[33]);
        for (from, wanted) in [(50001, 50001), (40000, 40000), (77, 77)] {
            memory.write_list(&data, from, &[1]);
            let compared = one(&mut disk, Operation::Compare, (5, 117), data.clone());
            assert_eq!(compared, Err(Failure::Miscompare { offset: Some(wanted) }));
        }
        memory.write_list(&data, 0, &vec![0; data.length() as usize]);
    }
}

#[test]
fn a_failure_stops_a_request_and_its_held_piece() {
    let memory = TestMemory::new();
    let habits = Habits {
        room: 1,
        late: vec![10],
        fails: [(0, Failure::NoSpace), (1, Failure::Miscompare { offset: None })].into(),
        ..Habits::default()
    };
    let below = disk(&memory, 512, 200, habits);
    let log = below.log.clone();
    let mut disk = Crypt::new(below, &memory, &key(), 3).unwrap();
    let long = scattered(0, 120 * 512, &[]);
    disk.submit(NOW, request(1, WRITE, 0, long)).unwrap();
    disk.submit(NOW, request(2, WRITE, 7, scattered(0, 512, &[]))).unwrap();
    assert_eq!(poll(&mut disk, 0), []);
    assert_eq!(poll(&mut disk, 10), [(1, Err(Failure::NoSpace))]);
    // A device that tells of a comparison which nobody wanted.
    assert_eq!(poll(&mut disk, 20), [(2, Err(Failure::Device))]);
    assert_eq!((log.borrow().taken.len(), disk.deadline()), (2, None));
    drop(disk);
    assert_eq!(memory.in_use(), 0);
}

#[test]
fn a_cancel_reaches_each_piece_under_way() {
    let memory = TestMemory::new();
    let below = disk(&memory, 512, 400, Habits { late: vec![10], ..Habits::default() });
    let log = below.log.clone();
    let mut disk = Crypt::new(below, &memory, &key(), 2).unwrap();
    disk.submit(NOW, request(1, WRITE, 0, scattered(0, 128 * 512, &[]))).unwrap();
    disk.submit(NOW, request(2, WRITE, 200, scattered(0, 64 * 512, &[]))).unwrap();
    assert_eq!(poll(&mut disk, 0), []);
    disk.cancel(NOW, Tag(3));
    disk.cancel(NOW, Tag(2));
    disk.cancel(NOW, Tag(1));
    assert_eq!(log.borrow().cancelled.len(), 2);
    let both = [(2, Err(Failure::Cancelled)), (1, Err(Failure::Cancelled))];
    assert_eq!(poll(&mut disk, 10), both);
    assert_eq!((log.borrow().taken.len(), disk.deadline()), (2, None));
}

/// A request of which all was done is not cancelled; one of which a piece was left is.
#[test]
fn a_cancel_that_comes_too_late_changes_nothing() {
    let memory = TestMemory::new();
    let habits = Habits { late: vec![10], stubborn: true, ..Habits::default() };
    let mut disk = crypt(&memory, 400, habits, 2);
    for (tag, blocks, result) in [(1, 100, Ok(())), (2, 128, Ok(()))] {
        disk.submit(NOW, request(tag, WRITE, 0, scattered(0, blocks * 512, &[]))).unwrap();
        assert_eq!(poll(&mut disk, 20 * tag), []);
        disk.cancel(NOW, Tag(tag));
        assert_eq!(poll(&mut disk, 20 * tag + 10), [(tag, result)]);
    }
    let zeroes = Request {
        extent: Extent { first: 0, blocks: 129 },
        ..request(3, ZEROES, 0, DataList::new())
    };
    disk.submit(NOW, zeroes).unwrap();
    assert_eq!(poll(&mut disk, 100), []);
    disk.cancel(NOW, Tag(3));
    assert_eq!(poll(&mut disk, 110), [(3, Err(Failure::Cancelled))]);
}

#[test]
fn requests_are_bounded_and_refusals_do_not_reach_the_device() {
    let memory = TestMemory::new();
    let mut disk = crypt(&memory, 8, Habits { room: 1, ..Habits::default() }, 1);
    disk.submit(NOW, request(0, Operation::Read, 8, scattered(0, 512, &[]))).unwrap();
    assert_eq!(disk.poll(NOW), done(0, Err(Failure::OutOfRange)));
    for tag in 0..256 {
        disk.submit(NOW, request(tag, Operation::Flush, 0, DataList::new())).unwrap();
    }
    let more = request(256, Operation::Deallocate, 0, DataList::new());
    assert_eq!(disk.submit(NOW, more.clone()), Err(more.clone()));
    assert_eq!((disk.poll(NOW), disk.submit(NOW, more)), (done(0, Ok(())), Ok(())));
}

#[test]
fn the_disk_says_that_it_keeps_what_is_given_up() {
    let memory = TestMemory::new();
    let below = disk(&memory, 512, 8, Habits::default());
    let (log, properties) = (below.log.clone(), below.properties());
    let mut disk = Crypt::new(below, &memory, &key(), 1).unwrap();
    let wanted = Properties { deallocates: false, deallocated_read_zero: false, ..properties };
    assert_eq!(disk.properties(), wanted);
    log.borrow_mut().events.push(Event::Changed);
    assert_eq!((disk.event(), disk.event()), (Some(Event::Changed), None));
}

#[test]
fn a_pool_without_room_makes_no_disk_and_one_with_little_makes_a_slow_one() {
    let memory = TestMemory::new();
    memory.limit.set(SLOT - 1);
    let none = Crypt::new(disk(&memory, 512, 8, Habits::default()), &memory, &key(), 9);
    assert_eq!(none.map(|_| ()).unwrap_err(), CryptError::NoPool);
    memory.limit.set(2 * SLOT);
    let mut disk = crypt(&memory, 300, Habits::default(), 9);
    assert_eq!(memory.in_use(), 2 * SLOT);
    assert_eq!(one(&mut disk, ZEROES, (0, 300), DataList::new()), Ok(()));
    for block_bytes in [0, 256, 1000, 8192] {
        let properties = Properties { block_bytes, ..disk.properties() };
        let device = super::kit::disk(&memory, 512, 8, Habits::default());
        device.log.borrow_mut().properties = Some(properties);
        let refused = Crypt::new(device, &memory, &key(), 1).map(|_| ()).unwrap_err();
        assert_eq!(refused, CryptError::BlockBytes, "{block_bytes}");
    }
}

#[test]
fn a_key_has_two_different_halves_and_is_not_shown() {
    let good = bytes(KEY);
    for length in [0, 31, 32, 63, 65] {
        let other: Vec<u8> = good.iter().copied().cycle().take(length).collect();
        assert_eq!(XtsKey::new(&other).unwrap_err(), XtsKeyError::Length(length));
    }
    let twice = [&good[..32], &good[..32]].concat();
    assert_eq!(XtsKey::new(&twice).unwrap_err(), XtsKeyError::EqualHalves);
    assert_eq!(format!("{:?}", key()), "XtsKey(..)");
}
