//! The cryptographic primitives as commands (Part 3, sections 14 to 17), checked with the examples
//! of the standards.

use std::vec;
use std::vec::Vec;

use super::client::*;
use super::codes::{cc, rc};

fn hex(digits: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    (0..digits.len()).step_by(2).map(digit).collect()
}

fn flush(client: &mut Client, handle: u32) {
    client.run(cc::FLUSH_CONTEXT, &[], b().u32(handle)).ok();
}

/// FIPS 180-4's example for "abc", by TPM_ALG_ID.
const ABC: [(u16, &str); 4] = [
    (0x04, "a9993e364706816aba3e25717850c26c9cd0d89d"),
    (0x0b, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (
        0x0c,
        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
         8086072ba1e7cc2358baeca134c825a7",
    ),
    (
        0x0d,
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
         2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    ),
];

#[test]
fn hash_and_hash_sequences_give_the_digests_of_fips_180() {
    let mut client = Client::new();
    for (alg, digest) in ABC {
        let answer = client.run(cc::HASH, &[], b().sized(b"abc").u16(alg).u32(NULL)).ok();
        assert_eq!(answer.field(0), hex(digest), "{alg:#x}");
        let sequence = client.run(cc::HASH_SEQUENCE_START, &[], b().u16(0).u16(alg)).ok().handle;
        client.pw(cc::SEQUENCE_UPDATE, &[sequence], b().sized(b"a")).ok();
        client.pw(cc::SEQUENCE_UPDATE, &[sequence], b().u16(0)).ok();
        let last = b().sized(b"bc").u32(NULL);
        assert_eq!(client.pw(cc::SEQUENCE_COMPLETE, &[sequence], last).ok().field(0), hex(digest));
    }
    // The example of a million "a", in updates of the largest size.
    let sequence = client.run(cc::HASH_SEQUENCE_START, &[], b().u16(0).u16(0x0b)).ok().handle;
    for _ in 0..1_000_000 / 1024 {
        client.pw(cc::SEQUENCE_UPDATE, &[sequence], b().sized(&[b'a'; 1024])).ok();
    }
    let last = b().sized(&[b'a'; 1_000_000 % 1024]).u32(NULL);
    let digest = client.pw(cc::SEQUENCE_COMPLETE, &[sequence], last).ok().field(0);
    assert_eq!(digest, hex("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"));
    assert_eq!(client.run(cc::HASH, &[], b().u16(1025)).rc, rc::param(1, rc::SIZE));
}

#[test]
fn a_ticket_lets_a_restricted_key_sign_a_digest_of_the_tpm() {
    let mut client = Client::new();
    let key = client.primary(OWNER, &ecc_attestation_key()).handle;
    let sign = |client: &mut Client, digest: &[u8], ticket: &[u8]| {
        client.pw(cc::SIGN, &[key], b().sized(digest).u16(0x10).raw(ticket)).rc
    };
    let hash = |client: &mut Client, data: &[u8], hierarchy: u32| {
        let answer = client.run(cc::HASH, &[], b().sized(data).u16(0x0b).u32(hierarchy)).ok();
        let digest = answer.field(0);
        (digest.clone(), answer.body[2 + digest.len()..].to_vec())
    };
    let null_ticket = b().u16(0x8024).u32(NULL).u16(0).0;
    let (digest, ticket) = hash(&mut client, b"harmless", OWNER);
    assert_eq!(sign(&mut client, &digest, &ticket), 0);
    assert_eq!(sign(&mut client, &[1; 32], &ticket), rc::param(3, rc::TICKET));
    assert_eq!(sign(&mut client, &digest, &null_ticket), rc::param(3, rc::TICKET));
    assert_eq!(hash(&mut client, b"harmless", NULL).1, null_ticket);
    // Data that starts like an attestation gets no ticket, however it is split.
    let forged = [&hex("ff544347")[..], b"quote"].concat();
    assert_eq!(hash(&mut client, &forged, OWNER).1, null_ticket);
    for cut in [0, 2, 4] {
        let sequence = client.run(cc::HASH_SEQUENCE_START, &[], b().u16(0).u16(0x0b)).ok().handle;
        client.pw(cc::SEQUENCE_UPDATE, &[sequence], b().sized(&forged[..cut])).ok();
        let last = b().sized(&forged[cut..]).u32(OWNER);
        let answer = client.pw(cc::SEQUENCE_COMPLETE, &[sequence], last).ok();
        assert_eq!(answer.body[34..], null_ticket[..], "cut at {cut}");
    }
}

#[test]
fn hmac_gives_the_digest_of_rfc_4231() {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let known = hex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    let data = b"what do ya want for nothing?";
    let with_scheme = b().u16(5).u16(0x0b);
    // A key with a scheme accepts NULL or its own hash; a key without one accepts any hash.
    for (scheme, given, code) in [
        (&with_scheme, 0x10, 0),
        (&with_scheme, 0x0b, 0),
        (&with_scheme, 0x0c, rc::param(2, rc::VALUE)),
        (&none(), 0x0b, 0),
        (&none(), 0x10, rc::param(2, rc::VALUE)),
    ] {
        // A key that can only sign has a scheme.
        let attributes = if scheme.0.len() == 2 { SIGN | DECRYPT } else { SIGN };
        let template = keyed_hash(FIXED | USER | attributes, b"", scheme);
        let key = client.child(parent, &template, b"", b"Jefe");
        let answer = client.pw(cc::HMAC, &[key], b().sized(data).u16(given));
        let start = client.pw(cc::HMAC_START, &[key], b().u16(0).u16(given));
        assert_eq!((answer.rc, start.rc), (code, code), "{given:#x}");
        if code == 0 {
            assert_eq!(answer.field(0), known);
            client.pw(cc::SEQUENCE_UPDATE, &[start.handle], b().sized(&data[..11])).ok();
            let last = b().sized(&data[11..]).u32(OWNER);
            let answer = client.pw(cc::SEQUENCE_COMPLETE, &[start.handle], last).ok();
            assert_eq!(answer.field(0), known);
            assert_eq!(answer.body[34..], b().u16(0x8024).u32(NULL).u16(0).0, "no hash, no ticket");
        }
        flush(&mut client, key);
    }
}

#[test]
fn hmac_wants_a_key_that_may_sign_anything() {
    let mut client = Client::new();
    let hmac = b().u16(5).u16(0x0b);
    let restricted = keyed_hash(FIXED | ORIGIN | USER | SIGN | RESTRICTED, b"", &hmac);
    let cases = [(ecc_srk(), rc::TYPE), (restricted, rc::ATTRIBUTES)];
    for (template, code) in cases {
        let key = client.primary(OWNER, &template).handle;
        for command in [cc::HMAC, cc::HMAC_START] {
            let answer = client.pw(command, &[key], b().u16(0).u16(0x10));
            assert_eq!(answer.rc, rc::handle(1, code), "{command:#x}");
        }
        flush(&mut client, key);
    }
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let data = client.child(parent, &sealed(), b"", b"data");
    assert_eq!(client.pw(cc::HMAC, &[data], b().u16(0).u16(0x0b)).rc, rc::handle(1, rc::KEY));
}

#[test]
fn a_sequence_has_a_value_of_its_own_and_ends_with_its_completion() {
    let mut client = Client::new();
    let start = |client: &mut Client, alg: u16| {
        client.run(cc::HASH_SEQUENCE_START, &[], b().sized(b"seq").u16(alg)).ok().handle
    };
    let auth = || vec![Auth::Password(b"seq")];
    let hash = start(&mut client, 0x0b);
    let update = b().sized(b"x");
    let answer = client.pw(cc::SEQUENCE_UPDATE, &[hash], update.clone());
    assert_eq!(answer.rc, rc::session(1, rc::BAD_AUTH), "failures do not count");
    client.auth(cc::SEQUENCE_UPDATE, &[hash], auth(), update.clone()).ok();
    let event = start(&mut client, 0x10);
    let complete = |client: &mut Client, handle: u32| {
        client.auth(cc::SEQUENCE_COMPLETE, &[handle], auth(), b().u16(0).u32(NULL)).rc
    };
    assert_eq!(complete(&mut client, event), rc::handle(1, rc::MODE), "an event has digests");
    let both = || vec![Auth::Password(b""), Auth::Password(b"seq")];
    let events = |client: &mut Client, handle: u32| {
        client.auth(cc::EVENT_SEQUENCE_COMPLETE, &[16, handle], both(), b().u16(0)).rc
    };
    assert_eq!(events(&mut client, hash), rc::handle(2, rc::MODE));
    assert_eq!((complete(&mut client, hash), events(&mut client, event)), (0, 0));
    assert_eq!(complete(&mut client, hash), rc::REFERENCE_H0);
    assert_eq!(events(&mut client, event), rc::REFERENCE_H0 + 1);
    let key = client.primary(OWNER, &ecc_srk()).handle;
    assert_eq!(client.pw(cc::SEQUENCE_UPDATE, &[key], update).rc, rc::handle(1, rc::MODE));
}

/// SP 800-38A, appendix F, AES-128: mode, vector, and the cipher text of the first two blocks.
const MODES: [(u16, &str, &str); 5] = [
    (
        0x40,
        "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
        "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff",
    ),
    (
        0x41,
        "000102030405060708090a0b0c0d0e0f",
        "3b3fd92eb72dad20333449f8e83cfb4a7789508d16918f03f53c52dac54ed825",
    ),
    (
        0x42,
        "000102030405060708090a0b0c0d0e0f",
        "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2",
    ),
    (
        0x43,
        "000102030405060708090a0b0c0d0e0f",
        "3b3fd92eb72dad20333449f8e83cfb4ac8a64537a0b3a93fcde3cdad9f1ce58b",
    ),
    (0x44, "", "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf"),
];

/// The AES key of these examples, with a mode.
fn known_cipher(client: &mut Client, attributes: u32, mode: u16) -> u32 {
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let template = cipher_key(FIXED | USER | attributes, 128, mode);
    let key = client.child(parent, &template, b"", &hex("2b7e151628aed2a6abf7158809cf4f3c"));
    flush(client, parent);
    key
}

/// The parameters of EncryptDecrypt or, with the data first, of EncryptDecrypt2.
fn crypt(second: bool, decrypt: u8, mode: u16, vector: &[u8], data: &[u8]) -> (u32, Bytes) {
    let middle = b().u8(decrypt).u16(mode).sized(vector);
    if second {
        (cc::ENCRYPT_DECRYPT_2, b().sized(data).raw(&middle.0))
    } else {
        (cc::ENCRYPT_DECRYPT, middle.sized(data))
    }
}

#[test]
fn encrypt_decrypt_gives_the_cipher_texts_of_sp_800_38a() {
    let plain = hex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
    let mut client = Client::new();
    let key = known_cipher(&mut client, SIGN | DECRYPT, 0x10);
    for second in [false, true] {
        for (mode, vector, cipher) in MODES {
            let (vector, cipher) = (hex(vector), hex(cipher));
            let mut run = |decrypt: u8, vector: &[u8], data: &[u8]| {
                let (command, parameters) = crypt(second, decrypt, mode, vector, data);
                let answer = client.pw(command, &[key], parameters).ok();
                (answer.field(0), answer.field(1))
            };
            assert_eq!(run(0, &vector, &plain).0, cipher, "{mode:#x}");
            assert_eq!(run(1, &vector, &cipher).0, plain, "{mode:#x}");
            // ivOut continues with the second block.
            let (first, next) = run(0, &vector, &plain[..16]);
            assert_eq!(first, cipher[..16]);
            assert_eq!(run(0, &next, &plain[16..]).0, cipher[16..], "{mode:#x}");
        }
    }
}

#[test]
fn encrypt_decrypt_names_the_parameter_at_fault() {
    let mut client = Client::new();
    let key = known_cipher(&mut client, SIGN | DECRYPT, 0x43);
    let cbc = known_cipher(&mut client, SIGN | DECRYPT, 0x42);
    let any = known_cipher(&mut client, SIGN | DECRYPT, 0x10);
    let signs = known_cipher(&mut client, SIGN, 0x43);
    let other = client.primary(OWNER, &ecc_srk()).handle;
    for second in [false, true] {
        let place = |first: u32, later: u32| if second { later } else { first };
        for (key, decrypt, mode, vector, data, code) in [
            (key, 0, 0x10, 16, 5, 0),
            (key, 0, 0x43, 16, 5, 0),
            (key, 0, 0x42, 16, 16, rc::param(place(2, 3), rc::MODE)),
            (key, 0, 0x45, 16, 16, rc::param(place(2, 3), rc::MODE)),
            (key, 0, 0x43, 15, 16, rc::param(place(3, 4), rc::SIZE)),
            (key, 0, 0x43, 0, 16, rc::param(place(3, 4), rc::SIZE)),
            (key, 2, 0x43, 16, 16, rc::param(place(1, 2), rc::VALUE)),
            (any, 0, 0x43, 16, 16, 0),
            (any, 0, 0x10, 16, 16, rc::param(place(2, 3), rc::MODE)),
            (cbc, 0, 0x10, 16, 17, rc::param(place(4, 1), rc::SIZE)),
            (signs, 0, 0x10, 16, 16, 0),
            (signs, 1, 0x10, 16, 16, rc::handle(1, rc::ATTRIBUTES)),
            (other, 0, 0x43, 16, 16, rc::handle(1, rc::KEY)),
        ] {
            let (command, parameters) =
                crypt(second, decrypt, mode, &vec![1; vector], &vec![2; data]);
            assert_eq!(
                client.pw(command, &[key], parameters).rc,
                code,
                "{mode:#x} {vector} {data}"
            );
        }
    }
}

#[test]
fn rsa_encrypts_for_its_private_key_in_every_padding() {
    let mut client = Client::new();
    let key = client.primary(OWNER, &rsa_key(FIXED | ORIGIN | USER | DECRYPT, &none())).handle;
    let oaep = |hash| b().u16(0x17).u16(hash);
    let message = b"message";
    for scheme in [b().u16(0x15), oaep(4), oaep(0x0b), none()] {
        let label: &[u8] = if scheme.0[1] == 0x17 { b"label\0" } else { b"" };
        let parameters = b().sized(message).raw(&scheme.0).sized(label);
        let sent = client.run(cc::RSA_ENCRYPT, &[key], parameters).ok().field(0);
        assert_eq!(sent.len(), 128);
        let parameters = b().sized(&sent).raw(&scheme.0).sized(label);
        let opened = client.pw(cc::RSA_DECRYPT, &[key], parameters).ok().field(0);
        let padded = [&[0; 121][..], message].concat();
        assert_eq!(opened, if scheme.0[1] == 0x10 { padded } else { message.to_vec() });
    }
    let sent =
        client.run(cc::RSA_ENCRYPT, &[key], b().sized(message).raw(&oaep(0x0b).0).sized(b"a\0"));
    let sent = sent.ok().field(0);
    let oaep = oaep(0x0b).0;
    for (data, scheme, label, code) in [
        (&sent[..], &oaep[..], &b"b\0"[..], rc::param(1, rc::VALUE)),
        (&sent[..127], &oaep, b"a\0", rc::param(1, rc::SIZE)),
        (&[0xff; 128], &oaep, b"a\0", rc::param(1, rc::VALUE)),
        (&sent, &oaep, b"a", rc::param(3, rc::VALUE)),
        (&sent, &[0, 0x14, 0, 0x0b], b"", rc::param(2, rc::VALUE)),
        (&sent, &[0, 0x17, 0, 0x12], b"", rc::param(2, rc::HASH)),
    ] {
        let parameters = b().sized(data).raw(scheme).sized(label);
        assert_eq!(client.pw(cc::RSA_DECRYPT, &[key], parameters).rc, code);
    }
    for (scheme, size) in [(&oaep[..], 63), (&[0, 0x15], 118), (&[0, 0x10], 129)] {
        let parameters = b().sized(&vec![0xff; size]).raw(scheme).u16(0);
        let rc = client.run(cc::RSA_ENCRYPT, &[key], parameters).rc;
        assert!([rc::SIZE, rc::VALUE].map(|code| rc::param(1, code)).contains(&rc), "{rc:#x}");
    }
}

#[test]
fn rsa_keeps_to_the_scheme_and_the_use_of_its_key() {
    let mut client = Client::new();
    let oaep = b().u16(0x17).u16(0x0b);
    let rsassa = b().u16(0x14).u16(0x0b);
    let decrypts = client.primary(OWNER, &rsa_key(FIXED | ORIGIN | USER | DECRYPT, &oaep)).handle;
    let signs = client.primary(OWNER, &rsa_key(FIXED | ORIGIN | USER | SIGN, &rsassa)).handle;
    let restricted = client.primary(OWNER, &rsa_srk()).handle;
    let ecc = client.primary(OWNER, &ecc_srk()).handle;
    let encrypt = |client: &mut Client, key: u32, scheme: &Bytes| {
        client.run(cc::RSA_ENCRYPT, &[key], b().sized(b"m").raw(&scheme.0).u16(0)).rc
    };
    assert_eq!(encrypt(&mut client, decrypts, &none()), 0);
    assert_eq!(encrypt(&mut client, decrypts, &oaep), 0);
    let rsaes = b().u16(0x15);
    assert_eq!(encrypt(&mut client, decrypts, &rsaes), rc::param(2, rc::SCHEME));
    assert_eq!(encrypt(&mut client, signs, &none()), rc::handle(1, rc::ATTRIBUTES));
    assert_eq!(encrypt(&mut client, ecc, &none()), rc::handle(1, rc::KEY));
    for (key, code) in [(signs, rc::ATTRIBUTES), (restricted, rc::ATTRIBUTES), (ecc, rc::KEY)] {
        let parameters = b().sized(&[1; 128]).u16(0x10).u16(0);
        assert_eq!(client.pw(cc::RSA_DECRYPT, &[key], parameters).rc, rc::handle(1, code));
    }
}

#[test]
fn ecdh_gives_both_sides_one_point() {
    let mut client = Client::new();
    let key = client.primary(OWNER, &ecc_key(FIXED | ORIGIN | USER | DECRYPT, &none())).handle;
    let made = client.run(cc::ECDH_KEY_GEN, &[key], b()).ok();
    let (shared, public) = (made.field(0), made.field(1));
    let again = client.run(cc::ECDH_KEY_GEN, &[key], b()).ok();
    assert_ne!(again.field(1), public, "an ephemeral key is used once");
    let z = |client: &mut Client, key: u32, point: &[u8]| {
        client.pw(cc::ECDH_ZGEN, &[key], b().sized(point))
    };
    assert_eq!(z(&mut client, key, &public).ok().field(0), shared);
    let mut off = public.clone();
    *off.last_mut().expect("bytes") ^= 1;
    assert_eq!(z(&mut client, key, &off).rc, rc::param(1, rc::ECC_POINT));
    let signs = client.primary(OWNER, &ecc_key(FIXED | ORIGIN | USER | SIGN, &none())).handle;
    client.run(cc::ECDH_KEY_GEN, &[signs], b()).ok();
    assert_eq!(z(&mut client, signs, &public).rc, rc::handle(1, rc::ATTRIBUTES));
    let restricted = client.primary(OWNER, &ecc_srk()).handle;
    assert_eq!(z(&mut client, restricted, &public).rc, rc::handle(1, rc::ATTRIBUTES));
    let rsa = client.primary(OWNER, &rsa_key(FIXED | ORIGIN | USER | DECRYPT, &none())).handle;
    assert_eq!(client.run(cc::ECDH_KEY_GEN, &[rsa], b()).rc, rc::handle(1, rc::KEY));
}

#[test]
fn random_bytes_are_as_many_as_a_digest_has_and_never_the_same() {
    let mut client = Client::new();
    for (asked, given) in [(0, 0), (1, 1), (64, 64), (65, 64), (u16::MAX, 64)] {
        assert_eq!(client.run(cc::GET_RANDOM, &[], b().u16(asked)).ok().field(0).len(), given);
    }
    let mut seen: Vec<Vec<u8>> =
        (0..16).map(|_| client.run(cc::GET_RANDOM, &[], b().u16(32)).ok().field(0)).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 16);
    client.run(cc::STIR_RANDOM, &[], b().sized(&[1; 128])).ok();
    assert_eq!(client.run(cc::STIR_RANDOM, &[], b().sized(&[1; 129])).rc, rc::param(1, rc::SIZE));
    client.env.dry = true;
    assert_eq!(client.run(cc::STIR_RANDOM, &[], b().u16(0)).rc, rc::FAILURE);
    client.run(cc::GET_RANDOM, &[], b().u16(8)).ok();
}
