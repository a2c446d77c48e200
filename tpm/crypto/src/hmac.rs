//! The keyed hash of FIPS 198-1 over any of the TPM's hash algorithms.
//!
//! It stands on [`Hasher`] and not on a library of its own, since a sequence context must be able
//! to save both mid-states.

use zeroize::Zeroizing;

use crate::Error;
use crate::hash::{Digest, HashAlgorithm, Hasher, MAX_BLOCK, SavedHasher};

const INNER: u8 = 0x36;
const OUTER: u8 = 0x5C;

/// An HMAC in the making. A clone goes on by itself.
#[derive(Clone, Debug)]
pub struct Hmac {
    inner: Hasher,
    outer: Hasher,
}

impl Hmac {
    /// One under `key`, of any length, that has seen nothing.
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

    /// Takes in `data`.
    pub fn update(&mut self, data: &[u8]) {
        self.inner.update(data);
    }

    /// The HMAC of all that was taken in. Compare it as a [`Digest`], in constant time.
    pub fn finish(self) -> Digest {
        let mut outer = self.outer;
        outer.update(&self.inner.finish());
        outer.finish()
    }

    /// Both mid-states, the inner one first. Together they are as good as the key.
    pub fn save(&self) -> [SavedHasher; 2] {
        [self.inner.save(), self.outer.save()]
    }

    /// Goes on from both mid-states.
    ///
    /// # Errors
    /// [`Error::Saved`] when one is no mid-state, or they are of two algorithms.
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
