//! The disk image of a new state: a store with a TPM's records.

use anyhow::{Context, Result, anyhow};
use state_store::{
    Change, DISK_SECTORS, Disk, DiskError, Entropy, Key, KeyError, KeySource, SECTOR, Store, Tenant,
};
use zeroize::Zeroizing;

use super::{Records, fill_random};

/// Makes the content of a file for `--state`: a store with `records` under a key of 32 bytes.
///
/// # Errors
/// The key has another length, the kernel gives no random numbers, or the records exceed a quota.
pub fn seal(records: &Records, key: &[u8]) -> Result<Vec<u8>> {
    let disk = Image(vec![0; usize::try_from(DISK_SECTORS)? * SECTOR]);
    let mut key = GivenKey(Zeroizing::new(key.to_vec()));
    let store = Store::format(disk, &mut key, &mut Kernel);
    let mut store = store.map_err(|error| anyhow!("the state can not be made: {error}"))?;
    let changes: Vec<Change<'_>> =
        records.iter().map(|(key, data)| Change { key: *key, data: Some(data) }).collect();
    store
        .commit(Tenant::Tpm, &changes, &mut Kernel)
        .map_err(|error| anyhow!("{error}"))
        .context("the new TPM does not fit into its state")?;
    Ok(store.into_disk().0)
}

/// A disk in memory.
struct Image(Vec<u8>);

impl Image {
    fn part(&mut self, sector: u64, length: usize) -> Result<&mut [u8], DiskError> {
        let start = usize::try_from(sector).ok().and_then(|sector| sector.checked_mul(SECTOR));
        let rest = start.and_then(|start| self.0.get_mut(start..));
        rest.and_then(|rest| rest.get_mut(..length)).ok_or(DiskError::OutOfRange)
    }
}

impl Disk for Image {
    fn sectors(&self) -> u64 {
        (self.0.len() / SECTOR) as u64
    }

    fn read(&mut self, sector: u64, to: &mut [u8]) -> Result<(), DiskError> {
        to.copy_from_slice(self.part(sector, to.len())?);
        Ok(())
    }

    fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), DiskError> {
        self.part(sector, from.len())?.copy_from_slice(from);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
}

/// A source that returns the given key.
struct GivenKey(Zeroizing<Vec<u8>>);

impl KeySource for GivenKey {
    fn key(&mut self) -> Result<Key, KeyError> {
        Key::new(&self.0)
    }
}

/// Random numbers from this machine's kernel.
struct Kernel;

impl Entropy for Kernel {
    fn fill(&mut self, out: &mut [u8]) -> bool {
        fill_random(out).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_with_its_key_alone() {
        let records = Records::from([(0, vec![1; 3000]), (7, vec![]), (0x8100_0001, vec![2; 10])]);
        let bytes = seal(&records, &[9; 32]).unwrap();
        let open = |key: u8| {
            Store::open(Image(bytes.clone()), &mut GivenKey(Zeroizing::new(vec![key; 32])))
        };
        let store = open(9).unwrap();
        let found: Records =
            store.records(Tenant::Tpm).map(|(key, data)| (key, data.to_vec())).collect();
        assert_eq!(found, records);
        assert!(open(8).is_err());
        assert!(seal(&records, &[9; 31]).is_err());
        assert!(!bytes.windows(100).any(|window| window == [1; 100]), "plain text in it");
    }
}
