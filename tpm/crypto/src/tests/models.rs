//! Comparison of the generator, the curves, RSA with plain models of them.

use std::vec::Vec;

use crypto_bigint::{NonZero, U512, U1024};
use proptest::prelude::*;

use super::vectors::number;
use crate::drbg::{Drbg, SEED_LENGTH};
use crate::ecc::{Curve, EccPoint, EccPrivateKey, MAX_EXTRA};
use crate::hash::{HashAlgorithm, Hasher};
use crate::rsa::{DEFAULT_EXPONENT, RsaPrivateKey, RsaPublicKey};
use crate::{Error, SecretBytes};

const SHA256: HashAlgorithm = HashAlgorithm::Sha256;

/// Hash_DRBG of SP 800-90A, 10.1.1, byte by byte.
struct Model {
    v: Vec<u8>,
    c: Vec<u8>,
    counter: u64,
}

impl Model {
    fn new(seed: &[u8]) -> Self {
        let v = Self::derive(seed);
        let c = Self::derive(&[&[0], &v[..]].concat());
        Self { v, c, counter: 1 }
    }

    fn derive(input: &[u8]) -> Vec<u8> {
        let block = |counter: u8| SHA256.hash_parts(&[&[counter], &[0, 0, 1, 0xb8], input]);
        let mut out = [block(1).to_vec(), block(2).to_vec()].concat();
        out.truncate(SEED_LENGTH);
        out
    }

    /// Schoolbook addition modulo 2^440.
    fn add(to: &mut [u8], number: &[u8]) {
        let mut carry = 0;
        for (place, byte) in to.iter_mut().rev().enumerate() {
            let other = number.iter().rev().nth(place).copied().unwrap_or(0);
            let sum = u16::from(*byte) + u16::from(other) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
    }

    fn generate(&mut self, additional: &[u8], size: usize) -> Vec<u8> {
        if !additional.is_empty() {
            let w = SHA256.hash_parts(&[&[2], &self.v, additional]);
            Self::add(&mut self.v, &w);
        }
        let (mut data, mut out) = (self.v.clone(), Vec::new());
        while out.len() < size {
            out.extend_from_slice(&SHA256.hash(&data));
            Self::add(&mut data, &[1]);
        }
        out.truncate(size);
        let h = SHA256.hash_parts(&[&[3], &self.v]);
        let c = self.c.clone();
        for number in [&h[..], &c, &self.counter.to_be_bytes()] {
            Self::add(&mut self.v, number);
        }
        self.counter += 1;
        out
    }
}

#[test]
fn the_generator_agrees_with_python_over_many_requests() {
    let data: Vec<u8> = (0..400_u32).map(|index| (index % 251) as u8).collect();
    let mut drbg = Drbg::new(&data[..48], &data[100..116], b"TPM");
    let mut hasher = Hasher::new(SHA256);
    let mut take = |drbg: &mut Drbg, size: usize, additional: &[u8]| {
        let mut out = std::vec![0; size];
        drbg.generate(additional, &mut out).unwrap();
        hasher.update(&out);
    };
    (0..100).for_each(|size| take(&mut drbg, size, &data[..size % 7]));
    drbg.reseed(&data[200..232], b"more");
    take(&mut drbg, 65, &[]);
    assert_eq!(hasher.finish().to_vec(), number("drbg", "model"));
}

/// A number of the curve's extra length, with runs of equal bits.
fn wide() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(0), Just(u8::MAX), any::<u8>()];
    proptest::collection::vec(byte, 0..=MAX_EXTRA)
}

fn integer(bytes: &[u8]) -> U512 {
    let mut padded = [0; MAX_EXTRA];
    padded[MAX_EXTRA - bytes.len()..].copy_from_slice(bytes);
    U512::from_be_slice(&padded)
}

fn order(curve: Curve) -> NonZero<U512> {
    NonZero::new(integer(curve.parameters().n)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_generator_agrees_with_its_model(
        seed in proptest::collection::vec(any::<u8>(), 1..60),
        requests in proptest::collection::vec((0_usize..90, 0_usize..3), 1..12),
    ) {
        let mut drbg = Drbg::new(&seed, b"", b"");
        let mut model = Model::new(&seed);
        for (size, additional) in requests {
            let additional = &b"xy"[..additional];
            let mut out = std::vec![0; size];
            drbg.generate(additional, &mut out).unwrap();
            prop_assert_eq!(out, model.generate(additional, size));
        }
    }

    #[test]
    fn scalars_are_reduced_as_whole_numbers_are(number in wide(), which in 0_usize..2) {
        let curve = Curve::ALL[which];
        let reduced = curve.reduce(&number).unwrap();
        prop_assert_eq!(reduced.len(), curve.field_size());
        prop_assert_eq!(integer(&reduced), integer(&number).rem(&order(curve)));
        if number.len() == curve.extra_size() {
            let key = EccPrivateKey::from_extra_bits(curve, &number).unwrap();
            let below = NonZero::new(order(curve).get().wrapping_sub(&U512::ONE)).unwrap();
            let expected = integer(&number).rem(&below).wrapping_add(&U512::ONE);
            prop_assert_eq!(integer(key.scalar()), expected);
        }
    }

    #[test]
    fn multiples_of_a_point_follow_the_arithmetic_of_their_scalars(
        one in 1_u64..,
        other in 1_u64..,
        which in 0_usize..2,
    ) {
        let generator = EccPoint::generator(Curve::ALL[which]);
        let times = |scalar: u128| generator.multiply(&scalar.to_be_bytes()).unwrap();
        let (one_point, other_point) = (times(one.into()), times(other.into()));
        let (one, other) = (u128::from(one), u128::from(other));
        prop_assert_eq!(one_point.add(&other_point).unwrap(), times(one + other));
        prop_assert_eq!(one_point.multiply(&other.to_be_bytes()).unwrap(), times(one * other));
        prop_assert!(EccPoint::new(Curve::ALL[which], one_point.x(), one_point.y()).is_ok());
    }

    #[test]
    fn secret_bytes_are_the_bytes_they_were_made_of(
        bytes in proptest::collection::vec(any::<u8>(), 0..20),
        length in 0_usize..20,
    ) {
        let made = SecretBytes::<16>::new(&bytes);
        if bytes.len() > 16 {
            prop_assert_eq!(made.unwrap_err(), Error::Size);
            let filled = SecretBytes::<16>::filled(&bytes);
            prop_assert_eq!(filled.as_bytes(), &bytes[..16]);
            return Ok(());
        }
        let mut made = made.unwrap();
        prop_assert_eq!(&made, &SecretBytes::filled(&bytes));
        made.truncate(length);
        prop_assert_eq!(made.as_bytes(), &bytes[..bytes.len().min(length)]);
        made.as_mut_bytes().fill(7);
        prop_assert!(made.iter().all(|byte| *byte == 7));
        zeroize::Zeroize::zeroize(&mut made);
        prop_assert!(made.is_empty());
    }

    #[test]
    fn rsa_powers_are_those_of_whole_numbers(message in any::<[u8; 32]>(), shift in 0_usize..96) {
        let n = number("n", "1024");
        let public = RsaPublicKey::new(&n, DEFAULT_EXPONENT).unwrap();
        let mut padded = std::vec![0; 128];
        padded[shift..shift + 32].copy_from_slice(&message);
        padded[0] &= 0x7f;
        let (modulus, number) = (U1024::from_be_slice(&n), U1024::from_be_slice(&padded));
        let modulus = NonZero::new(modulus).unwrap();
        // 65537 is sixteen squarings and one product.
        let mut power = number;
        for _ in 0..16 {
            power = power.mul_mod(&power, &modulus);
        }
        let expected = power.mul_mod(&number, &modulus);
        let made = public.raw(&padded).unwrap();
        prop_assert_eq!(U1024::from_be_slice(&made), expected);
        let key = RsaPrivateKey::from_prime(&public, &super::vectors::number("p", "1024")).unwrap();
        let back = key.raw(&made, &mut Drbg::new(&message, b"", b"")).unwrap();
        prop_assert_eq!(back.as_bytes(), padded);
    }
}
