//! The bridge from byte strings to the library's fixed-size integers.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, Uint};
use zeroize::Zeroize;

use super::ModulusBytes;
use crate::{Error, SecretBytes};

const WORD: usize = 8;

/// A number; bytes beyond `L` words are lost, so check their length first.
pub(super) fn from_bytes<const L: usize>(bytes: &[u8]) -> Uint<L> {
    let mut words = [0_u64; L];
    for (word, chunk) in words.iter_mut().zip(bytes.rchunks(WORD)) {
        *word = chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    let number = Uint::from_words(words);
    words.zeroize();
    number
}

/// The bytes of a number of `L` words, at most `N` of them.
pub(super) fn to_bytes<const L: usize, const N: usize>(number: &Uint<L>) -> SecretBytes<N> {
    let mut bytes = SecretBytes::zeroed(L * WORD);
    for (chunk, word) in bytes.as_mut_bytes().rchunks_mut(WORD).zip(number.as_words()) {
        for (to, from) in chunk.iter_mut().rev().zip(word.to_le_bytes()) {
            *to = from;
        }
    }
    bytes
}

/// A message that must be below `modulus`. Zeros before it do not count.
pub(super) fn message<const L: usize>(bytes: &[u8], modulus: &Uint<L>) -> Result<Uint<L>, Error> {
    let excess = bytes.len().saturating_sub(L * WORD);
    let (excess, bytes) = bytes.split_at_checked(excess).ok_or(Error::Size)?;
    let number = from_bytes(bytes);
    if excess.iter().any(|byte| *byte != 0) || number >= *modulus {
        return Err(Error::Value);
    }
    Ok(number)
}

/// `message` to the power of `e` modulo `n`.
pub(super) fn public<const L: usize>(
    n: &[u8],
    e: u32,
    bytes: &[u8],
) -> Result<ModulusBytes, Error> {
    let n = Odd::new(from_bytes::<L>(n)).into_option().ok_or(Error::Value)?;
    let message = message(bytes, n.as_ref())?;
    let parameters = FixedMontyParams::new_vartime(n);
    let power = power_public(&FixedMontyForm::new(&message, &parameters), e);
    Ok(to_bytes(&power.retrieve()))
}

/// `base` to the power of a public exponent that is not zero.
pub(super) fn power_public<const L: usize>(
    base: &FixedMontyForm<L>,
    exponent: u32,
) -> FixedMontyForm<L> {
    let mut power = *base;
    let below_highest = exponent.checked_ilog2().unwrap_or(0);
    for bit in (0..below_highest).rev() {
        power = power.square();
        if exponent >> bit & 1 != 0 {
            power *= base;
        }
    }
    power
}

/// The product of two primes of `H` words, which has `N`.
pub(super) fn product<const H: usize, const N: usize>(
    one: &[u8],
    other: &[u8],
) -> Result<ModulusBytes, Error> {
    if one.len() != H * WORD || other.len() != H * WORD {
        return Err(Error::Size);
    }
    let (low, high) = from_bytes::<H>(one).widening_mul(&from_bytes::<H>(other));
    Ok(to_bytes(&join::<H, N>(&low, &high)))
}

/// One number of `N` words from its lower and its upper `H`.
pub(super) fn join<const H: usize, const N: usize>(low: &Uint<H>, high: &Uint<H>) -> Uint<N> {
    let mut words = [0; N];
    let halves = low.as_words().iter().chain(high.as_words());
    for (to, from) in words.iter_mut().zip(halves) {
        *to = *from;
    }
    let number = Uint::from_words(words);
    words.zeroize();
    number
}
