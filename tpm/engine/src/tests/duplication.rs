//! Duplication (Part 3, section 13): wrappers, refusals.

use std::vec;
use std::vec::Vec;

use tpm_crypto::hash::HashAlgorithm;

use super::client::*;
use super::codes::{cc, rc};

const ENCRYPTED_DUPLICATION: u32 = 1 << 11;

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    HashAlgorithm::Sha256.hash_parts(parts).to_vec()
}

/// Sealed data with these attributes, whose policy allows Duplicate.
fn duplicable(client: &mut Client, parent: u32, attributes: u32) -> u32 {
    let code = cc::POLICY_COMMAND_CODE.to_be_bytes();
    let policy = sha256(&[&[0; 32], &code, &cc::DUPLICATE.to_be_bytes()]);
    client.child(parent, &keyed_hash(attributes, &policy, &none()), b"", b"data")
}

fn duplicate(client: &mut Client, handles: [u32; 2], key: &[u8], symmetric: &Bytes) -> Answer {
    let mut session = client.session(1);
    client.run(cc::POLICY_COMMAND_CODE, &[session.handle], b().u32(cc::DUPLICATE)).ok();
    let auth = vec![Auth::Session(&mut session, b"", 0)];
    let answer = client.auth(cc::DUPLICATE, &handles, auth, b().sized(key).raw(&symmetric.0));
    if answer.rc != 0 {
        client.run(cc::FLUSH_CONTEXT, &[], b().u32(session.handle)).ok();
    }
    answer
}

fn aes() -> Bytes {
    b().u16(6).u16(128).u16(0x43)
}

#[test]
fn an_object_leaves_as_its_attributes_demand() {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let signer = client.primary(OWNER, &ecc_attestation_key()).handle;
    let free = duplicable(&mut client, parent, USER);
    let encrypted = duplicable(&mut client, parent, USER | ENCRYPTED_DUPLICATION);
    let fixed = duplicable(&mut client, parent, FIXED | USER);
    for (object, new, key, symmetric, code) in [
        (free, NULL, 0, none(), 0),
        (free, parent, 0, none(), 0),
        (free, NULL, 16, aes(), 0),
        (free, NULL, 15, aes(), rc::param(1, rc::SIZE)),
        (free, NULL, 16, none(), rc::param(1, rc::SIZE)),
        (free, signer, 0, none(), rc::handle(2, rc::TYPE)),
        (encrypted, parent, 0, aes(), 0),
        (encrypted, parent, 0, none(), rc::param(2, rc::SYMMETRIC)),
        (encrypted, NULL, 0, aes(), rc::handle(2, rc::HIERARCHY)),
        (fixed, parent, 0, none(), rc::handle(1, rc::ATTRIBUTES)),
    ] {
        let answer = duplicate(&mut client, [object, new], &vec![7; key], &symmetric);
        assert_eq!(answer.rc, code, "{object:#x} {new:#x} {key} {:x?}", symmetric.0);
    }
}

#[test]
fn the_inner_wrapper_opens_with_its_key_and_shows_damage() {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let object = duplicable(&mut client, parent, USER);
    let public = client.run(cc::READ_PUBLIC, &[object], b()).ok().field(0);
    let import = |client: &mut Client, key: &[u8], blob: &[u8], symmetric: &Bytes| {
        let parameters = b().sized(key).sized(&public).sized(blob).u16(0).raw(&symmetric.0);
        client.pw(cc::IMPORT, &[parent], parameters)
    };
    // The TPM makes a key if none is given, and returns no key that was given.
    let [own, given] = [&[][..], &[7; 16]].map(|key| {
        let answer = duplicate(&mut client, [object, NULL], key, &aes()).ok();
        (answer.field(0), answer.field(1))
    });
    assert_eq!((own.0.len(), given.0.len()), (16, 0));
    for (key, blob) in [(&own.0[..], &own.1), (&[7; 16], &given.1)] {
        let private = import(&mut client, key, blob, &aes()).ok().field(0);
        let loaded = client.pw(cc::LOAD, &[parent], b().sized(&private).sized(&public));
        let loaded = loaded.ok().handle;
        assert_eq!(client.pw(cc::UNSEAL, &[loaded], b()).ok().field(0), b"data");
        client.run(cc::FLUSH_CONTEXT, &[], b().u32(loaded)).ok();
        for place in [0, 2, blob.len() - 1] {
            let mut damaged = blob.clone();
            damaged[place] ^= 1;
            let answer = import(&mut client, key, &damaged, &aes());
            assert_eq!(answer.rc, rc::param(3, rc::INTEGRITY), "byte {place}");
        }
    }
    assert_eq!(import(&mut client, &[7; 15], &own.1, &aes()).rc, rc::param(1, rc::SIZE));
    assert_eq!(import(&mut client, &[7; 16], &own.1, &aes()).rc, rc::param(3, rc::INTEGRITY));
}

#[test]
fn import_demands_the_wrappers_of_the_attributes() {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let object = duplicable(&mut client, parent, USER | ENCRYPTED_DUPLICATION);
    let public = client.run(cc::READ_PUBLIC, &[object], b()).ok().field(0);
    let made = duplicate(&mut client, [object, parent], b"", &aes()).ok();
    let (key, blob, seed) = (made.field(0), made.field(1), made.field(2));
    let mut fixed = public.clone();
    fixed[7] |= 1 << 4;
    for (key, public, seed, symmetric, code) in [
        (&key[..], &public, &seed[..], aes(), 0),
        (&[], &public, &seed, none(), rc::param(1, rc::ATTRIBUTES)),
        (&key, &public, &[], aes(), rc::param(4, rc::ATTRIBUTES)),
        (&key, &fixed, &seed, aes(), rc::param(2, rc::ATTRIBUTES)),
        (&key, &public, &seed[..seed.len() - 1], aes(), rc::param(4, rc::INSUFFICIENT)),
        (&key, &public, &[&seed[..], &[0]].concat(), aes(), rc::param(4, rc::SIZE)),
    ] {
        let parameters = b().sized(key).sized(public).sized(&blob).sized(seed).raw(&symmetric.0);
        assert_eq!(client.pw(cc::IMPORT, &[parent], parameters).rc, code);
    }
}
