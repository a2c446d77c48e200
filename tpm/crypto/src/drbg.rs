//! The random generator: Hash_DRBG with SHA-256 of SP 800-90A, 10.1.1.
//!
//! Of the three mechanisms of the standard it is the fastest without AES instructions: three
//! compressions for up to 32 bytes. Entropy is an argument. The same inputs always give the same
//! bytes, so keys that are derived from a seed never change.

use core::convert::Infallible;
use core::fmt;

use rand_core::{TryCryptoRng, TryRng};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Error;
use crate::hash::{HashAlgorithm, Hasher};

/// Bytes of `V` and `C`: 440 bits (SP 800-90A, table 2).
pub const SEED_LENGTH: usize = 55;
/// Most bytes of one request (2^19 bits).
pub const MAX_REQUEST: usize = 1 << 16;
/// Requests between two reseedings, at most.
pub const RESEED_INTERVAL: u64 = 1 << 48;
/// Version of [`SavedDrbg`].
pub const SAVED_VERSION: u8 = 1;

const HASH: HashAlgorithm = HashAlgorithm::Sha256;

/// A random generator. A clone generates the same bytes.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Drbg {
    v: [u8; SEED_LENGTH],
    c: [u8; SEED_LENGTH],
    reseed_counter: u64,
}

/// The state of a [`Drbg`], as secret as all bytes that it will generate.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct SavedDrbg {
    /// [`SAVED_VERSION`].
    pub version: u8,
    /// The working value `V`.
    #[serde(with = "crate::bytes::array")]
    pub v: [u8; SEED_LENGTH],
    /// The constant `C`.
    #[serde(with = "crate::bytes::array")]
    pub c: [u8; SEED_LENGTH],
    /// Requests since the last reseeding, plus one.
    pub reseed_counter: u64,
}

impl Drbg {
    /// Instantiates (10.1.1.2). For full strength `entropy` must hold 256 bits of entropy, and
    /// `nonce` 128 more.
    pub fn new(entropy: &[u8], nonce: &[u8], personalization: &[u8]) -> Self {
        Self::seeded(&[entropy, nonce, personalization])
    }

    /// Takes in fresh entropy (10.1.1.3).
    pub fn reseed(&mut self, entropy: &[u8], additional: &[u8]) {
        *self = Self::seeded(&[&[1], &self.v, entropy, additional]);
    }

    /// Fills `out` (10.1.1.4).
    ///
    /// # Errors
    /// [`Error::Size`] when `out` is longer than [`MAX_REQUEST`], [`Error::Exhausted`] when the
    /// generator must be reseeded first. `out` and the state are as before.
    pub fn generate(&mut self, additional: &[u8], out: &mut [u8]) -> Result<(), Error> {
        if out.len() > MAX_REQUEST {
            return Err(Error::Size);
        }
        if self.reseed_counter > RESEED_INTERVAL {
            return Err(Error::Exhausted);
        }
        if !additional.is_empty() {
            let digest = HASH.hash_parts(&[&[2], &self.v, additional]);
            add(&mut self.v, [&digest]);
        }
        let mut data = self.v;
        for (number, chunk) in out.chunks_mut(HASH.digest_size()).enumerate() {
            if number > 0 {
                add(&mut data, [&[1]]);
            }
            if let Some(digest) = HASH.hash(&data).get(..chunk.len()) {
                chunk.copy_from_slice(digest);
            }
        }
        data.zeroize();
        let digest = HASH.hash_parts(&[&[3], &self.v]);
        add(&mut self.v, [&digest, &self.c, &self.reseed_counter.to_be_bytes()]);
        self.reseed_counter += 1;
        Ok(())
    }

    /// Fills `out` of any length, with as many requests as necessary. An exhausted generator
    /// reseeds itself without fresh entropy: reseed it earlier.
    pub fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(MAX_REQUEST) {
            if self.generate(&[], chunk).is_err() {
                self.reseed(&[], &[]);
                // This cannot fail: a chunk fits into a request, and the counter is 1.
                let _ = self.generate(&[], chunk);
            }
        }
    }

    /// The state.
    pub fn save(&self) -> SavedDrbg {
        SavedDrbg {
            version: SAVED_VERSION,
            v: self.v,
            c: self.c,
            reseed_counter: self.reseed_counter,
        }
    }

    /// Continues from a state.
    ///
    /// # Errors
    /// [`Error::Saved`] if it has another version or an impossible counter.
    pub fn restore(saved: &SavedDrbg) -> Result<Self, Error> {
        let counters = 1..=RESEED_INTERVAL + 1;
        if saved.version != SAVED_VERSION || !counters.contains(&saved.reseed_counter) {
            return Err(Error::Saved);
        }
        Ok(Self { v: saved.v, c: saved.c, reseed_counter: saved.reseed_counter })
    }

    fn seeded(parts: &[&[u8]]) -> Self {
        let v = derive(parts);
        Self { v, c: derive(&[&[0], &v]), reseed_counter: 1 }
    }
}

/// Hash_df (10.3.1), for 440 bits.
fn derive(parts: &[&[u8]]) -> [u8; SEED_LENGTH] {
    let mut out = [0; SEED_LENGTH];
    for (chunk, counter) in out.chunks_mut(HASH.digest_size()).zip(1_u8..) {
        let mut hasher = Hasher::new(HASH);
        hasher.update(&[counter]);
        hasher.update(&(SEED_LENGTH as u32 * 8).to_be_bytes());
        for part in parts {
            hasher.update(part);
        }
        for (to, from) in chunk.iter_mut().zip(hasher.finish().iter()) {
            *to = *from;
        }
    }
    out
}

/// Adds big-endian numbers modulo 2^440.
fn add<const N: usize>(to: &mut [u8; SEED_LENGTH], numbers: [&[u8]; N]) {
    let mut rest = numbers.map(|number| number.rchunks(8));
    let mut carry = 0;
    // The highest place is shorter than a word; its carry is dropped.
    for place in to.rchunks_mut(8) {
        let (mut sum, overflows) = word(place).overflowing_add(carry);
        carry = overflows.into();
        for words in &mut rest {
            let (more, overflows) = sum.overflowing_add(words.next().map_or(0, word));
            sum = more;
            carry += u64::from(overflows);
        }
        let bytes = sum.to_be_bytes();
        if let Some(low) = bytes.get(bytes.len() - place.len()..) {
            place.copy_from_slice(low);
        }
    }
}

/// A big-endian number of at most eight bytes.
fn word(bytes: &[u8]) -> u64 {
    match <[u8; 8]>::try_from(bytes) {
        Ok(bytes) => u64::from_be_bytes(bytes),
        Err(_) => bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
    }
}

impl fmt::Debug for Drbg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Drbg(request {})", self.reseed_counter)
    }
}

impl fmt::Debug for SavedDrbg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SavedDrbg(version {}, request {})", self.version, self.reseed_counter)
    }
}

impl TryRng for Drbg {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for Drbg {}
