//! Failing or lying disks, missing randomness.

use super::fake::*;
use crate::*;

#[test]
fn each_failing_call_of_an_open_is_told() {
    let mut store = formatted();
    let data = [1; 4000];
    store.commit(Tenant::Tpm, &[put(1, &data), put(2, &data)], &mut Counter::from(9)).unwrap();
    let image = store.into_image();
    for call in 0..4 {
        let fault = Some(Fault { call, kept: 0 });
        let error = open(TestDisk { fault, ..TestDisk::of(&image) }).unwrap_err();
        assert_eq!(error, OpenError::Disk(DiskError::Failed), "call {call}");
    }
    let fault = Some(Fault { call: 4, kept: 0 });
    assert!(open(TestDisk { fault, ..TestDisk::of(&image) }).is_ok(), "there is no fifth");
}

#[test]
fn each_failing_call_of_a_format_is_told_and_the_next_succeeds() {
    let calls = formatted().into_disk().calls;
    for call in 0..calls {
        for kept in [0, u64::MAX] {
            let mut disk = TestDisk { fault: Some(Fault { call, kept }), ..TestDisk::blank() };
            let result = Store::format(&mut disk, &mut { KEY }, &mut Counter::from(0));
            assert_eq!(result.unwrap_err(), FormatError::Disk(DiskError::Failed), "call {call}");
            disk.fault = None;
            let store = match open(&mut disk) {
                Ok(store) => store,
                Err(error) => {
                    assert!(error.is_new(), "{error}");
                    Store::format(&mut disk, &mut { KEY }, &mut Counter::from(100)).unwrap()
                }
            };
            assert_eq!(state(&store), State::new());
        }
    }
}

#[test]
fn after_each_failing_call_the_old_state_stands_and_the_next_commit_succeeds() {
    for call in 0..4 {
        for kept in 0..16 {
            let mut store = formatted();
            let mut entropy = Counter::from(10);
            store.commit(Tenant::Tpm, &[put(1, b"old")], &mut entropy).unwrap();
            store.disk_mut().calls = 0;
            store.disk_mut().fault = Some(Fault { call, kept });
            let error = store.commit(Tenant::Tpm, &[put(1, b"lost")], &mut entropy).unwrap_err();
            assert_eq!(error, CommitError::Disk(DiskError::Failed));
            assert_eq!(state(&store)[&1], b"old");
            store.commit(Tenant::Tpm, &[put(2, b"new")], &mut entropy).unwrap();
            let wanted = State::from([(1, b"old".to_vec()), (2, b"new".to_vec())]);
            assert_eq!(state(&store), wanted);
            assert_eq!(state(&open(store.into_disk()).unwrap()), wanted, "call {call}");
        }
    }
}

#[test]
fn without_randomness_nothing_is_written() {
    for left in 0..3 {
        let mut entropy = Counter { next: 1, left };
        let result = Store::format(TestDisk::blank(), &mut { KEY }, &mut entropy);
        assert_eq!(result.unwrap_err(), FormatError::Entropy);
    }
    let mut store = formatted();
    let before = store.disk_mut().events.len();
    let mut entropy = Counter { next: 1, left: 0 };
    let error = store.commit(Tenant::Tpm, &[put(1, b"a")], &mut entropy).unwrap_err();
    assert_eq!((error, store.disk_mut().events.len()), (CommitError::Entropy, before));
}

/// Randomness that is always the same.
struct Stuck(u8);

impl Entropy for Stuck {
    fn fill(&mut self, out: &mut [u8]) -> bool {
        out.fill(self.0);
        true
    }
}

#[test]
fn randomness_that_repeats_is_noticed() {
    for value in [0, 7] {
        let result = Store::format(TestDisk::blank(), &mut { KEY }, &mut Stuck(value));
        assert_eq!(result.unwrap_err(), FormatError::Entropy);
    }
    let mut store = formatted();
    store.commit(Tenant::Tpm, &[put(1, b"a")], &mut Stuck(7)).unwrap();
    let mut store = open(store.into_disk()).unwrap();
    let error = store.commit(Tenant::Tpm, &[put(1, b"b")], &mut Stuck(7)).unwrap_err();
    assert_eq!(error, CommitError::Entropy, "after a restart, too");
    store.commit(Tenant::Tpm, &[put(1, b"b")], &mut Stuck(8)).unwrap();
}

/// A disk that answers the first read of each sector correctly, and later ones wrongly.
struct Liar(TestDisk);

impl Disk for Liar {
    fn sectors(&self) -> u64 {
        self.0.sectors
    }

    fn read(&mut self, sector: u64, to: &mut [u8]) -> Result<(), DiskError> {
        let known = self.0.reads.contains(&sector);
        self.0.read(sector, to)?;
        if known {
            to.fill(0xa5);
        }
        Ok(())
    }

    fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), DiskError> {
        self.0.write(sector, from)
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.0.flush()
    }
}

#[test]
fn a_disk_that_changes_its_answer_changes_nothing() {
    let mut store = formatted();
    let data = [1; 4000];
    store.commit(Tenant::Tpm, &[put(1, &data), put(2, &data)], &mut Counter::from(9)).unwrap();
    let disk = TestDisk::of(&store.into_image());
    let mut store = open(Liar(disk)).unwrap();
    assert_eq!(state(&store)[&2], data);
    store.commit(Tenant::Tpm, &[put(2, b"b")], &mut Counter::from(20)).unwrap();
    assert_eq!((&state(&store)[&1][..], &state(&store)[&2][..]), (&data[..], &b"b"[..]));
}

/// A disk that denies sectors which its size promised.
struct Shrinking(TestDisk);

impl Disk for Shrinking {
    fn sectors(&self) -> u64 {
        self.0.sectors
    }

    fn read(&mut self, _: u64, _: &mut [u8]) -> Result<(), DiskError> {
        Err(DiskError::OutOfRange)
    }

    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), DiskError> {
        Err(DiskError::OutOfRange)
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        Err(DiskError::Misbehaved)
    }
}

#[test]
fn a_disk_without_its_sectors_is_an_error() {
    let result = open(Shrinking(formatted().into_disk()));
    assert_eq!(result.unwrap_err(), OpenError::Disk(DiskError::OutOfRange));
}
