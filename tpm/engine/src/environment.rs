//! The services that the TPM needs from outside: entropy, time and storage.

use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroize;

/// What the TPM needs from outside.
pub trait Environment {
    /// Fills `out` with random bytes fit for keys; false if there are none.
    fn entropy(&mut self, out: &mut [u8]) -> bool;

    /// Milliseconds of a clock that only goes forward.
    fn now_ms(&mut self) -> u64;

    /// Makes all changes durable, or none of them.
    ///
    /// # Errors
    /// Why none was made.
    fn commit(&mut self, changes: &[Change]) -> Result<(), CommitError>;

    /// Whether somebody asserts physical presence.
    fn physical_presence(&mut self) -> bool {
        false
    }

    /// Whether the running command shall end.
    fn is_canceled(&mut self) -> bool {
        false
    }
}

/// A record of non-volatile storage that changes.
#[derive(PartialEq, Eq)]
pub struct Change {
    /// The record's number.
    pub key: u32,
    /// What it becomes; nothing to delete it. Secret: to be encrypted by the one who stores it.
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

/// Why a commit was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// Too many writes for now: the command may be sent again.
    Rate,
    /// The storage does not work.
    Unavailable,
}

/// Why records make no TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The record with this key has a version that this engine does not know.
    Version(u32),
    /// The record with this key does not decode.
    Malformed(u32),
    /// The record with the hierarchies is not there.
    Missing,
    /// The environment gave no entropy.
    Entropy,
    /// The first state could not be stored.
    Commit(CommitError),
}
