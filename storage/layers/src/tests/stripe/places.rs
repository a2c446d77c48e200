//! Where the blocks of a request lie.

use std::vec;
use std::vec::Vec;

use block::{BlockDevice, DataList, DataMemory, Failure, Operation, Properties};
use device_model::Instant;
use proptest::prelude::*;

use super::super::model::{Model, batches};
use super::*;
use crate::{Content, RamDisk, StripeError};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_stripe_is_plain_memory(
        batches in batches(512, 96),
        devices in 1..5_usize,
        chunk in proptest::sample::select(vec![1_u32, 2, 4, 16]),
        room in 1..4_usize,
        late in proptest::collection::vec(0..900_u64, 0..5),
    ) {
        let memory = TestMemory::new();
        // Each device is late in another way.
        let disks: Vec<_> = (0..devices).map(|device| {
            let mut late = late.clone();
            let by = device.min(late.len());
            late.rotate_left(by);
            (96_u64.div_ceil(devices as u64) + device as u64, habits(room, &late))
        }).collect();
        let (mut stripe, _) = stripe(&memory, chunk, &disks);
        Model::of(&stripe, &memory).check(&mut stripe, batches);
    }

    /// Each block's place by counting, against the places that the devices are asked for.
    #[test]
    fn chunks_go_round_the_devices(
        devices in 1..5_usize,
        chunk in proptest::sample::select(vec![1_u32, 2, 4, 16]),
        first in 0..64_u64,
        blocks in 0..64_u64,
    ) {
        let memory = TestMemory::new();
        let (mut stripe, logs) = stripe(&memory, chunk, &vec![(128, habits(9, &[])); devices]);
        let verified = one(&mut stripe, Operation::Verify, (first, blocks), DataList::new());
        prop_assert_eq!(verified, Ok(()));
        let mut wanted = vec![Vec::new(); devices];
        let (mut device, mut next) = (0, vec![0; devices]);
        for block in 0..first + blocks {
            if block >= first {
                wanted[device].push(next[device]);
            }
            next[device] += 1;
            if next[device] % u64::from(chunk) == 0 {
                device = (device + 1) % devices;
            }
        }
        for (log, wanted) in logs.iter().zip(wanted) {
            let asked = extents(log);
            prop_assert!(asked.len() <= 1, "one part for each device");
            let asked: Vec<_> = asked.iter().flat_map(|(at, count)| *at..at + count).collect();
            prop_assert_eq!(asked, wanted);
        }
    }
}

#[test]
fn the_data_of_a_device_are_one_part() {
    let memory = TestMemory::new();
    let (mut stripe, logs) = stripe(&memory, 4, &vec![(128, habits(9, &[])); 2]);
    assert_eq!(one(&mut stripe, WRITE, (1, 10), scattered(0, 5120, &[700])), Ok(()));
    // Blocks 1 to 3 and 8 to 10; blocks 4 to 7.
    assert_eq!((extents(&logs[0]), extents(&logs[1])), (vec![(1, 6)], vec![(0, 4)]));
}

#[test]
fn devices_must_fit_together() {
    let memory = TestMemory::new();
    let of = |sizes: &[u32], chunk| {
        let disk = |bytes: &u32| RamDisk::new(Content::new(*bytes, 8).unwrap(), &memory);
        Stripe::new(sizes.iter().map(disk).collect(), chunk).map(|_| ())
    };
    assert_eq!(of(&[], 1), Err(StripeError::Devices));
    assert_eq!(of(&[512; 33], 1), Err(StripeError::Devices));
    assert_eq!(of(&[512; 32], 1), Ok(()));
    assert_eq!(of(&[512, 4096], 1), Err(StripeError::BlockBytes));
    assert_eq!(of(&[512, 512], 0), Err(StripeError::Chunk));
    assert_eq!(of(&[512, 512], 3), Err(StripeError::Chunk));
    assert_eq!(of(&[4096, 4096], 1 << 31), Ok(()));
}

#[test]
fn the_properties_are_those_that_all_devices_have() {
    let memory = TestMemory::new();
    let (stripe, logs) = stripe(&memory, 8, &[(8, habits(9, &[])), (8, habits(9, &[]))]);
    let one = Properties { blocks: 21, optimal_blocks: 4, most_blocks: 100, ..stripe.properties() };
    let two = Properties { blocks: 30, optimal_blocks: 16, most_blocks: 64, ..one };
    let both = |one, two| {
        logs[0].borrow_mut().properties = Some(one);
        logs[1].borrow_mut().properties = Some(two);
        stripe.properties()
    };
    // Two whole chunks of each.
    let wanted = Properties { blocks: 32, optimal_blocks: 8, most_blocks: 128, ..one };
    assert_eq!(both(one, two), wanted);
    let read_only = Properties { read_only: true, ..two };
    assert!(!wanted.read_only && both(one, read_only).read_only);
    let cached = Properties { volatile_cache: true, ..two };
    assert!(!wanted.volatile_cache && both(one, cached).volatile_cache);
    let unsure = Properties { deallocated_read_zero: false, deallocates: false, ..two };
    assert!(both(one, unsure).deallocates && !both(one, unsure).deallocated_read_zero);
    // As many as there are numbers.
    let vast = Properties { blocks: u64::MAX, most_blocks: u32::MAX, ..one };
    let properties = both(vast, vast);
    assert_eq!((properties.blocks, properties.most_blocks), (u64::MAX - 15, u32::MAX));
}

/// The data of a request may have as many ranges as there can be, before they are cut at chunks.
#[test]
fn a_list_that_becomes_too_long_is_done_in_rounds() {
    let memory = TestMemory::new();
    let (mut stripe, logs) = stripe(&memory, 1, &[(200, habits(9, &[]))]);
    let length = 128 * 512;
    let bytes: Vec<u8> = (0..length).map(|at| (at / 512 * 3 + at) as u8).collect();
    let data = scattered(0, length, &[31; 2048]);
    assert_eq!(data.ranges().len(), DataList::MOST);
    memory.write_list(&data, 0, &bytes);
    assert_eq!(one(&mut stripe, WRITE, (50, 128), data.clone()), Ok(()));
    let parts = extents(&logs[0]);
    let [(50, early), (middle, late)] = parts[..] else { panic!("{parts:?}") };
    assert_eq!((middle, early + late), (50 + early, 128));
    assert_eq!(one(&mut stripe, Operation::Compare, (50, 128), data.clone()), Ok(()));
    // The last byte is in the second round.
    memory.write_list(&data, length - 1, &[!bytes[length as usize - 1]]);
    let differs = Err(Failure::Miscompare { offset: Some(length - 1) });
    assert_eq!(one(&mut stripe, Operation::Compare, (50, 128), data), differs);
}

#[test]
fn very_many_chunks_are_done_in_rounds() {
    let memory = TestMemory::new();
    let (mut stripe, logs) = stripe(&memory, 1, &vec![(2000, habits(1, &[5])); 2]);
    let range = block::DataRange::Pool(memory.allocate(2500 * 512).unwrap());
    assert_eq!(one(&mut stripe, WRITE, (1, 2500), range.into()), Ok(()));
    assert_eq!(extents(&logs[0]), [(1, 512), (513, 512), (1025, 226)]);
    assert_eq!(extents(&logs[1]), [(0, 512), (512, 512), (1024, 226)]);
    // Without data they need no lists, and are one part for each device.
    assert_eq!(one(&mut stripe, ZEROES, (1, 2500), DataList::new()), Ok(()));
    assert_eq!((extents(&logs[0])[3], extents(&logs[1])[3]), ((1, 1250), (0, 1250)));
    assert_eq!(stripe.deadline(), None::<Instant>);
}
