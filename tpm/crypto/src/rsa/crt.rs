//! The private RSA operation, by the Chinese remainder theorem.

use tpm_modular::{Modulus, Number, SmallModulus, divide_exactly};

use super::numbers::{self, from_bytes, message, to_bytes};
use super::{MAX_PRIME, ModulusBytes};
use crate::Error;
use crate::drbg::Drbg;

/// The parts of a key that the private operation needs.
#[derive(Clone)]
pub(super) struct Crt {
    n: Number,
    e: u32,
    p: Half,
    q: Half,
}

/// A prime, with the inverse of the public exponent modulo (prime - 1).
#[derive(Clone)]
struct Half {
    prime: Number,
    d: Number,
}

impl Half {
    fn new(prime: Number, e: u32) -> Result<Self, Error> {
        // The product of two primes of equal length has full length only if both highest bits are
        // set.
        Modulus::new(&prime).ok_or(Error::Binding)?;
        let d = inverse_exponent(e, &prime)?;
        Ok(Self { prime, d })
    }

    fn modulus(&self) -> Result<Modulus, Error> {
        Modulus::new(&self.prime).ok_or(Error::Binding)
    }
}

impl Crt {
    /// Computes the parts from the modulus and one prime.
    pub(super) fn new(n: &[u8], e: u32, prime: &[u8]) -> Result<Self, Error> {
        let (n, p) = (from_bytes(n), from_bytes(prime));
        let p = Half::new(p, e)?;
        let q = divide_exactly(&n, &p.prime).resized(p.prime.length());
        if Number::product(&p.prime, &q, n.length()) != n || q == p.prime {
            return Err(Error::Binding);
        }
        Ok(Self { n, e, p, q: Half::new(q, e)? })
    }

    /// The private operation on a message, blinded and checked.
    ///
    /// With a random u, (m·uᵉ)ᵈ·u⁻¹ is mᵈ. Inverses are powers, by Fermat: modulo q, u⁻¹ shares its
    /// squarings with the other power; modulo p, (q·u)⁻¹ serves Garner's formula, too.
    pub(super) fn raw(&self, bytes: &[u8], random: &mut Drbg) -> Result<ModulusBytes, Error> {
        let message = message(bytes, &self.n)?;
        let mut blind = ModulusBytes::zeroed(bytes_of(&self.n));
        random.fill(blind.as_mut_bytes());
        let blind = from_bytes(&blind);
        let in_q = self.power_in_q(&message, &blind)?;
        let h = self.garner(&message, &blind, &in_q)?;
        let mut result = Number::product(&h, &self.q.prime, self.n.length());
        result.add(&in_q.resized(self.n.length()));
        // A fault in one half would reveal the other prime (Boneh, DeMillo, Lipton). The check also
        // fails if a factor is not prime, or if a prime divides u.
        if numbers::power_public(&self.n, self.e, &result)? != message {
            return Err(Error::NoResult);
        }
        Ok(to_bytes(&result))
    }

    /// mᵈ modulo q.
    fn power_in_q(&self, message: &Number, blind: &Number) -> Result<Number, Error> {
        let mut q = self.q.modulus()?;
        let radix = q.radix();
        let mut base = q.enter_wide(message, &radix);
        let blind = q.enter_wide(blind, &radix);
        let sealed = q.power_public(&blind, self.e);
        q.multiply(&mut base, &sealed);
        let inverting = q.inverting_exponent();
        let power = q.power_of_two_bases([(&base, &self.q.d), (&blind, &inverting)]);
        Ok(q.leave(&power))
    }

    /// (mᵈ - `in_q`)·q⁻¹ modulo p, which is ((m·uᵉ)ᵈ - `in_q`·u)·(q·u)⁻¹.
    fn garner(&self, message: &Number, blind: &Number, in_q: &Number) -> Result<Number, Error> {
        let mut p = self.p.modulus()?;
        let radix = p.radix();
        let mut base = p.enter_wide(message, &radix);
        let blind = p.enter_wide(blind, &radix);
        let sealed = p.power_public(&blind, self.e);
        p.multiply(&mut base, &sealed);
        let mut power = p.power(&base, &self.p.d);
        let mut sealed_in_q = p.enter(in_q, &radix);
        p.multiply(&mut sealed_in_q, &blind);
        let mut divisor = p.enter(&self.q.prime, &radix);
        p.multiply(&mut divisor, &blind);
        let inverse = p.power(&divisor, &p.inverting_exponent());
        p.tighten(&mut power);
        p.tighten(&mut sealed_in_q);
        p.subtract(&mut power, &sealed_in_q);
        p.multiply(&mut power, &inverse);
        Ok(p.leave(&power))
    }
}

const fn bytes_of(number: &Number) -> usize {
    number.length() * numbers::BLOCK
}

/// Whether (prime - 1) has no factor in common with a public exponent.
pub(super) fn is_coprime(e: u32, prime: &Number) -> bool {
    inverse_of_order(u64::from(e), prime).is_some()
}

/// The inverse of (prime - 1) modulo `e`.
fn inverse_of_order(e: u64, prime: &Number) -> Option<u64> {
    let mut words = zeroize::Zeroizing::new([0; MAX_PRIME / 8]);
    prime.fill_words(&mut *words);
    let words = words.get(..prime.length() * numbers::BLOCK / 8)?;
    let rest = SmallModulus::new(e).remainder(words);
    inverse_small(if rest == 0 { e - 1 } else { rest - 1 }, e)
}

/// The inverse of a small `e` modulo (prime - 1): finds the multiple of (prime - 1) that is one
/// less than a multiple of `e`, and divides the latter by `e`.
fn inverse_exponent(e: u32, prime: &Number) -> Result<Number, Error> {
    let e = u64::from(e);
    let factor = inverse_of_order(e, prime).ok_or(Error::Binding)?;
    let mut order = prime.clone();
    order.subtract(&one(prime.length()));
    // factor·order ≡ 1 modulo e, so (e - factor)·order + 1 is a multiple of e.
    let mut small = Number::zero(1);
    small.add_word(e - factor);
    let mut multiple = Number::product(&order, &small, prime.length() + 1);
    multiple.add_word(1);
    let mut divisor = Number::zero(1);
    divisor.add_word(e);
    Ok(divide_exactly(&multiple, &divisor).resized(prime.length()))
}

fn one(length: usize) -> Number {
    let mut one = Number::zero(length);
    one.add_word(1);
    one
}

/// The inverse of a number modulo `e`, which is at most 32 bits, by Euclid.
fn inverse_small(number: u64, e: u64) -> Option<u64> {
    let (mut r, mut next_r) = (e as i64, number as i64);
    let (mut t, mut next_t) = (0, 1);
    while next_r != 0 {
        let quotient = r / next_r;
        (r, next_r) = (next_r, r - quotient * next_r);
        (t, next_t) = (next_t, t - quotient * next_t);
    }
    if r == 1 { u64::try_from(t.rem_euclid(e as i64)).ok() } else { None }
}
