//! The cryptographic primitives in the engine's terms: TPM_ALG_IDs for algorithms, `Vec`s for
//! bytes.

use alloc::vec;
use alloc::vec::Vec;

use tpm_crypto::Error;
use tpm_crypto::cipher::{self, AesKey, Direction, Mode};
use tpm_crypto::hash::HashAlgorithm;
use tpm_crypto::hmac as mac;
use tpm_crypto::kdf;

use crate::codec::Put;
use crate::rc::{Rc, Result};
use crate::secret::Secret;
use crate::structures::Symmetric;

impl From<Error> for Rc {
    fn from(error: Error) -> Self {
        match error {
            Error::Value => Self::VALUE,
            Error::Size => Self::SIZE,
            Error::Scheme => Self::SCHEME,
            Error::Point => Self::ECC_POINT,
            Error::Binding => Self::BINDING,
            Error::Signature => Self::SIGNATURE,
            Error::NoResult => Self::NO_RESULT,
            _ => Self::FAILURE,
        }
    }
}

/// The hash with an id. Ids are checked when they are parsed, so the fallback is never used.
pub(crate) fn algorithm(alg: u16) -> HashAlgorithm {
    HashAlgorithm::from_id(alg).unwrap_or(HashAlgorithm::Sha256)
}

/// Size of a digest in bytes; 0 for NULL.
pub(crate) fn digest_size(alg: u16) -> usize {
    HashAlgorithm::from_id(alg).map_or(0, HashAlgorithm::digest_size)
}

/// Size of a hash's block in bytes.
pub(crate) fn block_size(alg: u16) -> usize {
    algorithm(alg).block_size()
}

pub(crate) fn hash(alg: u16, parts: &[&[u8]]) -> Vec<u8> {
    algorithm(alg).hash_parts(parts).as_bytes().to_vec()
}

pub(crate) fn hmac(alg: u16, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    mac::hmac(algorithm(alg), key, parts).as_bytes().to_vec()
}

/// A name: the algorithm, then the digest of `bytes`; empty for NULL.
pub(crate) fn name(alg: u16, bytes: &[u8]) -> Vec<u8> {
    let mut name = Vec::new();
    if digest_size(alg) != 0 {
        name.put_u16(alg).put(&hash(alg, &[bytes]));
    }
    name
}

/// `size` bytes by KDFa.
pub(crate) fn kdfa(alg: u16, key: &[u8], label: &str, u: &[u8], v: &[u8], size: usize) -> Secret {
    let mut out = vec![0; size];
    kdf::kdfa(algorithm(alg), key, label.as_bytes(), u, v, &mut out);
    out.into()
}

/// `size` bytes by KDFe.
pub(crate) fn kdfe(alg: u16, z: &[u8], label: &str, u: &[u8], v: &[u8], size: usize) -> Secret {
    let mut out = vec![0; size];
    kdf::kdfe(algorithm(alg), z, label.as_bytes(), u, v, &mut out);
    out.into()
}

/// Whether a cipher encrypts or decrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Encrypt,
    Decrypt,
}

/// AES-CFB in place. An empty `iv` stands for zeros.
pub(crate) fn cfb(key: &[u8], iv: &[u8], data: &mut [u8], way: Way) -> Result<()> {
    let mut vector = [0; cipher::BLOCK];
    vector.iter_mut().zip(iv).for_each(|(to, from)| *to = *from);
    apply(key, alg_cfb(), &mut vector, data, way)
}

const fn alg_cfb() -> u16 {
    crate::constants::alg::CFB
}

/// AES in any mode, in place; updates the vector.
pub(crate) fn apply(
    key: &[u8],
    mode: u16,
    vector: &mut [u8; cipher::BLOCK],
    data: &mut [u8],
    way: Way,
) -> Result<()> {
    let mode = Mode::from_id(mode).ok_or(Rc::MODE)?;
    let direction = match way {
        Way::Encrypt => Direction::Encrypt,
        Way::Decrypt => Direction::Decrypt,
    };
    Ok(AesKey::new(key)?.apply(mode, direction, vector, data)?)
}

/// XOR obfuscation (Part 1, section 11.4.7.3).
pub(crate) fn xor(alg: u16, key: &[u8], u: &[u8], v: &[u8], data: &mut [u8]) {
    let mask = kdfa(alg, key, "XOR", u, v, data.len());
    data.iter_mut().zip(mask.iter()).for_each(|(byte, mask)| *byte ^= mask);
}

/// Encrypts or decrypts a parameter for a session (Part 1, section 21).
pub(crate) fn parameter(
    alg: u16,
    symmetric: Symmetric,
    key: &[u8],
    (newer, older): (&[u8], &[u8]),
    data: &mut [u8],
    way: Way,
) -> Result<()> {
    if symmetric.alg == crate::constants::alg::XOR {
        xor(symmetric.bits, key, newer, older, data);
        return Ok(());
    }
    let size = symmetric.key_size();
    let derived = kdfa(alg, key, "CFB", newer, older, size + cipher::BLOCK);
    let (key, iv) = derived.split_at_checked(size).ok_or(Rc::FAILURE)?;
    cfb(key, iv, data, way)
}
