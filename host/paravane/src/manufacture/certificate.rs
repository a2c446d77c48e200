//! The content of an endorsement key's certificate (TCG EK Credential Profile 2.5, section 3.2).

use std::str::FromStr;

use anyhow::Result;
use der::asn1::{Any, BitString, ObjectIdentifier, OctetString, Uint};
use der::{Decode, Encode};
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef};
use x509_cert::TbsCertificate;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;

/// rsaEncryption (RFC 8017).
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// id-ecPublicKey (RFC 5480).
const ECC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// secp256r1.
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// tcg-kp-EKCertificate.
const EK_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.1");
/// tcg-at-tpmManufacturer, tcg-at-tpmModel and tcg-at-tpmVersion, as the engine tells them:
/// TPM_PT_MANUFACTURER is `PRVN`.
const DEVICE: &str = "2.23.133.2.3=id:00010000,2.23.133.2.2=Paravane,2.23.133.2.1=id:5052564E";
/// Bytes of a modulus.
const MODULUS: usize = 256;
/// Bytes of a coordinate.
const COORDINATE: usize = 32;

/// RSAPublicKey (RFC 8017, A.1.1).
#[derive(der::Sequence)]
struct RsaPublicKey {
    modulus: Uint,
    exponent: Uint,
}

/// An endorsement key's public half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// The modulus of an RSA-2048 key with the exponent 65537.
    Rsa([u8; MODULUS]),
    /// The coordinates of a point of P-256.
    Ecc([u8; COORDINATE], [u8; COORDINATE]),
}

impl PublicKey {
    /// Decodes a public area made by template L-1, which ends with the modulus.
    pub fn rsa(public: &[u8]) -> Option<Self> {
        Some(Self::Rsa(*public.last_chunk()?))
    }

    /// Decodes a public area made by template L-2, which ends with two sized coordinates.
    pub fn ecc(public: &[u8]) -> Option<Self> {
        let (rest, y) = public.split_last_chunk()?;
        let (_, x) = rest.get(..rest.len().checked_sub(2)?)?.split_last_chunk()?;
        Some(Self::Ecc(*x, *y))
    }

    /// The key in the form of X.509.
    pub fn info(&self) -> Result<SubjectPublicKeyInfoOwned> {
        let (algorithm, bits) = match self {
            Self::Rsa(modulus) => {
                let modulus = Uint::new(modulus)?;
                let key = RsaPublicKey { modulus, exponent: Uint::new(&[1, 0, 1])? };
                let parameters = Some(Any::null());
                (AlgorithmIdentifierOwned { oid: RSA, parameters }, key.to_der()?)
            }
            Self::Ecc(x, y) => {
                let parameters = Some(Any::from(P256));
                let point = [&[4], &x[..], &y[..]].concat();
                (AlgorithmIdentifierOwned { oid: ECC, parameters }, point)
            }
        };
        let subject_public_key = BitString::from_bytes(&bits)?;
        Ok(SubjectPublicKeyInfoOwned { algorithm, subject_public_key })
    }

    /// The key's usage: secrets are encrypted to it.
    const fn usage(&self) -> KeyUsages {
        match self {
            Self::Rsa(_) => KeyUsages::KeyEncipherment,
            Self::Ecc(..) => KeyUsages::KeyAgreement,
        }
    }
}

/// The profile of an endorsement key's certificate.
pub struct EndorsementProfile<'a> {
    /// The key that is certified.
    pub key: &'a PublicKey,
    /// The authority that signs.
    pub issuer: Name,
    /// The identifier of the authority's key.
    pub issuer_key: Vec<u8>,
}

impl BuilderProfile for EndorsementProfile<'_> {
    fn get_issuer(&self, _: &Name) -> Name {
        self.issuer.clone()
    }

    /// Empty: the alternative name identifies the owner of the key (3.2.6).
    fn get_subject(&self) -> Name {
        Name::default()
    }

    fn build_extensions(
        &self,
        _: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let device = GeneralName::DirectoryName(Name::from_str(DEVICE)?);
        let authority = AuthorityKeyIdentifier {
            key_identifier: Some(OctetString::new(&self.issuer_key[..])?),
            ..AuthorityKeyIdentifier::default()
        };
        let mut extensions = vec![];
        let subject = tbs.subject();
        let mut name = (&SubjectAltName(vec![device])).to_extension(subject, &extensions)?;
        // Without a subject the alternative name is critical (RFC 5280, 4.2.1.6).
        name.critical = true;
        extensions.push(name);
        let constraints = BasicConstraints { ca: false, path_len_constraint: None };
        for extension in [
            (&constraints).to_extension(subject, &extensions)?,
            (&KeyUsage(self.key.usage().into())).to_extension(subject, &extensions)?,
            (&ExtendedKeyUsage(vec![EK_CERTIFICATE])).to_extension(subject, &extensions)?,
            (&authority).to_extension(subject, &extensions)?,
        ] {
            extensions.push(extension);
        }
        Ok(extensions)
    }
}

/// The profile of an authority's own certificate.
pub struct RootProfile {
    /// The authority's name.
    pub name: Name,
}

impl BuilderProfile for RootProfile {
    fn get_issuer(&self, subject: &Name) -> Name {
        subject.clone()
    }

    fn get_subject(&self) -> Name {
        self.name.clone()
    }

    fn build_extensions(
        &self,
        key: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        let constraints = BasicConstraints { ca: true, path_len_constraint: Some(0) };
        let usage = KeyUsage(KeyUsages::KeyCertSign.into());
        let identifier = SubjectKeyIdentifier::try_from(key)?;
        let subject = tbs.subject();
        Ok(vec![
            (&constraints).to_extension(subject, &[])?,
            (&usage).to_extension(subject, &[])?,
            (&identifier).to_extension(subject, &[])?,
        ])
    }
}

/// Decodes a public key in the form of X.509.
pub fn public_key_info(bytes: &[u8]) -> Result<SubjectPublicKeyInfoOwned> {
    Ok(SubjectPublicKeyInfoOwned::from_der(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_keys_are_taken_from_the_end_of_public_areas() {
        let area: Vec<u8> = (0..=255).cycle().take(300).collect();
        let Some(PublicKey::Rsa(modulus)) = PublicKey::rsa(&area) else { panic!("no modulus") };
        assert_eq!(modulus[..], area[44..]);
        assert_eq!(PublicKey::rsa(&area[..255]), None);
        // Two coordinates, each behind its size.
        let sized = [&[0, 32][..], &[1; 32], &[0, 32], &[2; 32]].concat();
        assert_eq!(PublicKey::ecc(&sized), Some(PublicKey::Ecc([1; 32], [2; 32])));
        for length in [0, 31, 33, 65] {
            assert_eq!(PublicKey::ecc(&sized[..length]), None, "{length}");
        }
    }

    #[test]
    fn keys_have_the_algorithm_and_usage_of_the_profile() {
        let point = PublicKey::Ecc([1; 32], [2; 32]);
        let info = point.info().unwrap();
        assert_eq!(info.algorithm.oid, ECC);
        let bits = info.subject_public_key.raw_bytes();
        assert_eq!((bits.len(), bits[0], bits[1], bits[64]), (65, 4, 1, 2), "uncompressed");
        let modulus = PublicKey::Rsa([0x80; MODULUS]);
        let info = modulus.info().unwrap();
        assert_eq!(info.algorithm.oid, RSA);
        let key = RsaPublicKey::from_der(info.subject_public_key.raw_bytes()).unwrap();
        assert_eq!(key.modulus.as_bytes(), [0x80; MODULUS]);
        assert_eq!(key.exponent.as_bytes(), [1, 0, 1]);
        assert_eq!(point.usage(), KeyUsages::KeyAgreement);
        assert_eq!(modulus.usage(), KeyUsages::KeyEncipherment);
    }
}
