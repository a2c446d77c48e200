//! The hash algorithms of the TPM behind one type.

use core::fmt;
use core::ops::Deref;

use sha1::Sha1;
use sha2::digest::Digest as _;
use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Sha256, Sha384, Sha512};

use crate::{Error, SecretBytes};

/// Bytes of the longest digest.
pub const MAX_DIGEST: usize = 64;
/// Bytes of the longest block that a hash works on.
pub const MAX_BLOCK: usize = 128;
/// Bytes of the longest mid-state, see [`SavedHasher`].
pub const MAX_SAVED_HASHER: usize = 209;

/// A hash algorithm by its TPM_ALG_ID (Part 2, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum HashAlgorithm {
    /// TPM_ALG_SHA1: 20 bytes.
    Sha1 = 0x0004,
    /// TPM_ALG_SHA256: 32 bytes.
    Sha256 = 0x000B,
    /// TPM_ALG_SHA384: 48 bytes.
    Sha384 = 0x000C,
    /// TPM_ALG_SHA512: 64 bytes.
    Sha512 = 0x000D,
}

impl HashAlgorithm {
    /// Every algorithm, in the order of their ids.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The algorithm with this TPM_ALG_ID.
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            0x0004 => Some(Self::Sha1),
            0x000B => Some(Self::Sha256),
            0x000C => Some(Self::Sha384),
            0x000D => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Its TPM_ALG_ID.
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// Bytes of its digest.
    pub const fn digest_size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Bytes of the block that it works on.
    pub const fn block_size(self) -> usize {
        match self {
            Self::Sha1 | Self::Sha256 => 64,
            Self::Sha384 | Self::Sha512 => 128,
        }
    }

    /// The digest of `data`.
    pub fn hash(self, data: &[u8]) -> Digest {
        self.hash_parts(&[data])
    }

    /// The digest of `parts`, one after the other.
    pub fn hash_parts(self, parts: &[&[u8]]) -> Digest {
        let mut hasher = Hasher::new(self);
        for part in parts {
            hasher.update(part);
        }
        hasher.finish()
    }
}

/// A digest, or an HMAC, of up to 64 bytes. Compared in constant time, cleared on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Digest(SecretBytes<MAX_DIGEST>);

impl Digest {
    /// A digest with the given bytes.
    ///
    /// # Errors
    /// [`Error::Size`] when they are more than 64.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        SecretBytes::new(bytes).map(Self)
    }

    /// A digest of zeros.
    pub fn zero(algorithm: HashAlgorithm) -> Self {
        Self(SecretBytes::zeroed(algorithm.digest_size()))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// A digest from the library's output, which is never longer than 64 bytes.
    fn of(bytes: &[u8]) -> Self {
        Self(SecretBytes::filled(bytes))
    }
}

impl Default for Digest {
    /// The empty digest.
    fn default() -> Self {
        Self(SecretBytes::zeroed(0))
    }
}

impl Deref for Digest {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for Digest {
    /// Only the length: a digest may be an authorization value or a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({} bytes)", self.len())
    }
}

/// An unfinished digest. A clone continues independently.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha1(Sha1),
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    /// A digest of no data yet.
    pub fn new(algorithm: HashAlgorithm) -> Self {
        Self(match algorithm {
            HashAlgorithm::Sha1 => State::Sha1(Sha1::new()),
            HashAlgorithm::Sha256 => State::Sha256(Sha256::new()),
            HashAlgorithm::Sha384 => State::Sha384(Sha384::new()),
            HashAlgorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> HashAlgorithm {
        match self.0 {
            State::Sha1(_) => HashAlgorithm::Sha1,
            State::Sha256(_) => HashAlgorithm::Sha256,
            State::Sha384(_) => HashAlgorithm::Sha384,
            State::Sha512(_) => HashAlgorithm::Sha512,
        }
    }

    /// Adds `data`.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.0 {
            State::Sha1(state) => state.update(data),
            State::Sha256(state) => state.update(data),
            State::Sha384(state) => state.update(data),
            State::Sha512(state) => state.update(data),
        }
    }

    /// The digest of all added data.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha1(state) => Digest::of(&state.finalize()),
            State::Sha256(state) => Digest::of(&state.finalize()),
            State::Sha384(state) => Digest::of(&state.finalize()),
            State::Sha512(state) => Digest::of(&state.finalize()),
        }
    }

    /// The mid-state, from which [`restore`](Self::restore) continues.
    pub fn save(&self) -> SavedHasher {
        match &self.0 {
            State::Sha1(state) => SavedHasher::of(self.algorithm(), &state.serialize()),
            State::Sha256(state) => SavedHasher::of(self.algorithm(), &state.serialize()),
            State::Sha384(state) => SavedHasher::of(self.algorithm(), &state.serialize()),
            State::Sha512(state) => SavedHasher::of(self.algorithm(), &state.serialize()),
        }
    }

    /// Continues from a mid-state.
    ///
    /// # Errors
    /// [`Error::Saved`] if the bytes are not a mid-state of the algorithm.
    pub fn restore(saved: &SavedHasher) -> Result<Self, Error> {
        let bytes = saved.as_bytes();
        Ok(Self(match saved.algorithm {
            HashAlgorithm::Sha1 => State::Sha1(resume(bytes)?),
            HashAlgorithm::Sha256 => State::Sha256(resume(bytes)?),
            HashAlgorithm::Sha384 => State::Sha384(resume(bytes)?),
            HashAlgorithm::Sha512 => State::Sha512(resume(bytes)?),
        }))
    }
}

fn resume<S: SerializableState>(bytes: &[u8]) -> Result<S, Error> {
    let state = <&SerializedState<S>>::try_from(bytes).map_err(|_| Error::Saved)?;
    S::deserialize(state).map_err(|_| Error::Saved)
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hasher({:?})", self.algorithm())
    }
}

/// The mid-state of a [`Hasher`]: at most [`MAX_SAVED_HASHER`] bytes, in the format of the hash
/// library. It contains the data since the last full block: store it encrypted.
#[derive(Clone, PartialEq, Eq)]
pub struct SavedHasher {
    algorithm: HashAlgorithm,
    bytes: SecretBytes<MAX_SAVED_HASHER>,
}

impl SavedHasher {
    /// From an algorithm and the bytes from [`as_bytes`](Self::as_bytes).
    ///
    /// # Errors
    /// [`Error::Saved`] when the bytes are too many.
    pub fn new(algorithm: HashAlgorithm, bytes: &[u8]) -> Result<Self, Error> {
        let bytes = SecretBytes::new(bytes).map_err(|_| Error::Saved)?;
        Ok(Self { algorithm, bytes })
    }

    /// The algorithm.
    pub fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn of(algorithm: HashAlgorithm, bytes: &[u8]) -> Self {
        Self { algorithm, bytes: SecretBytes::filled(bytes) }
    }
}

impl fmt::Debug for SavedHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SavedHasher({:?})", self.algorithm)
    }
}
