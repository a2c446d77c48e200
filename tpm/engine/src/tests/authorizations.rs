//! Authorization: sessions, policies, dictionary attacks, hierarchies.

use std::vec;

use super::client::*;

#[test]
fn failures_lock_out_and_time_heals() {
    let mut client = Client::new();
    client.pw(0x13a, &[LOCKOUT], b().u32(2).u32(10).u32(0)).ok();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let object = client.child(parent, &sealed(), b"pin", b"data");
    let unseal = |client: &mut Client, pin: &[u8]| {
        client.auth(0x15e, &[object], vec![Auth::Password(pin)], b()).rc
    };
    assert_eq!(unseal(&mut client, b"a"), 0x98e);
    assert_eq!(unseal(&mut client, b"b"), 0x98e);
    assert_eq!(unseal(&mut client, b"pin"), 0x921);
    client.env.now += 10_000;
    assert_eq!(unseal(&mut client, b"pin"), 0);
    assert_eq!(unseal(&mut client, b"c"), 0x98e);
    assert_eq!(unseal(&mut client, b"pin"), 0x921);
    client.pw(0x139, &[LOCKOUT], b()).ok();
    assert_eq!(unseal(&mut client, b"pin"), 0);
}

#[test]
fn a_pcr_policy_opens_in_the_sealed_state_only() {
    let mut client = Client::new();
    let selection = b().u32(1).u16(0x0b).u8(3).raw(&[0, 0, 1]).0;
    let trial = client.session(3);
    client.run(0x17f, &[trial.handle], b().u16(0).raw(&selection)).ok();
    let policy = client.run(0x189, &[trial.handle], b()).ok().field(0);
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let template = b().u16(8).u16(0x0b).u32(0x0000_0012).sized(&policy).u16(0x10).u16(0);
    let object = client.child(parent, &template, b"", b"data");
    assert_eq!(client.pw(0x15e, &[object], b()).rc, 0x12f, "no value is allowed");
    let mut session = client.session(1);
    client.run(0x17f, &[session.handle], b().u16(0).raw(&selection)).ok();
    let auth = vec![Auth::Session(&mut session, b"", 1)];
    assert_eq!(client.auth(0x15e, &[object], auth, b()).ok().field(0), b"data");
    let auth = vec![Auth::Session(&mut session, b"", 1)];
    assert_eq!(client.auth(0x15e, &[object], auth, b()).rc, 0x99d, "the policy is used up");
    client.pw(0x182, &[16], b().u32(1).u16(0x0b).raw(&[7; 32])).ok();
    client.run(0x17f, &[session.handle], b().u16(0).raw(&selection)).ok();
    let auth = vec![Auth::Session(&mut session, b"", 1)];
    assert_eq!(client.auth(0x15e, &[object], auth, b()).rc, 0x99d);
}

#[test]
fn policy_secret_takes_the_entitys_value() {
    let mut client = Client::new();
    client.pw(0x129, &[ENDORSEMENT], b().sized(b"e")).ok();
    let session = client.session(1);
    let parameters = || b().u16(0).u16(0).u16(0).u32(0);
    let with = |client: &mut Client, value: &[u8]| {
        let auth = vec![Auth::Password(value)];
        client.auth(0x151, &[ENDORSEMENT, session.handle], auth, parameters()).rc
    };
    assert_eq!(with(&mut client, b"x"), 0x9a2);
    assert_eq!(with(&mut client, b"e"), 0);
    let digest = client.run(0x189, &[session.handle], b()).ok().field(0);
    // The policy of the TCG's EK templates.
    assert_eq!(digest[..8], [0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8]);
}

#[test]
fn a_bound_session_needs_no_value_in_its_hmac() {
    let mut client = Client::new();
    client.pw(0x129, &[OWNER], b().sized(b"own")).ok();
    let mut session = client.session_with(OWNER, b"own", 0, b().u16(0x10));
    let auth = vec![Auth::Session(&mut session, b"own", 1)];
    client.auth(0x128, &[OWNER], auth, b().u64(1000)).ok();
    let mut other = client.session(0);
    let auth = vec![Auth::Session(&mut other, b"wrong", 1)];
    assert_eq!(client.auth(0x128, &[OWNER], auth, b().u64(1000)).rc, 0x9a2);
}

#[test]
fn parameters_are_decrypted_in_both_schemes() {
    for symmetric in [b().u16(6).u16(128).u16(0x43), b().u16(0x0a).u16(0x0b)] {
        let mut client = Client::new();
        client.pw(0x129, &[OWNER], b().sized(b"own")).ok();
        let mut session = client.session_with(OWNER, b"own", 0, symmetric.clone());
        let mut data = b"value".to_vec();
        let key = [&session.key[..], b"own"].concat();
        let alg = tpm_crypto::hash::HashAlgorithm::Sha256;
        if symmetric.0[1] == 6 {
            let mut both = [0; 32];
            tpm_crypto::kdf::kdfa(alg, &key, b"CFB", &[0x5a; 16], &session.nonce, &mut both);
            let iv: [u8; 16] = both[16..].try_into().expect("16 bytes");
            let way = tpm_crypto::cipher::Direction::Encrypt;
            tpm_crypto::cipher::cfb(way, &both[..16], &iv, &mut data).expect("a key");
        } else {
            let mut mask = vec![0; data.len()];
            tpm_crypto::kdf::kdfa(alg, &key, b"XOR", &[0x5a; 16], &session.nonce, &mut mask);
            data.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
        }
        // The response HMAC uses the new value, since the session is bound to the old one.
        let auth = vec![Auth::Session(&mut session, b"own", 0x21)];
        let public = b().u32(0x0150_0001).u16(0x0b).u32(1 << 2 | 1 << 18).u16(0).u16(4);
        client.auth(0x12a, &[OWNER], auth, b().sized(&data).sized(&public.0)).ok();
        let auth = vec![Auth::Password(b"value")];
        let index = [0x0150_0001, 0x0150_0001];
        client.auth(0x137, &index, auth, b().sized(b"data").u16(0)).ok();
    }
}

#[test]
fn disabled_hierarchies_answer_hierarchy() {
    let mut client = Client::new();
    client.pw(0x121, &[OWNER], b().u32(OWNER).u8(0)).ok();
    let parameters = b().u16(4).u32(0).sized(&ecc_srk().0).u16(0).u32(0);
    assert_eq!(client.pw(0x131, &[OWNER], parameters).rc, 0x185);
    client.pw(0x121, &[PLATFORM], b().u32(OWNER).u8(1)).ok();
    client.primary(OWNER, &ecc_srk());
}

#[test]
fn presence_is_asked_for_when_it_is_set() {
    let mut client = Client::new();
    client.env.presence = true;
    client.pw(0x12d, &[PLATFORM], b().u32(1).u32(0x126).u32(0)).ok();
    client.env.presence = false;
    assert_eq!(client.pw(0x126, &[PLATFORM], b()).rc, 0x990);
    client.env.presence = true;
    client.pw(0x126, &[PLATFORM], b()).ok();
}

#[test]
fn missing_and_superfluous_sessions_have_their_codes() {
    let mut client = Client::new();
    assert_eq!(client.run(0x126, &[LOCKOUT], b()).rc, 0x125);
    let twice = vec![Auth::Password(&[]), Auth::Password(&[])];
    assert_eq!(client.auth(0x126, &[LOCKOUT], twice, b()).rc, 0xa8b);
    assert_eq!(client.auth(0x181, &[], vec![Auth::Password(&[])], b()).rc, 0x145);
}

#[test]
fn a_command_that_fails_does_not_undo_the_healing() {
    let mut client = Client::new();
    client.pw(0x13a, &[LOCKOUT], b().u32(1).u32(10).u32(0)).ok();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let object = client.child(parent, &sealed(), b"pin", b"data");
    assert_eq!(client.auth(0x15e, &[object], vec![Auth::Password(b"a")], b()).rc, 0x98e);
    client.env.now += 10_000;
    assert_eq!(client.pw(0x13d, &[0], b()).rc, 0x907);
    client.auth(0x15e, &[object], vec![Auth::Password(b"pin")], b()).ok();
}

#[test]
fn a_password_comes_with_no_attribute_but_continue_session() {
    let mut client = Client::new();
    for (attributes, rc) in [(0, 0), (1, 0), (2, 0x982), (4, 0x982), (0x20, 0x982), (0x80, 0x982)] {
        let body = b().u32(LOCKOUT).u32(9).u32(0x4000_0009).u16(0).u8(attributes).u16(0).0;
        let command = b().u16(0x8002).u32(10 + body.len() as u32).u32(0x139).raw(&body).0;
        let response = client.send(&command, 0);
        assert_eq!(response[6..10], u32::to_be_bytes(rc), "attributes {attributes:#x}");
    }
}
