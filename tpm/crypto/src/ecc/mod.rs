//! The elliptic curves of the TPM: NIST P-256, P-384 (Part 1, annex C).
//!
//! All operations with private keys run in constant time, in the library's arithmetic. Coordinates,
//! scalars and signature parts are big-endian and as long as the curve's field.

mod arithmetic;
mod parameters;
mod schemes;
#[cfg(test)]
mod tests;

pub use parameters::CurveParameters;
pub use schemes::{
    EccSignature, ecdaa_sign, ecdsa_sign, ecdsa_verify, ecschnorr_sign, ecschnorr_verify,
};

use core::fmt;

use crypto_bigint::{NonZero, U512};
use p256::NistP256;
use p384::NistP384;
use zeroize::Zeroize;

use crate::drbg::Drbg;
use crate::{Error, SecretBytes};

/// Bytes of the largest field.
pub const MAX_FIELD: usize = 48;
/// Bytes of the longest input of [`EccPrivateKey::from_extra_bits`].
pub const MAX_EXTRA: usize = 64;

/// A coordinate, a scalar or a part of a signature.
pub type FieldBytes = SecretBytes<MAX_FIELD>;

/// A curve by its TPM_ECC_CURVE (Part 2, 6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Curve {
    /// TPM_ECC_NIST_P256.
    P256 = 0x0003,
    /// TPM_ECC_NIST_P384.
    P384 = 0x0004,
}

impl Curve {
    /// Both curves, in the order of their ids.
    pub const ALL: [Self; 2] = [Self::P256, Self::P384];

    /// The curve with this TPM_ECC_CURVE.
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            0x0003 => Some(Self::P256),
            0x0004 => Some(Self::P384),
            _ => None,
        }
    }

    /// Its TPM_ECC_CURVE.
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// Bits of its field, and of its order.
    pub const fn bits(self) -> u16 {
        match self {
            Self::P256 => 256,
            Self::P384 => 384,
        }
    }

    /// Bytes of its field, and of its order.
    pub const fn field_size(self) -> usize {
        self.bits() as usize / 8
    }

    /// Bytes that [`EccPrivateKey::from_extra_bits`] takes: 64 bits more than the order has (FIPS
    /// 186-4, B.4.1).
    pub const fn extra_size(self) -> usize {
        self.field_size() + 8
    }

    /// The parameters that TPM2_ECC_Parameters returns.
    pub const fn parameters(self) -> &'static CurveParameters {
        match self {
            Self::P256 => &parameters::P256,
            Self::P384 => &parameters::P384,
        }
    }

    /// `number` modulo the order, in the field's length. At most 64 bytes.
    ///
    /// # Errors
    /// [`Error::Size`] when they are more.
    pub fn reduce(self, number: &[u8]) -> Result<FieldBytes, Error> {
        let order = wide(self.parameters().n)?;
        Ok(self.narrow(reduced(wide(number)?, order)?))
    }

    /// `number` with zeros before it, in the field's length.
    ///
    /// # Errors
    /// [`Error::Size`] when it is longer.
    pub fn pad(self, number: &[u8]) -> Result<FieldBytes, Error> {
        let room = self.field_size().checked_sub(number.len()).ok_or(Error::Size)?;
        let mut padded = FieldBytes::zeroed(self.field_size());
        for (to, from) in padded.as_mut_bytes().iter_mut().skip(room).zip(number) {
            *to = *from;
        }
        Ok(padded)
    }

    /// The lower bytes of a number that is below the order.
    fn narrow(self, number: U512) -> FieldBytes {
        let mut bytes = number.to_be_bytes();
        let mut narrow = FieldBytes::zeroed(self.field_size());
        let lower = bytes.as_ref().iter().rev();
        for (to, from) in narrow.as_mut_bytes().iter_mut().rev().zip(lower) {
            *to = *from;
        }
        bytes.as_mut().zeroize();
        narrow
    }
}

/// A big-endian number of at most 64 bytes.
fn wide(number: &[u8]) -> Result<U512, Error> {
    let room = MAX_EXTRA.checked_sub(number.len()).ok_or(Error::Size)?;
    let mut bytes = [0; MAX_EXTRA];
    for (to, from) in bytes.iter_mut().skip(room).zip(number) {
        *to = *from;
    }
    let wide = U512::from_be_slice(&bytes);
    bytes.zeroize();
    Ok(wide)
}

fn reduced(number: U512, modulus: U512) -> Result<U512, Error> {
    let modulus = NonZero::new(modulus).into_option().ok_or(Error::Value)?;
    Ok(number.rem(&modulus))
}

/// A point that is on its curve, and not at infinity.
#[derive(Clone, PartialEq, Eq)]
pub struct EccPoint {
    curve: Curve,
    x: FieldBytes,
    y: FieldBytes,
}

impl EccPoint {
    /// The point with these coordinates, which may be shorter than the field.
    ///
    /// # Errors
    /// [`Error::Size`] when one is longer, [`Error::Point`] when they are no point of the curve.
    pub fn new(curve: Curve, x: &[u8], y: &[u8]) -> Result<Self, Error> {
        let point = Self { curve, x: curve.pad(x)?, y: curve.pad(y)? };
        match curve {
            Curve::P256 => arithmetic::check::<NistP256>(&point)?,
            Curve::P384 => arithmetic::check::<NistP384>(&point)?,
        }
        Ok(point)
    }

    /// The curve's generator.
    pub fn generator(curve: Curve) -> Self {
        let parameters = curve.parameters();
        let bytes =
            |number| curve.pad(number).unwrap_or_else(|_| FieldBytes::zeroed(curve.field_size()));
        Self { curve, x: bytes(parameters.gx), y: bytes(parameters.gy) }
    }

    /// Its curve.
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// Its x coordinate, in the field's length.
    pub fn x(&self) -> &[u8] {
        &self.x
    }

    /// Its y coordinate, in the field's length.
    pub fn y(&self) -> &[u8] {
        &self.y
    }

    /// The point times `scalar`, a big-endian number of at most 64 bytes, in constant time.
    ///
    /// # Errors
    /// [`Error::Size`] when it is longer, [`Error::NoResult`] when the result is at infinity.
    pub fn multiply(&self, scalar: &[u8]) -> Result<Self, Error> {
        let scalar = self.curve.reduce(scalar)?;
        match self.curve {
            Curve::P256 => arithmetic::multiply::<NistP256>(&scalar, self),
            Curve::P384 => arithmetic::multiply::<NistP384>(&scalar, self),
        }
    }

    /// The sum of two points.
    ///
    /// # Errors
    /// [`Error::Point`] when they are of two curves, [`Error::NoResult`] when the sum is at
    /// infinity.
    pub fn add(&self, other: &Self) -> Result<Self, Error> {
        match self.curve {
            Curve::P256 => arithmetic::add::<NistP256>(self, other),
            Curve::P384 => arithmetic::add::<NistP384>(self, other),
        }
    }
}

impl fmt::Debug for EccPoint {
    /// Shows only the curve: the point may be a shared secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EccPoint({:?})", self.curve)
    }
}

/// A private key: a scalar from 1 to the order minus 1.
#[derive(Clone, PartialEq, Eq)]
pub struct EccPrivateKey {
    curve: Curve,
    d: FieldBytes,
}

impl EccPrivateKey {
    /// The key with the given scalar, which may be shorter than the order.
    ///
    /// # Errors
    /// [`Error::Size`] when it is longer, [`Error::Value`] when it is zero or not below the order.
    pub fn new(curve: Curve, d: &[u8]) -> Result<Self, Error> {
        let d = curve.pad(d)?;
        match curve {
            Curve::P256 => arithmetic::check_scalar::<NistP256>(&d)?,
            Curve::P384 => arithmetic::check_scalar::<NistP384>(&d)?,
        }
        Ok(Self { curve, d })
    }

    /// The key for [`Curve::extra_size`] random bytes: with `c` as a big-endian number, `c` modulo
    /// (order - 1), plus 1 (FIPS 186-4, B.4.1). The same bytes give the same key forever.
    ///
    /// # Errors
    /// [`Error::Size`] when `c` has another length.
    pub fn from_extra_bits(curve: Curve, c: &[u8]) -> Result<Self, Error> {
        if c.len() != curve.extra_size() {
            return Err(Error::Size);
        }
        let below_order = wide(curve.parameters().n)?.wrapping_sub(&U512::ONE);
        let d = reduced(wide(c)?, below_order)?.wrapping_add(&U512::ONE);
        Ok(Self { curve, d: curve.narrow(d) })
    }

    /// A key from the next [`Curve::extra_size`] bytes of `random`. A generator that was made from
    /// a seed makes the same key forever.
    ///
    /// # Errors
    /// None with either curve.
    pub fn generate(curve: Curve, random: &mut Drbg) -> Result<Self, Error> {
        let mut c = SecretBytes::<MAX_EXTRA>::zeroed(curve.extra_size());
        random.fill(c.as_mut_bytes());
        Self::from_extra_bits(curve, &c)
    }

    /// Its curve.
    pub fn curve(&self) -> Curve {
        self.curve
    }

    /// The scalar, in the order's length.
    pub fn scalar(&self) -> &[u8] {
        &self.d
    }

    /// The public key: the generator times the scalar.
    ///
    /// # Errors
    /// None for a key of this type.
    pub fn public_key(&self) -> Result<EccPoint, Error> {
        match self.curve {
            Curve::P256 => arithmetic::multiply_generator::<NistP256>(self.curve, &self.d),
            Curve::P384 => arithmetic::multiply_generator::<NistP384>(self.curve, &self.d),
        }
    }

    /// The shared point with another's public key (Part 1, C.6.1): ECDH, with both coordinates.
    ///
    /// # Errors
    /// [`Error::Point`] when the other key is of another curve.
    pub fn ecdh(&self, public: &EccPoint) -> Result<EccPoint, Error> {
        if public.curve != self.curve {
            return Err(Error::Point);
        }
        public.multiply(&self.d)
    }
}

impl fmt::Debug for EccPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EccPrivateKey({:?})", self.curve)
    }
}
