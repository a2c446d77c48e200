//! Bytes that are wiped when they are dropped.

use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// An authorization value, a seed, a proof or a private key.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Secret(Vec<u8>);

impl Secret {
    /// An authorization value, without trailing zeros (Part 1, section 19.6.4.3).
    pub(crate) fn auth(mut bytes: Vec<u8>) -> Self {
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Self(bytes)
    }

    /// Whether both are equal; the time depends on the lengths only.
    pub(crate) fn matches(&self, other: &[u8]) -> bool {
        same(&self.0, other)
    }
}

/// Whether both are equal; the time depends on the lengths only.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (x, y)| all | (x ^ y));
    a.len() == b.len() && core::hint::black_box(difference) == 0
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl core::ops::Deref for Secret {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other)
    }
}

impl Eq for Secret {}
