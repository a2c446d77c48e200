//! Byte strings of bounded length that are cleared on drop.

use core::fmt;
use core::ops::Deref;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Error;

/// Up to `N` secret bytes: cleared on drop, compared in constant time, never shown.
#[derive(Clone)]
pub struct SecretBytes<const N: usize> {
    /// Zero from `length` on.
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Zeroize for SecretBytes<N> {
    fn zeroize(&mut self) {
        self.as_mut_bytes().zeroize();
        self.length.zeroize();
    }
}

impl<const N: usize> Drop for SecretBytes<N> {
    fn drop(&mut self) {
        self.as_mut_bytes().zeroize();
    }
}

impl<const N: usize> ZeroizeOnDrop for SecretBytes<N> {}

impl<const N: usize> SecretBytes<N> {
    /// `length` zero bytes; at most `N`.
    pub fn zeroed(length: usize) -> Self {
        Self { bytes: [0; N], length: length.min(N) }
    }

    /// A copy of `bytes`.
    ///
    /// # Errors
    /// [`Error::Size`] if there are more than `N`.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        let mut new = Self::zeroed(bytes.len());
        new.bytes.get_mut(..bytes.len()).ok_or(Error::Size)?.copy_from_slice(bytes);
        Ok(new)
    }

    /// A copy of the first `N` of `bytes`.
    pub(crate) fn filled(bytes: &[u8]) -> Self {
        let mut new = Self::zeroed(bytes.len());
        if let (Some(to), Some(from)) = (new.bytes.get_mut(..new.length), bytes.get(..new.length)) {
            to.copy_from_slice(from);
        }
        new
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }

    /// The bytes, for a change.
    pub fn as_mut_bytes(&mut self) -> &mut [u8] {
        let length = self.length.min(N);
        self.bytes.get_mut(..length).unwrap_or_default()
    }

    /// Removes the bytes from `length` on.
    pub fn truncate(&mut self, length: usize) {
        if let Some(rest) = self.bytes.get_mut(length..) {
            rest.zeroize();
            self.length = self.length.min(length);
        }
    }
}

impl<const N: usize> Deref for SecretBytes<N> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl<const N: usize> PartialEq for SecretBytes<N> {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl<const N: usize> Eq for SecretBytes<N> {}

impl<const N: usize> fmt::Debug for SecretBytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.length)
    }
}

/// Serializes byte arrays as tuples, for lengths that serde does not support.
pub(crate) mod array {
    use core::fmt;

    use serde::de::{Error, SeqAccess, Visitor};
    use serde::ser::SerializeTuple;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(N)?;
        bytes.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
        tuple.end()
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        deserializer.deserialize_tuple(N, Bytes::<N>)
    }

    struct Bytes<const N: usize>;

    impl<'a, const N: usize> Visitor<'a> for Bytes<N> {
        type Value = [u8; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{N} bytes")
        }

        fn visit_seq<A: SeqAccess<'a>>(self, mut sequence: A) -> Result<[u8; N], A::Error> {
            let mut bytes = [0; N];
            for (index, byte) in bytes.iter_mut().enumerate() {
                let next = sequence.next_element()?;
                *byte = next.ok_or_else(|| A::Error::invalid_length(index, &self))?;
            }
            Ok(bytes)
        }
    }
}
