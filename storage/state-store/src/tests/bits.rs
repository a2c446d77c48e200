//! Detection of changed, moved, missing or foreign sectors.

use std::collections::BTreeSet;
use std::vec;
use std::vec::Vec;

use super::fake::*;
use crate::*;

/// A store with three commits: the newer slot is the one with the odd number, B.
fn small() -> Image {
    let mut store = formatted();
    let mut entropy = Counter::from(10);
    for text in ["first", "second", "third"] {
        store.commit(Tenant::Tpm, &[put(1, text.as_bytes())], &mut entropy).unwrap();
    }
    assert_eq!(store.sequence(), 5);
    store.into_image()
}

#[test]
fn every_flipped_bit_is_refused_or_hit_the_older_slots_records() {
    let image = small();
    let wanted = state(&open(TestDisk::of(&image)).unwrap());
    let (mut refused, mut opened) = (0, 0);
    for (&sector, bytes) in &image {
        for bit in 0..SECTOR * 8 {
            let mut damaged = *bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            let mut other = image.clone();
            other.insert(sector, damaged);
            match open(TestDisk::of(&other)) {
                Err(_) => refused += 1,
                Ok(store) => {
                    assert_eq!(sector, Slot::A.chunk_sector(0), "bit {bit}");
                    assert_eq!(state(&store), wanted);
                    opened += 1;
                }
            }
        }
    }
    // Two headers and the newer records; the older records.
    assert_eq!((refused, opened), (3 * SECTOR * 8, SECTOR * 8));
}

/// A sector that is not read can not matter.
#[test]
fn opening_reads_two_headers_and_the_newer_records_once_each() {
    let mut disk = TestDisk::of(&small());
    open(&mut disk).unwrap();
    let wanted = [Slot::A.header_sector(), Slot::B.header_sector(), Slot::B.chunk_sector(0)];
    assert_eq!(disk.reads, wanted);
    assert!(disk.events.is_empty(), "nothing is written");
}

#[test]
fn every_sector_of_a_large_store_counts() {
    let mut store = formatted();
    for key in 0..3 {
        store
            .commit(
                Tenant::Tpm,
                &[put(key, &[1; 4000])],
                &mut Counter::from(9 + 2 * u64::from(key)),
            )
            .unwrap();
    }
    let image = store.into_image();
    let newer: BTreeSet<u64> = (Slot::B.header_sector()..DISK_SECTORS)
        .filter(|sector| image.contains_key(sector))
        .collect();
    assert_eq!(newer.len(), 1 + 8 + 8 + 8);
    for sector in newer {
        let mut other = image.clone();
        other.insert(sector, [0; SECTOR]);
        assert!(open(TestDisk::of(&other)).is_err(), "sector {sector} wiped");
    }
}

#[test]
fn chunks_that_change_places_are_refused() {
    let mut store = formatted();
    let data = [1; 4000];
    store
        .commit(Tenant::Tpm, &[put(1, &data), put(2, &data), put(3, &data)], &mut Counter::from(9))
        .unwrap();
    let mut image = store.into_image();
    let [first, second] = [0, 1].map(|chunk| Slot::B.chunk_sector(chunk));
    for sector in 0..8 {
        let (a, b) = (image[&(first + sector)], image[&(second + sector)]);
        image.insert(first + sector, b);
        image.insert(second + sector, a);
    }
    assert_eq!(open(TestDisk::of(&image)).unwrap_err(), OpenError::Records(Slot::B));
}

#[test]
fn each_kind_of_damage_has_its_own_name() {
    let image = small();
    let with = |sector: u64, bytes: [u8; SECTOR]| {
        let mut other = image.clone();
        other.insert(sector, bytes);
        open(TestDisk::of(&other)).unwrap_err()
    };
    let [a, b] = [Slot::A, Slot::B].map(Slot::header_sector);
    let changed = |sector: u64, at: usize, value: u8| {
        let mut bytes = image[&sector];
        bytes[at] = value;
        with(sector, bytes)
    };
    assert_eq!(with(a, [0; SECTOR]), OpenError::Header(Slot::A));
    assert_eq!(with(b, [0; SECTOR]), OpenError::Header(Slot::B), "a rollback by wiping the newer");
    assert_eq!(with(a, [9; SECTOR]), OpenError::Header(Slot::A));
    assert_eq!(changed(b, 40, 0xff), OpenError::Header(Slot::B), "the length");
    assert_eq!(changed(b, 8, 2), OpenError::Version(2));
    assert_eq!(changed(a, 11, 1), OpenError::Version(0x0100_0001));
    assert_eq!(with(Slot::B.chunk_sector(0), [0; SECTOR]), OpenError::Records(Slot::B));
    assert_eq!(with(b, image[&a]), OpenError::Header(Slot::B), "A's header in B's place");
}

#[test]
fn slots_of_another_time_or_store_are_refused() {
    let old = small();
    let mut store = open(TestDisk::of(&old)).unwrap();
    let mut entropy = Counter::from(500);
    for text in ["4", "5", "6", "7"] {
        store.commit(Tenant::Tpm, &[put(1, text.as_bytes())], &mut entropy).unwrap();
    }
    let new = store.into_image();
    let mixed = |a: &Image, b: &Image| {
        let half = Slot::B.header_sector();
        let parts = a.range(..half).chain(b.range(half..));
        open(TestDisk::of(&parts.map(|(sector, bytes)| (*sector, *bytes)).collect()))
    };
    assert_eq!(mixed(&new, &old).unwrap_err(), OpenError::Mismatched);
    assert_eq!(mixed(&old, &new).unwrap_err(), OpenError::Mismatched);
    // Another store under the same key, with the same numbers.
    let mut other =
        Store::format(TestDisk::blank(), &mut { KEY }, &mut Counter::from(900)).unwrap();
    for text in ["1", "2", "3"] {
        other
            .commit(
                Tenant::Tpm,
                &[put(1, text.as_bytes())],
                &mut Counter::from(1000 + u64::from(text.as_bytes()[0])),
            )
            .unwrap();
    }
    assert_eq!(mixed(&other.into_image(), &old).unwrap_err(), OpenError::Mismatched);
    assert!(mixed(&old, &old).is_ok());
}

/// Documented limits of detection: an old copy of the whole file opens, and so does a file whose
/// slot A is older by two commits.
#[test]
fn an_old_copy_opens() {
    let mut images: Vec<Image> = vec![];
    let mut store = formatted();
    let mut entropy = Counter::from(10);
    for number in 0..4_u8 {
        store.commit(Tenant::Tpm, &[put(1, &[number])], &mut entropy).unwrap();
        images.push(store.disk_mut().image.clone());
    }
    assert_eq!(state(&open(TestDisk::of(&images[1])).unwrap())[&1], [1]);
    let half = Slot::B.header_sector();
    let mixed = images[1].range(..half).chain(images[3].range(half..));
    let mixed: Image = mixed.map(|(sector, bytes)| (*sector, *bytes)).collect();
    assert_eq!(state(&open(TestDisk::of(&mixed)).unwrap())[&1], [2]);
}
