//! Conversion of byte strings to long numbers.

use tpm_modular::{BLOCK_BITS, Modulus, Number};

use super::ModulusBytes;
use crate::{Error, SecretBytes};

/// Size of a block in bytes.
pub(super) const BLOCK: usize = BLOCK_BITS / 8;

/// The number in bytes that fill whole blocks.
pub(super) fn from_bytes(bytes: &[u8]) -> Number {
    Number::from_bytes(bytes, bytes.len() / BLOCK)
}

/// The bytes of a number: as many as its blocks have, at most `N`.
pub(super) fn to_bytes<const N: usize>(number: &Number) -> SecretBytes<N> {
    let mut bytes = SecretBytes::zeroed(number.length() * BLOCK);
    number.fill_bytes(bytes.as_mut_bytes());
    bytes
}

/// A message, which has to be below `modulus`. Leading zeros are ignored.
pub(super) fn message(bytes: &[u8], modulus: &Number) -> Result<Number, Error> {
    let excess = bytes.len().saturating_sub(modulus.length() * BLOCK);
    let (excess, bytes) = bytes.split_at_checked(excess).ok_or(Error::Size)?;
    let number = Number::from_bytes(bytes, modulus.length());
    if excess.iter().any(|byte| *byte != 0) || !number.is_below(modulus) {
        return Err(Error::Value);
    }
    Ok(number)
}

/// A message to the power of `e` modulo `n`.
pub(super) fn public(n: &[u8], e: u32, bytes: &[u8]) -> Result<ModulusBytes, Error> {
    let n = from_bytes(n);
    Ok(to_bytes(&power_public(&n, e, &message(bytes, &n)?)?))
}

/// A number to the power of `e` modulo `n`.
pub(super) fn power_public(n: &Number, e: u32, number: &Number) -> Result<Number, Error> {
    let mut modulus = Modulus::new(n).ok_or(Error::Value)?;
    let radix = modulus.radix();
    let base = modulus.enter(number, &radix);
    let power = modulus.power_public(&base, e);
    Ok(modulus.leave(&power))
}

/// The product of two primes of equal length.
pub(super) fn product(one: &[u8], other: &[u8]) -> Result<ModulusBytes, Error> {
    if one.len() != other.len() {
        return Err(Error::Size);
    }
    let (one, other) = (from_bytes(one), from_bytes(other));
    Ok(to_bytes(&Number::product(&one, &other, 2 * one.length())))
}
