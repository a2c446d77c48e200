//! A store: opened, made, changed.

use alloc::vec;
use core::fmt;

use crate::body;
use crate::disk::{Disk, DiskError, SECTOR};
use crate::error::{CommitError, FormatError, OpenError};
use crate::header::{Found, Header, ID, Sealed};
use crate::key::{Entropy, Key, KeySource};
use crate::layout::{CHUNK, DISK_SECTORS, Slot};
use crate::records::{Change, Records, Tenant};
use crate::seal::SALT;

/// An open store. It alone writes to its disk.
pub struct Store<D> {
    pub(crate) disk: D,
    key: Key,
    id: [u8; ID],
    /// Of the content that is in memory, which the slot of this number holds.
    pub(crate) sequence: u64,
    records: Records,
    /// Of the headers that were read or written last, by slot.
    salts: [[u8; SALT]; 2],
    /// The other slot may have a newer header than ours, of a commit that failed at its end.
    in_doubt: bool,
}

impl<D: Disk> Store<D> {
    /// Opens the store on a disk. Reads the two headers and the records of the newer slot, each
    /// sector once, and writes nothing.
    ///
    /// # Errors
    /// [`OpenError`]: one clear reason. Of those only [`OpenError::is_new`] says that no records
    /// are lost by [`Store::format`].
    pub fn open(mut disk: D, keys: &mut dyn KeySource) -> Result<Self, OpenError> {
        let key = keys.key()?;
        let slots = read_headers(&mut disk, &key)?;
        let newest = match judge(&slots) {
            Ok(newest) => newest,
            Err(OpenError::Blank) if !is_zero(&mut disk, None)? => return Err(OpenError::NotOurs),
            Err(error) => return Err(error),
        };
        let slot = newest.header.slot();
        let bytes = body::read(&mut disk, newest)?.ok_or(OpenError::Records(slot))?;
        let records = Records::parse(bytes).ok_or(OpenError::Malformed)?;
        let Header { id, sequence, .. } = newest.header;
        let salts = slots.each_ref().map(|found| match found {
            Found::Good(sealed) => sealed.header.salt,
            _ => [0; SALT],
        });
        Ok(Self { disk, key, id, sequence, records, salts, in_doubt: false })
    }

    /// Makes an empty store on a disk whose place for it is all zeros, or where a format with the
    /// same key was cut short.
    ///
    /// # Errors
    /// [`FormatError`]; a store that was there is as it was.
    pub fn format(
        disk: D,
        keys: &mut dyn KeySource,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, FormatError> {
        let mut id = [0; ID];
        if !entropy.fill(&mut id) {
            return Err(FormatError::Entropy);
        }
        Self::format_as(id, disk, keys, entropy)
    }

    /// The same with an identity that was drawn before.
    ///
    /// # Errors
    /// As for [`Self::format`].
    pub fn format_as(
        id: [u8; ID],
        mut disk: D,
        keys: &mut dyn KeySource,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, FormatError> {
        let key = keys.key().map_err(FormatError::Key)?;
        let slots = read_headers(&mut disk, &key).map_err(|error| match error {
            OpenError::Truncated(sectors) => FormatError::Truncated(sectors),
            OpenError::Disk(error) => FormatError::Disk(error),
            _ => FormatError::NotBlank,
        })?;
        let begun = match judge(&slots) {
            Err(OpenError::Blank) => None,
            Err(OpenError::Unfinished) => Some(Slot::of(1).header_sector()),
            _ => return Err(FormatError::NotBlank),
        };
        if !is_zero(&mut disk, begun).map_err(FormatError::Disk)? {
            return Err(FormatError::NotBlank);
        }
        let (records, salts) = (Records::none(), [[0; SALT]; 2]);
        let mut store = Self { disk, key, id, sequence: 0, records, salts, in_doubt: false };
        // The second header makes it a store: from then on no slot is ever blank.
        for sequence in [1, 2] {
            store.write(sequence, &Records::none(), entropy).map_err(|error| match error {
                CommitError::Disk(error) => FormatError::Disk(error),
                _ => FormatError::Entropy,
            })?;
            store.sequence = sequence;
        }
        Ok(store)
    }

    /// A tenant's records with their keys, ascending.
    pub fn records(&self, tenant: Tenant) -> impl Iterator<Item = (u32, &[u8])> {
        self.records.of(tenant)
    }

    /// Which commit the records are of: it rises by one with each.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The disk, for another use.
    pub fn into_disk(self) -> D {
        self.disk
    }

    /// Changes records of a tenant: all or none, durable when this returns.
    ///
    /// # Errors
    /// [`CommitError`]; the records in memory are as they were, and the next commit may succeed.
    pub fn commit(
        &mut self,
        tenant: Tenant,
        changes: &[Change<'_>],
        entropy: &mut dyn Entropy,
    ) -> Result<(), CommitError> {
        let records = self.records.changed(tenant, changes)?;
        if self.in_doubt {
            self.withdraw(entropy)?;
        }
        if records == self.records {
            return Ok(());
        }
        let next = self.sequence.checked_add(1).ok_or(CommitError::Exhausted)?;
        self.write(next, &records, entropy)?;
        (self.records, self.sequence) = (records, next);
        Ok(())
    }

    /// Makes sure that the other slot is the older one, without records. Until then its records
    /// must not be touched: if it is the newer, it is the store.
    fn withdraw(&mut self, entropy: &mut dyn Entropy) -> Result<(), CommitError> {
        self.write(self.sequence.wrapping_sub(1), &Records::none(), entropy)
    }

    /// Writes a content to the slot of its number: records, and when these are durable, the header
    /// that makes them count.
    fn write(
        &mut self,
        sequence: u64,
        records: &Records,
        entropy: &mut dyn Entropy,
    ) -> Result<(), CommitError> {
        let salt = self.fresh_salt(entropy)?;
        let length = records.bytes().len() as u32;
        let header = Header { id: self.id, sequence, length, salt };
        let sealed = header.seal(&self.key).ok_or(CommitError::Exhausted)?;
        if length != 0 {
            body::write(&mut self.disk, &sealed, records.bytes())?;
            self.disk.flush()?;
        }
        let slot = header.slot();
        if let Some(last) = self.salts.get_mut(slot as usize) {
            *last = salt;
        }
        self.in_doubt = true;
        self.disk.write(slot.header_sector(), &sealed.bytes)?;
        self.disk.flush()?;
        self.in_doubt = false;
        Ok(())
    }

    /// A salt for one content. Randomness that repeats what stands on the disk is none.
    fn fresh_salt(&self, entropy: &mut dyn Entropy) -> Result<[u8; SALT], CommitError> {
        let mut salt = [0; SALT];
        if !entropy.fill(&mut salt) || salt == [0; SALT] || self.salts.contains(&salt) {
            return Err(CommitError::Entropy);
        }
        Ok(salt)
    }
}

impl<D> fmt::Debug for Store<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("sequence", &self.sequence)
            .field("bytes", &self.records.bytes().len())
            .field("in_doubt", &self.in_doubt)
            .finish_non_exhaustive()
    }
}

fn read_headers(disk: &mut impl Disk, key: &Key) -> Result<[Found; 2], OpenError> {
    let sectors = disk.sectors();
    if sectors < DISK_SECTORS {
        return Err(OpenError::Truncated(sectors));
    }
    let [mut a, mut b] = [[0; SECTOR]; 2];
    disk.read(Slot::A.header_sector(), &mut a)?;
    disk.read(Slot::B.header_sector(), &mut b)?;
    Ok([Found::read(a, Slot::A, key), Found::read(b, Slot::B, key)])
}

/// Decides which slot is the store.
///
/// An interrupted write leaves two good headers, so anything else is damage or somebody's work,
/// but for a format that was cut short. A damaged header may have been the newer: to open the
/// other then would be a rollback.
fn judge(slots: &[Found; 2]) -> Result<&Sealed, OpenError> {
    use Found::{Blank, Good, Unauthentic, Version};
    let [a, b] = slots;
    match (a, b) {
        (Good(a), Good(b)) => {
            let (older, newer) =
                if a.header.sequence < b.header.sequence { (a, b) } else { (b, a) };
            let follows = older.header.sequence.checked_add(1) == Some(newer.header.sequence);
            if follows && a.header.id == b.header.id {
                Ok(newer)
            } else {
                Err(OpenError::Mismatched)
            }
        }
        (Blank, Good(first)) if first.header.is_first() => Err(OpenError::Unfinished),
        (Version(version), _) | (_, Version(version)) => Err(OpenError::Version(*version)),
        (Good(good), _) | (_, Good(good)) => Err(OpenError::Header(good.header.slot().other())),
        (Unauthentic, _) | (_, Unauthentic) => Err(OpenError::WrongKey),
        (Blank, Blank) => Err(OpenError::Blank),
        _ => Err(OpenError::NotOurs),
    }
}

/// Whether a store's place is all zeros, but for one sector.
fn is_zero(disk: &mut impl Disk, but: Option<u64>) -> Result<bool, DiskError> {
    let mut buffer = vec![0; CHUNK];
    let sectors = (CHUNK / SECTOR) as u64;
    for start in (0..DISK_SECTORS).step_by(sectors as usize) {
        disk.read(start, &mut buffer)?;
        let mut read = (start..).zip(buffer.chunks(SECTOR));
        if read.any(|(sector, bytes)| Some(sector) != but && bytes.iter().any(|byte| *byte != 0)) {
            return Ok(false);
        }
    }
    Ok(true)
}
