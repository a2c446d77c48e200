//! The areas of objects: public, sensitive (Part 2, section 12).

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::codec::{Put, Reader, built};
use crate::constants::{alg, attr};
use crate::rc::{Rc, Result};
use crate::secret::Secret;
use crate::structures::{MAX_DIGEST, MAX_ECC, MAX_RSA, Scheme, Symmetric, curve, hash_or_null};

/// TPMU_PUBLIC_PARMS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Parameters {
    KeyedHash(Scheme),
    SymCipher(Symmetric),
    Rsa { symmetric: Symmetric, scheme: Scheme, bits: u16, exponent: u32 },
    Ecc { symmetric: Symmetric, scheme: Scheme, curve: u16, kdf: Scheme },
}

impl Parameters {
    /// TPMT_PUBLIC_PARMS without its type.
    pub(crate) fn parse(r: &mut Reader<'_>, kind: u16) -> Result<Self> {
        match kind {
            alg::KEYEDHASH => Scheme::keyed_hash(r).map(Self::KeyedHash),
            alg::SYMCIPHER => Symmetric::object(r).map(Self::SymCipher),
            alg::RSA => {
                let symmetric = Symmetric::object_or_null(r)?;
                let scheme = Scheme::rsa(r)?;
                let bits = r.u16()?;
                if !matches!(bits, 1024 | 2048 | 3072) {
                    return Err(Rc::VALUE);
                }
                Ok(Self::Rsa { symmetric, scheme, bits, exponent: r.u32()? })
            }
            alg::ECC => {
                let symmetric = Symmetric::object_or_null(r)?;
                let scheme = Scheme::ecc(r)?;
                let curve = curve(r)?;
                Ok(Self::Ecc { symmetric, scheme, curve, kdf: Scheme::kdf(r)? })
            }
            _ => Err(Rc::TYPE),
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match *self {
            Self::KeyedHash(scheme) => scheme.put(out),
            Self::SymCipher(symmetric) => symmetric.put(out),
            Self::Rsa { symmetric, scheme, bits, exponent } => {
                symmetric.put(out);
                scheme.put(out);
                out.put_u16(bits).put_u32(exponent);
            }
            Self::Ecc { symmetric, scheme, curve, kdf } => {
                symmetric.put(out);
                scheme.put(out);
                out.put_u16(curve);
                kdf.put(out);
            }
        }
    }
}

/// TPMU_PUBLIC_ID: a digest or modulus in `x`, or a point.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unique {
    pub(crate) x: Vec<u8>,
    pub(crate) y: Vec<u8>,
}

/// TPMT_PUBLIC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Public {
    pub(crate) name_alg: u16,
    pub(crate) attributes: u32,
    pub(crate) auth_policy: Vec<u8>,
    pub(crate) parameters: Parameters,
    pub(crate) unique: Unique,
}

impl Public {
    pub(crate) fn parse(r: &mut Reader<'_>) -> Result<Self> {
        let (mut public, kind) = Self::head(r)?;
        public.unique = match kind {
            alg::RSA => Unique { x: r.sized(MAX_RSA)?, y: Vec::new() },
            alg::ECC => Unique { x: r.sized(MAX_ECC)?, y: r.sized(MAX_ECC)? },
            _ => Unique { x: r.sized(MAX_DIGEST)?, y: Vec::new() },
        };
        Ok(public)
    }

    /// Reads a public area up to its unique field; returns its type as well.
    pub(crate) fn head(r: &mut Reader<'_>) -> Result<(Self, u16)> {
        let kind = r.u16()?;
        if !matches!(kind, alg::RSA | alg::ECC | alg::KEYEDHASH | alg::SYMCIPHER) {
            return Err(Rc::TYPE);
        }
        let name_alg = hash_or_null(r)?;
        let attributes = r.u32()?;
        if attributes & attr::RESERVED != 0 {
            return Err(Rc::RESERVED_BITS);
        }
        let auth_policy = r.sized(MAX_DIGEST)?;
        let parameters = Parameters::parse(r, kind)?;
        Ok((
            Self { name_alg, attributes, auth_policy, parameters, unique: Unique::default() },
            kind,
        ))
    }

    /// TPMI_ALG_PUBLIC.
    pub(crate) const fn kind(&self) -> u16 {
        match self.parameters {
            Parameters::KeyedHash(_) => alg::KEYEDHASH,
            Parameters::SymCipher(_) => alg::SYMCIPHER,
            Parameters::Rsa { .. } => alg::RSA,
            Parameters::Ecc { .. } => alg::ECC,
        }
    }

    pub(crate) const fn is(&self, attributes: u32) -> bool {
        self.attributes & attributes == attributes
    }

    /// Whether it is a storage parent or a derivation parent: restricted and decrypting, not
    /// signing.
    pub(crate) const fn is_parent(&self) -> bool {
        self.is(attr::RESTRICTED | attr::DECRYPT) && !self.is(attr::SIGN)
    }

    /// Whether it is a parent whose children have sensitive areas of their own.
    pub(crate) fn is_storage_parent(&self) -> bool {
        self.is_parent() && self.kind() != alg::KEYEDHASH
    }

    /// Whether it is a parent whose children are derived from it.
    pub(crate) fn is_derivation_parent(&self) -> bool {
        self.is_parent() && self.kind() == alg::KEYEDHASH
    }

    /// The cipher that protects a parent's children; NULL if there is none.
    pub(crate) const fn symmetric(&self) -> Symmetric {
        match self.parameters {
            Parameters::SymCipher(symmetric)
            | Parameters::Rsa { symmetric, .. }
            | Parameters::Ecc { symmetric, .. } => symmetric,
            Parameters::KeyedHash(_) => Symmetric::NULL,
        }
    }

    /// The scheme in the parameters; NULL for a cipher.
    pub(crate) const fn scheme(&self) -> Scheme {
        match self.parameters {
            Parameters::KeyedHash(scheme)
            | Parameters::Rsa { scheme, .. }
            | Parameters::Ecc { scheme, .. } => scheme,
            Parameters::SymCipher(_) => Scheme::NULL,
        }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u16(self.kind()).put_u16(self.name_alg).put_u32(self.attributes);
        out.put_sized(&self.auth_policy);
        self.parameters.put(out);
        out.put_sized(&self.unique.x);
        if self.kind() == alg::ECC {
            out.put_sized(&self.unique.y);
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        built(|out| self.put(out))
    }

    /// The name (Part 1, section 16): empty without a name algorithm.
    pub(crate) fn name(&self) -> Vec<u8> {
        crate::crypto::name(self.name_alg, &self.bytes())
    }
}

/// TPMT_SENSITIVE: `private` is a prime, a scalar, a key or data, by the object's type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sensitive {
    pub(crate) auth: Secret,
    pub(crate) seed: Secret,
    pub(crate) private: Secret,
}

impl Sensitive {
    /// Reads the sensitive area of an object of any type; returns the type as well.
    pub(crate) fn parse(r: &mut Reader<'_>) -> Result<(Self, u16)> {
        let kind = r.u16()?;
        let max = match kind {
            alg::RSA => MAX_RSA / 2,
            alg::ECC => MAX_ECC,
            alg::KEYEDHASH => crate::structures::MAX_SYM_DATA,
            alg::SYMCIPHER => 32,
            _ => return Err(Rc::TYPE),
        };
        let auth = Secret::auth(r.sized(MAX_DIGEST)?);
        let seed = r.sized(MAX_DIGEST)?.into();
        Ok((Self { auth, seed, private: r.sized(max)?.into() }, kind))
    }

    /// TPM2B_SENSITIVE as it leaves the TPM in a wrapper. The authorization value is padded with
    /// zeros to the size of a name digest, so that the size reveals nothing about it.
    pub(crate) fn padded(&self, public: &Public) -> Secret {
        let size = crate::crypto::digest_size(public.name_alg).max(self.auth.len());
        let mut auth = alloc::vec![0; size];
        auth.iter_mut().zip(self.auth.iter()).for_each(|(to, from)| *to = *from);
        Self { auth: auth.into(), ..self.clone() }.sized(public.kind())
    }

    /// TPM2B_SENSITIVE.
    pub(crate) fn sized(&self, kind: u16) -> Secret {
        let inner: Secret = built(|out| {
            out.put_u16(kind).put_sized(&self.auth).put_sized(&self.seed);
            out.put_sized(&self.private);
        })
        .into();
        built(|out| {
            out.put_sized(&inner);
        })
        .into()
    }
}
