//! Where everything lies on the disk.

use core::fmt;

use crate::disk::SECTOR;

/// Sectors of a slot.
pub(crate) const SLOT_SECTORS: u64 = 1024;
/// Sectors that a store takes: 1 MiB. A disk may have more; they are left alone.
pub const DISK_SECTORS: u64 = 2 * SLOT_SECTORS;
/// Bytes of records at the most, with [`crate::RECORD_OVERHEAD`] for each.
pub const MAX_PLAIN: usize = 256 << 10;

/// Bytes that are sealed together, with their tag: what a large sector of a real disk has.
pub(crate) const CHUNK: usize = 4096;
/// Bytes of an authentication tag.
pub(crate) const TAG: usize = 16;
/// Bytes of records in a full chunk.
pub(crate) const CHUNK_PLAIN: usize = CHUNK - TAG;
/// Sectors of a full chunk.
const CHUNK_SECTORS: u64 = (CHUNK / SECTOR) as u64;

// The header has the first chunk's place to itself, so that no disk rewrites the one for the other.
const _: () = assert!((1 + MAX_PLAIN.div_ceil(CHUNK_PLAIN)) as u64 * CHUNK_SECTORS <= SLOT_SECTORS);

/// One of the two places for a content.
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

    /// The other one.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its number in a header.
    pub(crate) const fn number(self) -> u32 {
        self as u32
    }

    /// The sector of its header.
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

/// Bytes on the disk of a chunk with `plain` bytes of records: whole sectors.
pub(crate) const fn sealed_size(plain: usize) -> usize {
    (plain + TAG).next_multiple_of(SECTOR)
}
