//! Key exchange, ephemeral keys, rewrapping, audit sessions, parameter encryption, restarts.

use std::vec;
use std::vec::Vec;

use tpm_crypto::cipher::{Direction, cfb};
use tpm_crypto::ecc::{Curve, EccPoint, EccPrivateKey};
use tpm_crypto::hash::HashAlgorithm;
use tpm_crypto::kdf::kdfa;

use super::client::*;
use crate::Tpm;

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    HashAlgorithm::Sha256.hash_parts(parts).to_vec()
}

/// A primary P-256 key with a scheme.
fn ecc_key(client: &mut Client, attributes: u32, scheme: &Bytes) -> Answer {
    let template = b().u16(0x23).u16(0x0b).u32(attributes).u16(0).u16(0x10).raw(&scheme.0);
    client.primary(OWNER, &template.u16(3).u16(0x10).u16(0).u16(0))
}

/// The TPM2B_ECC_POINT at the start of `bytes`.
fn point(bytes: &[u8]) -> EccPoint {
    let x = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    let rest = &bytes[4 + x..];
    let y = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
    EccPoint::new(Curve::P256, &bytes[4..4 + x], &rest[2..2 + y]).expect("on the curve")
}

fn sized_point(point: &EccPoint) -> Vec<u8> {
    b().sized(&b().sized(point.x()).sized(point.y()).0).0
}

#[test]
fn two_phases_give_both_shared_points_once() {
    let mut client = Client::new();
    let key = ecc_key(&mut client, 0x0002_0072, &b().u16(0x19).u16(0x0b)).handle;
    // ECDH_ZGen with a multiple of the generator by a known scalar checks the static key.
    let remote = EccPrivateKey::new(Curve::P256, &[5; 32]).expect("a scalar");
    let remote_once = EccPrivateKey::new(Curve::P256, &[6; 32]).expect("a scalar");
    let remote_public = remote.public_key().expect("a point");
    let once_public = remote_once.public_key().expect("a point");
    let plain = b().raw(&sized_point(&remote_public));
    let expected = client.pw(0x154, &[key], plain).ok().body;
    let ephemeral = client.run(0x18e, &[], b().u16(3)).ok().body;
    let count = &ephemeral[ephemeral.len() - 2..];
    let shared = remote_once.ecdh(&point(&ephemeral)).expect("a point");
    let parameters = || {
        b().raw(&sized_point(&remote_public)).raw(&sized_point(&once_public)).u16(0x19).raw(count)
    };
    let answer = client.pw(0x18d, &[key], parameters()).ok();
    assert_eq!(answer.body[..expected.len()], expected[..]);
    assert_eq!(point(&answer.body[expected.len()..]).x(), shared.x());
    assert_eq!(client.pw(0x18d, &[key], parameters()).rc, 0x4c4, "used up");
}

#[test]
fn a_commitment_signs_once() {
    let mut client = Client::new();
    let scheme = b().u16(0x1a).u16(0x0b).u16(0);
    let key = ecc_key(&mut client, 0x0004_0072, &scheme).handle;
    let made = client.pw(0x18b, &[key], b().raw(&[0, 4, 0, 0, 0, 0]).u16(0).u16(0)).ok();
    let count =
        u16::from_be_bytes([made.body[made.body.len() - 2], made.body[made.body.len() - 1]]);
    let sign = |client: &mut Client, count: u16| {
        let scheme = b().u16(0x1a).u16(0x0b).u16(count);
        let parameters = b().sized(&[1; 32]).raw(&scheme.0).u16(0x8024).u32(NULL).u16(0);
        client.pw(0x15d, &[key], parameters)
    };
    assert_eq!(sign(&mut client, count.wrapping_add(1)).rc, 0x84, "not committed");
    assert_eq!(sign(&mut client, count).ok().body[..4], [0, 0x1a, 0, 0x0b]);
    assert_eq!(sign(&mut client, count).rc, 0x84, "used up");
    let half = b().raw(&[0, 4, 0, 0, 0, 0]).sized(b"s2").u16(0);
    assert_eq!(client.pw(0x18b, &[key], half).rc, 0x3d5);
}

/// A TPM whose secrets depend on `seed`, after Shutdown(STATE) and a startup.
fn restarted(seed: usize, kind: u16) -> Client {
    let mut env = Fake::default();
    crate::Environment::entropy(&mut env, &mut vec![0; seed]);
    let tpm = Tpm::manufacture(&mut env).expect("a TPM");
    let mut client = Client { tpm, env };
    client.startup(0);
    client.run(0x145, &[], b().u16(1)).ok();
    client.power_cycle();
    client.startup(kind);
    client
}

#[test]
fn ephemeral_keys_are_secret_after_restart_and_resume() {
    for kind in [0, 1] {
        let first = restarted(1, kind).run(0x18e, &[], b().u16(3)).ok().body;
        let second = restarted(2, kind).run(0x18e, &[], b().u16(3)).ok().body;
        assert_ne!(first, second);
    }
}

#[test]
fn a_restart_keeps_counts_and_sessions_but_no_pcr() {
    let mut client = Client::new();
    let extend = b().u32(1).u16(0x0b).raw(&[7; 32]);
    client.pw(0x182, &[1], extend).ok();
    let session = client.session(0);
    let context = client.run(0x162, &[session.handle], b()).ok().body;
    let before = client.run(0x181, &[], b()).ok().body;
    client.run(0x145, &[], b().u16(1)).ok();
    client.power_cycle();
    client.startup(0);
    let after = client.run(0x181, &[], b()).ok().body;
    assert_eq!(after[16..20], before[16..20], "resetCount");
    assert_eq!(after[20..24], [0, 0, 0, 1], "restartCount");
    assert_eq!(after[24], 1, "safe");
    let read = client.run(0x17e, &[], b().u32(1).u16(0x0b).u8(3).raw(&[2, 0, 0])).ok().body;
    assert_eq!(read[read.len() - 32..], [0; 32]);
    assert_eq!(client.run(0x161, &[], b().raw(&context)).ok().handle, session.handle);
}

#[test]
fn a_resume_wants_the_locality_and_h_crtm_of_the_start() {
    let start = |kind: u16| b().u16(0x8001).u32(12).u32(0x144).u16(kind).0;
    let code = |response: Vec<u8>| u32::from_be_bytes(response[6..].try_into().expect("a code"));
    let mut client = Client::new();
    client.run(0x145, &[], b().u16(1)).ok();
    client.power_cycle();
    assert_eq!(code(client.send(&start(1), 3)), 0x907);
    assert_eq!(code(client.send(&start(1), 2)), 0x907);
    client.tpm.hash_start();
    client.tpm.hash_end();
    assert_eq!(code(client.send(&start(1), 0)), 0x907);
    client.power_cycle();
    assert_eq!(code(client.send(&start(1), 0)), 0);
    client.power_cycle();
    assert_eq!(code(client.send(&start(0), 3)), 0);
    client.run(0x145, &[], b().u16(1)).ok();
    client.power_cycle();
    assert_eq!(code(client.send(&start(1), 0)), 0x907);
    assert_eq!(code(client.send(&start(1), 3)), 0);
}

#[test]
fn a_duplicate_is_rewrapped_for_another_parent() {
    let mut client = Client::new();
    let old = client.primary(OWNER, &ecc_srk()).handle;
    let new = client.primary(ENDORSEMENT, &ecc_srk()).handle;
    let policy = sha256(&[&[0; 32], &0x16cu32.to_be_bytes(), &0x14bu32.to_be_bytes()]);
    let template = b().u16(8).u16(0x0b).u32(0x40).sized(&policy).u16(0x10).u16(0);
    let object = client.child(old, &template, b"", b"data");
    let name = client.name(object);
    let public = client.run(0x173, &[object], b()).ok().field(0);
    let mut session = client.session(1);
    client.run(0x16c, &[session.handle], b().u32(0x14b)).ok();
    let auth = vec![Auth::Session(&mut session, b"", 1)];
    let made = client.auth(0x14b, &[object, old], auth, b().u16(0).u16(0x10)).ok();
    let (blob, seed) = (made.field(1), made.field(2));
    let wrap = |blob: &[u8], name: &[u8], seed: &[u8]| b().sized(blob).sized(name).sized(seed);
    let mut other = name.clone();
    other[5] ^= 1;
    assert_eq!(client.pw(0x152, &[old, new], wrap(&blob, &other, &seed)).rc, 0x1df);
    assert_eq!(client.pw(0x152, &[old, new], wrap(&blob, &name, b"")).rc, 0x18b);
    let made = client.pw(0x152, &[old, new], wrap(&blob, &name, &seed)).ok();
    let import =
        |blob: &[u8], seed: &[u8]| b().u16(0).sized(&public).sized(blob).sized(seed).u16(0x10);
    assert_ne!(client.pw(0x156, &[new], import(&blob, &seed)).rc, 0, "not for this parent");
    let private = client.pw(0x156, &[new], import(&made.field(0), &made.field(1))).ok().field(0);
    let loaded = client.pw(0x157, &[new], b().sized(&private).sized(&public)).ok().handle;
    assert_eq!(client.pw(0x15e, &[loaded], b()).ok().field(0), b"data");
}

#[test]
fn an_audit_session_digests_what_was_sent() {
    let mut client = Client::new();
    let mut session = client.session(0);
    let mut expected = vec![0; 32];
    for _ in 0..2 {
        let auth = vec![Auth::Session(&mut session, b"", 0x81)];
        let answer = client.auth(0x17b, &[], auth, b().u16(8)).ok();
        let code = 0x17bu32.to_be_bytes();
        let (cp, rp) = (sha256(&[&code, &[0, 8]]), sha256(&[&[0; 4], &code, &answer.body]));
        expected = sha256(&[&expected, &cp, &rp]);
    }
    let auths = vec![Auth::Password(b""), Auth::Password(b"")];
    let handles = [ENDORSEMENT, NULL, session.handle];
    let attest = client.auth(0x14d, &handles, auths, b().u16(0).u16(0x10)).ok().field(0);
    assert_eq!(attest[attest.len() - 32..], expected[..]);
}

/// Applies a session's parameter encryption.
fn crypt(way: Direction, session: &Session, by_cfb: bool, nonces: (&[u8], &[u8]), data: &mut [u8]) {
    let alg = HashAlgorithm::Sha256;
    if by_cfb {
        let mut both = [0; 32];
        kdfa(alg, &session.key, b"CFB", nonces.0, nonces.1, &mut both);
        let iv: [u8; 16] = both[16..].try_into().expect("16 bytes");
        cfb(way, &both[..16], &iv, data).expect("a key");
    } else {
        let mut mask = vec![0; data.len()];
        kdfa(alg, &session.key, b"XOR", nonces.0, nonces.1, &mut mask);
        data.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    }
}

#[test]
fn parameters_are_encrypted_in_both_directions() {
    let caller = [0x5a; 16];
    for symmetric in [b().u16(6).u16(128).u16(0x43), b().u16(0x0a).u16(0x0b)] {
        let by_cfb = symmetric.0[1] == 6;
        let mut client = Client::new();
        client.pw(0x129, &[OWNER], b().sized(b"own")).ok();
        let mut session = client.session_with(OWNER, b"own", 0, symmetric);
        for _ in 0..2 {
            let mut data = b"a message".to_vec();
            let nonce = session.nonce.clone();
            crypt(Direction::Encrypt, &session, by_cfb, (&caller, &nonce), &mut data);
            let auth = vec![Auth::Session(&mut session, b"", 0x61)];
            let parameters = b().sized(&data).u16(0x0b).u32(NULL);
            let mut digest = client.auth(0x17d, &[], auth, parameters).ok().field(0);
            crypt(Direction::Decrypt, &session, by_cfb, (&session.nonce, &caller), &mut digest);
            assert_eq!(digest, sha256(&[b"a message"]));
        }
    }
}

#[test]
fn the_command_audit_covers_parameters_as_they_are_sent() {
    let mut client = Client::new();
    let code = 0x17du32.to_be_bytes();
    let list = b().u32(1).raw(&code).u32(0);
    client.pw(0x140, &[OWNER], b().u16(0x10).raw(&list.0)).ok();
    let key = client.primary(ENDORSEMENT, &ecc_attestation_key()).handle;
    let report = |client: &mut Client| {
        let auths = vec![Auth::Password(b""), Auth::Password(b"")];
        let handles = [ENDORSEMENT, key];
        client.auth(0x133, &handles, auths, b().u16(0).u16(0x10)).ok().field(0)
    };
    // A new digest starts.
    report(&mut client);
    let symmetric = b().u16(6).u16(128).u16(0x43);
    let mut session = client.session_with(OWNER, b"", 0, symmetric);
    let parameters = b().sized(b"as it is sent").u16(0x0b).u32(NULL);
    let cp = sha256(&[&code, &parameters.0]);
    let auth = vec![Auth::Session(&mut session, b"", 0x61)];
    let answer = client.auth(0x17d, &[], auth, parameters).ok();
    let rp = sha256(&[&[0; 4], &code, &answer.body]);
    // TPMS_COMMAND_AUDIT_INFO ends with auditDigest, then the digest of the codes.
    let attest = report(&mut client);
    let expected = sha256(&[&[0; 32], &cp, &rp]);
    assert_eq!(attest[attest.len() - 66..attest.len() - 34], expected[..]);
}
