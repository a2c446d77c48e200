//! The format on the disk, foreign or blank disks.

use proptest::prelude::*;

use super::fake::*;
use crate::*;

fn verdict(image: &Image) -> OpenError {
    open(TestDisk::of(image)).unwrap_err()
}

#[test]
fn blank_and_foreign_disks_are_told_apart() {
    assert_eq!(verdict(&Image::new()), OpenError::Blank);
    assert!(OpenError::Blank.is_new());
    // A boot sector, and a file system whose first KiB is empty.
    for sector in [0, 2, 100, Slot::B.header_sector(), DISK_SECTORS - 1] {
        let image = Image::from([(sector, [0x55; SECTOR])]);
        assert_eq!(verdict(&image), OpenError::NotOurs, "sector {sector}");
        let result = Store::format(TestDisk::of(&image), &mut { KEY }, &mut Counter::from(0));
        assert_eq!(result.unwrap_err(), FormatError::NotBlank);
    }
    assert!(!OpenError::NotOurs.is_new());
}

#[test]
fn a_truncated_disk_is_refused_and_a_larger_one_taken() {
    let image = formatted().into_image();
    for sectors in [0, 1, 1024, DISK_SECTORS - 1] {
        let disk = || TestDisk { sectors, ..TestDisk::of(&image) };
        assert_eq!(open(disk()).unwrap_err(), OpenError::Truncated(sectors));
        let result = Store::format(disk(), &mut { KEY }, &mut Counter::from(0));
        assert_eq!(result.unwrap_err(), FormatError::Truncated(sectors));
    }
    assert!(open(TestDisk { sectors: DISK_SECTORS + 9, ..TestDisk::of(&image) }).is_ok());
}

#[test]
fn another_key_is_refused_and_cannot_format() {
    let image = formatted().into_image();
    let mut other = TestKey(1);
    assert_eq!(Store::open(TestDisk::of(&image), &mut other).unwrap_err(), OpenError::WrongKey);
    let result = Store::format(TestDisk::of(&image), &mut other, &mut Counter::from(0));
    assert_eq!(result.unwrap_err(), FormatError::NotBlank);
    let result = Store::format(TestDisk::of(&image), &mut { KEY }, &mut Counter::from(0));
    assert_eq!(result.unwrap_err(), FormatError::NotBlank, "a store is no blank disk");
}

#[test]
fn a_begun_format_of_another_key_or_with_more_on_the_disk_is_kept() {
    let events = formatted().into_disk().events;
    let Event::Write(sector, bytes) = &events[0] else { panic!("a header is written first") };
    let begun = Image::from([(*sector, **bytes)]);
    assert_eq!(verdict(&begun), OpenError::Unfinished);
    assert_eq!(
        Store::open(TestDisk::of(&begun), &mut TestKey(1)).unwrap_err(),
        OpenError::WrongKey
    );
    let mut more = begun;
    more.insert(7, [1; SECTOR]);
    let result = Store::format(TestDisk::of(&more), &mut { KEY }, &mut Counter::from(0));
    assert_eq!(result.unwrap_err(), FormatError::NotBlank);
}

/// A source without a key.
struct NoKey(KeyError);

impl KeySource for NoKey {
    fn key(&mut self) -> Result<Key, KeyError> {
        Err(self.0)
    }
}

#[test]
fn a_missing_or_wrong_key_is_said() {
    for error in [KeyError::Missing, KeyError::Length(31), KeyError::Unreadable] {
        let result = Store::open(TestDisk::blank(), &mut NoKey(error));
        assert_eq!(result.unwrap_err(), OpenError::Key(error));
        let result = Store::format(TestDisk::blank(), &mut NoKey(error), &mut Counter::from(0));
        assert_eq!(result.unwrap_err(), FormatError::Key(error));
    }
    for length in [0, 16, 31, 33] {
        assert_eq!(Key::new(&[1; 64][..length]).unwrap_err(), KeyError::Length(length));
    }
}

/// A store whose authentic records are these bytes, which no commit might write.
fn sealed(plain: &[u8]) -> TestDisk {
    let mut disk = TestDisk::blank();
    crate::testing::write_store(&mut disk, &{ KEY }.key().unwrap(), plain).unwrap();
    disk
}

#[test]
fn authentic_records_of_a_wrong_form_are_refused() {
    let record = |tenant: u8, key: u32, size: u16, data: &[u8]| {
        let mut bytes = std::vec![tenant];
        bytes.extend(key.to_le_bytes());
        bytes.extend(size.to_le_bytes());
        bytes.extend(data);
        bytes
    };
    let good = record(1, 5, 2, b"ab");
    assert_eq!(state(&open(sealed(&good)).unwrap()), State::from([(5, b"ab".to_vec())]));
    for (bad, why) in [
        (record(0, 5, 0, b""), "no tenant"),
        (record(4, 5, 0, b""), "an unknown tenant"),
        (record(1, 5, 3, b"ab"), "a size past the end"),
        (record(1, 5, 1, b"ab"), "bytes behind the end"),
        (std::vec![1, 2, 3], "half a record"),
        ([good.clone(), good.clone()].concat(), "a record twice"),
        ([record(1, 6, 0, b""), good.clone()].concat(), "a wrong order"),
        ([record(2, 1, 0, b""), good.clone()].concat(), "a wrong order of tenants"),
        (record(1, 5, MAX_RECORD as u16 + 1, &[0; MAX_RECORD + 1]), "a record too large"),
        ((0..25).flat_map(|key| record(1, key, 4096, &[0; 4096])).collect(), "over the quota"),
    ] {
        assert_eq!(open(sealed(&bad)).unwrap_err(), OpenError::Malformed, "{why}");
    }
}

/// A whole store, computed from `docs/state.md` by an independent program in another language:
/// later versions must still open today's stores.
#[test]
fn the_format_is_the_documented_one() {
    let disk = sealed(&[1, 5, 0, 0, 0, 2, 0, b'a', b'b']);
    let sector = |slot: Slot, chunk: bool| {
        let at = if chunk { slot.chunk_sector(0) } else { slot.header_sector() };
        disk.image[&at]
    };
    let hex = |bytes: &[u8]| {
        bytes.iter().map(|b| std::format!("{b:02x}")).collect::<std::string::String>()
    };
    assert_eq!(hex(&sector(Slot::A, false)[496..]), "94ad4bcc3322995b7471cb2dc45911d4");
    assert_eq!(hex(&sector(Slot::B, false)[496..]), "30e34b47c847425cb4b81cea645847cb");
    assert_eq!(hex(&sector(Slot::B, true)[..16]), "d56f2e2647717441090153eb89747487");
    assert_eq!(hex(&sector(Slot::B, true)[496..]), "8cd6529907fa063cb8373993b858745f");
    let mut fields = std::vec![];
    fields.extend(b"PVstate\0");
    fields.extend([1, 0, 0, 0, 1, 0, 0, 0]);
    fields.extend([1; 16]);
    fields.extend([3, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    fields.extend([3; 32]);
    fields.resize(496, 0);
    assert_eq!(sector(Slot::B, false)[..496], fields[..]);
}

#[test]
fn every_reason_is_one_line() {
    let reasons = [
        OpenError::Blank,
        OpenError::Unfinished,
        OpenError::NotOurs,
        OpenError::Truncated(5),
        OpenError::Version(2),
        OpenError::WrongKey,
        OpenError::Header(Slot::A),
        OpenError::Records(Slot::B),
        OpenError::Mismatched,
        OpenError::Malformed,
        OpenError::Key(KeyError::Missing),
        OpenError::Key(KeyError::Length(3)),
        OpenError::Key(KeyError::Unreadable),
        OpenError::Disk(DiskError::Failed),
        OpenError::Disk(DiskError::OutOfRange),
        OpenError::Disk(DiskError::TimedOut),
        OpenError::Disk(DiskError::Misbehaved),
    ];
    let lines: std::collections::BTreeSet<_> =
        reasons.iter().map(|reason| std::format!("{reason}")).collect();
    assert_eq!(lines.len(), reasons.len());
    assert!(lines.iter().all(|line| !line.contains('\n') && line.len() < 110), "{lines:?}");
}

proptest! {
    /// Any header bytes give the error that their magic and version call for.
    #[test]
    fn any_bytes_are_answered(a: [u8; 64], b: [u8; 64], magic: bool, version in 0..3_u32) {
        let header = |tail: [u8; 64]| {
            let mut bytes = [0; SECTOR];
            if magic {
                bytes[..8].copy_from_slice(b"PVstate\0");
                bytes[8..12].copy_from_slice(&version.to_le_bytes());
            }
            bytes[12..76].copy_from_slice(&tail);
            bytes
        };
        let image = Image::from([(0, header(a)), (Slot::B.header_sector(), header(b))]);
        let zeros = !magic && [a, b] == [[0; 64]; 2];
        let wanted = match (magic, version) {
            (true, 1) => OpenError::WrongKey,
            (true, other) => OpenError::Version(other),
            _ if zeros => OpenError::Blank,
            _ => OpenError::NotOurs,
        };
        prop_assert_eq!(verdict(&image), wanted);
    }
}
