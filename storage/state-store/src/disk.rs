//! The interface of the disk below a store.

use core::fmt;

/// Bytes of a sector.
pub const SECTOR: usize = 512;

/// A disk of 512-byte sectors. Its answers come from the host and are not trusted.
///
/// Each sector is written whole or not at all; a write of several sectors may be interrupted
/// between any two of them. Writes become durable in any order until a flush returns.
pub trait Disk {
    /// Number of sectors.
    fn sectors(&self) -> u64;
    /// Reads whole sectors from `sector` on.
    ///
    /// # Errors
    /// The content of `to` is then undefined.
    fn read(&mut self, sector: u64, to: &mut [u8]) -> Result<(), DiskError>;
    /// Writes whole sectors from `sector` on.
    ///
    /// # Errors
    /// Each of the sectors may then have the old or the new content.
    fn write(&mut self, sector: u64, from: &[u8]) -> Result<(), DiskError>;
    /// Makes all earlier writes durable.
    ///
    /// # Errors
    /// Any of these writes may then not be durable.
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

/// Why a disk operation failed. The fault is the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// A sector lies beyond the end of the disk, or the buffer is not a whole number of sectors.
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
