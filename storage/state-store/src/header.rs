//! The header of a slot.

use alloc::boxed::Box;

use crate::disk::SECTOR;
use crate::key::Key;
use crate::layout::{MAX_PLAIN, Slot, TAG};
use crate::seal::{SALT, Sealer};

/// The first bytes of every header.
pub(crate) const MAGIC: [u8; 8] = *b"PVstate\0";
/// The version of the format that this code reads and writes.
pub(crate) const VERSION: u32 = 1;
/// Bytes of a store's identity.
pub(crate) const ID: usize = 16;
/// The number under which the sealer knows a header.
const HEADER_NUMBER: u32 = 0;
/// Bytes of a header that its tag covers.
const COVERED: usize = SECTOR - TAG;

/// The fields of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The store's identity: random bytes drawn by its format.
    pub(crate) id: [u8; ID],
    /// The number of the commit, which also determines the slot.
    pub(crate) sequence: u64,
    /// Size of the records in bytes.
    pub(crate) length: u32,
    /// The salt from which the content's key is derived.
    pub(crate) salt: [u8; SALT],
}

/// A header as it is on the disk, with the sealer for the chunks that follow it.
pub(crate) struct Sealed {
    pub(crate) header: Header,
    pub(crate) bytes: [u8; SECTOR],
    pub(crate) sealer: Sealer,
}

impl Header {
    /// The slot that the header belongs to.
    pub(crate) const fn slot(&self) -> Slot {
        Slot::of(self.sequence)
    }

    /// Whether this is the header that a format writes first, when there is no store yet.
    pub(crate) const fn is_first(&self) -> bool {
        self.sequence == 1 && self.length == 0
    }

    /// Encodes and authenticates the header for the disk.
    pub(crate) fn seal(self, key: &Key) -> Option<Sealed> {
        let sealer = Sealer::new(key, &self.salt);
        let mut bytes = [0; SECTOR];
        let (covered, tag) = bytes.split_at_mut(COVERED);
        let slot = self.slot().number().to_le_bytes();
        let fields: [&[u8]; 8] = [
            &MAGIC,
            &VERSION.to_le_bytes(),
            &slot,
            &self.id,
            &self.sequence.to_le_bytes(),
            &self.length.to_le_bytes(),
            &[0; 4],
            &self.salt,
        ];
        for (to, from) in covered.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        tag.copy_from_slice(&sealer.seal(HEADER_NUMBER, covered, &mut [])?);
        Some(Sealed { header: self, bytes, sealer })
    }
}

/// The content of a header's sector.
pub(crate) enum Found {
    /// Zeros.
    Blank,
    /// No header.
    Foreign,
    /// A header of another version.
    Version(u32),
    /// A header that is not authentic under this key, or does not belong in this slot.
    Unauthentic,
    /// An authentic header.
    Good(Box<Sealed>),
}

/// The identity that the first sector of a disk claims for its store, if it claims one. Nothing is
/// authenticated: use it as a name only.
pub fn identity(sector: &[u8; SECTOR]) -> Option<[u8; ID]> {
    let mut fields = Fields(sector);
    let is_ours = fields.take() == MAGIC;
    // Version and slot.
    let _: [u8; 8] = fields.take();
    is_ours.then(|| fields.take())
}

impl Found {
    /// Decodes and authenticates the sector that was read for the header of `slot`.
    pub(crate) fn read(bytes: [u8; SECTOR], slot: Slot, key: &Key) -> Self {
        if bytes == [0; SECTOR] {
            return Self::Blank;
        }
        let mut fields = Fields(&bytes);
        if fields.take() != MAGIC {
            return Self::Foreign;
        }
        match u32::from_le_bytes(fields.take()) {
            VERSION => {}
            other => return Self::Version(other),
        }
        let number = u32::from_le_bytes(fields.take());
        let id = fields.take();
        let sequence = u64::from_le_bytes(fields.take());
        let length = u32::from_le_bytes(fields.take());
        let _: [u8; 4] = fields.take();
        let header = Header { id, sequence, length, salt: fields.take() };
        let sealer = Sealer::new(key, &header.salt);
        let authentic = bytes
            .split_last_chunk()
            .is_some_and(|(covered, tag)| sealer.open(HEADER_NUMBER, covered, &mut [], tag));
        let fits = number == slot.number()
            && header.slot() == slot
            && sequence != 0
            && length as usize <= MAX_PLAIN;
        if authentic && fits {
            Self::Good(Box::new(Sealed { header, bytes, sealer }))
        } else {
            Self::Unauthentic
        }
    }
}

/// Takes fields off a sector, one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The next bytes; zeros beyond the end.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }
}
