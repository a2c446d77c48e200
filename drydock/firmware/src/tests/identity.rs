use p384::ecdsa::signature::hazmat::PrehashSigner;
use p384::ecdsa::{self, SigningKey};
use sha2::{Digest, Sha384};
use snp::message::{MessageType, ReportRequest, ReportResponse};
use snp::report::{
    Curve, IdAuthentication, IdBlock, Integer, Policy, PublicKey, Signature, SignatureAlgorithm,
};
use snp::status::Status;
use zerocopy::{FromZeros, IntoBytes};

use super::fixture::{Client, NO_IDENTITY, POLICY, add, launching};
use crate::{ChipSecret, Finish, Guest, Identity, Platform, Update};

const ID_KEY: [u8; 48] = [0x21; 48];
const AUTHOR_KEY: [u8; 48] = [0x22; 48];

/// The public key in the firmware's format.
fn public(key: &[u8; 48]) -> PublicKey {
    let state = super::fixture::state();
    Platform::new(state, ChipSecret([0; 32]), key).unwrap().public_key()
}

fn sign(key: &[u8; 48], message: &[u8]) -> Signature {
    let key = SigningKey::from_slice(key).unwrap();
    let signature: ecdsa::Signature = key.sign_prehash(&Sha384::digest(message)).unwrap();
    let (r, s) = signature.split_bytes();
    let integer = |bytes: p384::FieldBytes| Integer::from_be_bytes(&bytes.into());
    Signature { r: integer(r), s: integer(s), reserved: [0; 368] }
}

/// A VM with a page, and the identity that fits it.
fn prepared() -> (Guest, IdBlock, IdAuthentication) {
    let mut guest = launching();
    add(&mut guest, Update::Normal(&[1; 4096]), 0x1000).unwrap();
    let block = IdBlock {
        launch_digest: guest.measurement(),
        family_id: [0x31; 16],
        image_id: [0x32; 16],
        version: 1,
        guest_svn: 9,
        policy: POLICY,
    };
    let authentication = authentication(&block);
    (guest, block, authentication)
}

fn authentication(block: &IdBlock) -> IdAuthentication {
    let mut result = IdAuthentication::new_zeroed();
    result.id_key_algorithm = SignatureAlgorithm::ECDSA_P384_SHA384;
    result.author_key_algorithm = SignatureAlgorithm::ECDSA_P384_SHA384;
    result.id_key = public(&ID_KEY);
    result.author_key = public(&AUTHOR_KEY);
    result.id_block_signature = sign(&ID_KEY, block.as_bytes());
    result.id_key_signature = sign(&AUTHOR_KEY, result.id_key.as_bytes());
    result
}

fn finish(
    guest: &mut Guest,
    block: &IdBlock,
    authentication: &IdAuthentication,
    author_key_enabled: bool,
) -> Result<(), Status> {
    let identity = Identity { block, authentication, author_key_enabled };
    guest.launch_finish(&Finish { identity: Some(identity), ..NO_IDENTITY })
}

fn report(guest: &mut Guest) -> snp::report::AttestationReport {
    let request = ReportRequest::new_zeroed();
    let response: ReportResponse = Client::new(0).call(guest, MessageType::REPORT_REQ, &request);
    assert_eq!(response.status, 0);
    response.report
}

#[test]
fn a_report_names_the_owner() {
    let (mut guest, block, authentication) = prepared();
    finish(&mut guest, &block, &authentication, true).unwrap();
    let report = report(&mut guest);
    assert_eq!((report.family_id, report.image_id), ([0x31; 16], [0x32; 16]));
    assert_eq!(report.guest_svn, 9);
    assert_eq!(report.id_key_digest[..], Sha384::digest(public(&ID_KEY).as_bytes())[..]);
    assert_eq!(report.author_key_digest[..], Sha384::digest(public(&AUTHOR_KEY).as_bytes())[..]);
    assert!(report.key_info.author_key());
}

#[test]
fn an_author_key_that_is_not_enabled_counts_for_nothing() {
    let (mut guest, block, mut authentication) = prepared();
    authentication.author_key = PublicKey::new_zeroed();
    authentication.id_key_signature = Signature::new_zeroed();
    finish(&mut guest, &block, &authentication, false).unwrap();
    let report = report(&mut guest);
    assert_eq!(report.author_key_digest, [0; 48]);
    assert!(!report.key_info.author_key());
}

#[test]
fn without_identity_a_report_names_no_owner() {
    let (mut guest, ..) = prepared();
    guest.launch_finish(&NO_IDENTITY).unwrap();
    let report = report(&mut guest);
    assert_eq!((report.family_id, report.id_key_digest), ([0; 16], [0; 48]));
}

/// Refuses the identity with a change in its ID block, signed anew.
fn refused_block(change: impl Fn(&mut IdBlock)) -> Status {
    let (mut guest, mut block, _) = prepared();
    change(&mut block);
    let authentication = authentication(&block);
    let status = finish(&mut guest, &block, &authentication, true).unwrap_err();
    // The launch goes on.
    add(&mut guest, Update::Unmeasured, 0x2000).unwrap();
    status
}

#[test]
fn an_id_block_must_fit_the_vm() {
    assert_eq!(refused_block(|block| block.launch_digest[0] ^= 1), Status::BAD_MEASUREMENT);
    assert_eq!(refused_block(|block| block.version = 2), Status::INVALID_PARAM);
    let policy = Policy::from_bits(POLICY.into_bits() | 1 << 19);
    assert_eq!(refused_block(|block| block.policy = policy), Status::POLICY_FAILURE);
}

/// Refuses the identity with a change in keys or signatures.
fn refused(change: impl Fn(&mut IdAuthentication)) -> Status {
    let (mut guest, block, mut authentication) = prepared();
    change(&mut authentication);
    finish(&mut guest, &block, &authentication, true).unwrap_err()
}

#[test]
fn keys_and_signatures_must_be_valid() {
    type Change = fn(&mut IdAuthentication);
    let bad: [Change; 10] = [
        |identity| identity.id_block_signature.r.0[0] ^= 1,
        |identity| identity.id_block_signature.s.0[47] ^= 1,
        |identity| identity.id_block_signature.s.0[48] = 1,
        |identity| identity.id_block_signature.r = Integer([0; 72]),
        |identity| identity.id_key.x.0[0] ^= 1,
        |identity| identity.id_key.y.0[71] = 1,
        |identity| identity.id_key.reserved[0] = 1,
        |identity| identity.id_key_signature.r.0[0] ^= 1,
        |identity| identity.author_key = identity.id_key,
        |identity| {
            identity.author_key = PublicKey { curve: Curve::P384, ..PublicKey::new_zeroed() }
        },
    ];
    for (index, change) in bad.into_iter().enumerate() {
        assert_eq!(refused(change), Status::BAD_SIGNATURE, "change {index}");
    }
    let invalid: [Change; 4] = [
        |identity| identity.id_key_algorithm = SignatureAlgorithm(2),
        |identity| identity.author_key_algorithm = SignatureAlgorithm(0),
        |identity| identity.id_key.curve = Curve(1),
        |identity| identity.author_key.curve = Curve(0),
    ];
    for (index, change) in invalid.into_iter().enumerate() {
        assert_eq!(refused(change), Status::INVALID_PARAM, "change {index}");
    }
}
