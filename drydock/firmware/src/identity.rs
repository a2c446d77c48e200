//! The owner's identity: ID block, ID key and author key.

use p384::ecdsa::signature::hazmat::PrehashVerifier;
use p384::ecdsa::{self, VerifyingKey};
use sha2::{Digest, Sha384};
use snp::digest::LaunchDigest;
use snp::report::{Curve, DIGEST_SIZE, Policy, PublicKey, Signature, SignatureAlgorithm};
use snp::status::Status;
use zerocopy::IntoBytes;

use crate::guest::Identity;

/// The version of ID blocks.
const VERSION: u32 = 1;

/// The facts about a VM's owner that go into reports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pub family_id: [u8; 16],
    pub image_id: [u8; 16],
    pub guest_svn: u32,
    pub id_key_digest: [u8; DIGEST_SIZE],
    pub author_key_digest: [u8; DIGEST_SIZE],
    pub author_key_enabled: bool,
}

impl Default for Owner {
    /// No owner.
    fn default() -> Self {
        Self {
            family_id: [0; 16],
            image_id: [0; 16],
            guest_svn: 0,
            id_key_digest: [0; DIGEST_SIZE],
            author_key_digest: [0; DIGEST_SIZE],
            author_key_enabled: false,
        }
    }
}

/// Accepts the identity of a VM with this digest and policy (SNP firmware ABI 56860,
/// "SNP_LAUNCH_FINISH").
pub(crate) fn check(
    identity: &Identity<'_>,
    digest: LaunchDigest,
    policy: Policy,
) -> Result<Owner, Status> {
    let Identity { block, authentication, author_key_enabled } = *identity;
    if block.version != VERSION {
        return Err(Status::INVALID_PARAM);
    }
    verify(
        authentication.id_key_algorithm,
        &authentication.id_key,
        &authentication.id_block_signature,
        block.as_bytes(),
    )?;
    let mut author_key_digest = [0; DIGEST_SIZE];
    if author_key_enabled {
        verify(
            authentication.author_key_algorithm,
            &authentication.author_key,
            &authentication.id_key_signature,
            authentication.id_key.as_bytes(),
        )?;
        author_key_digest = Sha384::digest(authentication.author_key.as_bytes()).into();
    }
    if block.launch_digest != digest.0 {
        return Err(Status::BAD_MEASUREMENT);
    }
    if block.policy != policy {
        return Err(Status::POLICY_FAILURE);
    }
    Ok(Owner {
        family_id: block.family_id,
        image_id: block.image_id,
        guest_svn: block.guest_svn,
        id_key_digest: Sha384::digest(authentication.id_key.as_bytes()).into(),
        author_key_digest,
        author_key_enabled,
    })
}

/// Verifies a signature of a message.
fn verify(
    algorithm: SignatureAlgorithm,
    key: &PublicKey,
    signature: &Signature,
    message: &[u8],
) -> Result<(), Status> {
    if algorithm != SignatureAlgorithm::ECDSA_P384_SHA384 || key.curve != Curve::P384 {
        return Err(Status::INVALID_PARAM);
    }
    let bad = || Status::BAD_SIGNATURE;
    let x = key.x.to_be_bytes().ok_or_else(bad)?;
    let y = key.y.to_be_bytes().ok_or_else(bad)?;
    // The uncompressed form of SEC 1, section 2.3.3.
    let mut point = [0; 97];
    point[0] = 4;
    point[1..49].copy_from_slice(&x);
    point[49..].copy_from_slice(&y);
    let key = VerifyingKey::from_sec1_bytes(&point).map_err(|_| bad())?;
    let r = signature.r.to_be_bytes().ok_or_else(bad)?;
    let s = signature.s.to_be_bytes().ok_or_else(bad)?;
    let signature = ecdsa::Signature::from_scalars(r, s).map_err(|_| bad())?;
    key.verify_prehash(&Sha384::digest(message), &signature).map_err(|_| bad())
}
