//! The platform that the firmware runs on: versions, identity, keys.

use p384::ecdsa::signature::hazmat::PrehashSigner;
use p384::ecdsa::{self, SigningKey, VerifyingKey};
use sha2::{Digest, Sha384};
use snp::report::Curve;
use snp::report::{
    AttestationReport, FirmwareVersion, Integer, PlatformInfo, PublicKey, Signature, TcbVersion,
};
use snp::status::Status;
use zerocopy::IntoBytes;

/// The root of the keys that a chip derives.
#[derive(Clone)]
pub struct ChipSecret(pub [u8; 32]);

/// The public state of a platform.
#[derive(Clone, Debug)]
pub struct PlatformState {
    /// CHIP_ID.
    pub chip_id: [u8; 64],
    /// CURRENT_TCB.
    pub current_tcb: TcbVersion,
    /// COMMITTED_TCB.
    pub committed_tcb: TcbVersion,
    /// REPORTED_TCB.
    pub reported_tcb: TcbVersion,
    /// The firmware's version, which is also the committed one.
    pub version: FirmwareVersion,
    /// Features of the platform.
    pub info: PlatformInfo,
    /// Family, model and stepping as in CPUID function 1.
    pub fms: u32,
}

/// A platform.
pub struct Platform {
    pub(crate) state: PlatformState,
    pub(crate) secret: ChipSecret,
    signing_key: SigningKey,
}

impl Platform {
    /// A platform that signs reports with a P-384 key, given as big-endian scalar. None if the
    /// scalar is zero or not below the order of the curve.
    pub fn new(state: PlatformState, secret: ChipSecret, signing_key: &[u8; 48]) -> Option<Self> {
        let signing_key = SigningKey::from_slice(signing_key).ok()?;
        Some(Self { state, secret, signing_key })
    }

    /// The key that verifies reports.
    pub fn public_key(&self) -> PublicKey {
        public_key(self.signing_key.verifying_key())
    }

    /// Signs a report (deterministic ECDSA, RFC 6979).
    pub(crate) fn sign(&self, report: &mut AttestationReport) -> Result<(), Status> {
        let digest = Sha384::digest(&report.as_bytes()[AttestationReport::SIGNED]);
        let signature: ecdsa::Signature =
            self.signing_key.sign_prehash(&digest).map_err(|_| Status::HWERROR_PLATFORM)?;
        let (r, s) = signature.split_bytes();
        report.signature = Signature {
            r: Integer::from_be_bytes(&r.into()),
            s: Integer::from_be_bytes(&s.into()),
            reserved: [0; 368],
        };
        Ok(())
    }
}

fn public_key(key: &VerifyingKey) -> PublicKey {
    let point = key.to_sec1_point(false);
    let coordinate = |bytes: Option<&p384::FieldBytes>| {
        Integer::from_be_bytes(&bytes.copied().unwrap_or_default().into())
    };
    PublicKey {
        curve: Curve::P384,
        x: coordinate(point.x()),
        y: coordinate(point.y()),
        reserved: [0; 880],
    }
}
