//! The secrets that a store is given: its key, randomness.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// The key of a store: 32 bytes, cleared on drop, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; Self::SIZE]);

impl Key {
    /// Bytes of a key.
    pub const SIZE: usize = 32;

    /// A key of these bytes.
    ///
    /// # Errors
    /// [`KeyError::Length`] unless they are 32.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        bytes.try_into().map(Self).map_err(|_| KeyError::Length(bytes.len()))
    }

    pub(crate) const fn bytes(&self) -> &[u8; Self::SIZE] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The source of a key: a file from the host, or the platform itself if that is confidential.
pub trait KeySource {
    /// The key, the same at each call.
    ///
    /// # Errors
    /// [`KeyError`] says why there is no key.
    fn key(&mut self) -> Result<Key, KeyError>;
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// No key was given.
    Missing,
    /// The key has this many bytes instead of 32.
    Length(usize),
    /// The key can not be read.
    Unreadable,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the state has no key"),
            Self::Length(length) => write!(f, "the state's key has {length} bytes, not 32"),
            Self::Unreadable => f.write_str("the state's key can not be read"),
        }
    }
}

impl core::error::Error for KeyError {}

/// Randomness fit for keys.
pub trait Entropy {
    /// Fills `out`; false if there is no randomness, and the content of `out` is then undefined.
    fn fill(&mut self, out: &mut [u8]) -> bool;
}
