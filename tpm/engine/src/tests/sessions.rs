//! Authorization sessions (Part 1, section 19.6; Part 3, section 11.1): start, proofs, end.

use std::vec;
use std::vec::Vec;

use tpm_crypto::cipher::{Direction, cfb};
use tpm_crypto::drbg::Drbg;
use tpm_crypto::ecc::{Curve, EccPoint, EccPrivateKey};
use tpm_crypto::hash::HashAlgorithm;
use tpm_crypto::kdf::{kdfa, kdfe};
use tpm_crypto::rsa::{EncryptionScheme, RsaPublicKey};

use super::client::*;
use super::codes::{cc, rc};

fn aes() -> Bytes {
    b().u16(6).u16(128).u16(0x43)
}

/// HierarchyChangeAuth of the owner, whose response is under the new value.
fn change_auth(client: &mut Client, session: &mut Session, old: &[u8], new: &[u8]) -> u32 {
    session.renewed = Some(new.into());
    let auth = vec![Auth::Session(session, old, 1)];
    let rc = client.auth(cc::HIERARCHY_CHANGE_AUTH, &[OWNER], auth, b().sized(new)).rc;
    session.renewed = None;
    rc
}

fn set_clock(client: &mut Client, session: &mut Session, value: &[u8]) -> u32 {
    let auth = vec![Auth::Session(session, value, 1)];
    client.auth(cc::CLOCK_SET, &[OWNER], auth, b().u64(5_000)).rc
}

/// A secret for a P-256 key, made with an ephemeral key (Part 1, annex C.6.1): encrypted, and in
/// clear.
fn ecc_salt(public: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut r = Fields(&public[public.len() - 68..]);
    let key = EccPoint::new(Curve::P256, &r.sized(), &r.sized()).expect("a point");
    let ephemeral = EccPrivateKey::new(Curve::P256, &[9; 32]).expect("a scalar");
    let own = ephemeral.public_key().expect("a point");
    let z = ephemeral.ecdh(&key).expect("a point");
    let mut salt = vec![0; 32];
    kdfe(HashAlgorithm::Sha256, z.x(), b"SECRET", own.x(), key.x(), &mut salt);
    (b().sized(own.x()).sized(own.y()).0, salt)
}

/// The same for an RSA key (Part 1, annex B.10).
fn rsa_salt(public: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let key = RsaPublicKey::new(&public[public.len() - 256..], 0x1_0001).expect("a key");
    let scheme = EncryptionScheme::Oaep { hash: HashAlgorithm::Sha256, label: b"SECRET\0" };
    let salt = [3; 32];
    let sent = key.encrypt(scheme, &salt, &mut Drbg::new(b"seed", b"", b"")).expect("room");
    (sent.to_vec(), salt.into())
}

#[test]
fn salted_and_bound_sessions_prove_both_secrets() {
    type Salt = fn(&[u8]) -> (Vec<u8>, Vec<u8>);
    for (template, salted) in [(ecc_srk(), ecc_salt as Salt), (rsa_srk(), rsa_salt)] {
        let mut client = Client::new();
        let key = client.primary(ENDORSEMENT, &template);
        let (sent, salt) = salted(&key.field(0));
        client.pw(cc::HIERARCHY_CHANGE_AUTH, &[OWNER], b().sized(b"own")).ok();
        for bind in [(NULL, &b""[..]), (OWNER, b"own"), (ENDORSEMENT, b"")] {
            let salt = (key.handle, &sent[..], &salt[..]);
            let mut session = client.start_session(Start { salt, bind, ..Start::default() });
            // The authorization value is left out of the HMAC key for the bound entity only.
            session.with_value = bind.0 != OWNER;
            assert_eq!(set_clock(&mut client, &mut session, b"own"), 0, "bound to {:#x}", bind.0);
            session.key[0] ^= 1;
            let bad = rc::session(1, rc::BAD_AUTH);
            assert_eq!(set_clock(&mut client, &mut session, b"own"), bad);
        }
        let start = |client: &mut Client, secret: &[u8]| {
            let parameters = b().sized(&[1; 16]).sized(secret).u8(0).u16(0x10).u16(0x0b);
            client.run(cc::START_AUTH_SESSION, &[key.handle, NULL], parameters).rc
        };
        assert_eq!(start(&mut client, &sent[1..]), rc::param(2, rc::VALUE));
        assert_eq!(start(&mut client, &sent), 0);
    }
}

#[test]
fn a_binding_ends_when_the_value_changes() {
    let mut client = Client::new();
    let mut bound = client.session_with(OWNER, b"", 0, none());
    assert_eq!(set_clock(&mut client, &mut bound, b""), 0);
    let mut other = client.session(0);
    assert_eq!(change_auth(&mut client, &mut other, b"", b"new"), 0, "answered with the new value");
    assert_eq!(set_clock(&mut client, &mut bound, b""), rc::session(1, rc::BAD_AUTH));
    bound.with_value = true;
    assert_eq!(set_clock(&mut client, &mut bound, b"new"), 0);
    assert_eq!(set_clock(&mut client, &mut other, b"new"), 0);
}

#[test]
fn clear_is_answered_with_the_empty_lockout_value() {
    let mut client = Client::new();
    client.pw(cc::HIERARCHY_CHANGE_AUTH, &[LOCKOUT], b().sized(b"lock")).ok();
    let mut session = client.session(0);
    session.renewed = Some(vec![]);
    let auth = vec![Auth::Session(&mut session, b"lock", 1)];
    client.auth(cc::CLEAR, &[LOCKOUT], auth, b()).ok();
}

#[test]
fn every_hash_makes_sessions() {
    for alg in HashAlgorithm::ALL {
        let mut client = Client::new();
        client.pw(cc::HIERARCHY_CHANGE_AUTH, &[OWNER], b().sized(b"own")).ok();
        for bind in [(NULL, &b""[..]), (OWNER, b"own")] {
            let mut session = client.start_session(Start { bind, alg, ..Start::default() });
            for _ in 0..3 {
                assert_eq!(set_clock(&mut client, &mut session, b"own"), 0, "{alg:?}");
            }
            let bad = if bind.0 == NULL { rc::session(1, rc::BAD_AUTH) } else { 0 };
            assert_eq!(set_clock(&mut client, &mut session, b"no"), bad, "{alg:?}");
        }
        let policy = client.start_session(Start { kind: 1, alg, ..Start::default() });
        client.run(cc::POLICY_PASSWORD, &[policy.handle], b()).ok();
        let digest = client.run(cc::POLICY_GET_DIGEST, &[policy.handle], b()).ok().field(0);
        let zeros = vec![0; alg.digest_size()];
        assert_eq!(digest, alg.hash_parts(&[&zeros, &0x16b_u32.to_be_bytes()]).as_bytes());
    }
}

#[test]
fn a_session_starts_from_parameters_that_fit_each_other() {
    let mut client = Client::new();
    for (nonce, kind, symmetric, alg, code) in [
        (15, 0, none(), 0x0b, rc::param(1, rc::SIZE)),
        (16, 0, none(), 0x0b, 0),
        (32, 0, none(), 0x0b, 0),
        (33, 0, none(), 0x0b, rc::param(1, rc::SIZE)),
        (65, 0, none(), 0x0d, rc::param(1, rc::SIZE)),
        (16, 2, none(), 0x0b, rc::param(3, rc::VALUE)),
        (16, 4, none(), 0x0b, rc::param(3, rc::VALUE)),
        (16, 0, aes(), 0x0b, 0),
        (16, 0, b().u16(6).u16(128).u16(0x42), 0x0b, rc::param(4, rc::MODE)),
        (16, 0, b().u16(6).u16(127).u16(0x43), 0x0b, rc::param(4, rc::VALUE)),
        (16, 0, b().u16(0x13).u16(128).u16(0x43), 0x0b, rc::param(4, rc::SYMMETRIC)),
        (16, 0, b().u16(0x0a).u16(0x10), 0x0b, rc::param(4, rc::HASH)),
        (16, 0, none(), 0x10, rc::param(5, rc::HASH)),
        (16, 0, none(), 0x12, rc::param(5, rc::HASH)),
    ] {
        let parameters = b().sized(&vec![1; nonce]).u16(0).u8(kind).raw(&symmetric.0).u16(alg);
        let answer = client.run(cc::START_AUTH_SESSION, &[NULL, NULL], parameters);
        assert_eq!(
            answer.rc,
            code,
            "{nonce} {kind} {symmetric:?} {alg:#x}",
            symmetric = symmetric.0
        );
        if code == 0 {
            assert_eq!(answer.field(0).len(), nonce, "nonceTPM is as long");
            client.run(cc::FLUSH_CONTEXT, &[], b().u32(answer.handle)).ok();
        }
    }
    let parameters = || b().sized(&[1; 16]).sized(&[1]).u8(0).u16(0x10).u16(0x0b);
    let answer = client.run(cc::START_AUTH_SESSION, &[NULL, NULL], parameters());
    assert_eq!(answer.rc, rc::param(2, rc::VALUE), "a salt without a key");
    let sequence = client.run(cc::HASH_SEQUENCE_START, &[], b().u16(0).u16(0x0b)).ok().handle;
    let answer = client.run(cc::START_AUTH_SESSION, &[sequence, NULL], parameters());
    assert_eq!(answer.rc, rc::handle(1, rc::KEY));
}

#[test]
fn three_sessions_authorize_decrypt_and_encrypt() {
    let caller = [0x5a; 16];
    let crypt = |session: &Session, way: Direction, newer: &[u8], older: &[u8], data: &mut [u8]| {
        let mut derived = [0; 32];
        kdfa(HashAlgorithm::Sha256, &session.key, b"CFB", newer, older, &mut derived);
        let vector: [u8; 16] = derived[16..].try_into().expect("16 bytes");
        cfb(way, &derived[..16], &vector, data).expect("a key");
    };
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let salted = |client: &mut Client| client.session_with(OWNER, b"", 0, aes());
    let mut authorizes = client.session(0);
    let (mut decrypts, mut encrypts) = (salted(&mut client), salted(&mut client));
    for attributes in [[1, 0x21, 0x41], [1, 0x41, 0x21]] {
        // TPM2B_SENSITIVE_CREATE is the first parameter, TPM2B_PRIVATE that of the response.
        let mut sensitive = b().u16(0).sized(b"secret").0;
        let other = if attributes[1] & 0x20 != 0 { &decrypts } else { &encrypts };
        crypt(other, Direction::Encrypt, &caller, &other.nonce, &mut sensitive);
        let parameters = b().sized(&sensitive).sized(&sealed().0).u16(0).u32(0);
        let auths = vec![
            Auth::Session(&mut authorizes, b"", attributes[0]),
            Auth::Session(&mut decrypts, b"", attributes[1]),
            Auth::Session(&mut encrypts, b"", attributes[2]),
        ];
        let made = client.auth(cc::CREATE, &[parent], auths, parameters).ok();
        let mut private = made.field(0);
        let other = if attributes[1] & 0x40 != 0 { &decrypts } else { &encrypts };
        crypt(other, Direction::Decrypt, &other.nonce, &caller, &mut private);
        let parameters = b().sized(&private).sized(&made.field(1));
        let object = client.pw(cc::LOAD, &[parent], parameters).ok().handle;
        assert_eq!(client.pw(cc::UNSEAL, &[object], b()).ok().field(0), b"secret");
        client.run(cc::FLUSH_CONTEXT, &[], b().u32(object)).ok();
    }
}

#[test]
fn attributes_fit_the_command_and_the_session() {
    let mut client = Client::new();
    let mut plain = client.session(0);
    let mut aes = client.session_with(NULL, b"", 0, aes());
    let mut policy = client.session_with(NULL, b"", 1, b().u16(6).u16(128).u16(0x43));
    let random = b().u16(4);
    let wrong = rc::session(1, rc::ATTRIBUTES);
    let mut run = |session: &mut Session, code: u32, attributes: u8, parameters: &Bytes| {
        let auth = vec![Auth::Session(session, b"", attributes)];
        client.auth(code, &[], auth, parameters.clone()).rc
    };
    for (attributes, code) in [
        (0x01, wrong),
        (0x41, wrong),
        (0x21, wrong),
        (0x83, 0),
        (0x07, wrong),
        (0x09, rc::session(1, rc::RESERVED_BITS)),
        (0x11, rc::session(1, rc::RESERVED_BITS)),
        (0x81, 0),
    ] {
        let rc = run(&mut plain, cc::GET_RANDOM, attributes, &random);
        assert_eq!(rc, code, "no cipher {attributes:#x}");
    }
    for (attributes, code) in [(0x41, 0), (0x21, wrong), (0xc1, 0)] {
        assert_eq!(run(&mut aes, cc::GET_RANDOM, attributes, &random), code, "{attributes:#x}");
    }
    for (attributes, code) in [(0x41, 0), (0x81, wrong), (0x01, wrong)] {
        let rc = run(&mut policy, cc::GET_RANDOM, attributes, &random);
        assert_eq!(rc, code, "policy {attributes:#x}");
    }
    // PCR_Read neither encrypts nor decrypts; ReadClock takes no session at all.
    let none_selected = b().u32(0);
    assert_eq!(run(&mut aes, cc::PCR_READ, 0x41, &none_selected), wrong);
    assert_eq!(run(&mut aes, cc::PCR_READ, 0x81, &none_selected), 0);
    assert_eq!(run(&mut aes, cc::READ_CLOCK, 0x81, &b()), 0x145);
}

#[test]
fn one_command_takes_each_session_and_each_use_once() {
    let mut client = Client::new();
    let mut first = client.session_with(NULL, b"", 0, aes());
    let mut second = client.session_with(NULL, b"", 0, aes());
    let mut third = client.session_with(NULL, b"", 0, aes());
    let data = || b().sized(b"data").u16(0x0b).u32(NULL);
    for (attributes, code) in [
        ([0x41, 0x41, 0x81], rc::session(2, rc::ATTRIBUTES)),
        ([0x81, 0x41, 0x81], rc::session(3, rc::ATTRIBUTES)),
        ([0x81, 0x41, 0x01], rc::session(3, rc::ATTRIBUTES)),
    ] {
        let auths = vec![
            Auth::Session(&mut first, b"", attributes[0]),
            Auth::Session(&mut second, b"", attributes[1]),
            Auth::Session(&mut third, b"", attributes[2]),
        ];
        assert_eq!(client.auth(cc::HASH, &[], auths, data()).rc, code);
    }
    let mut again = first.clone();
    let auths = vec![Auth::Session(&mut first, b"", 0x81), Auth::Session(&mut again, b"", 0x41)];
    assert_eq!(client.auth(cc::HASH, &[], auths, data()).rc, rc::session(2, rc::HANDLE));
    let mut missing = first.clone();
    missing.handle = 0x0200_003f;
    let auths = vec![Auth::Session(&mut first, b"", 0x81), Auth::Session(&mut missing, b"", 0x41)];
    assert_eq!(client.auth(cc::HASH, &[], auths, data()).rc, rc::REFERENCE_S0 + 1);
    missing.handle = 0x0200_0040;
    let auths = vec![Auth::Session(&mut missing, b"", 0x81)];
    assert_eq!(client.auth(cc::HASH, &[], auths, data()).rc, rc::session(1, rc::VALUE));
}

#[test]
fn a_session_ends_with_the_command_that_does_not_continue_it() {
    let mut client = Client::new();
    let mut session = client.session(0);
    assert_eq!(set_clock(&mut client, &mut session, b""), 0);
    let auth = vec![Auth::Session(&mut session, b"", 0)];
    client.auth(cc::CLOCK_SET, &[OWNER], auth, b().u64(6_000)).ok();
    assert_eq!(set_clock(&mut client, &mut session, b""), rc::REFERENCE_S0);
    // A failed command does not change it.
    let mut session = client.session(0);
    let auth = vec![Auth::Session(&mut session, b"", 0)];
    let answer = client.auth(cc::CLOCK_SET, &[OWNER], auth, b().u64(0));
    assert_eq!(answer.rc, rc::param(1, rc::VALUE));
    let auth = vec![Auth::Session(&mut session, b"", 1)];
    client.auth(cc::CLOCK_SET, &[OWNER], auth, b().u64(7_000)).ok();
    // A nonce is good for one command: the same bytes are refused the second time.
    let mut stale = session.clone();
    let auth = vec![Auth::Session(&mut session, b"", 1)];
    client.auth(cc::CLOCK_SET, &[OWNER], auth, b().u64(8_000)).ok();
    client.pw(cc::HIERARCHY_CHANGE_AUTH, &[OWNER], b().sized(b"own")).ok();
    let auth = vec![Auth::Session(&mut stale, b"own", 1)];
    let answer = client.auth(cc::CLOCK_SET, &[OWNER], auth, b().u64(8_000));
    assert_eq!(answer.rc, rc::session(1, rc::BAD_AUTH));
}

#[test]
fn a_session_is_flushed_by_its_number_alone() {
    let mut client = Client::new();
    let flush =
        |client: &mut Client, handle: u32| client.run(cc::FLUSH_CONTEXT, &[], b().u32(handle)).rc;
    for (kind, saved) in [(0, false), (1, false), (0, true), (1, true)] {
        let handle = client.session(kind).handle;
        if saved {
            client.run(cc::CONTEXT_SAVE, &[handle], b()).ok();
        }
        // FlushContext ignores the upper byte of a session's handle.
        assert_eq!(flush(&mut client, handle ^ 0x0100_0000), 0, "{kind} {saved}");
        assert_eq!(flush(&mut client, handle), rc::param(1, rc::HANDLE));
    }
    let mut session = client.session(0);
    let auth = vec![Auth::Session(&mut session, b"", 0x81)];
    client.auth(cc::GET_RANDOM, &[], auth, b().u16(4)).ok();
    assert_eq!(client.tpm.v.exclusive, session.handle);
    assert_eq!(flush(&mut client, session.handle | 0x0300_0000), 0);
    assert_eq!(client.tpm.v.exclusive, 0, "no session is exclusive");
}

#[test]
fn sixteen_sessions_are_loaded_and_sixty_four_active() {
    let mut client = Client::new();
    let start = |client: &mut Client| {
        let parameters = b().sized(&[1; 16]).u16(0).u8(0).u16(0x10).u16(0x0b);
        client.run(cc::START_AUTH_SESSION, &[NULL, NULL], parameters)
    };
    for _ in 0..16 {
        start(&mut client).ok();
    }
    assert_eq!(start(&mut client).rc, rc::SESSION_MEMORY);
    let save =
        |client: &mut Client, handle: u32| client.run(cc::CONTEXT_SAVE, &[handle], b()).ok().body;
    let oldest = save(&mut client, 0x0200_0000);
    for handle in 0x0200_0001..0x0200_0010 {
        save(&mut client, handle);
    }
    for handle in 0x0200_0010..0x0200_0040 {
        assert_eq!(start(&mut client).ok().handle, handle);
        save(&mut client, handle);
    }
    assert_eq!(start(&mut client).rc, rc::SESSION_HANDLES);
    // A saved session is flushed by its handle; its context can no longer be loaded.
    client.run(cc::FLUSH_CONTEXT, &[], b().u32(0x0200_0000)).ok();
    let load = client.run(cc::CONTEXT_LOAD, &[], b().raw(&oldest));
    assert_eq!(load.rc, rc::param(1, rc::HANDLE));
    assert_eq!(start(&mut client).ok().handle, 0x0200_0000);
}
