//! The disk below a store.

use core::fmt;

/// Bytes of a sector.
pub const SECTOR: usize = 512;

/// A disk of 512-byte sectors. What it answers is the host's word.
///
/// A write of one sector is whole or did not happen, whatever cuts it; one of several sectors may
/// be cut between any two. Writes become durable in any order, until a flush returns.
pub trait Disk {
    /// How many sectors it has.
    fn sectors(&self) -> u64;
    /// Reads whole sectors from `sector` on.
    ///
    /// # Errors
    /// The content of `to` is then of no meaning.
    fn read(&mut self, sector: u64, to: &mut [u8]) -> Result<(), DiskError>;
    /// Writes whole sectors from `sector` on.
    ///
    /// # Errors
    /// Each of the sectors may then have the old or the new content.
    fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), DiskError>;
    /// Makes durable what has been written.
    ///
    /// # Errors
    /// Any of it may then not be durable.
    fn flush(&mut self) -> Result<(), DiskError>;
}

impl<D: Disk + ?Sized> Disk for &mut D {
    fn sectors(&self) -> u64 {
        (**self).sectors()
    }

    fn read(&mut self, sector: u64, to: &mut [u8]) -> Result<(), DiskError> {
        (**self).read(sector, to)
    }

    fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), DiskError> {
        (**self).write(sector, from)
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        (**self).flush()
    }
}

/// Why a disk did not do what was asked. The fault is the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// The sectors are not all on the disk, or the bytes are no whole sectors.
    OutOfRange,
    /// The disk reports an error.
    Failed,
    /// The disk did not answer in time.
    TimedOut,
    /// The disk broke its protocol.
    Misbehaved,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfRange => "the state's disk has no such sectors",
            Self::Failed => "the state's disk reports an error",
            Self::TimedOut => "the state's disk does not answer",
            Self::Misbehaved => "the state's disk breaks its protocol",
        })
    }
}

impl core::error::Error for DiskError {}
