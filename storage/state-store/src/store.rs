//! A store with the operations on it.

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

/// An open store. Nothing else writes to its disk.
pub struct Store<D> {
    pub(crate) disk: D,
    key: Key,
    id: [u8; ID],
    /// The number of the commit that the records in memory come from.
    pub(crate) sequence: u64,
    records: Records,
    /// The salt of the header last read or written, by slot.
    salts: [[u8; SALT]; 2],
    /// The other slot may have a newer header than ours, written by a commit that then failed.
    in_doubt: bool,
}

impl<D: Disk> Store<D> {
    /// Opens the store on a disk. Reads the two headers and the records of the newer slot, each
    /// sector once, and writes nothing.
    ///
    /// # Errors
    /// [`OpenError`]. Unless [`OpenError::is_new`], the disk may hold records.
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

    /// Makes an empty store on a disk whose first [`DISK_SECTORS`] are all zeros, or on which a
    /// format with the same key was interrupted.
    ///
    /// # Errors
    /// [`FormatError`]; an existing store is unchanged.
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

    /// Like [`Self::format`], with an identity that the caller has drawn.
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
        // The second header completes the store: from then on no slot is ever blank.
        for sequence in [1, 2] {
            store.write(sequence, &Records::none(), entropy).map_err(|error| match error {
                CommitError::Disk(error) => FormatError::Disk(error),
                _ => FormatError::Entropy,
            })?;
            store.sequence = sequence;
        }
        Ok(store)
    }

    /// A tenant's records, ascending by key.
    pub fn records(&self, tenant: Tenant) -> impl Iterator<Item = (u32, &[u8])> {
        self.records.of(tenant)
    }

    /// The number of the commit that the records come from; each commit adds one.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Ends the store and returns its disk.
    pub fn into_disk(self) -> D {
        self.disk
    }

    /// Changes records of a tenant, all or none. The change is durable when this returns.
    ///
    /// # Errors
    /// [`CommitError`]; the records in memory are unchanged, and the next commit may succeed.
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

    /// Makes the other slot the older one, without records. Until then its records must not be
    /// overwritten: if its header did reach the disk, it is the newer slot, which a restart opens.
    fn withdraw(&mut self, entropy: &mut dyn Entropy) -> Result<(), CommitError> {
        self.write(self.sequence.wrapping_sub(1), &Records::none(), entropy)
    }

    /// Writes records to the slot of their number. The header makes them valid, so it is written
    /// once they are durable.
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

    /// A salt for one content. Randomness that repeats a salt on the disk is refused as broken.
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

/// Decides which slot is the newer one.
///
/// An interrupted commit leaves two good headers, and an interrupted format leaves one beside a
/// blank sector. Anything else is damage or an attack. A damaged header may have been the newer
/// one, so the other slot is not opened then: that would be a rollback.
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

/// Whether a store's sectors are all zeros, except for sector `but`.
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
