//! The services that the TPM needs from outside.

use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroize;

/// The services that the TPM needs from outside.
pub trait Environment {
    /// Fills `out` with random bytes that are good enough for keys; false if there is no entropy.
    fn entropy(&mut self, out: &mut [u8]) -> bool;

    /// The time of a monotonic clock in milliseconds.
    fn now_ms(&mut self) -> u64;

    /// Makes all changes durable, or none of them.
    ///
    /// # Errors
    /// The reason why no change was made.
    fn commit(&mut self, changes: &[Change]) -> Result<(), CommitError>;

    /// Whether physical presence is asserted.
    fn physical_presence(&mut self) -> bool {
        false
    }

    /// Whether the running command is to be canceled.
    fn is_canceled(&mut self) -> bool {
        false
    }
}

/// A change of one record in non-volatile storage.
#[derive(PartialEq, Eq)]
pub struct Change {
    /// The record's number.
    pub key: u32,
    /// The new content; none deletes the record. It is secret: the storage has to encrypt it.
    pub data: Option<Vec<u8>>,
}

impl Drop for Change {
    fn drop(&mut self) {
        self.data.zeroize();
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Change({:#x}, {:?} bytes)", self.key, self.data.as_ref().map(Vec::len))
    }
}

/// The reason why a commit failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// There were too many writes in a short time: the command may be repeated later.
    Rate,
    /// The storage does not work.
    Unavailable,
}

/// The reason why a TPM cannot be opened or manufactured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The record with this key has an unknown version.
    Version(u32),
    /// The record with this key cannot be decoded.
    Malformed(u32),
    /// The record with the hierarchies is missing.
    Missing,
    /// The environment gave no entropy.
    Entropy,
    /// The first state could not be stored.
    Commit(CommitError),
}
