//! The paravisor's store on any bytes as a disk.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use ::state_store::testing::write_store;
use ::state_store::{
    Change, DISK_SECTORS, Disk, DiskError, Entropy, Key, KeyError, KeySource, OpenError, SECTOR,
    Store, Tenant,
};

use crate::input::Input;

/// A disk that may begin to fail, or to answer otherwise.
#[derive(Clone, Default)]
struct FuzzDisk {
    sectors: BTreeMap<u64, [u8; SECTOR]>,
    size: u64,
    /// Calls until one fails; then again so many.
    fails: Option<u8>,
    left: u8,
}

impl FuzzDisk {
    fn call(&mut self) -> Result<(), DiskError> {
        let Some(every) = self.fails else { return Ok(()) };
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => {
                self.left = every;
                return Err(DiskError::Failed);
            }
        }
        Ok(())
    }
}

impl Disk for FuzzDisk {
    fn sectors(&self) -> u64 {
        self.size
    }

    fn read(&mut self, sector: u64, to: &mut [u8]) -> Result<(), DiskError> {
        assert!(sector + (to.len() / SECTOR) as u64 <= self.size, "past the end");
        self.call()?;
        to.fill(0);
        for (at, content) in self.sectors.range(sector..sector + (to.len() / SECTOR) as u64) {
            let start = (at - sector) as usize * SECTOR;
            to[start..start + SECTOR].copy_from_slice(content);
        }
        Ok(())
    }

    fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), DiskError> {
        assert!(sector + (from.len() / SECTOR) as u64 <= self.size, "past the end");
        // One that fails has written its first sector.
        let result = self.call();
        let (chunks, _) = from.as_chunks::<SECTOR>();
        let written = if result.is_ok() { chunks.len() } else { 1 };
        self.sectors.extend((sector..).zip(chunks.iter().copied()).take(written));
        result
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        self.call()
    }
}

struct TheKey;

impl KeySource for TheKey {
    fn key(&mut self) -> Result<Key, KeyError> {
        Key::new(&[3; Key::SIZE])
    }
}

/// Randomness of this run: no two runs of one store share any.
struct Counter(u64);

impl Entropy for Counter {
    fn fill(&mut self, out: &mut [u8]) -> bool {
        self.0 += 1;
        for (to, from) in out.iter_mut().zip(self.0.to_le_bytes().iter().cycle()) {
            *to = *from;
        }
        true
    }
}

type Records = BTreeMap<u32, Vec<u8>>;

fn records<D: Disk>(store: &Store<D>, tenant: Tenant) -> Records {
    store.records(tenant).map(|(key, data)| (key, data.to_vec())).collect()
}

/// Opens bytes that may be a store: the result is a typed error, or a store that works as
/// specified.
pub fn state_file(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut disk = FuzzDisk { size: DISK_SECTORS, ..FuzzDisk::default() };
    match input.u8() % 4 {
        // Any bytes, in pieces at any place.
        0 => {
            if input.u8() & 1 != 0 {
                disk.size = u64::from(input.u16());
            }
            while !input.is_empty() {
                let sector = u64::from(input.u16()) % DISK_SECTORS;
                let mut content = [0; SECTOR];
                let length = usize::from(input.u8());
                content.iter_mut().take(length).for_each(|byte| *byte = input.u8());
                disk.sectors.insert(sector, content);
            }
            let _ = answered(disk);
        }
        // Authentic, with any records.
        1 => {
            let key = Key::new(&[3; Key::SIZE]).expect("32 bytes");
            write_store(&mut disk, &key, input.rest()).expect("fits");
            if let Ok(store) = answered(disk) {
                // An opened store equals the sealed one: the format has only one encoding.
                let sizes = Tenant::ALL.map(|tenant| {
                    store.records(tenant).map(|(_, data)| data.len() + 7).sum::<usize>()
                });
                assert_eq!(sizes.iter().sum::<usize>(), input.rest().len());
            }
        }
        // A true store with changed bytes.
        2 => {
            let mut disk = made();
            let before = open_records(&disk).expect("it was just made");
            // Two headers, and the newer records, which are in the first half here.
            let mut read = false;
            while !input.is_empty() {
                let count = disk.sectors.len();
                let place = disk.sectors.iter_mut().nth(usize::from(input.u8()) % count);
                let (&sector, content) = place.expect("some are written");
                let (at, value) = (usize::from(input.u16()) % SECTOR, input.u8());
                read |= value != 0 && sector < DISK_SECTORS / 2 + 8;
                content[at] ^= value;
            }
            match open_records(&disk) {
                // Two changes may have undone each other.
                Ok(after) => assert_eq!(after, before),
                Err(_) => assert!(read, "the older slot's records are not read"),
            }
        }
        // A history on a disk that fails.
        _ => history(&mut input),
    }
}

fn answered(disk: FuzzDisk) -> Result<Store<FuzzDisk>, OpenError> {
    let result = Store::open(disk, &mut TheKey);
    if let Err(error) = &result {
        assert!(!error.to_string().is_empty());
    }
    result
}

/// A store with two commits: made once, the same for all inputs.
fn made() -> FuzzDisk {
    static MADE: OnceLock<FuzzDisk> = OnceLock::new();
    let make = || {
        let mut entropy = Counter(0);
        let disk = FuzzDisk { size: DISK_SECTORS, ..FuzzDisk::default() };
        let mut store = Store::format(disk, &mut TheKey, &mut entropy).expect("blank");
        for text in [b"one", b"two"] {
            let change = Change { key: 7, data: Some(text) };
            store.commit(Tenant::Tpm, &[change], &mut entropy).expect("no faults");
        }
        store.into_disk()
    };
    MADE.get_or_init(make).clone()
}

fn open_records(disk: &FuzzDisk) -> Result<Records, OpenError> {
    answered(disk.clone()).map(|store| records(&store, Tenant::Tpm))
}

/// Commits, failures and restarts: the content is the last acknowledged one, or one attempted
/// since.
fn history(input: &mut Input<'_>) {
    let mut entropy = Counter(1000);
    let mut store = Store::open(made(), &mut TheKey).expect("it was just made");
    let mut possible = vec![records(&store, Tenant::Tpm)];
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        let fails = input.u8();
        let mut disk = store.into_disk();
        disk.fails = None;
        store = Store::open(disk, &mut TheKey).expect("a failure leaves a store");
        let found = records(&store, Tenant::Tpm);
        assert!(possible.contains(&found), "neither old nor new");
        possible = vec![found];
        let mut disk = store.into_disk();
        (disk.fails, disk.left) = ((fails & 1 != 0).then_some(fails >> 1 & 7), fails >> 4 & 7);
        store = loop {
            // Reading may fail too; it is tried until it does not.
            match Store::open(disk.clone(), &mut TheKey) {
                Ok(store) => break store,
                Err(OpenError::Disk(_)) => disk.fails = None,
                Err(error) => panic!("{error}"),
            }
        };
        for _ in 0..input.u8() % 4 {
            let (key, length) = (u32::from(input.u8() % 4), usize::from(input.u16() % 1300));
            let data = vec![input.u8(); length];
            let change = Change { key, data: (length != 0).then_some(&data) };
            let mut aim = records(&store, Tenant::Tpm);
            match change.data {
                Some(data) => aim.insert(key, data.to_vec()),
                None => aim.remove(&key),
            };
            match store.commit(Tenant::Tpm, &[change], &mut entropy) {
                Ok(()) => possible = vec![aim],
                Err(_) => possible.push(aim),
            }
        }
    }
}
