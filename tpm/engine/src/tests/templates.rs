//! Public areas, loading, new authorization values, protection of objects (Part 3, section 12; Part
//! 2, section 8.3).

use std::vec;
use std::vec::Vec;

use tpm_crypto::ecc::{Curve, EccPrivateKey};
use tpm_crypto::hash::HashAlgorithm;

use super::client::*;
use super::codes::{cc, rc};

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    HashAlgorithm::Sha256.hash_parts(parts).to_vec()
}

fn create_primary(client: &mut Client, data: &[u8], template: &Bytes) -> Answer {
    let sensitive = b().u16(0).sized(data);
    let parameters = b().sized(&sensitive.0).sized(&template.0).u16(0).u32(0);
    client.pw(cc::CREATE_PRIMARY, &[OWNER], parameters)
}

fn flush(client: &mut Client, handle: u32) {
    client.run(cc::FLUSH_CONTEXT, &[], b().u32(handle)).ok();
}

/// An asymmetric area with a symmetric algorithm and a scheme.
fn parent_area(attributes: u32, symmetric: &Bytes, scheme: &Bytes, kdf: u16) -> Bytes {
    let head = b().u16(0x23).u16(0x0b).u32(attributes).u16(0).raw(&symmetric.0);
    let kdf = if kdf == 0x10 { b().u16(kdf) } else { b().u16(kdf).u16(0x0b) };
    head.raw(&scheme.0).u16(3).raw(&kdf.0).u16(0).u16(0)
}

#[test]
fn attributes_schemes_and_ciphers_of_a_key_fit_each_other() {
    let made = FIXED | ORIGIN | USER;
    let storage = made | RESTRICTED | DECRYPT;
    let aes = b().u16(6).u16(128).u16(0x43);
    let (ecdsa, ecdh) = (b().u16(0x18).u16(0x0b), b().u16(0x19).u16(0x0b));
    let area = |attributes, symmetric: &Bytes, scheme: &Bytes| {
        parent_area(attributes, symmetric, scheme, 0x10)
    };
    let mut client = Client::new();
    for (template, code) in [
        (area(storage, &aes, &none()), 0),
        (area(storage, &none(), &none()), rc::SYMMETRIC),
        (area(storage, &aes, &ecdh), rc::SCHEME),
        (area(storage | SIGN, &aes, &none()), rc::ATTRIBUTES),
        (area(made | RESTRICTED, &none(), &none()), rc::ATTRIBUTES),
        (area(made, &none(), &none()), rc::ATTRIBUTES),
        (area(made | SIGN, &none(), &none()), 0),
        (area(made | SIGN, &none(), &ecdsa), 0),
        (area(made | SIGN, &none(), &ecdh), rc::SCHEME),
        (area(made | SIGN, &aes, &ecdsa), rc::SYMMETRIC),
        (area(made | SIGN | RESTRICTED, &none(), &ecdsa), 0),
        (area(made | SIGN | RESTRICTED, &none(), &none()), rc::SCHEME),
        (area(made | DECRYPT, &none(), &ecdh), 0),
        (area(made | DECRYPT, &none(), &ecdsa), rc::SCHEME),
        (area(made | SIGN | DECRYPT, &none(), &none()), 0),
        (area(made | SIGN | DECRYPT, &none(), &ecdsa), rc::SCHEME),
        (area(storage & !ORIGIN, &aes, &none()), rc::ATTRIBUTES),
        (area(storage & !(1 << 1), &aes, &none()), rc::ATTRIBUTES),
        (area(storage & !(1 << 4), &aes, &none()), rc::ATTRIBUTES),
        (area(storage & !FIXED, &aes, &none()), 0),
        (area(storage | 1 << 11, &aes, &none()), rc::ATTRIBUTES),
        (area(storage & !FIXED | 1 << 11, &aes, &none()), 0),
        (area(storage | 1 << 19, &aes, &none()), rc::ATTRIBUTES),
        (area(storage | 1, &aes, &none()), rc::RESERVED_BITS),
        (parent_area(made | DECRYPT, &none(), &ecdh, 0x20), rc::KDF),
        (parent_area(made | DECRYPT, &none(), &ecdh, 0x21), rc::KDF),
        (area(made | SIGN, &none(), &b().u16(0x14).u16(0x0b)), rc::SCHEME),
        (area(made | SIGN, &none(), &b().u16(0x18).u16(0x12)), rc::HASH),
        (area(storage, &b().u16(0x13).u16(128).u16(0x43), &none()), rc::SYMMETRIC),
        (area(storage, &b().u16(6).u16(64).u16(0x43), &none()), rc::VALUE),
    ] {
        let answer = create_primary(&mut client, b"", &template);
        let code = if code == 0 { 0 } else { rc::param(2, code) };
        assert_eq!(answer.rc, code, "{:x?}", template.0);
        if code == 0 {
            flush(&mut client, answer.handle);
        }
    }
}

#[test]
fn data_comes_from_the_caller_or_from_the_tpm() {
    let hmac = b().u16(5).u16(0x0b);
    let user = FIXED | USER;
    let hash_key = |attributes| keyed_hash(attributes, b"", &hmac);
    let data = |attributes| keyed_hash(attributes, b"", &none());
    let mut client = Client::new();
    for (template, bytes, code) in [
        (data(user), 8, 0),
        (data(user), 0, rc::ATTRIBUTES),
        (data(user | ORIGIN), 0, rc::ATTRIBUTES),
        (data(user | RESTRICTED), 8, rc::ATTRIBUTES),
        (data(user | SIGN), 8, rc::SCHEME),
        (hash_key(user | SIGN), 64, 0),
        (hash_key(user | SIGN), 65, rc::SIZE),
        (hash_key(user | SIGN | ORIGIN), 0, 0),
        (hash_key(user | SIGN | ORIGIN), 8, rc::ATTRIBUTES),
        (hash_key(user | SIGN), 0, rc::ATTRIBUTES),
        (hash_key(user | DECRYPT), 8, rc::SCHEME),
        (cipher_key(user | SIGN, 128, 0x43), 16, 0),
        (cipher_key(user | SIGN, 128, 0x43), 15, rc::KEY_SIZE),
        (cipher_key(user | SIGN | ORIGIN, 256, 0x43), 0, 0),
        (cipher_key(user | SIGN, 256, 0x43), 0, rc::ATTRIBUTES),
        (cipher_key(user | ORIGIN, 128, 0x43), 0, rc::ATTRIBUTES),
        (ecc_key(user | SIGN | ORIGIN, &none()), 1, rc::ATTRIBUTES),
        (b().u16(8).u16(0x10).u32(user).u16(0).u16(0x10).u16(0), 8, rc::HASH),
        (keyed_hash(user, &[1; 20], &none()), 8, rc::SIZE),
        (b().u16(9), 0, rc::TYPE),
    ] {
        let answer = create_primary(&mut client, &vec![7; bytes], &template);
        let code = if code == 0 { 0 } else { rc::param(2, code) };
        assert_eq!(answer.rc, code, "{bytes} in {:x?}", template.0);
        if code == 0 {
            flush(&mut client, answer.handle);
        }
    }
    let long = create_primary(&mut client, &[7; 129], &data(user));
    assert_eq!(long.rc, rc::param(1, rc::SIZE));
}

#[test]
fn test_parms_accepts_the_parameters_that_objects_can_have() {
    let mut client = Client::new();
    let rsa = |bits: u16| b().u16(1).u16(0x10).u16(0x10).u16(bits).u32(0);
    let ecc = |curve: u16| b().u16(0x23).u16(0x10).u16(0x10).u16(curve).u16(0x10);
    for (parameters, code) in [
        (rsa(1024), 0),
        (rsa(3072), 0),
        (rsa(4096), rc::VALUE),
        (ecc(3), 0),
        (ecc(4), 0),
        (ecc(5), rc::CURVE),
        (b().u16(8).u16(5).u16(0x0d), 0),
        (b().u16(8).u16(6), rc::VALUE),
        (b().u16(0x25).u16(6).u16(192).u16(0x44), 0),
        (b().u16(0x25).u16(0x10), rc::SYMMETRIC),
        (b().u16(0x0b), rc::TYPE),
    ] {
        let code = if code == 0 { 0 } else { rc::param(1, code) };
        assert_eq!(client.run(cc::TEST_PARMS, &[], parameters).rc, code);
    }
}

#[test]
fn a_child_carries_its_names_through_create_and_load() {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk());
    let sensitive = b().sized(&b().sized(b"pin").sized(b"data").0);
    let parameters = sensitive.sized(&sealed().0).u16(0).u32(0);
    let made = client.pw(cc::CREATE, &[parent.handle], parameters).ok();
    let (private, public) = (made.field(0), made.field(1));
    let load = |client: &mut Client, parent: u32, private: &[u8], public: &[u8]| {
        client.pw(cc::LOAD, &[parent], b().sized(private).sized(public))
    };
    let loaded = load(&mut client, parent.handle, &private, &public).ok();
    let name = [&[0, 0x0b], &sha256(&[&public])[..]].concat();
    assert_eq!(loaded.field(0), name);
    let read = client.run(cc::READ_PUBLIC, &[loaded.handle], b()).ok();
    assert_eq!((read.field(0), read.field(1)), (public.clone(), name.clone()));
    // QN of the parent: H(hierarchy, name); of the child: H(QN of the parent, name).
    let parent_name = client.name(parent.handle);
    let parent_qn = [&[0, 0x0b], &sha256(&[&OWNER.to_be_bytes(), &parent_name])[..]].concat();
    assert_eq!(read.field(2), [&[0, 0x0b], &sha256(&[&parent_qn, &name])[..]].concat());

    let mut other = public.clone();
    other[7] ^= 0x40;
    let stranger = client.primary(ENDORSEMENT, &ecc_srk()).handle;
    let signer = client.primary(OWNER, &ecc_attestation_key()).handle;
    for (parent, private, public, code) in [
        (parent.handle, &private[..], &other, rc::param(1, rc::INTEGRITY)),
        (parent.handle, &[], &public, rc::param(1, rc::SIZE)),
        (parent.handle, &private[..40], &public, rc::param(1, rc::INTEGRITY)),
        (stranger, &private, &public, rc::param(1, rc::INTEGRITY)),
        (signer, &private, &public, rc::handle(1, rc::TYPE)),
        (loaded.handle, &private, &public, rc::session(1, rc::AUTH_FAIL)),
    ] {
        assert_eq!(load(&mut client, parent, private, public).rc, code, "{parent:#x}");
    }
}

#[test]
fn seven_objects_fit_into_memory() {
    let mut client = Client::new();
    for handle in 0x8000_0000..0x8000_0007 {
        assert_eq!(client.primary(OWNER, &ecc_srk()).handle, handle);
    }
    let template = ecc_srk();
    assert_eq!(create_primary(&mut client, b"", &template).rc, rc::OBJECT_MEMORY);
    let start = client.run(cc::HASH_SEQUENCE_START, &[], b().u16(0).u16(0x0b));
    assert_eq!(start.rc, rc::OBJECT_MEMORY);
    flush(&mut client, 0x8000_0003);
    assert_eq!(client.primary(OWNER, &template).handle, 0x8000_0003, "the free place");
    let listed = client.run(cc::GET_CAPABILITY, &[], b().u32(1).u32(0x8000_0005).u32(9)).ok();
    assert_eq!(listed.body, b().u8(0).u32(1).u32(2).u32(0x8000_0005).u32(0x8000_0006).0);
}

#[test]
fn load_external_takes_public_areas_and_key_pairs_of_others() {
    let key = EccPrivateKey::new(Curve::P256, &[5; 32]).expect("a scalar");
    let point = key.public_key().expect("a point");
    let public = |attributes: u32, x: &[u8]| {
        let head = b().u16(0x23).u16(0x0b).u32(attributes).u16(0).u16(0x10);
        head.u16(0x10).u16(3).u16(0x10).sized(x).sized(point.y())
    };
    let sensitive = |kind: u16, scalar: &[u8]| b().u16(kind).u16(0).u16(0).sized(scalar);
    let mut client = Client::new();
    client.pw(cc::HIERARCHY_CONTROL, &[PLATFORM], b().u32(ENDORSEMENT).u8(0)).ok();
    let good = USER | SIGN;
    let pair = sensitive(0x23, &[5; 32]);
    for (private, attributes, x, hierarchy, code) in [
        (&b(), good, point.x(), OWNER, 0),
        (&b(), good, point.x(), NULL, 0),
        (&b(), good | FIXED, point.x(), OWNER, 0),
        (&b(), good, point.x(), ENDORSEMENT, rc::param(3, rc::HIERARCHY)),
        (&b(), good, point.x(), LOCKOUT, rc::param(3, rc::VALUE)),
        (&b(), good, &point.x()[1..], OWNER, rc::param(2, rc::ECC_POINT)),
        (&pair, good, point.x(), NULL, 0),
        (&pair, good, point.x(), OWNER, rc::param(3, rc::HIERARCHY)),
        (&pair, good | 1 << 1, point.x(), NULL, rc::param(2, rc::ATTRIBUTES)),
        (&pair, good | 1 << 4, point.x(), NULL, rc::param(2, rc::ATTRIBUTES)),
        (&pair, good | RESTRICTED, point.x(), NULL, rc::param(2, rc::ATTRIBUTES)),
        (&sensitive(0x23, &[6; 32]), good, point.x(), NULL, rc::param(1, rc::BINDING)),
        (&sensitive(8, &[5; 32]), good, point.x(), NULL, rc::param(1, rc::TYPE)),
    ] {
        let parameters = b().sized(&private.0).sized(&public(attributes, x).0).u32(hierarchy);
        let answer = client.run(cc::LOAD_EXTERNAL, &[], parameters);
        assert_eq!(answer.rc, code, "{attributes:#x} {hierarchy:#x}");
        if code == 0 {
            let (handle, signs) = (answer.handle, !private.0.is_empty());
            let ticket = b().u16(0x8024).u32(NULL).u16(0);
            let sign = b().sized(&[1; 32]).u16(0x18).u16(0x0b).raw(&ticket.0);
            assert_eq!(client.pw(cc::SIGN, &[handle], sign).rc == 0, signs);
            let evict = client.pw(cc::EVICT_CONTROL, &[OWNER, handle], b().u32(0x8100_0001));
            assert_eq!(evict.rc, rc::handle(2, rc::ATTRIBUTES), "of another");
            flush(&mut client, handle);
        }
    }
}

#[test]
fn a_new_value_comes_in_a_new_private_area() {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let stranger = client.primary(ENDORSEMENT, &ecc_srk()).handle;
    let object = client.child(parent, &sealed(), b"old", b"data");
    let public = client.run(cc::READ_PUBLIC, &[object], b()).ok().field(0);
    let change = |client: &mut Client, parent: u32, new: &[u8]| {
        let auth = vec![Auth::Password(b"old")];
        client.auth(cc::OBJECT_CHANGE_AUTH, &[object, parent], auth, b().sized(new))
    };
    assert_eq!(change(&mut client, stranger, b"new").rc, rc::handle(2, rc::TYPE));
    assert_eq!(change(&mut client, parent, &[1; 33]).rc, rc::param(1, rc::SIZE));
    let private = change(&mut client, parent, b"new").ok().field(0);
    let unseal = |client: &mut Client, handle: u32, value: &[u8]| {
        client.auth(cc::UNSEAL, &[handle], vec![Auth::Password(value)], b()).rc
    };
    assert_eq!(unseal(&mut client, object, b"old"), 0, "the loaded one stays as it was");
    let loaded = b().sized(&private).sized(&public);
    let loaded = client.pw(cc::LOAD, &[parent], loaded).ok().handle;
    assert_eq!(unseal(&mut client, loaded, b"new"), 0);
    assert_eq!(unseal(&mut client, loaded, b"old"), rc::session(1, rc::AUTH_FAIL));
    // With adminWithPolicy the authorization value is refused.
    let template = keyed_hash(FIXED | USER | ADMIN_POLICY, b"", &none());
    let object = client.child(parent, &template, b"old", b"data");
    let auth = vec![Auth::Password(b"old")];
    let answer = client.auth(cc::OBJECT_CHANGE_AUTH, &[object, parent], auth, b().sized(b"new"));
    assert_eq!(answer.rc, rc::AUTH_TYPE);
}

#[test]
fn each_command_takes_its_kind_of_key() {
    let mut client = Client::new();
    let storage = client.primary(OWNER, &ecc_srk()).handle;
    let signer = client.primary(OWNER, &ecc_key(FIXED | ORIGIN | USER | SIGN, &none())).handle;
    let public = client.run(cc::READ_PUBLIC, &[storage], b()).ok().field(0);
    let public_only = b().u16(0).sized(&public).u32(OWNER);
    let public_only = client.run(cc::LOAD_EXTERNAL, &[], public_only).ok().handle;
    assert_eq!(client.pw(cc::UNSEAL, &[signer], b()).rc, rc::handle(1, rc::TYPE));
    let signature = b().sized(&[1; 32]).u16(0x18).u16(0x0b).sized(&[1; 32]).sized(&[1; 32]);
    let answer = client.run(cc::VERIFY_SIGNATURE, &[storage], signature);
    assert_eq!(answer.rc, rc::handle(1, rc::ATTRIBUTES), "a key that does not sign");
    for (size, code) in [(32, 0), (33, rc::param(1, rc::SIZE))] {
        let parameters = b().sized(&vec![1; size]).sized(&[0; 34]);
        assert_eq!(client.run(0x168, &[storage], parameters).rc, code, "a credential of {size}");
    }
    for (key, code) in [
        (storage, rc::param(2, rc::VALUE)),
        (public_only, rc::handle(1, rc::HANDLE)),
        (signer, rc::handle(1, rc::ATTRIBUTES)),
    ] {
        let parameters = b().sized(&[1; 16]).sized(&[1]).u8(0).u16(0x10).u16(0x0b);
        let answer = client.run(cc::START_AUTH_SESSION, &[key, NULL], parameters);
        assert_eq!(answer.rc, code, "a salt for {key:#x}");
    }
}

#[test]
fn descendants_of_an_st_clear_parent_do_not_persist() {
    for (attributes, code) in [(0, 0), (ST_CLEAR, rc::handle(2, rc::ATTRIBUTES))] {
        let mut client = Client::new();
        let mut parent = ecc_srk();
        parent.0[7] |= attributes as u8;
        let parent = client.primary(OWNER, &parent).handle;
        let loaded = client.child(parent, &ecc_srk(), b"", b"");
        let grandchild = client.child(loaded, &sealed(), b"", b"data");
        let template = ecc_key(FIXED | ORIGIN | USER | SIGN, &none());
        let parameters = b().sized(&b().u32(0).0).sized(&template.0);
        let created = client.pw(cc::CREATE_LOADED, &[parent], parameters).ok().handle;
        for (object, place) in [(loaded, 0), (grandchild, 1), (created, 2)] {
            let persistent = b().u32(0x8100_0000 + place);
            let answer = client.pw(cc::EVICT_CONTROL, &[OWNER, object], persistent);
            assert_eq!(answer.rc, code, "{place}");
        }
    }
}

#[test]
fn only_protected_objects_count_failures_and_lock_out() {
    let mut client = Client::new();
    client.pw(cc::DICTIONARY_ATTACK_PARAMETERS, &[LOCKOUT], b().u32(2).u32(100).u32(100)).ok();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let free = keyed_hash(FIXED | USER | NO_DA, b"", &none());
    let free = client.child(parent, &free, b"pin", b"data");
    let protected = client.child(parent, &sealed(), b"pin", b"data");
    let unseal = |client: &mut Client, handle: u32, value: &[u8]| {
        client.auth(cc::UNSEAL, &[handle], vec![Auth::Password(value)], b()).rc
    };
    let failed = |client: &mut Client| {
        let answer = client.run(cc::GET_CAPABILITY, &[], b().u32(6).u32(0x20e).u32(1)).ok();
        Fields(&answer.body[13..]).u32()
    };
    for _ in 0..5 {
        assert_eq!(unseal(&mut client, free, b"no"), rc::session(1, rc::BAD_AUTH));
    }
    assert_eq!(failed(&mut client), 0);
    for tries in [1, 2] {
        assert_eq!(unseal(&mut client, protected, b"no"), rc::session(1, rc::AUTH_FAIL));
        assert_eq!(failed(&mut client), tries);
    }
    assert_eq!(unseal(&mut client, protected, b"pin"), 0x921);
    assert_eq!(unseal(&mut client, free, b"pin"), 0, "not protected");
    client.power_cycle();
    client.startup(0);
    assert_eq!(failed(&mut client), 2, "a power cycle forgives nothing");
    client.env.now += 100_000;
    assert_eq!(failed(&mut client), 1);
    // New parameters start a new period.
    client.env.now += 90_000;
    client.pw(cc::DICTIONARY_ATTACK_PARAMETERS, &[LOCKOUT], b().u32(2).u32(100).u32(100)).ok();
    client.env.now += 90_000;
    assert_eq!(failed(&mut client), 1);
    client.pw(cc::DICTIONARY_ATTACK_LOCK_RESET, &[LOCKOUT], b()).ok();
    assert_eq!(failed(&mut client), 0);
    // maxTries of 0 locks out at once; a recoveryTime of 0 never does.
    for (tries, recovery, code) in [(0, 100, 0x921), (1, 0, 0)] {
        let parameters = b().u32(tries).u32(recovery).u32(100);
        client.pw(cc::DICTIONARY_ATTACK_PARAMETERS, &[LOCKOUT], parameters).ok();
        let parent = client.primary(OWNER, &ecc_srk()).handle;
        let protected = client.child(parent, &sealed(), b"pin", b"data");
        if code == 0 {
            assert_eq!(unseal(&mut client, protected, b"no"), rc::session(1, rc::AUTH_FAIL));
        }
        assert_eq!(unseal(&mut client, protected, b"pin"), code);
        flush(&mut client, parent);
        flush(&mut client, protected);
    }
}

#[test]
fn a_count_recovers_after_a_period_without_failures() {
    let mut client = Client::new();
    client.pw(cc::DICTIONARY_ATTACK_PARAMETERS, &[LOCKOUT], b().u32(5).u32(100).u32(100)).ok();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let protected = client.child(parent, &sealed(), b"pin", b"data");
    // Seconds that pass, whether an authorization fails then, and the count.
    for (seconds, fails, count) in
        [(0, true, 1), (90, true, 2), (90, false, 2), (10, false, 1), (99, false, 1), (1, false, 0)]
    {
        client.env.now += seconds * 1000;
        if fails {
            let auth = vec![Auth::Password(b"no")];
            let answer = client.auth(cc::UNSEAL, &[protected], auth, b());
            assert_eq!(answer.rc, rc::session(1, rc::AUTH_FAIL));
        }
        let answer = client.run(cc::GET_CAPABILITY, &[], b().u32(6).u32(0x20e).u32(1)).ok();
        assert_eq!(Fields(&answer.body[13..]).u32(), count, "after {seconds} s");
    }
}
