//! Why a store can not be made, opened or changed.

use core::fmt;

use crate::disk::DiskError;
use crate::key::KeyError;
use crate::layout::{DISK_SECTORS, Slot};
use crate::records::{MAX_RECORD, Tenant};

/// Why a disk can not be opened as a store. It has not been written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Its place is all zeros: there is no store yet.
    Blank,
    /// A format was cut short: there is no store yet.
    Unfinished,
    /// It holds something else.
    NotOurs,
    /// It has only so many sectors.
    Truncated(u64),
    /// It is a store of another version.
    Version(u32),
    /// No header is authentic: the key is another's, or both slots were altered. The two can not
    /// be told apart.
    WrongKey,
    /// The header of this slot is damaged. It may have been the newer one, and an interrupted
    /// write does not do that.
    Header(Slot),
    /// The records in this slot, which is the newer one, are damaged. An interrupted write does
    /// not do that.
    Records(Slot),
    /// The slots are authentic, but not of one store at one time.
    Mismatched,
    /// The content is authentic, but not in the form that this version writes.
    Malformed,
    /// There is no key.
    Key(KeyError),
    /// The disk fails.
    Disk(DiskError),
}

impl OpenError {
    /// Whether there never was a store, so that one may be made without losing anything.
    pub const fn is_new(self) -> bool {
        matches!(self, Self::Blank | Self::Unfinished)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("the state is blank"),
            Self::Unfinished => f.write_str("the state was never finished when it was made"),
            Self::NotOurs => f.write_str("this is no state of Paravane"),
            Self::Truncated(sectors) => write!(
                f,
                "the state is cut short: {sectors} sectors of 512 bytes, and {DISK_SECTORS} wanted"
            ),
            Self::Version(version) => {
                write!(f, "the state has the format {version}, which this version does not know")
            }
            Self::WrongKey => f.write_str("the state has another key, or was altered"),
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

/// Why no store was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// The disk is not blank.
    NotBlank,
    /// It has only so many sectors.
    Truncated(u64),
    /// There is no key.
    Key(KeyError),
    /// There is no randomness.
    Entropy,
    /// The disk fails. It is blank, or begun, or a store without records.
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

/// Why records have not changed.
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
    /// All sequence numbers are used up, after 2^64 commits.
    Exhausted,
    /// The disk fails. In memory nothing has changed; on the disk the old records stand, or, if
    /// the last flush was it that failed, perhaps the new. The next commit, or a start without
    /// one, decides.
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
