//! Makes the keys of an emulated chip with the certificates that lead to them.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use der::Encode;
use host_wire::chip::Chip;
use p384::ecdsa::SigningKey as ChipKey;
use rsa::PrivateKey;
use rsa::pss::{Signature, SigningKey};
use sha2::Sha384;
use spki::{EncodePublicKey, SubjectPublicKeyInfoOwned};
use tpm_crypto::drbg::Drbg;
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};

use super::profile::{Profile, Subject};
use crate::manufacture::fill_random;

/// Bits of the ARK and the ASK.
const RSA_BITS: usize = 4096;
/// The TCB version that the chip's key is certified for: boot loader 4, SNP firmware 24, microcode
/// 219, in the layout of Milan. They are of a Milan whose firmware has the ABI 1.55.
const TCB: [u8; 8] = snp::report::TcbVersion::milan(4, 0, 24, 219).0;
/// How long certificates are valid, in years: what AMD's ARK and ASK are. Nobody would renew that
/// of the chip after AMD's seven years.
const YEARS: u32 = 25;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long before they are made, for verifiers whose clocks are behind.
const BEFORE: Duration = Duration::from_secs(24 * 3600);
/// Attempts to find a scalar below the order of the curve; a random number is hardly ever no key.
const ATTEMPTS: u32 = 8;

/// The certificates from the root to the chip, in DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// ARK: certified by itself.
    pub ark: Vec<u8>,
    /// ASK: certified by the ARK.
    pub ask: Vec<u8>,
    /// VCEK: certified by the ASK.
    pub vcek: Vec<u8>,
}

/// Makes a chip and its chain. The private keys of ARK and ASK are forgotten: they have nothing more
/// to certify.
///
/// # Errors
/// The kernel gives no random numbers.
pub fn make() -> Result<(Chip, Chain)> {
    let mut seed = [0; 48];
    fill_random(&mut seed)?;
    let mut random = Drbg::new(&seed, &[], b"the keys of a chip");
    make_from(&mut random, RSA_BITS, SystemTime::now())
}

/// Makes a chip and its chain at this time, with RSA keys of so many bits.
pub(super) fn make_from(random: &mut Drbg, bits: usize, now: SystemTime) -> Result<(Chip, Chain)> {
    let (chip, key) = new_chip(random)?;
    let mut rsa_key = || PrivateKey::new(random, bits).map(SigningKey::<Sha384>::new);
    let (ark_key, ask_key) = (rsa_key()?, rsa_key()?);
    let mut certify = |subject, key: SubjectPublicKeyInfoOwned, issuer| {
        certify(subject, key, issuer, now, random)
            .map_err(|error| anyhow!("{error}"))
            .context("a certificate of the emulated chip")
    };
    let rsa_info = |key: &SigningKey<Sha384>| info(key.as_ref().as_public_key());
    let chain = Chain {
        ark: certify(Subject::Ark, rsa_info(&ark_key)?, &ark_key)?,
        ask: certify(Subject::Ask, rsa_info(&ask_key)?, &ark_key)?,
        vcek: certify(Subject::Vcek(&chip), info(key.verifying_key())?, &ask_key)?,
    };
    Ok((chip, chain))
}

/// A chip without certificates.
fn new_chip(random: &mut Drbg) -> Result<(Chip, ChipKey)> {
    let mut chip = Chip { secret: [0; 32], signing_key: [0; 48], id: [0; 64], tcb: TCB };
    random.fill(&mut chip.secret);
    random.fill(&mut chip.id);
    // KDS gives the number without a tag in the certificate, so a verifier that looks for a tag must
    // not find one: those of DER's integers and strings are below 80h.
    chip.id[0] |= 0x80;
    for _ in 0..ATTEMPTS {
        random.fill(&mut chip.signing_key);
        if let Ok(key) = ChipKey::from_slice(&chip.signing_key) {
            return Ok((chip, key));
        }
    }
    Err(anyhow!("no random number is a key of P-384"))
}

fn info(key: &impl EncodePublicKey) -> Result<SubjectPublicKeyInfoOwned> {
    SubjectPublicKeyInfoOwned::from_key(key).context("a public key")
}

fn certify(
    subject: Subject<'_>,
    key: SubjectPublicKeyInfoOwned,
    issuer: &SigningKey<Sha384>,
    now: SystemTime,
    random: &mut Drbg,
) -> x509_cert::builder::Result<Vec<u8>> {
    // A machine without a clock may be at its epoch.
    let begin = (now - BEFORE).max(SystemTime::UNIX_EPOCH);
    let validity = Validity::new(Time::try_from(begin)?, Time::try_from(now + YEAR * YEARS)?);
    let serial = SerialNumber::new(subject.serial())?;
    let builder = CertificateBuilder::new(Profile::new(subject)?, serial, validity, key)?;
    let certificate = builder.build_with_rng::<_, Signature, _>(issuer, random)?;
    Ok(certificate.to_der()?)
}
