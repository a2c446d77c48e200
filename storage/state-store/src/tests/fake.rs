//! Fakes of everything that a store is given.

use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use crate::*;

/// Sectors that are not zero.
pub(super) type Image = BTreeMap<u64, [u8; SECTOR]>;

/// A tenant's records by key, for comparison.
pub(super) type State = BTreeMap<u32, Vec<u8>>;

/// An event at the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A sector was written with this content.
    Write(u64, Box<[u8; SECTOR]>),
    /// All earlier writes are durable.
    Flush,
}

/// A failing call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    /// The call of read, write or flush that fails, from 0.
    pub(super) call: usize,
    /// The writes not yet durable that survive, one bit each in their order, including those of
    /// the failing call. The others are lost.
    pub(super) kept: u64,
}

/// A disk with a cache that may lose writes.
#[derive(Clone, Debug, Default)]
pub(super) struct TestDisk {
    pub(super) sectors: u64,
    /// The content that reads return.
    pub(super) image: Image,
    /// The content that survives any power failure.
    pub(super) durable: Image,
    /// Writes that are not durable yet, in order.
    pub(super) pending: Vec<(u64, [u8; SECTOR])>,
    pub(super) events: Vec<Event>,
    pub(super) calls: usize,
    pub(super) fault: Option<Fault>,
    /// The sector of each read, in order.
    pub(super) reads: Vec<u64>,
}

impl TestDisk {
    pub(super) fn blank() -> Self {
        Self { sectors: DISK_SECTORS, ..Self::default() }
    }

    /// A disk with this durable content.
    pub(super) fn of(image: &Image) -> Self {
        Self { image: image.clone(), durable: image.clone(), ..Self::blank() }
    }

    fn call(&mut self) -> Option<Fault> {
        let call = self.calls;
        self.calls += 1;
        self.fault.filter(|fault| fault.call == call)
    }

    /// Makes the pending writes in `kept` durable and drops the others.
    fn lose(&mut self, kept: u64) {
        let flushed = self.events.iter().rposition(|event| *event == Event::Flush);
        self.events.truncate(flushed.map_or(0, |last| last + 1));
        for (bit, (sector, bytes)) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            if kept >> bit & 1 != 0 {
                self.durable.insert(sector, bytes);
                self.events.push(Event::Write(sector, Box::new(bytes)));
            }
        }
        self.events.push(Event::Flush);
        self.image = self.durable.clone();
    }

    /// Sectors that hold something.
    pub(super) fn written(&self) -> BTreeSet<u64> {
        self.image.keys().copied().collect()
    }
}

impl Disk for TestDisk {
    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn read(&mut self, sector: u64, to: &mut [u8]) -> Result<(), DiskError> {
        assert!(sector + (to.len() / SECTOR) as u64 <= self.sectors);
        if self.call().is_some() {
            to.fill(0xee);
            return Err(DiskError::Failed);
        }
        assert!(!to.is_empty() && to.len().is_multiple_of(SECTOR));
        for (at, to) in (sector..).zip(to.chunks_mut(SECTOR)) {
            self.reads.push(at);
            to.copy_from_slice(self.image.get(&at).unwrap_or(&[0; SECTOR]));
        }
        Ok(())
    }

    fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), DiskError> {
        assert!(!from.is_empty() && from.len().is_multiple_of(SECTOR));
        assert!(sector + (from.len() / SECTOR) as u64 <= self.sectors);
        let fault = self.call();
        let (chunks, _) = from.as_chunks::<SECTOR>();
        for (at, bytes) in (sector..).zip(chunks) {
            self.pending.push((at, *bytes));
            self.image.insert(at, *bytes);
            if fault.is_none() {
                self.events.push(Event::Write(at, Box::new(*bytes)));
            }
        }
        if let Some(fault) = fault {
            self.lose(fault.kept);
            return Err(DiskError::Failed);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        if let Some(fault) = self.call() {
            self.lose(fault.kept);
            return Err(DiskError::Failed);
        }
        self.durable.extend(self.pending.drain(..));
        self.events.push(Event::Flush);
        Ok(())
    }
}

impl<D> Store<D> {
    pub(super) fn disk_mut(&mut self) -> &mut D {
        &mut self.disk
    }
}

impl Store<TestDisk> {
    pub(super) fn into_image(self) -> Image {
        self.into_disk().image
    }
}

/// A source that always has a key, made of this byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct TestKey(pub(super) u8);

impl KeySource for TestKey {
    fn key(&mut self) -> Result<Key, KeyError> {
        Key::new(&[self.0; Key::SIZE])
    }
}

pub(super) const KEY: TestKey = TestKey(0x5a);

/// Randomness that never repeats and may run out.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    pub(super) next: u64,
    pub(super) left: u64,
}

impl Counter {
    pub(super) fn from(next: u64) -> Self {
        Self { next, left: u64::MAX }
    }
}

impl Entropy for Counter {
    fn fill(&mut self, out: &mut [u8]) -> bool {
        let Some(left) = self.left.checked_sub(1) else { return false };
        (self.left, self.next) = (left, self.next + 1);
        for (to, from) in out.iter_mut().zip(self.next.to_le_bytes().iter().cycle()) {
            *to = *from;
        }
        true
    }
}

/// A new, empty store.
pub(super) fn formatted() -> Store<TestDisk> {
    Store::format(TestDisk::blank(), &mut { KEY }, &mut Counter::from(0)).unwrap()
}

/// Opens with the right key.
pub(super) fn open<D: Disk>(disk: D) -> Result<Store<D>, OpenError> {
    Store::open(disk, &mut { KEY })
}

/// The TPM's records.
pub(super) fn state<D: Disk>(store: &Store<D>) -> State {
    store.records(Tenant::Tpm).map(|(key, data)| (key, data.to_vec())).collect()
}

/// Sets a record of the TPM's.
pub(super) fn put(key: u32, data: &[u8]) -> Change<'_> {
    Change { key, data: Some(data) }
}
