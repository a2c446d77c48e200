//! The errors of a store.

use core::fmt;

use crate::disk::DiskError;
use crate::key::KeyError;
use crate::layout::{DISK_SECTORS, Slot};
use crate::records::{MAX_RECORD, Tenant};

/// Why a disk can not be opened as a store. The disk has not been written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The store's sectors are all zeros: there is no store yet.
    Blank,
    /// A format was interrupted: there is no store yet.
    Unfinished,
    /// The disk holds something else.
    NotOurs,
    /// The disk is too small: it has this many sectors.
    Truncated(u64),
    /// The store has this version of the format, which is not ours.
    Version(u32),
    /// No header is authentic: the key is wrong, or both slots were altered. The two cases can not
    /// be told apart.
    WrongKey,
    /// The header of this slot is damaged, and this slot may have been the newer one. An
    /// interrupted write does not cause this.
    Header(Slot),
    /// The records in this slot, which is the newer one, are damaged. An interrupted write does
    /// not cause this.
    Records(Slot),
    /// Both slots are authentic, but they come from different stores or different times.
    Mismatched,
    /// The records are authentic, but not in the form that this version writes.
    Malformed,
    /// There is no key.
    Key(KeyError),
    /// The disk failed.
    Disk(DiskError),
}

impl OpenError {
    /// Whether there never was a store on the disk, so that formatting it loses nothing.
    pub const fn is_new(self) -> bool {
        matches!(self, Self::Blank | Self::Unfinished)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("the state is blank"),
            Self::Unfinished => {
                f.write_str("the state is incomplete: its creation was interrupted")
            }
            Self::NotOurs => f.write_str("this is not a state of Paravane"),
            Self::Truncated(sectors) => {
                write!(f, "the state has {sectors} sectors of 512 bytes, but needs {DISK_SECTORS}")
            }
            Self::Version(version) => {
                write!(f, "the state has format {version}, which this version does not support")
            }
            Self::WrongKey => {
                f.write_str("the key is not that of the state, or the state was altered")
            }
            Self::Header(slot) => write!(
                f,
                "the state is damaged or was altered: slot {slot}, perhaps the newer, has no \
                 valid header"
            ),
            Self::Records(slot) => write!(
                f,
                "the state is damaged or was altered: the records in slot {slot}, the newer, are \
                 not valid"
            ),
            Self::Mismatched => {
                f.write_str("the state was altered: its two slots do not belong together")
            }
            Self::Malformed => f.write_str("the state is authentic, but malformed"),
            Self::Key(error) => error.fmt(f),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for OpenError {}

impl From<KeyError> for OpenError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

impl From<DiskError> for OpenError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

/// Why a disk was not formatted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// The disk is not blank.
    NotBlank,
    /// The disk is too small: it has this many sectors.
    Truncated(u64),
    /// There is no key.
    Key(KeyError),
    /// There is no randomness, or it repeats.
    Entropy,
    /// The disk failed. It is now blank, partly formatted, or a store without records.
    Disk(DiskError),
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBlank => f.write_str("the state's disk is not blank"),
            Self::Truncated(sectors) => OpenError::Truncated(*sectors).fmt(f),
            Self::Key(error) => error.fmt(f),
            Self::Entropy => f.write_str("there is no randomness for the state's keys"),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for FormatError {}

/// Why a commit changed no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// A record's data has more than [`MAX_RECORD`] bytes.
    TooLarge {
        /// The record.
        key: u32,
        /// How many bytes its data would have.
        length: usize,
    },
    /// The tenant's records would take more than its quota.
    Quota(Tenant),
    /// There is no randomness, or it repeats.
    Entropy,
    /// All 2^64 sequence numbers are used up.
    Exhausted,
    /// The disk failed. The records in memory are unchanged. The disk holds the old records, or
    /// possibly the new ones if the final flush failed; the next commit restores the old ones. If
    /// the VM ends before it, the next VM opens what the disk holds.
    Disk(DiskError),
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { key, length } => {
                write!(f, "record {key:#x} has {length} bytes, more than {MAX_RECORD}")
            }
            Self::Quota(tenant) => {
                write!(f, "the records of {tenant} take more than {} bytes", tenant.quota())
            }
            Self::Entropy => FormatError::Entropy.fmt(f),
            Self::Exhausted => f.write_str("the state can take no more changes"),
            Self::Disk(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for CommitError {}

impl From<DiskError> for CommitError {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}
