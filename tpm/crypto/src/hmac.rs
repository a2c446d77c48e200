//! The keyed hash of FIPS 198-1 over any of the TPM's hash algorithms.
//!
//! It is built on [`Hasher`] and not on a library, because sequence contexts have to save both
//! mid-states.

use zeroize::Zeroizing;

use crate::Error;
use crate::hash::{Digest, HashAlgorithm, Hasher, MAX_BLOCK, SavedHasher};

const INNER: u8 = 0x36;
const OUTER: u8 = 0x5C;

/// An unfinished HMAC. A clone continues independently.
#[derive(Clone, Debug)]
pub struct Hmac {
    inner: Hasher,
    outer: Hasher,
}

impl Hmac {
    /// An HMAC of no data yet, with a `key` of any length.
    pub fn new(algorithm: HashAlgorithm, key: &[u8]) -> Self {
        let mut block = Zeroizing::new([0; MAX_BLOCK]);
        let hashed;
        let key = if key.len() > algorithm.block_size() {
            hashed = algorithm.hash(key);
            hashed.as_bytes()
        } else {
            key
        };
        for (to, from) in block.iter_mut().zip(key) {
            *to = *from;
        }
        let padded = |pad: u8| {
            let mut masked = block.clone();
            masked.iter_mut().for_each(|byte| *byte ^= pad);
            let mut hasher = Hasher::new(algorithm);
            hasher.update(masked.get(..algorithm.block_size()).unwrap_or_default());
            hasher
        };
        Self { inner: padded(INNER), outer: padded(OUTER) }
    }

    /// Its hash algorithm.
    pub fn algorithm(&self) -> HashAlgorithm {
        self.inner.algorithm()
    }

    /// Adds `data`.
    pub fn update(&mut self, data: &[u8]) {
        self.inner.update(data);
    }

    /// The HMAC of all added data. Compare it as a [`Digest`], in constant time.
    pub fn finish(self) -> Digest {
        let mut outer = self.outer;
        outer.update(&self.inner.finish());
        outer.finish()
    }

    /// Both mid-states, the inner one first. They are as secret as the key.
    pub fn save(&self) -> [SavedHasher; 2] {
        [self.inner.save(), self.outer.save()]
    }

    /// Continues from both mid-states.
    ///
    /// # Errors
    /// [`Error::Saved`] if one is not a mid-state, or the algorithms differ.
    pub fn restore([inner, outer]: &[SavedHasher; 2]) -> Result<Self, Error> {
        if inner.algorithm() != outer.algorithm() {
            return Err(Error::Saved);
        }
        Ok(Self { inner: Hasher::restore(inner)?, outer: Hasher::restore(outer)? })
    }
}

/// The HMAC of `parts`, one after the other, under `key`.
pub fn hmac(algorithm: HashAlgorithm, key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut hmac = Hmac::new(algorithm, key);
    for part in parts {
        hmac.update(part);
    }
    hmac.finish()
}
