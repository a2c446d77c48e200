//! Policy assertions, with their refusals.

use std::vec;
use std::vec::Vec;

use tpm_crypto::hash::HashAlgorithm;

use super::client::*;

const INDEX: u32 = 0x0150_0000;
const OWNER_ACCESS: u32 = 1 << 1 | 1 << 17;

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    HashAlgorithm::Sha256.hash_parts(parts).to_vec()
}

fn index_with(client: &mut Client, data: &[u8]) {
    let public = b().u32(INDEX).u16(0x0b).u32(OWNER_ACCESS).u16(0).u16(data.len() as u16);
    client.pw(0x12a, &[OWNER], b().u16(0).sized(&public.0)).ok();
    client.pw(0x137, &[OWNER, INDEX], b().sized(data).u16(0)).ok();
}

fn digest(client: &mut Client, session: u32) -> Vec<u8> {
    client.run(0x189, &[session], b()).ok().field(0)
}

/// An unrestricted ECDSA key.
fn signing_key(client: &mut Client) -> u32 {
    let template = b().u16(0x23).u16(0x0b).u32(0x0004_0072).u16(0).u16(0x10).u16(0x18).u16(0x0b);
    client.primary(OWNER, &template.u16(3).u16(0x10).u16(0).u16(0)).handle
}

fn sign(client: &mut Client, key: u32, digest: &[u8]) -> Vec<u8> {
    let parameters = b().sized(digest).u16(0x10).u16(0x8024).u32(NULL).u16(0);
    client.pw(0x15d, &[key], parameters).ok().body
}

#[test]
fn policy_nv_compares_in_every_way() {
    let mut client = Client::new();
    index_with(&mut client, &[0x80, 0, 0, 5]);
    let session = client.session(1);
    let policy = |client: &mut Client, operand: &[u8], offset: u16, operation: u16| {
        let parameters = b().sized(operand).u16(offset).u16(operation);
        client.pw(0x149, &[OWNER, INDEX, session.handle], parameters).rc
    };
    let (same, less, more) = ([0x80, 0, 0, 5], [0x80, 0, 0, 4], [0x80, 0, 0, 6]);
    let positive = [0, 0, 0, 1];
    // Operand, then for each of the twelve operations whether it holds.
    let table: [([u8; 4], u16); 4] = [
        (same, 1 << 0 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10),
        (less, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 7 | 1 << 10),
        (more, 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9),
        (positive, 1 << 1 | 1 << 3 | 1 << 4 | 1 << 7 | 1 << 8 | 1 << 10),
    ];
    for (operand, holds) in table {
        for operation in 0..12 {
            let expected = if holds & 1 << operation != 0 { 0 } else { 0x126 };
            let rc = policy(&mut client, &operand, 0, operation);
            assert_eq!(rc, expected, "{operand:x?} by operation {operation}");
        }
    }
    assert_eq!(policy(&mut client, &[0, 0, 0, 2], 0, 11), 0, "bits that are clear");
    assert_eq!(policy(&mut client, &[5], 3, 0), 0, "a part");
    assert_eq!(policy(&mut client, &same, 0, 12), 0x3c4);
    assert_eq!(policy(&mut client, &same, 5, 0), 0x2c4);
    assert_eq!(policy(&mut client, &same, 1, 0), 0x1d5);
}

#[test]
fn policy_nv_extends_with_arguments_and_name() {
    let mut client = Client::new();
    index_with(&mut client, b"data");
    let session = client.session(1);
    let arguments = b().sized(b"at").u16(1).u16(0);
    client.pw(0x149, &[OWNER, INDEX, session.handle], arguments).ok();
    let name = client.name(INDEX);
    let arguments = sha256(&[b"at", &[0, 1, 0, 0]]);
    let expected = sha256(&[&[0; 32], &0x149u32.to_be_bytes(), &arguments, &name]);
    assert_eq!(digest(&mut client, session.handle), expected);
}

#[test]
fn policy_or_takes_two_to_eight_branches() {
    let mut client = Client::new();
    let session = client.session(1);
    let or = |client: &mut Client, count: u32, first: &[u8]| {
        let mut list = b().u32(count).sized(first);
        for number in 1..count {
            list = list.sized(&[number as u8; 32]);
        }
        client.run(0x171, &[session.handle], list).rc
    };
    for count in [0, 1, 9] {
        assert_eq!(or(&mut client, count, &[0; 32]), 0x1d5, "{count} branches");
    }
    assert_eq!(or(&mut client, 8, &[9; 32]), 0x1c4, "none of them is this policy");
    assert_eq!(or(&mut client, 8, &[0; 32]), 0);
    let mut branches = vec![0; 32];
    (1..8u8).for_each(|number| branches.extend([number; 32]));
    let expected = sha256(&[&[0; 32], &0x171u32.to_be_bytes(), &branches]);
    assert_eq!(digest(&mut client, session.handle), expected);
    assert_eq!(or(&mut client, 2, &expected), 0);
}

/// PolicySigned by `key`; body of the answer.
fn signed(client: &mut Client, key: u32, session: &Session, nonce: &[u8], seconds: i32) -> Answer {
    let to_sign = sha256(&[nonce, &seconds.to_be_bytes(), b"ref"]);
    let signature = sign(client, key, &to_sign);
    let parameters = b().sized(nonce).u16(0).sized(b"ref").u32(seconds as u32).raw(&signature);
    client.run(0x160, &[key, session.handle], parameters)
}

#[test]
fn policy_signed_gives_a_ticket_that_expires() {
    let mut client = Client::new();
    let key = signing_key(&mut client);
    let name = client.name(key);
    let session = client.session(1);
    let nonce = session.nonce.clone();
    assert_eq!(signed(&mut client, key, &session, &[3; 32], -10).rc, 0x1cf, "another nonce");
    let answer = signed(&mut client, key, &session, &nonce, -10).ok();
    let timeout = answer.field(0);
    let ticket = answer.body[2 + timeout.len()..].to_vec();
    let asserted = digest(&mut client, session.handle);
    let first = sha256(&[&[0; 32], &0x160u32.to_be_bytes(), &name]);
    assert_eq!(asserted, sha256(&[&first, b"ref"]));
    let other = client.session(1);
    let present = |client: &mut Client, session: u32, timeout: &[u8], ticket: &[u8]| {
        let parameters = b().sized(timeout).u16(0).sized(b"ref").sized(&name).raw(ticket);
        client.run(0x172, &[session], parameters).rc
    };
    let mut damaged = ticket.clone();
    *damaged.last_mut().expect("bytes") ^= 1;
    assert_eq!(present(&mut client, other.handle, &timeout, &damaged), 0x5e0);
    let longer = 99_999u64.to_be_bytes();
    assert_eq!(present(&mut client, other.handle, &longer, &ticket), 0x5e0);
    assert_eq!(present(&mut client, other.handle, &timeout[..7], &ticket), 0x1d5);
    let trial = client.session(3);
    assert_eq!(present(&mut client, trial.handle, &timeout, &ticket), 0x182);
    assert_eq!(present(&mut client, other.handle, &timeout, &ticket), 0);
    assert_eq!(digest(&mut client, other.handle), asserted);
    client.env.now += 10_001;
    assert_eq!(present(&mut client, other.handle, &timeout, &ticket), 0x1e3);
    assert_eq!(signed(&mut client, key, &session, &nonce, 10).rc, 0x4e3);
}

#[test]
fn policy_signed_refuses_another_signature() {
    let mut client = Client::new();
    let key = signing_key(&mut client);
    let session = client.session(1);
    let signature = sign(&mut client, key, &[1; 32]);
    let parameters = b().u16(0).u16(0).u16(0).u32(0).raw(&signature);
    assert_eq!(client.run(0x160, &[key, session.handle], parameters).rc, 0x5db);
    assert_eq!(digest(&mut client, session.handle), [0; 32]);
}

#[test]
fn policy_authorize_takes_a_verified_policy_only() {
    let mut client = Client::new();
    let key = signing_key(&mut client);
    let name = client.name(key);
    let session = client.session(1);
    let approved = sha256(&[&[0; 32], &0x16bu32.to_be_bytes()]);
    let to_sign = sha256(&[&approved, b"ref"]);
    let signature = sign(&mut client, key, &to_sign);
    let verify = b().sized(&to_sign).raw(&signature);
    let ticket = client.run(0x177, &[key], verify).ok().body;
    let authorize = |client: &mut Client, approved: &[u8], ticket: &[u8]| {
        let parameters = b().sized(approved).sized(b"ref").sized(&name).raw(ticket);
        client.run(0x16a, &[session.handle], parameters).rc
    };
    assert_eq!(authorize(&mut client, &approved, &ticket), 0x1c4, "not asserted yet");
    client.run(0x16b, &[session.handle], b()).ok();
    let mut damaged = ticket.clone();
    *damaged.last_mut().expect("bytes") ^= 1;
    assert_eq!(authorize(&mut client, &approved, &damaged), 0x4c4);
    assert_eq!(authorize(&mut client, &approved, &ticket), 0);
    let first = sha256(&[&[0; 32], &0x16au32.to_be_bytes(), &name]);
    assert_eq!(digest(&mut client, session.handle), sha256(&[&first, b"ref"]));
}

#[test]
fn policy_authorize_nv_compares_with_the_index() {
    let mut client = Client::new();
    index_with(&mut client, &b().u16(0x0b).raw(&[0; 32]).0);
    let session = client.session(1);
    let authorize = |client: &mut Client| client.pw(0x192, &[OWNER, INDEX, session.handle], b()).rc;
    assert_eq!(authorize(&mut client), 0);
    let name = client.name(INDEX);
    let expected = sha256(&[&[0; 32], &0x192u32.to_be_bytes(), &name]);
    assert_eq!(digest(&mut client, session.handle), expected);
    assert_eq!(authorize(&mut client), 0x84, "the policy is another now");
    client.pw(0x137, &[OWNER, INDEX], b().sized(&[0, 0x0d]).u16(0)).ok();
    assert_eq!(authorize(&mut client), 0x9a, "too short for SHA-512");
}

#[test]
fn policy_duplication_select_binds_object_and_parent() {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let other = client.primary(ENDORSEMENT, &ecc_srk()).handle;
    let (wanted, refused) = (client.name(other), client.name(parent));
    let select = |client: &mut Client, session: u32, object: &[u8], parent: &[u8]| {
        client.run(0x188, &[session], b().sized(object).sized(parent).u8(0)).rc
    };
    let trial = client.session(3);
    assert_eq!(select(&mut client, trial.handle, b"", &wanted), 0);
    assert_eq!(select(&mut client, trial.handle, b"", &wanted), 0x151);
    let policy = digest(&mut client, trial.handle);
    assert_eq!(policy, sha256(&[&[0; 32], &0x188u32.to_be_bytes(), &wanted, &[0]]));
    let template = b().u16(8).u16(0x0b).u32(0x40).sized(&policy).u16(0x10).u16(0);
    let object = client.child(parent, &template, b"", b"data");
    let name = client.name(object);
    for (target, parent, code) in
        [(&wanted, other, 0), (&wanted, parent, 0x99d), (&refused, parent, 0x99d)]
    {
        let mut session = client.session(1);
        assert_eq!(select(&mut client, session.handle, &name, target), 0);
        let auth = vec![Auth::Session(&mut session, b"", 1)];
        let answer = client.auth(0x14b, &[object, parent], auth, b().u16(0).u16(0x10));
        assert_eq!(answer.rc, code);
    }
}

#[test]
fn lockout_auth_locks_itself_out() {
    for recovery in [20, 0] {
        let mut client = Client::new();
        client.pw(0x13a, &[LOCKOUT], b().u32(5).u32(10).u32(recovery)).ok();
        client.pw(0x129, &[LOCKOUT], b().sized(b"lock")).ok();
        let reset = |client: &mut Client, value: &[u8]| {
            client.auth(0x139, &[LOCKOUT], vec![Auth::Password(value)], b()).rc
        };
        assert_eq!(reset(&mut client, b"lock"), 0);
        assert_eq!(reset(&mut client, b"look"), 0x98e);
        assert_eq!(reset(&mut client, b"lock"), 0x921);
        client.env.now += 19_999;
        assert_eq!(reset(&mut client, b"lock"), 0x921);
        client.env.now += 1;
        assert_eq!(reset(&mut client, b"lock"), if recovery == 0 { 0x921 } else { 0 });
        client.power_cycle();
        client.startup(0);
        assert_eq!(reset(&mut client, b"lock"), 0);
    }
}
