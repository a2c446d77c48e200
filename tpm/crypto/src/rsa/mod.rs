//! RSA as the TPM uses it: keys of 1024, 2048, 3072 bits (Part 1, annex B).
//!
//! The TPM stores one prime of a private key besides the public modulus; the rest is computed when
//! the key is loaded. Numbers are big-endian byte strings, as long as the modulus or the prime.

mod crt;
mod numbers;
mod padding;
mod search;
mod sieve;
#[cfg(test)]
mod tests;

pub use search::{Progress, RsaKeySearch, SAVED_VERSION, SavedSearch};

use core::fmt;

use crate::drbg::Drbg;
use crate::hash::HashAlgorithm;
use crate::{Error, SecretBytes};
use crt::Crt;

/// Bytes of the largest modulus.
pub const MAX_MODULUS: usize = 384;
/// Bytes of the largest prime.
pub const MAX_PRIME: usize = MAX_MODULUS / 2;
/// The public exponent that a zero in a public area stands for (Part 2, 12.2.3.5).
pub const DEFAULT_EXPONENT: u32 = 65_537;

/// A modulus, a message below it, or a signature.
pub type ModulusBytes = SecretBytes<MAX_MODULUS>;
/// A prime.
pub type PrimeBytes = SecretBytes<MAX_PRIME>;

/// A key size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum RsaSize {
    /// 1024 bits.
    Bits1024 = 1024,
    /// 2048 bits.
    Bits2048 = 2048,
    /// 3072 bits.
    Bits3072 = 3072,
}

impl RsaSize {
    /// Every size.
    pub const ALL: [Self; 3] = [Self::Bits1024, Self::Bits2048, Self::Bits3072];

    /// The size with this many bits.
    pub const fn from_bits(bits: u16) -> Option<Self> {
        match bits {
            1024 => Some(Self::Bits1024),
            2048 => Some(Self::Bits2048),
            3072 => Some(Self::Bits3072),
            _ => None,
        }
    }

    /// Bits of the modulus.
    pub const fn bits(self) -> u16 {
        self as u16
    }

    /// Bytes of the modulus.
    pub const fn modulus_size(self) -> usize {
        self.bits() as usize / 8
    }

    /// Number of blocks of a prime.
    const fn blocks(self) -> usize {
        self.prime_size() / numbers::BLOCK
    }

    /// Bytes of a prime.
    pub const fn prime_size(self) -> usize {
        self.modulus_size() / 2
    }
}

/// How a message is padded before it is encrypted (Part 1, B.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncryptionScheme<'a> {
    /// TPM_ALG_NULL: no padding; the message is a number below the modulus.
    Null,
    /// TPM_ALG_RSAES: PKCS #1 version 1.5.
    Rsaes,
    /// TPM_ALG_OAEP.
    Oaep {
        /// The hash of the label and of the mask.
        hash: HashAlgorithm,
        /// The label with its final NUL, or nothing.
        label: &'a [u8],
    },
}

/// How a digest is padded before it is signed (Part 1, B.5 to B.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureScheme {
    /// TPM_ALG_RSASSA: PKCS #1 version 1.5.
    Rsassa(HashAlgorithm),
    /// TPM_ALG_RSAPSS, with a salt as long as the digest if there is room for it. Salts of any
    /// length verify.
    Rsapss(HashAlgorithm),
}

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub struct RsaPublicKey {
    size: RsaSize,
    n: ModulusBytes,
    e: u32,
}

impl RsaPublicKey {
    /// The key with modulus `n` and exponent `e`.
    ///
    /// # Errors
    /// [`Error::Size`] when `n` has no length of [`RsaSize`], [`Error::Value`] when its highest or
    /// lowest bit is zero, or when `e` is even or less than 3.
    pub fn new(n: &[u8], e: u32) -> Result<Self, Error> {
        let bits = u16::try_from(n.len().saturating_mul(8)).map_err(|_| Error::Size)?;
        let size = RsaSize::from_bits(bits).ok_or(Error::Size)?;
        let highest = n.first().is_some_and(|byte| byte & 0x80 != 0);
        let odd = n.last().is_some_and(|byte| byte & 1 != 0);
        if !highest || !odd || e < 3 || e.is_multiple_of(2) {
            return Err(Error::Value);
        }
        Ok(Self { size, n: ModulusBytes::new(n)?, e })
    }

    /// The size.
    pub fn size(&self) -> RsaSize {
        self.size
    }

    /// The modulus.
    pub fn modulus(&self) -> &[u8] {
        &self.n
    }

    /// The public exponent.
    pub fn exponent(&self) -> u32 {
        self.e
    }

    /// `message` to the power of the exponent.
    ///
    /// # Errors
    /// [`Error::Value`] if `message` is not below the modulus. Leading zeros are ignored.
    pub fn raw(&self, message: &[u8]) -> Result<ModulusBytes, Error> {
        numbers::public(&self.n, self.e, message)
    }

    /// Encrypts `message`.
    ///
    /// # Errors
    /// [`Error::Size`] when it is longer than the padding leaves room for, [`Error::Value`] when
    /// it is not below the modulus.
    pub fn encrypt(
        &self,
        scheme: EncryptionScheme<'_>,
        message: &[u8],
        random: &mut Drbg,
    ) -> Result<ModulusBytes, Error> {
        let mut padded = ModulusBytes::zeroed(self.size.modulus_size());
        match scheme {
            EncryptionScheme::Null => return self.raw(message),
            EncryptionScheme::Rsaes => {
                padding::rsaes_encode(message, padded.as_mut_bytes(), random)?;
            }
            EncryptionScheme::Oaep { hash, label } => {
                padding::oaep_encode(hash, label, message, padded.as_mut_bytes(), random)?;
            }
        }
        self.raw(&padded)
    }

    /// Verifies the signature of a digest.
    ///
    /// # Errors
    /// [`Error::Signature`] if it is not a signature of `digest` by this key, whatever the reason.
    pub fn verify(
        &self,
        scheme: SignatureScheme,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<(), Error> {
        if signature.len() != self.size.modulus_size() {
            return Err(Error::Signature);
        }
        let encoded = self.raw(signature).map_err(|_| Error::Signature)?;
        match scheme {
            SignatureScheme::Rsassa(hash) => {
                let mut expected = ModulusBytes::zeroed(encoded.len());
                padding::rsassa_encode(hash, digest, expected.as_mut_bytes())
                    .map_err(|_| Error::Signature)?;
                if expected == encoded { Ok(()) } else { Err(Error::Signature) }
            }
            SignatureScheme::Rsapss(hash) => padding::pss_verify(hash, digest, encoded),
        }
    }
}

impl fmt::Debug for RsaPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaPublicKey({} bits, exponent {})", self.size.bits(), self.e)
    }
}

/// A private key.
#[derive(Clone)]
pub struct RsaPrivateKey {
    public: RsaPublicKey,
    prime: PrimeBytes,
    parts: Crt,
}

impl RsaPrivateKey {
    /// The private key of `public` from one of its primes, which the TPM stores in the sensitive
    /// area.
    ///
    /// # Errors
    /// [`Error::Size`] when the prime is not half as long as the modulus, [`Error::Binding`] when
    /// the modulus is not its multiple, or the exponent has no inverse.
    pub fn from_prime(public: &RsaPublicKey, prime: &[u8]) -> Result<Self, Error> {
        if prime.len() != public.size.prime_size() {
            return Err(Error::Size);
        }
        let parts = Crt::new(&public.n, public.e, prime)?;
        Ok(Self { public: public.clone(), prime: PrimeBytes::new(prime)?, parts })
    }

    /// The key with two primes of equal length.
    ///
    /// # Errors
    /// As [`from_prime`](Self::from_prime), and [`Error::Value`] when their product is shorter
    /// than twice that length.
    pub fn from_primes(prime: &[u8], other: &[u8], e: u32) -> Result<Self, Error> {
        if !RsaSize::ALL.iter().any(|size| size.prime_size() == prime.len()) {
            return Err(Error::Size);
        }
        let n = numbers::product(prime, other)?;
        Self::from_prime(&RsaPublicKey::new(&n, e)?, prime)
    }

    /// The public key.
    pub fn public_key(&self) -> &RsaPublicKey {
        &self.public
    }

    /// The prime that the TPM stores.
    pub fn prime(&self) -> &[u8] {
        &self.prime
    }

    /// `message` to the power of the private exponent, computed in constant time, blinded by
    /// `random`, and checked with the public key.
    ///
    /// # Errors
    /// [`Error::Value`] when `message` is not below the modulus, [`Error::NoResult`] when the check
    /// found a fault.
    pub fn raw(&self, message: &[u8], random: &mut Drbg) -> Result<ModulusBytes, Error> {
        self.parts.raw(message, random)
    }

    /// Decrypts `cipher_text`. Neither the time nor the error reveals what is wrong with the
    /// padding.
    ///
    /// # Errors
    /// [`Error::Size`] when it is not as long as the modulus, [`Error::Value`] when it is not below
    /// the modulus or the padding is wrong, and as [`raw`](Self::raw).
    pub fn decrypt(
        &self,
        scheme: EncryptionScheme<'_>,
        cipher_text: &[u8],
        random: &mut Drbg,
    ) -> Result<ModulusBytes, Error> {
        if cipher_text.len() != self.public.size.modulus_size() {
            return Err(Error::Size);
        }
        let padded = self.raw(cipher_text, random)?;
        match scheme {
            EncryptionScheme::Null => Ok(padded),
            EncryptionScheme::Rsaes => padding::rsaes_decode(&padded),
            EncryptionScheme::Oaep { hash, label } => padding::oaep_decode(hash, label, padded),
        }
    }

    /// Signs a digest.
    ///
    /// # Errors
    /// [`Error::Size`] when it is not as long as the hash's, or too long for the key; and as
    /// [`raw`](Self::raw).
    pub fn sign(
        &self,
        scheme: SignatureScheme,
        digest: &[u8],
        random: &mut Drbg,
    ) -> Result<ModulusBytes, Error> {
        let mut encoded = ModulusBytes::zeroed(self.public.size.modulus_size());
        match scheme {
            SignatureScheme::Rsassa(hash) => {
                padding::rsassa_encode(hash, digest, encoded.as_mut_bytes())?;
            }
            SignatureScheme::Rsapss(hash) => {
                padding::pss_encode(hash, digest, encoded.as_mut_bytes(), random)?;
            }
        }
        self.raw(&encoded, random)
    }
}

impl fmt::Debug for RsaPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaPrivateKey({} bits)", self.public.size.bits())
    }
}
