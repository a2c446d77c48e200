//! The signature schemes of the TPM on elliptic curves (Part 1, C.4).

use ecdsa::{EcdsaCurve, Signature, SignatureSize, hazmat};
use p256::NistP256;
use p256::elliptic_curve::array::ArraySize;
use p256::elliptic_curve::group::Group;
use p256::elliptic_curve::{CurveArithmetic, ProjectivePoint};
use p384::NistP384;

use super::arithmetic::{affine, bytes, non_zero, scalar};
use super::{Curve, EccPoint, EccPrivateKey, FieldBytes};
use crate::Error;
use crate::drbg::Drbg;
use crate::hash::HashAlgorithm;

/// The two parts of a signature, each as long as the curve's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EccSignature {
    /// signatureR.
    pub r: FieldBytes,
    /// signatureS.
    pub s: FieldBytes,
}

/// Signs `digest` (of any length, of which the leftmost bits count) by ECDSA (FIPS 186-5, 6.4),
/// with a secret number from `random`.
///
/// # Errors
/// [`Error::NoResult`], which a working generator never causes.
pub fn ecdsa_sign(
    key: &EccPrivateKey,
    digest: &[u8],
    random: &mut Drbg,
) -> Result<EccSignature, Error> {
    match key.curve {
        Curve::P256 => sign::<NistP256>(key, digest, random),
        Curve::P384 => sign::<NistP384>(key, digest, random),
    }
}

/// Verifies an ECDSA signature, whose parts may be shorter than the order.
///
/// # Errors
/// [`Error::Signature`] if it is not a signature of `digest` by this key.
pub fn ecdsa_verify(key: &EccPoint, digest: &[u8], r: &[u8], s: &[u8]) -> Result<(), Error> {
    match key.curve {
        Curve::P256 => verify::<NistP256>(key, digest, r, s),
        Curve::P384 => verify::<NistP384>(key, digest, r, s),
    }
}

/// Signs `digest` by ECDAA with the secret scalar `commit` of TPM2_Commit (Part 1, C.4.2): the
/// parts are a fresh nonce `k` and `commit + T·d`, with `T` the hash of `k` and the digest.
///
/// # Errors
/// [`Error::Value`] when `commit` is zero or not below the order, [`Error::Size`] when it is longer
/// than it.
pub fn ecdaa_sign(
    key: &EccPrivateKey,
    commit: &[u8],
    hash: HashAlgorithm,
    digest: &[u8],
    random: &mut Drbg,
) -> Result<EccSignature, Error> {
    let commit = EccPrivateKey::new(key.curve, commit)?;
    loop {
        let nonce = EccPrivateKey::generate(key.curve, random)?;
        let t = key.curve.reduce(&hash.hash_parts(&[nonce.scalar(), digest]))?;
        let s = response(key, commit.scalar(), &t)?;
        if !is_zero(&s) {
            return Ok(EccSignature { r: nonce.d.clone(), s });
        }
    }
}

/// Signs `digest` by EC-Schnorr (Part 1, C.4.3) with a secret number `k` from `random`: the parts
/// are `r`, the hash of the x coordinate of `k·G` and the digest, and `k + r·d`.
///
/// # Errors
/// None for a valid key.
pub fn ecschnorr_sign(
    key: &EccPrivateKey,
    hash: HashAlgorithm,
    digest: &[u8],
    random: &mut Drbg,
) -> Result<EccSignature, Error> {
    loop {
        let ephemeral = EccPrivateKey::generate(key.curve, random)?;
        let r = challenge(&ephemeral.public_key()?, hash, digest)?;
        let s = response(key, ephemeral.scalar(), &r)?;
        if !is_zero(&r) && !is_zero(&s) {
            return Ok(EccSignature { r, s });
        }
    }
}

/// Verifies an EC-Schnorr signature: `r` must be the hash for the point `s·G − r·Q`.
///
/// # Errors
/// [`Error::Signature`] if it is not a signature of `digest` by this key.
pub fn ecschnorr_verify(
    key: &EccPoint,
    hash: HashAlgorithm,
    digest: &[u8],
    r: &[u8],
    s: &[u8],
) -> Result<(), Error> {
    let curve = key.curve;
    let r = EccPrivateKey::new(curve, r).map_err(|_| Error::Signature)?;
    let s = EccPrivateKey::new(curve, s).map_err(|_| Error::Signature)?;
    let point = match curve {
        Curve::P256 => commitment::<NistP256>(key, &r, &s),
        Curve::P384 => commitment::<NistP384>(key, &r, &s),
    };
    let point = point.map_err(|_| Error::Signature)?;
    if challenge(&point, hash, digest)? == r.d { Ok(()) } else { Err(Error::Signature) }
}

fn sign<C>(key: &EccPrivateKey, digest: &[u8], random: &mut Drbg) -> Result<EccSignature, Error>
where
    C: EcdsaCurve + CurveArithmetic,
    SignatureSize<C>: ArraySize,
{
    let d = non_zero::<C>(&key.d)?;
    // A part that is zero is as unlikely as guessing the key.
    for _ in 0..8 {
        let ephemeral = EccPrivateKey::generate(key.curve, random)?;
        let k = non_zero::<C>(&ephemeral.d)?;
        if let Ok((signature, _)) = hazmat::sign_prehashed::<C>(&d, &k, digest) {
            let (r, s) = signature.split_bytes();
            return Ok(EccSignature { r: FieldBytes::new(&r)?, s: FieldBytes::new(&s)? });
        }
    }
    Err(Error::NoResult)
}

fn verify<C>(key: &EccPoint, digest: &[u8], r: &[u8], s: &[u8]) -> Result<(), Error>
where
    C: EcdsaCurve + CurveArithmetic,
    SignatureSize<C>: ArraySize,
{
    let part = |number: &[u8]| bytes::<C>(&key.curve.pad(number)?);
    let signature = match (part(r), part(s)) {
        (Ok(r), Ok(s)) => Signature::<C>::from_scalars(r, s).map_err(|_| Error::Signature)?,
        _ => return Err(Error::Signature),
    };
    let point = ProjectivePoint::<C>::from(affine::<C>(key)?);
    hazmat::verify_prehashed::<C>(&point, digest, &signature).map_err(|_| Error::Signature)
}

/// `secret + factor·d` modulo the order.
fn response(key: &EccPrivateKey, secret: &[u8], factor: &[u8]) -> Result<FieldBytes, Error> {
    match key.curve {
        Curve::P256 => multiply_add::<NistP256>(secret, factor, &key.d),
        Curve::P384 => multiply_add::<NistP384>(secret, factor, &key.d),
    }
}

fn multiply_add<C: CurveArithmetic>(
    secret: &[u8],
    factor: &[u8],
    d: &[u8],
) -> Result<FieldBytes, Error> {
    let sum = *scalar::<C>(secret)? + *scalar::<C>(factor)? * *scalar::<C>(d)?;
    let sum = zeroize::Zeroizing::new(sum);
    FieldBytes::new(&Into::<p256::elliptic_curve::FieldBytes<C>>::into(*sum))
}

/// The point `s·G − r·Q`.
fn commitment<C: CurveArithmetic>(
    key: &EccPoint,
    r: &EccPrivateKey,
    s: &EccPrivateKey,
) -> Result<EccPoint, Error> {
    let r = scalar::<C>(&r.d)?;
    let q = ProjectivePoint::<C>::from(affine::<C>(key)?);
    let s = scalar::<C>(&s.d)?;
    super::arithmetic::from_projective::<C>(
        key.curve,
        ProjectivePoint::<C>::mul_by_generator(&s) - q * *r,
    )
}

/// The hash of a point and a digest, cut to the order's length.
fn challenge(point: &EccPoint, hash: HashAlgorithm, digest: &[u8]) -> Result<FieldBytes, Error> {
    let hash = hash.hash_parts(&[point.x(), digest]);
    let cut = hash.get(..point.curve.field_size()).unwrap_or(&hash);
    point.curve.reduce(cut)
}

fn is_zero(number: &[u8]) -> bool {
    number.iter().fold(0, |any, byte| any | byte) == 0
}
