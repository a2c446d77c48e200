//! Converts areas of objects to keys of the cryptography.

use tpm_crypto::ecc::{Curve, EccPoint, EccPrivateKey};
use tpm_crypto::rsa::{RsaPrivateKey, RsaPublicKey};

use crate::object::Object;
use crate::public::{Parameters, Public};
use crate::rc::{Rc, Result};

/// The public exponent of an RSA key: 0 stands for 65537.
pub(crate) const fn exponent(given: u32) -> u32 {
    if given == 0 { tpm_crypto::rsa::DEFAULT_EXPONENT } else { given }
}

pub(crate) fn rsa_public(public: &Public) -> Result<RsaPublicKey> {
    match public.parameters {
        Parameters::Rsa { exponent: given, .. } => {
            Ok(RsaPublicKey::new(&public.unique.x, exponent(given))?)
        }
        _ => Err(Rc::KEY),
    }
}

pub(crate) fn rsa_private(key: &Object) -> Result<RsaPrivateKey> {
    Ok(RsaPrivateKey::from_prime(&rsa_public(&key.public)?, &key.secret()?.private)?)
}

/// The curve of an ECC key.
pub(crate) fn curve_of(public: &Public) -> Result<Curve> {
    match public.parameters {
        Parameters::Ecc { curve, .. } => Curve::from_id(curve).ok_or(Rc::CURVE),
        _ => Err(Rc::KEY),
    }
}

pub(crate) fn ecc_public(public: &Public) -> Result<EccPoint> {
    Ok(EccPoint::new(curve_of(public)?, &public.unique.x, &public.unique.y)?)
}

pub(crate) fn ecc_private(key: &Object) -> Result<EccPrivateKey> {
    Ok(EccPrivateKey::new(curve_of(&key.public)?, &key.secret()?.private)?)
}
