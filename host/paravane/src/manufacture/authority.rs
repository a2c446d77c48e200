//! The CA that certifies endorsement keys.

use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail, ensure};
use der::referenced::OwnedToRef;
use der::{DecodePem, Encode, EncodePem};
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::{DecodePrivateKey, EncodePublicKey, LineEnding};
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::ext::pkix::SubjectKeyIdentifier;
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};

use super::certificate::{EndorsementProfile, PublicKey, RootProfile, public_key_info};
use super::fill_random;
use crate::plain::check_readable;

/// The subject of the test authority, whose key is public.
const TEST_NAME: &str = "CN=Paravane test CA that anyone can sign with,O=Paravane";
/// The seed of the test authority's key.
const TEST_SEED: &[u8] = b"Paravane test CA: this key is public, and certifies nothing";
/// The validity of the test authority's certificate, in seconds since 1970: 2026 to 2056.
const TEST_TIME: [u64; 2] = [1_767_225_600, 2_713_910_400];
/// The validity of an endorsement key's certificate, in years.
const YEARS: u64 = 25;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const SERIAL: usize = 16;

/// A certification authority: a P-256 key with its certificate.
pub struct Authority {
    key: SigningKey,
    certificate: Certificate,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.certificate.tbs_certificate().subject())
    }
}

impl Authority {
    /// The authority for tests: the same everywhere, and not to be trusted, as its key is public.
    pub fn test() -> Self {
        const SOUND: &str = "constants make a key and a certificate";
        let key = SigningKey::from_slice(&Sha256::digest(TEST_SEED)).expect(SOUND);
        let certificate = Self::own_certificate(&key).expect(SOUND);
        Self { key, certificate }
    }

    fn own_certificate(key: &SigningKey) -> Result<Certificate> {
        let [begin, end] = TEST_TIME.map(Duration::from_secs);
        let validity = Validity::new(
            Time::try_from(SystemTime::UNIX_EPOCH + begin)?,
            Time::try_from(SystemTime::UNIX_EPOCH + end)?,
        );
        let info = key.verifying_key().to_public_key_der().context("the authority's key")?;
        let info = public_key_info(info.as_bytes())?;
        let profile = RootProfile { name: Name::from_str(TEST_NAME)? };
        let serial = SerialNumber::new(&[1])?;
        let builder = CertificateBuilder::new(profile, serial, validity, info)?;
        Ok(builder.build::<_, DerSignature>(key)?)
    }

    /// Reads an authority from a PEM file with a P-256 key (PKCS#8) and its certificate, in any
    /// order.
    ///
    /// # Errors
    /// Says what is wrong with the file.
    pub fn read(path: &Path) -> Result<Self> {
        let place = || path.display().to_string();
        check_readable(path)?;
        let text = fs::read_to_string(path).with_context(place)?;
        let certificate = part(&text, "CERTIFICATE").with_context(place)?;
        let certificate = Certificate::from_pem(certificate)
            .map_err(|error| anyhow!("the certificate: {error}"))
            .with_context(place)?;
        let key = part(&text, "PRIVATE KEY").with_context(place)?;
        let key = SigningKey::from_pkcs8_pem(key)
            .map_err(|error| anyhow!("the private key must be one of P-256, in PKCS#8: {error}"))
            .with_context(place)?;
        let authority = Self { key, certificate };
        let own = authority.key.verifying_key().to_public_key_der()?;
        let certified = authority.certificate.tbs_certificate().subject_public_key_info();
        ensure!(
            certified.to_der()? == own.as_bytes(),
            "{}: the certificate is of another key than the one beside it",
            path.display()
        );
        Ok(authority)
    }

    /// The authority's certificate in PEM.
    pub fn certificate_pem(&self) -> Result<String> {
        Ok(self.certificate.to_pem(LineEnding::LF)?)
    }

    /// Certifies an endorsement key; returns the certificate in DER.
    pub(super) fn certify(&self, key: &PublicKey) -> Result<Vec<u8>> {
        let mut serial = [0; SERIAL];
        fill_random(&mut serial)?;
        // Makes the number positive, and its encoding always the same length.
        serial[0] = serial[0] & 0x7f | 0x40;
        let now = SystemTime::now();
        let end = now + YEAR * u32::try_from(YEARS)?;
        let validity = Validity::new(Time::try_from(now)?, Time::try_from(end)?);
        let own = self.certificate.tbs_certificate();
        let identifier =
            SubjectKeyIdentifier::try_from(own.subject_public_key_info().owned_to_ref())
                .map_err(|error| anyhow!("the authority's key: {error}"))?;
        let profile = EndorsementProfile {
            key,
            issuer: own.subject().clone(),
            issuer_key: identifier.0.as_bytes().to_vec(),
        };
        let serial = SerialNumber::new(&serial)?;
        let builder = CertificateBuilder::new(profile, serial, validity, key.info()?)?;
        Ok(builder.build::<_, DerSignature>(&self.key)?.to_der()?)
    }

    /// Checks that this authority signed the certificate.
    #[cfg(test)]
    pub(super) fn verify(&self, certificate: &Certificate) -> Result<()> {
        use p256::ecdsa::VerifyingKey;
        use p256::ecdsa::signature::Verifier;

        let signature = certificate.signature().as_bytes().context("the signature")?;
        let signature = DerSignature::from_bytes(signature)?;
        let signed = certificate.tbs_certificate().to_der()?;
        Ok(VerifyingKey::from(&self.key).verify(&signed, &signature)?)
    }
}

/// The part of a PEM text with this label.
fn part<'a>(text: &'a str, label: &str) -> Result<&'a str> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let Some(from) = text.find(&begin) else { bail!("no `{begin}` in it") };
    let rest = text.get(from..).unwrap_or_default();
    let length = rest.find(&end).with_context(|| format!("no `{end}` in it"))? + end.len();
    Ok(rest.get(..length).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use p256::pkcs8::EncodePrivateKey;

    use super::*;

    fn files(authority: &Authority) -> [String; 2] {
        let key = authority.key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
        [key, authority.certificate_pem().unwrap()]
    }

    fn read(text: &str) -> Result<Authority> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        Authority::read(file.path())
    }

    #[test]
    fn a_key_and_its_certificate_come_in_any_order_with_text_around_them() {
        let test = Authority::test();
        let [key, certificate] = files(&test);
        for text in [format!("{key}{certificate}"), format!("words\n{certificate}\n{key}more")] {
            let read = read(&text).unwrap();
            assert_eq!(read.certificate_pem().unwrap(), certificate);
            assert!(read.key == test.key);
        }
    }

    #[test]
    fn a_file_that_lacks_a_part_or_mixes_two_authorities_is_refused() {
        let [key, certificate] = files(&Authority::test());
        let other = SigningKey::from_slice(&[7; 32]).unwrap();
        let other = other.to_pkcs8_pem(LineEnding::LF).unwrap().to_string();
        for (text, why) in [
            (key.clone(), "no `-----BEGIN CERTIFICATE-----`"),
            (certificate.clone(), "no `-----BEGIN PRIVATE KEY-----`"),
            (certificate.replace("-----END", "") + &key, "no `-----END CERTIFICATE-----`"),
            (certificate.replace('M', "") + &key, "the certificate: "),
            (format!("{certificate}{other}"), "is of another key"),
            (certificate + &key.replace('M', "A"), "must be one of P-256"),
        ] {
            let line = format!("{:#}", read(&text).unwrap_err());
            assert!(line.contains(why) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn each_certificate_has_its_own_serial_number() {
        let (authority, key) = (Authority::test(), PublicKey::Ecc([1; 32], [2; 32]));
        let serial = || {
            let bytes = authority.certify(&key).unwrap();
            let certificate = <Certificate as der::Decode>::from_der(&bytes).unwrap();
            authority.verify(&certificate).unwrap();
            certificate.tbs_certificate().serial_number().as_bytes().to_vec()
        };
        let (first, second) = (serial(), serial());
        assert!(first != second && first.len() == SERIAL && second.len() == SERIAL);
        assert!((0x40..0x80).contains(&first[0]));
    }
}
