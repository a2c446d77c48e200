//! Power failures at every point, with every possible loss of writes.

use std::vec;
use std::vec::Vec;
use std::{eprintln, format};

use super::fake::*;
use crate::header::Header;
use crate::*;

/// Largest number of writes between two flushes; every subset of them is tried.
const MAX_SUBSET: usize = 14;

/// Calls `check` with every image that a power failure can leave at any point of `events` on a disk
/// that held `from`, and with the number of events that had begun by then. Returns the number of
/// images.
///
/// The images are those with any subset of the sectors written since the last flush. That covers
/// every interruption, every torn write and every reordering.
fn every_crash(from: &Image, events: &[Event], mut check: impl FnMut(&Image, usize)) -> u64 {
    let mut durable = from.clone();
    let mut begun = 0;
    let mut tried = 0;
    for window in events.split_inclusive(|event| *event == Event::Flush) {
        begun += window.len();
        let writes: Vec<_> = window
            .iter()
            .filter_map(|event| match event {
                Event::Write(sector, bytes) => Some((*sector, **bytes)),
                Event::Flush => None,
            })
            .collect();
        assert!(writes.len() <= MAX_SUBSET, "{} writes", writes.len());
        for subset in 0..1_u32 << writes.len() {
            let mut image = durable.clone();
            let kept = writes.iter().enumerate().filter(|(bit, _)| subset >> bit & 1 != 0);
            image.extend(kept.map(|(_, write)| *write));
            check(&image, begun);
            tried += 1;
        }
        durable.extend(writes);
    }
    tried
}

/// A commit of a script: the record of this key gets this many bytes, or is removed.
type Step = (u32, Option<usize>);

/// Runs a script on a store, in which commits may fail. Returns, for each step, the state that it
/// would lead to, and whether it was acknowledged.
fn run(store: &mut Store<&mut TestDisk>, script: &[Step], seed: u64) -> Vec<(State, bool)> {
    let mut entropy = Counter::from(seed);
    let mut results = vec![];
    for (number, (key, size)) in (1..).zip(script) {
        let data = size.map(|size| vec![number; size]);
        let mut aim = state(store);
        match &data {
            Some(data) => aim.insert(*key, data.clone()),
            None => aim.remove(key),
        };
        let change = Change { key: *key, data: data.as_deref() };
        let done = store.commit(Tenant::Tpm, &[change], &mut entropy).is_ok();
        if done {
            assert_eq!(state(store), aim);
        }
        results.push((aim, done));
    }
    results
}

/// Runs a script from a fresh store with at most one fault, then tries every crash. The state that
/// opens must be the last acknowledged one, or that of a later commit; the next commit must
/// succeed.
fn try_script(script: &[Step], fault: Option<Fault>) -> u64 {
    let base = formatted().into_image();
    let mut disk = TestDisk::of(&base);
    // For each step: the number of events at its begin and end, its state, whether it succeeded.
    let mut steps: Vec<(usize, usize, State, bool)> = vec![];
    let mut store = open(&mut disk).unwrap();
    store.disk_mut().calls = 0;
    store.disk_mut().fault = fault;
    for (index, step) in script.iter().enumerate() {
        let begin = store.disk_mut().events.len();
        let result = run(&mut store, &[*step], 1000 * (index as u64 + 1)).remove(0);
        steps.push((begin, store.disk_mut().events.len(), result.0, result.1));
    }
    let after = state(&store);
    disk.fault = None;
    // Without a crash, the last state opens, unless the last step failed.
    if steps.last().is_some_and(|(.., done)| *done) {
        assert_eq!(state(&open(&mut disk.clone()).unwrap()), after);
    }
    every_crash(&base, &disk.events, |image, begun| {
        // A crash in a window may come before or after the last acknowledgement in it.
        let acknowledged = steps.iter().rposition(|(_, end, _, done)| *done && *end < begun);
        let mut allowed = vec![acknowledged.map_or(State::new(), |index| steps[index].2.clone())];
        let since = acknowledged.map_or(0, |index| index + 1);
        let aimed = steps[since..].iter().filter(|(begin, ..)| *begin < begun);
        allowed.extend(aimed.map(|(.., aim, _)| aim.clone()));
        let mut store = open(TestDisk::of(image)).unwrap_or_else(|error| {
            panic!("{error}: script {script:?}, fault {fault:?}, after {begun} events")
        });
        let found = state(&store);
        assert!(
            allowed.contains(&found),
            "neither old nor new: script {script:?}, fault {fault:?}, after {begun} events"
        );
        store.commit(Tenant::Tpm, &[put(9, b"on")], &mut Counter::from(1 << 40)).unwrap();
        let mut wanted = found;
        wanted.insert(9, b"on".to_vec());
        assert_eq!(state(&open(TestDisk::of(&store.into_image())).unwrap()), wanted);
    })
}

/// Sizes around those of sectors and chunks: 489 bytes with overhead and tag fill a sector.
const SCRIPTS: [&[Step]; 7] = [
    &[(1, Some(3))],
    &[(1, Some(489)), (1, Some(490))],
    &[(1, Some(3)), (1, None), (2, Some(0))],
    &[(1, Some(1500)), (2, Some(600)), (1, Some(4))],
    &[(1, Some(4000)), (1, Some(1))],
    &[(1, Some(4073)), (2, Some(1000)), (2, None)],
    &[(1, Some(1)), (2, Some(2)), (3, Some(3)), (1, None), (2, Some(900))],
];

#[test]
fn a_crash_leaves_the_old_state_or_the_new() {
    let tried: u64 = SCRIPTS.iter().map(|script| try_script(script, None)).sum();
    eprintln!("{tried} crashes");
    assert!(tried > 1_500, "{tried}");
}

/// A failed write or flush that loses any subset of the pending writes, then every crash.
#[test]
fn a_failed_call_and_then_a_crash_leave_the_old_state_or_the_new() {
    let mut tried = 0;
    let scripts: [&[Step]; 4] = [
        &[(1, Some(3)), (1, Some(4)), (1, Some(5))],
        &[(1, Some(700)), (2, Some(3)), (1, None), (2, Some(500))],
        &[(1, Some(20)), (1, Some(1200)), (1, Some(21)), (2, Some(22)), (3, Some(23))],
        &[(1, Some(3)), (1, None), (1, None), (2, Some(1))],
    ];
    for script in scripts {
        for call in 0..4 * script.len() {
            // No window of these scripts has more than five sectors.
            for kept in 0..1 << 5 {
                tried += try_script(script, Some(Fault { call, kept }));
            }
        }
    }
    eprintln!("{tried} crashes after failed calls");
    assert!(tried > 30_000, "{tried}");
}

#[test]
fn a_crash_while_a_store_is_made_leaves_none_or_an_empty_one() {
    let disk = formatted().into_disk();
    let mut seen = [0; 3];
    every_crash(&Image::new(), &disk.events, |image, _| match open(TestDisk::of(image)) {
        Err(error) if error.is_new() => {
            seen[usize::from(error == OpenError::Unfinished)] += 1;
            let disk = TestDisk::of(image);
            let store = Store::format(disk, &mut { KEY }, &mut Counter::from(77)).unwrap();
            assert_eq!(state(&open(TestDisk::of(&store.into_image())).unwrap()), State::new());
        }
        Ok(store) => {
            seen[2] += 1;
            assert_eq!((state(&store), store.sequence()), (State::new(), 2));
        }
        Err(error) => panic!("{error}"),
    });
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

/// A second failure while the store recovers from the first.
#[test]
fn a_failed_withdrawal_is_tried_again_before_records_are_touched() {
    let mut store = formatted();
    let mut entropy = Counter::from(50);
    store.commit(Tenant::Tpm, &[put(1, b"old")], &mut entropy).unwrap();
    // The header becomes durable although its flush fails. The calls are: write the records, flush,
    // write the header, flush.
    store.disk_mut().calls = 0;
    store.disk_mut().fault = Some(Fault { call: 3, kept: u64::MAX });
    assert!(store.commit(Tenant::Tpm, &[put(1, b"new")], &mut entropy).is_err());
    for call in [0, 1] {
        store.disk_mut().calls = 0;
        store.disk_mut().fault = Some(Fault { call, kept: 0 });
        assert!(store.commit(Tenant::Tpm, &[put(1, b"newer")], &mut entropy).is_err());
        assert_eq!(state(&store)[&1], b"old", "in memory");
        let again = open(TestDisk::of(&store.disk_mut().durable)).unwrap();
        assert_eq!(state(&again)[&1], b"new", "the failed commit was complete all the same");
    }
    store.disk_mut().fault = None;
    store.commit(Tenant::Tpm, &[put(1, b"newest")], &mut entropy).unwrap();
    assert_eq!(state(&open(TestDisk::of(&store.into_image())).unwrap())[&1], b"newest");
}

/// A commit without changes reports success, so it must first withdraw a failed commit that may be
/// complete on the disk.
#[test]
fn a_commit_without_a_change_withdraws_a_failed_one() {
    let mut store = formatted();
    let mut entropy = Counter::from(50);
    store.disk_mut().calls = 0;
    store.disk_mut().fault = Some(Fault { call: 3, kept: u64::MAX });
    assert!(store.commit(Tenant::Tpm, &[put(1, b"new")], &mut entropy).is_err());
    store.commit(Tenant::Tpm, &[], &mut entropy).unwrap();
    assert_eq!(state(&open(TestDisk::of(&store.into_image())).unwrap()), State::new());
}

/// The salts of all headers ever written.
fn salts(events: &[Event], key: &Key) -> Vec<[u8; 32]> {
    let header = |event: &Event| match event {
        Event::Write(sector, bytes) => [Slot::A, Slot::B]
            .into_iter()
            .find(|slot| slot.header_sector() == *sector)
            .and_then(|slot| match crate::header::Found::read(**bytes, slot, key) {
                crate::header::Found::Good(sealed) => Some(sealed.header),
                _ => None,
            }),
        Event::Flush => None,
    };
    events.iter().filter_map(header).map(|header: Header| header.salt).collect()
}

#[test]
fn no_salt_occurs_twice_in_a_thousand_commits_with_failures_and_restarts() {
    let key = Key::new(&[0x5a; 32]).unwrap();
    let mut disk = formatted().into_disk();
    let mut entropy = Counter::from(100);
    let mut failed = 0;
    for number in 0..1000_u32 {
        // A restart each time, from the current content; every seventh run meets a failure.
        disk.calls = 0;
        disk.fault = (number % 7 == 3)
            .then_some(Fault { call: 3 + (number % 5) as usize, kept: number.into() });
        let mut store = open(&mut disk).unwrap();
        let data = format!("{number}");
        failed += usize::from(
            store.commit(Tenant::Tpm, &[put(1, data.as_bytes())], &mut entropy).is_err(),
        );
    }
    assert!(failed > 50, "{failed}");
    let mut salts = salts(&disk.events, &key);
    let count = salts.len();
    assert!(count > 900);
    salts.sort_unstable();
    salts.dedup();
    assert_eq!(salts.len(), count);
}

/// Two machines that continue from one copy use different keys: the same text in the same slot
/// under the same number is encrypted to different bytes.
#[test]
fn copies_of_one_store_go_on_under_different_keys() {
    let base = formatted().into_image();
    let images: Vec<Image> = [1000, 2000]
        .iter()
        .map(|seed| {
            let mut store = open(TestDisk::of(&base)).unwrap();
            let mut entropy = Counter::from(*seed);
            store.commit(Tenant::Tpm, &[put(1, &[7; 300])], &mut entropy).unwrap();
            store.into_image()
        })
        .collect();
    let sector = Slot::B.chunk_sector(0);
    assert_ne!(images[0][&sector], images[1][&sector]);
    for image in images {
        assert_eq!(state(&open(TestDisk::of(&image)).unwrap())[&1], [7; 300]);
    }
}
