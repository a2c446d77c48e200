//! Objects: primary keys, children, sealing, contexts, signatures, credentials.

use std::vec;
use std::vec::Vec;

use super::client::*;
use crate::Progress;

#[test]
fn a_primary_key_stays_the_same_over_power_cycles() {
    let mut client = Client::new();
    let first = client.primary(OWNER, &ecc_srk()).field(0);
    let rsa = client.primary(OWNER, &rsa_srk()).field(0);
    client.power_cycle();
    client.startup(0);
    assert_eq!(client.primary(OWNER, &ecc_srk()).field(0), first);
    assert_eq!(client.primary(OWNER, &rsa_srk()).field(0), rsa);
    assert_ne!(client.primary(NULL, &ecc_srk()).field(0), first);
}

/// Runs a command in slices; after one of them, saves it as bytes and continues from these.
/// Returns the response with the number of slices.
fn in_slices(client: &mut Client, command: &[u8], save_after: Option<u32>) -> (Vec<u8>, u32) {
    client.tpm.start(command, 0, &mut client.env);
    let mut slices = 0;
    loop {
        match client.tpm.work(2000, &mut client.env) {
            Progress::Working => slices += 1,
            Progress::Done(response) => return (response, slices),
        }
        if save_after == Some(slices) {
            let saved = postcard::to_allocvec(&client.tpm.save()).expect("plain data");
            let saved = postcard::from_bytes(&saved).expect("what was saved");
            client.tpm = crate::Tpm::restore(saved, &mut client.env).expect("its own state");
        }
    }
}

#[test]
fn a_key_search_can_be_cut_saved_and_canceled() {
    let mut client = Client::new();
    let whole = client.primary(OWNER, &rsa_srk()).field(0);
    client.run(0x165, &[], b().u32(0x8000_0000)).ok();
    let parameters = b().u16(4).u32(0).sized(&rsa_srk().0).u16(0).u32(0).0;
    let body = b().u32(OWNER).u32(9).u32(0x4000_0009).u16(0).u8(1).u16(0).raw(&parameters).0;
    let command = b().u16(0x8002).u32(10 + body.len() as u32).u32(0x131).raw(&body).0;
    let (response, slices) = in_slices(&mut client, &command, None);
    assert!(slices > 5);
    assert_eq!(response[20..20 + whole.len()], whole[..]);
    client.run(0x165, &[], b().u32(0x8000_0000)).ok();
    let (response, with_save) = in_slices(&mut client, &command, Some(slices - 1));
    assert_eq!(response[20..20 + whole.len()], whole[..]);
    assert!(with_save <= slices + 2, "it began again: {with_save} slices, not {slices}");
    client.run(0x165, &[], b().u32(0x8000_0000)).ok();
    client.tpm.start(&command, 0, &mut client.env);
    assert_eq!(client.tpm.work(10, &mut client.env), Progress::Working);
    client.env.canceled = true;
    let Progress::Done(response) = client.tpm.work(10, &mut client.env) else {
        panic!("it goes on");
    };
    assert_eq!(response[6..10], [0, 0, 9, 9]);
    client.env.canceled = false;
    client.env.cancel_after = Some(3);
    let response = client.tpm.execute(&command, 0, &mut client.env);
    assert_eq!(response[6..10], [0, 0, 9, 9], "a search is looked after while it runs");
}

#[test]
fn sealed_data_comes_back_with_the_right_value_only() {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let object = client.child(parent, &sealed(), b"pin", b"the secret");
    let answer = client.auth(0x15e, &[object], vec![Auth::Password(b"pin")], b()).ok();
    assert_eq!(answer.field(0), b"the secret");
    assert_eq!(client.auth(0x15e, &[object], vec![Auth::Password(b"pim")], b()).rc, 0x98e);
    let mut session = client.session(0);
    let auth = vec![Auth::Session(&mut session, b"pin", 1)];
    assert_eq!(client.auth(0x15e, &[object], auth, b()).ok().field(0), b"the secret");
    let auth = vec![Auth::Session(&mut session, b"pin", 1)];
    assert_eq!(client.auth(0x15e, &[object], auth, b()).ok().field(0), b"the secret");
    let auth = vec![Auth::Session(&mut session, b"wrong", 1)];
    assert_eq!(client.auth(0x15e, &[object], auth, b()).rc, 0x98e);
}

#[test]
fn a_damaged_private_area_is_refused() {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let sensitive = b().sized(b"").sized(b"data");
    let parameters = b().sized(&sensitive.0).sized(&sealed().0).u16(0).u32(0);
    let made = client.pw(0x153, &[parent], parameters).ok();
    let mut private = made.field(0);
    let last = private.len() - 1;
    private[last] ^= 1;
    let answer = client.pw(0x157, &[parent], b().sized(&private).sized(&made.field(1)));
    assert_eq!(answer.rc, 0x1df);
}

#[test]
fn contexts_come_back_and_sessions_only_once() {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let name = client.name(parent);
    let context = client.run(0x162, &[parent], b()).ok().body;
    client.run(0x165, &[], b().u32(parent)).ok();
    let loaded = client.run(0x161, &[], b().raw(&context)).ok().handle;
    assert_eq!(client.name(loaded), name);
    let mut damaged = context.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert_eq!(client.run(0x161, &[], b().raw(&damaged)).rc, 0x1df);
    let session = client.session(0);
    let context = client.run(0x162, &[session.handle], b()).ok().body;
    assert_eq!(client.run(0x161, &[], b().raw(&context)).ok().handle, session.handle);
    assert_eq!(client.run(0x161, &[], b().raw(&context)).rc, 0x1cb, "replayed");
}

#[test]
fn a_quote_verifies_under_the_key_that_made_it() {
    let mut client = Client::new();
    let key = client.primary(ENDORSEMENT, &ecc_attestation_key()).handle;
    let selection = b().u32(1).u16(0x0b).u8(3).raw(&[1, 0, 0]).0;
    let answer = client.pw(0x158, &[key], b().sized(b"nonce").u16(0x10).raw(&selection)).ok();
    let attest = answer.field(0);
    assert_eq!(attest[..6], [0xff, 0x54, 0x43, 0x47, 0x80, 0x18]);
    let signature = &answer.body[2 + attest.len()..];
    let digest = tpm_crypto::hash::HashAlgorithm::Sha256.hash(&attest);
    client.run(0x177, &[key], b().sized(&digest).raw(signature)).ok();
    assert_eq!(client.run(0x177, &[key], b().sized(&[1; 32]).raw(signature)).rc, 0x2db);
    let parameters = b().sized(&digest).u16(0x10).u16(0x8024).u32(NULL).u16(0);
    assert_eq!(client.pw(0x15d, &[key], parameters).rc, 0x3e0, "a restricted key wants a ticket");
}

#[test]
fn a_credential_opens_for_its_object_only() {
    let mut client = Client::new();
    for template in [ecc_srk(), rsa_srk()] {
        let key = client.primary(ENDORSEMENT, &template).handle;
        let object = client.primary(OWNER, &ecc_attestation_key()).handle;
        let name = client.name(object);
        let made = client.run(0x168, &[key], b().sized(b"credential").sized(&name)).ok();
        let parameters = b().sized(&made.field(0)).sized(&made.field(1));
        let both = || vec![Auth::Password(&[]), Auth::Password(&[])];
        let answer = client.auth(0x147, &[object, key], both(), parameters.clone()).ok();
        assert_eq!(answer.field(0), b"credential");
        let other = client.primary(OWNER, &sealed_hmac()).handle;
        assert_eq!(client.auth(0x147, &[other, key], both(), parameters).rc, 0x1df);
        for handle in [key, object, other] {
            client.run(0x165, &[], b().u32(handle)).ok();
        }
    }
}

/// An HMAC key.
fn sealed_hmac() -> Bytes {
    b().u16(8).u16(0x0b).u32(0x0004_0072).u16(0).u16(5).u16(0x0b).u16(0)
}

#[test]
fn a_persistent_object_survives_and_goes_with_clear() {
    let mut client = Client::new();
    let key = client.primary(OWNER, &ecc_srk()).handle;
    client.pw(0x120, &[OWNER, key], b().u32(0x8100_0001)).ok();
    client.power_cycle();
    client.startup(0);
    client.run(0x173, &[0x8100_0001], b()).ok();
    assert_eq!(client.pw(0x120, &[OWNER, 0x8100_0001], b().u32(0x8100_0002)).rc, 0x28b);
    client.pw(0x126, &[LOCKOUT], b()).ok();
    assert_eq!(client.run(0x173, &[0x8100_0001], b()).rc, 0x18b);
}

#[test]
fn duplicates_import_under_another_parent() {
    let mut client = Client::new();
    let old = client.primary(OWNER, &ecc_srk()).handle;
    let new = client.primary(OWNER, &rsa_srk()).handle;
    let mut trial = client.session(3);
    client.run(0x16c, &[trial.handle], b().u32(0x14b)).ok();
    let policy = client.run(0x189, &[trial.handle], b()).ok().field(0);
    trial.key.clear();
    let template = b().u16(8).u16(0x0b).u32(0x0000_0040).sized(&policy).u16(0x10).u16(0);
    let object = client.child(old, &template, b"", b"data");
    let public = client.run(0x173, &[object], b()).ok().field(0);
    let mut session = client.session(1);
    client.run(0x16c, &[session.handle], b().u32(0x14b)).ok();
    let auth = vec![Auth::Session(&mut session, b"", 1)];
    let made = client.auth(0x14b, &[object, new], auth, b().u16(0).u16(0x10)).ok();
    // Integrity, then the area with a value as long as a digest, seed and data.
    assert_eq!(
        made.field(1).len(),
        34 + 2 + 2 + 34 + 34 + 6,
        "the size tells nothing of the value"
    );
    let parameters =
        b().u16(0).sized(&public).sized(&made.field(1)).sized(&made.field(2)).u16(0x10);
    let private = client.pw(0x156, &[new], parameters).ok().field(0);
    let loaded = client.pw(0x157, &[new], b().sized(&private).sized(&public)).ok().handle;
    assert_eq!(client.pw(0x15e, &[loaded], b()).ok().field(0), b"data");
}

/// A short form of SHA-256 over a public area.
fn fingerprint(public: &[u8]) -> [u8; 8] {
    let digest = tpm_crypto::hash::HashAlgorithm::Sha256.hash(public);
    digest[..8].try_into().expect("eight bytes")
}

#[test]
fn primary_keys_of_a_known_seed_are_known() {
    let mut client = Client::new();
    let known = [
        (ecc_srk(), [0x13, 0x59, 0x14, 0x69, 0xc8, 0x74, 0x0a, 0xa2]),
        (rsa_srk(), [0x16, 0xa7, 0x12, 0x4c, 0x41, 0x82, 0x7f, 0xf6]),
        (ecc_attestation_key(), [0xe0, 0xd7, 0xa0, 0xc2, 0x94, 0x83, 0x3f, 0x4e]),
        (sealed_hmac(), [0x3c, 0x3e, 0xfe, 0xb6, 0xb0, 0x92, 0xc6, 0xf5]),
    ];
    for (template, expected) in known {
        let public = client.primary(OWNER, &template).field(0);
        assert_eq!(fingerprint(&public), expected, "a key of the field would change");
    }
}

#[test]
fn a_sequence_hashes_over_a_saved_context() {
    let mut client = Client::new();
    let sequence = client.run(0x186, &[], b().u16(0).u16(0x0b)).ok().handle;
    client.pw(0x15c, &[sequence], b().sized(b"one ")).ok();
    let context = client.run(0x162, &[sequence], b()).ok().body;
    client.run(0x165, &[], b().u32(sequence)).ok();
    let sequence = client.run(0x161, &[], b().raw(&context)).ok().handle;
    let digest = client.pw(0x13e, &[sequence], b().sized(b"two").u32(NULL)).ok().field(0);
    assert_eq!(digest, tpm_crypto::hash::HashAlgorithm::Sha256.hash(b"one two").as_bytes());
    assert_eq!(client.pw(0x15c, &[sequence], b().sized(b"x")).rc, 0x910);
}

#[test]
fn create_loaded_takes_hierarchies_and_parents_but_no_sequence() {
    let mut client = Client::new();
    let parameters = || b().u16(4).u32(0).sized(&ecc_srk().0);
    let primary = client.pw(0x191, &[OWNER], parameters()).ok();
    let same = client.primary(OWNER, &ecc_srk());
    assert_eq!(primary.field(1), same.field(0), "CreatePrimary makes the same key");
    let child = client.pw(0x191, &[primary.handle], parameters()).ok();
    let loadable = b().sized(&child.field(0)).sized(&child.field(1));
    client.pw(0x157, &[primary.handle], loadable).ok();
    let sequence = client.run(0x186, &[], b().u16(0).u16(0x0b)).ok().handle;
    assert_eq!(client.pw(0x191, &[sequence], parameters()).rc, 0x18a);
}

#[test]
fn a_derivation_parent_gives_the_same_key_for_the_same_label() {
    let mut client = Client::new();
    let parent = b().u16(8).u16(0x0b).u32(0x0003_0072).u16(0).u16(0x0a).u16(0x0b).u16(0x22).u16(0);
    let parent = client.primary(OWNER, &parent).handle;
    let derive = |client: &mut Client, label: &[u8]| {
        let template = b()
            .u16(0x23)
            .u16(0x0b)
            .u32(0x0004_0052)
            .u16(0)
            .u16(0x10)
            .u16(0x18)
            .u16(0x0b)
            .u16(3)
            .u16(0x10)
            .sized(label)
            .u16(0);
        let answer = client.pw(0x191, &[parent], b().u16(4).u32(0).sized(&template.0)).ok();
        client.run(0x165, &[], b().u32(answer.handle)).ok();
        answer.field(1)
    };
    let first = derive(&mut client, b"one");
    assert_eq!(derive(&mut client, b"one"), first);
    assert_ne!(derive(&mut client, b"two"), first);
}

#[test]
fn the_size_of_a_private_area_tells_nothing_of_the_authorization_value() {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let mut sizes = vec![];
    for auth in [&b""[..], b"short", &[7; 32]] {
        let sensitive = b().sized(auth).sized(b"secret");
        let parameters = b().sized(&sensitive.0).sized(&sealed().0).u16(0).u32(0);
        let made = client.pw(0x153, &[parent], parameters).ok();
        sizes.push(made.field(0).len());
        let parameters = b().sized(&made.field(0)).sized(&made.field(1));
        let handle = client.pw(0x157, &[parent], parameters).ok().handle;
        let unsealed = client.auth(0x15e, &[handle], vec![Auth::Password(auth)], b()).ok();
        assert_eq!(unsealed.field(0), b"secret");
        client.run(0x165, &[], b().u32(handle)).ok();
    }
    assert_eq!(sizes[0], sizes[1]);
    assert_eq!(sizes[0], sizes[2]);
}

/// A symmetric storage parent with a name algorithm, key bits and a mode.
fn cipher_parent(name_alg: u16, bits: u16, mode: u16) -> Bytes {
    b().u16(0x25).u16(name_alg).u32(0x0003_0072).u16(0).u16(6).u16(bits).u16(mode).u16(0)
}

#[test]
fn a_parent_protects_whatever_mode_its_template_names() {
    let mut client = Client::new();
    for mode in [0x43, 0x10] {
        let parent = client.primary(OWNER, &cipher_parent(0x0b, 128, mode)).handle;
        let object = client.child(parent, &sealed(), b"", b"the secret");
        let answer = client.pw(0x15e, &[object], b()).ok();
        assert_eq!(answer.field(0), b"the secret", "mode {mode:#x}");
        client.run(0x165, &[], b().u32(object)).ok();
        client.run(0x165, &[], b().u32(parent)).ok();
    }
}

#[test]
fn a_fixed_parent_protects_as_its_own_parent_does() {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &cipher_parent(0x0b, 128, 0x43)).handle;
    client.child(parent, &cipher_parent(0x0b, 128, 0x43), b"", b"");
    let mut create = |template: &Bytes| {
        let parameters = b().sized(&b().u32(0).0).sized(&template.0).u16(0).u32(0);
        client.pw(0x153, &[parent], parameters).rc
    };
    for (name_alg, bits, mode, rc) in
        [(0x0c, 128, 0x43, 0x2c3), (0x0b, 256, 0x43, 0x2d6), (0x0b, 128, 0x10, 0x2d6)]
    {
        let template = cipher_parent(name_alg, bits, mode);
        assert_eq!(create(&template), rc, "{name_alg:#x} {bits} {mode:#x}");
        // A parent that can be duplicated may have other parameters than its own parent.
        let mut template = template.0;
        template[7] &= !0x12;
        assert_eq!(create(&b().raw(&template)), 0, "{name_alg:#x} {bits} {mode:#x}");
    }
}

/// Older systems use keys of 1,024 bits.
#[test]
fn a_short_rsa_key_signs_and_the_shortest_is_refused() {
    let mut client = Client::new();
    let key =
        |bits| b().u16(1).u16(0x0b).u32(0x0004_0072).u16(0).u16(0x10).u16(0x14).u16(0x0b).u16(bits);
    let key = |bits| key(bits).u32(0).u16(0);
    let handle = client.primary(OWNER, &key(1024)).handle;
    let ticket = b().u16(0x8024).u32(NULL).u16(0);
    let signed = client.pw(0x15d, &[handle], b().sized(&[9; 32]).u16(0x10).raw(&ticket.0)).ok();
    let verify = b().sized(&[9; 32]).raw(&signed.body);
    client.run(0x177, &[handle], verify).ok();
    let parameters = b().u16(4).u32(0).sized(&key(512).0).u16(0).u32(0);
    assert_eq!(client.pw(0x131, &[OWNER], parameters).rc, 0x2c4);
}
