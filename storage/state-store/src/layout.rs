//! The layout of a store on the disk.

use core::fmt;

use crate::disk::SECTOR;

/// Sectors of a slot.
pub(crate) const SLOT_SECTORS: u64 = 1024;
/// Sectors that a store takes: 1 MiB. Further sectors of a disk are never accessed.
pub const DISK_SECTORS: u64 = 2 * SLOT_SECTORS;
/// Largest size of all records together in bytes, with [`crate::RECORD_OVERHEAD`] for each.
pub const MAX_PLAIN: usize = 256 << 10;

/// Bytes of a chunk with its tag: the size of a large sector on a real disk.
pub(crate) const CHUNK: usize = 4096;
/// Bytes of an authentication tag.
pub(crate) const TAG: usize = 16;
/// Bytes of records in a full chunk.
pub(crate) const CHUNK_PLAIN: usize = CHUNK - TAG;
/// Sectors of a full chunk.
const CHUNK_SECTORS: u64 = (CHUNK / SECTOR) as u64;

// The header takes the space of one chunk, so that a disk with large sectors never rewrites it
// while it writes records.
const _: () = assert!((1 + MAX_PLAIN.div_ceil(CHUNK_PLAIN)) as u64 * CHUNK_SECTORS <= SLOT_SECTORS);

/// One of the two places on the disk that records are written to in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The first half of the disk, for even sequence numbers.
    A,
    /// The second half, for odd ones.
    B,
}

impl Slot {
    /// The slot of a sequence number.
    pub(crate) const fn of(sequence: u64) -> Self {
        if sequence.is_multiple_of(2) { Self::A } else { Self::B }
    }

    /// The other slot.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The slot's number in a header.
    pub(crate) const fn number(self) -> u32 {
        self as u32
    }

    /// The sector of the slot's header.
    pub(crate) const fn header_sector(self) -> u64 {
        self as u64 * SLOT_SECTORS
    }

    /// The first sector of the chunk with this number.
    pub(crate) const fn chunk_sector(self, chunk: u32) -> u64 {
        self.header_sector() + CHUNK_SECTORS * (chunk as u64 + 1)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// Size on the disk, in bytes, of a chunk with `plain` bytes of records: whole sectors.
pub(crate) const fn sealed_size(plain: usize) -> usize {
    (plain + TAG).next_multiple_of(SECTOR)
}
