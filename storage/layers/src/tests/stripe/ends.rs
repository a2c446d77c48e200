//! How requests end: once, whatever the devices do.

use std::vec;
use std::vec::Vec;

use block::{BlockDevice, Completion, DataMemory, Event, Failure};
use device_model::Instant;
use proptest::prelude::*;

use super::*;

const NOW: Instant = Instant::START;

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

fn done(tag: u64, result: Result<(), Failure>) -> Option<Completion> {
    Some(Completion { tag: Tag(tag), result })
}

fn failing(late: u64, failure: Failure) -> Habits {
    Habits { fails: [(0, failure)].into(), ..habits(9, &[late]) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Rules 2 and 5. Failures come from the devices' parts only.
    #[test]
    fn each_request_completes_once_and_well_only_if_all_its_parts_did(
        steps in proptest::collection::vec((0..20_u64, 0..20_u64, any::<bool>()), 1..20),
        fails in proptest::collection::btree_set(0..20_usize, 0..4),
        room in 1..4_usize,
        late in proptest::collection::vec(0..900_u64, 1..5),
        cancel in proptest::collection::vec(0..20_u64, 0..4),
    ) {
        let memory = TestMemory::new();
        let fails: std::collections::BTreeMap<_, _> =
            fails.into_iter().map(|at| (at, Failure::MediumRead)).collect();
        let first = Habits { fails: fails.clone(), ..habits(room, &late) };
        let disks = [(40, first), (40, habits(room, &[300])), (40, habits(1, &[]))];
        let (mut stripe, logs) = stripe(&memory, 4, &disks);
        let (mut count, mut completions) = (0, Vec::new());
        let mut now = NOW;
        for (tag, (first, blocks, wait)) in (0..).zip(&steps) {
            stripe.submit(now, request(tag, Operation::Verify, *first, *blocks)).unwrap();
            count += 1;
            if cancel.contains(&tag) {
                stripe.cancel(now, Tag(tag));
            }
            if *wait {
                finish(&mut stripe, &mut now, &mut completions);
            }
        }
        while stripe.deadline().is_some() {
            finish(&mut stripe, &mut now, &mut completions);
        }
        completions.sort_by_key(|done| done.tag);
        let tags: Vec<_> = completions.iter().map(|done| done.tag.0).collect();
        prop_assert_eq!(tags, (0..count).collect::<Vec<_>>());
        let failed = |failure| completions.iter().filter(|done| done.result == Err(failure)).count();
        let taken = logs[0].borrow().taken.len();
        // A cancelled part does not fail as well.
        prop_assert!(failed(Failure::MediumRead) <= fails.range(..taken).count());
        if cancel.is_empty() {
            prop_assert_eq!(failed(Failure::MediumRead), fails.range(..taken).count());
        }
        prop_assert!(failed(Failure::Cancelled) <= cancel.len());
        let ok = completions.iter().filter(|done| done.result.is_ok()).count();
        prop_assert_eq!(ok + failed(Failure::MediumRead) + failed(Failure::Cancelled), steps.len());
    }
}

#[test]
fn a_request_completes_when_its_last_part_has() {
    let memory = TestMemory::new();
    let disks = [habits(9, &[10]), habits(9, &[30]), habits(9, &[20])].map(|habits| (8, habits));
    let (mut stripe, _) = stripe(&memory, 1, &disks);
    stripe.submit(NOW, request(4, Operation::Read, 0, 3)).unwrap();
    stripe.submit(NOW, request(5, Operation::Read, 3, 0)).unwrap();
    stripe.submit(NOW, request(6, Operation::Read, 3, 1)).unwrap();
    assert_eq!((stripe.deadline(), stripe.poll(NOW)), (Some(NOW), done(5, Ok(()))));
    assert_eq!((stripe.deadline(), stripe.poll(at(9))), (Some(at(10)), None));
    assert_eq!((stripe.poll(at(10)), stripe.poll(at(10))), (done(6, Ok(())), None));
    assert_eq!((stripe.deadline(), stripe.poll(at(20))), (Some(at(20)), None));
    assert_eq!((stripe.deadline(), stripe.poll(at(30))), (Some(at(30)), done(4, Ok(()))));
    assert_eq!((stripe.deadline(), stripe.poll(at(40))), (None, None));
}

/// Rule 3: a part that goes on still uses the memory.
#[test]
fn the_first_failure_wins_and_waits_for_the_other_parts() {
    let memory = TestMemory::new();
    let (one, two) = (failing(30, Failure::MediumWrite), failing(20, Failure::NoSpace));
    let (mut stripe, _) = stripe(&memory, 1, &[(8, one), (8, two), (8, habits(9, &[40]))]);
    stripe.submit(NOW, request(4, WRITE, 0, 3)).unwrap();
    assert_eq!((stripe.poll(at(20)), stripe.poll(at(30))), (None, None));
    assert_eq!(stripe.poll(at(40)), done(4, Err(Failure::NoSpace)));
}

#[test]
fn a_part_that_waits_is_not_begun_after_a_failure() {
    let memory = TestMemory::new();
    let disks = [(8, failing(5, Failure::Gone)), (8, habits(1, &[90]))];
    let (mut stripe, logs) = stripe(&memory, 1, &disks);
    stripe.submit(NOW, request(1, ZEROES, 1, 1)).unwrap();
    stripe.submit(NOW, request(2, ZEROES, 2, 2)).unwrap();
    assert_eq!(stripe.poll(at(5)), done(2, Err(Failure::Gone)));
    assert_eq!(stripe.poll(at(90)), done(1, Ok(())));
    assert_eq!((stripe.poll(at(99)), extents(&logs[1])), (None, vec![(0, 1)]));
}

#[test]
fn a_device_without_room_holds_up_its_own_parts_only() {
    let memory = TestMemory::new();
    let (mut stripe, logs) = stripe(&memory, 1, &[(8, habits(1, &[50])), (8, habits(9, &[]))]);
    for (tag, first) in [(1, 0), (2, 2), (3, 1), (4, 6), (5, 4)] {
        stripe.submit(NOW, request(tag, Operation::Verify, first, 1)).unwrap();
    }
    assert_eq!((stripe.poll(NOW), stripe.poll(NOW)), (done(3, Ok(())), None));
    assert_eq!((stripe.poll(at(50)), stripe.poll(at(50))), (done(1, Ok(())), None));
    assert_eq!((stripe.deadline(), stripe.poll(at(100))), (Some(at(100)), done(2, Ok(()))));
    // They wait in the order in which they came.
    for (now, next) in [(100, None), (150, done(4, Ok(()))), (150, None), (200, done(5, Ok(())))] {
        assert_eq!(stripe.poll(at(now)), next);
    }
    assert_eq!(logs[0].borrow().deepest, 1);
}

#[test]
fn a_cancel_reaches_all_parts() {
    let memory = TestMemory::new();
    let stubborn = Habits { stubborn: true, ..habits(1, &[10]) };
    let disks = [(8, habits(1, &[10])), (8, habits(9, &[20])), (8, stubborn)];
    let (mut stripe, logs) = stripe(&memory, 1, &disks);
    // The second has parts only on the first device and waits for it.
    stripe.submit(NOW, request(1, ZEROES, 0, 2)).unwrap();
    stripe.submit(NOW, request(2, ZEROES, 3, 1)).unwrap();
    stripe.submit(NOW, request(3, ZEROES, 2, 1)).unwrap();
    for tag in [2, 3, 1, 9] {
        stripe.cancel(NOW, Tag(tag));
    }
    let counts = logs.iter().map(|log| log.borrow().cancelled.len());
    assert!(counts.eq([1, 1, 1]));
    // Nothing of the second was begun. The third was not given up, and had its effect.
    assert_eq!((stripe.poll(NOW), stripe.poll(NOW)), (done(2, Err(Failure::Cancelled)), None));
    assert_eq!((stripe.poll(at(10)), stripe.poll(at(10))), (done(3, Ok(())), None));
    assert_eq!(stripe.poll(at(20)), done(1, Err(Failure::Cancelled)));
    assert_eq!((stripe.poll(at(30)), stripe.deadline()), (None, None));
    assert_eq!(extents(&logs[0]), [(0, 1)]);
}

/// The one part that was begun is done, but the request is not.
#[test]
fn a_request_with_parts_that_never_began_is_cancelled() {
    let memory = TestMemory::new();
    let stubborn = |room, late| Habits { stubborn: true, ..habits(room, &[late]) };
    let disks = [(2000, stubborn(9, 10)), (2000, stubborn(1, 90))];
    let (mut stripe, _) = stripe(&memory, 1, &disks);
    stripe.submit(NOW, request(1, ZEROES, 1, 1)).unwrap();
    stripe.submit(NOW, request(2, ZEROES, 0, 2)).unwrap();
    stripe.cancel(NOW, Tag(2));
    assert_eq!(stripe.poll(at(10)), done(2, Err(Failure::Cancelled)));
    // Neither is one of which a round is left.
    let range = block::DataRange::Pool(memory.allocate(1025 * 512).unwrap());
    let long = block::Request { data: range.into(), ..request(3, Operation::Read, 0, 1025) };
    stripe.submit(at(90), long).unwrap();
    assert_eq!((stripe.poll(at(90)), stripe.poll(at(100))), (done(1, Ok(())), None));
    stripe.cancel(at(100), Tag(3));
    let mut completions = Vec::new();
    finish(&mut stripe, &mut at(500), &mut completions);
    assert_eq!(completions.pop(), done(3, Err(Failure::Cancelled)));
}

#[test]
fn the_first_byte_that_differs_is_told_whichever_part_finds_it() {
    for late in [[10, 20, 30], [30, 20, 10], [10, 30, 20]] {
        let memory = TestMemory::new();
        // The device with that byte has no room at first: its part is needed nevertheless.
        let disks = late.map(|late| (8, habits(1, &[late])));
        let (mut stripe, _) = stripe(&memory, 2, &disks);
        memory.write(block::DataRange::Pool(block::PoolRange::new(0, 6144)), 1500, &[1; 4000]);
        stripe.submit(NOW, request(1, Operation::Verify, 4, 1)).unwrap();
        stripe.submit(NOW, request(2, Operation::Verify, 2, 1)).unwrap();
        stripe.submit(NOW, request(3, Operation::Compare, 1, 12)).unwrap();
        let mut completions = Vec::new();
        let mut now = NOW;
        while stripe.deadline().is_some() {
            finish(&mut stripe, &mut now, &mut completions);
        }
        let differs = Err(Failure::Miscompare { offset: Some(1500) });
        assert!(completions.contains(&done(3, differs).unwrap()), "{late:?} {completions:?}");
    }
}

#[test]
fn an_offset_is_told_only_if_it_is_known() {
    let told = |offset| Failure::Miscompare { offset };
    for (one, two, result) in [
        (told(Some(5)), told(Some(0)), told(Some(5))),
        (told(Some(513)), told(Some(511)), told(Some(1023))),
        (told(Some(512)), told(None), told(None)),
        (told(Some(5)), Failure::MediumRead, told(None)),
        (Failure::MediumRead, told(Some(5)), Failure::MediumRead),
        // A device that tells of a byte that was not compared.
        (told(Some(u64::MAX)), told(Some(5)), told(None)),
        (told(Some(1024)), told(Some(5)), told(None)),
    ] {
        let memory = TestMemory::new();
        let disks = [(8, failing(1, one)), (8, failing(2, two))];
        let (mut stripe, _) = stripe(&memory, 1, &disks);
        let data = scattered(0, 2048, &[]);
        let compared = super::super::kit::one(&mut stripe, Operation::Compare, (0, 4), data);
        assert_eq!(compared, Err(result), "{one:?} {two:?}");
    }
}

/// Rule 4.
#[test]
fn a_flush_reaches_every_device() {
    let memory = TestMemory::new();
    let (mut stripe, logs) = stripe(&memory, 4, &vec![(8, habits(9, &[7])); 3]);
    let nothing = scattered(0, 0, &[]);
    assert_eq!(super::super::kit::one(&mut stripe, Operation::Flush, (0, 0), nothing), Ok(()));
    let flush = [(Operation::Flush, Extent { first: 0, blocks: 0 })];
    assert!(logs.iter().all(|log| log.borrow().asked() == flush));
}

#[test]
fn requests_are_bounded_and_refusals_do_not_reach_a_device() {
    let memory = TestMemory::new();
    let (mut stripe, logs) = stripe(&memory, 4, &[(8, habits(1, &[7]))]);
    stripe.submit(NOW, request(0, Operation::Verify, 7, 2)).unwrap();
    assert_eq!(stripe.poll(NOW), done(0, Err(Failure::OutOfRange)));
    assert!(logs[0].borrow().taken.is_empty());
    for tag in 0..256 {
        stripe.submit(NOW, request(tag, Operation::Flush, 0, 0)).unwrap();
    }
    let more = request(256, Operation::Verify, 0, 1);
    assert_eq!(stripe.submit(NOW, more.clone()), Err(more.clone()));
    assert_eq!((stripe.poll(at(7)), stripe.submit(at(7), more)), (done(0, Ok(())), Ok(())));
}

#[test]
fn a_stripe_is_gone_with_one_of_its_devices() {
    let memory = TestMemory::new();
    let (mut stripe, logs) = stripe(&memory, 4, &vec![(8, habits(9, &[])); 3]);
    assert_eq!(stripe.event(), None);
    for log in [&logs[0], &logs[2]] {
        log.borrow_mut().events.push(Event::Changed);
    }
    assert_eq!((stripe.event(), stripe.event()), (Some(Event::Changed), None));
    logs[1].borrow_mut().events.push(Event::Gone);
    assert_eq!(stripe.event(), Some(Event::Gone));
    logs[2].borrow_mut().events.push(Event::Gone);
    assert_eq!(stripe.event(), None, "it is told once");
    stripe.submit(NOW, request(1, Operation::Verify, 0, 1)).unwrap();
    assert_eq!(stripe.poll(NOW), done(1, Err(Failure::Gone)));
}
