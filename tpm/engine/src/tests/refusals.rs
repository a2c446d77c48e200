//! Refusals of Part 3 that depend on earlier commands, with code, kind, position.

use std::vec;

use super::client::*;

const INDEX: u32 = 0x0150_0000;

fn policy_secret(expiration: u32, cp_hash: &[u8]) -> Bytes {
    b().u16(0).sized(cp_hash).u16(0).u32(expiration)
}

fn ecdsa_key() -> Bytes {
    b().u16(0x23)
        .u16(0x0b)
        .u32(0x0004_0072)
        .u16(0)
        .u16(0x10)
        .u16(0x18)
        .u16(0x0b)
        .u16(3)
        .u16(0x10)
        .u16(0)
        .u16(0)
}

/// The public area of an HMAC key outside the TPM.
fn foreign_hmac_key() -> Bytes {
    b().u16(8).u16(0x0b).u32(0x0004_0040).u16(0).u16(5).u16(0x0b).sized(&[7; 32])
}

fn load_public(client: &mut Client, public: &Bytes) -> u32 {
    client.run(0x167, &[], b().u16(0).sized(&public.0).u32(NULL)).ok().handle
}

#[test]
fn a_state_is_not_kept_over_a_change_of_banks() {
    let mut client = Client::new();
    client.pw(0x12b, &[PLATFORM], b().u32(1).u16(0x0c).u8(3).raw(&[0; 3])).ok();
    assert_eq!(client.run(0x145, &[], b().u16(1)).rc, 0x1ca);
    client.run(0x145, &[], b().u16(0)).ok();
    client.power_cycle();
    client.startup(0);
    client.run(0x145, &[], b().u16(1)).ok();
}

#[test]
fn a_trial_session_goes_with_no_command() {
    let mut client = Client::new();
    let mut trial = client.session_with(NULL, &[], 3, b().u16(6).u16(128).u16(0x43));
    let auths = vec![Auth::Password(&[]), Auth::Session(&mut trial, &[], 0x21)];
    assert_eq!(client.auth(0x129, &[OWNER], auths, b().u16(0)).rc, 0xa82);
}

#[test]
fn a_wrong_hmac_beside_the_authorization_counts_for_what_it_is_bound_to() {
    let mut client = Client::new();
    client.pw(0x13a, &[LOCKOUT], b().u32(1).u32(10).u32(0)).ok();
    let aes = || b().u16(6).u16(128).u16(0x43);
    let random = |client: &mut Client, session: &mut Session| {
        client.auth(0x17b, &[], vec![Auth::Session(session, &[], 0x41)], b().u16(4)).rc
    };
    let mut owners = client.session_with(OWNER, &[], 0, aes());
    owners.key[0] ^= 1;
    assert_eq!(random(&mut client, &mut owners), 0x9a2);
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let object = client.child(parent, &sealed(), b"pin", b"data");
    let mut bound = client.session_with(object, b"pin", 0, aes());
    let right = bound.key.clone();
    bound.key[0] ^= 1;
    assert_eq!(random(&mut client, &mut bound), 0x98e);
    bound.key = right;
    assert_eq!(random(&mut client, &mut bound), 0x921);
    client.env.now += 10_000;
    assert_eq!(random(&mut client, &mut bound), 0);
}

#[test]
fn persistent_objects_go_by_who_may_remove_them() {
    let mut client = Client::new();
    let ephemeral = client.primary(NULL, &ecc_srk()).handle;
    assert_eq!(client.pw(0x120, &[OWNER, ephemeral], b().u32(0x8100_0001)).rc, 0x282);
    client.run(0x165, &[], b().u32(ephemeral)).ok();
    for (hierarchy, handle) in [(OWNER, 0x8100_0001), (ENDORSEMENT, 0x8100_0002)] {
        let key = client.primary(hierarchy, &ecc_srk()).handle;
        client.pw(0x120, &[OWNER, key], b().u32(handle)).ok();
        client.run(0x165, &[], b().u32(key)).ok();
    }
    assert_eq!(client.pw(0x120, &[OWNER, 0x8100_0001], b().u32(0x8100_0002)).rc, 0x28b);
    client.pw(0x120, &[PLATFORM, 0x8100_0001], b().u32(0x8100_0001)).ok();
    client.pw(0x121, &[PLATFORM], b().u32(ENDORSEMENT).u8(0)).ok();
    assert_eq!(client.run(0x173, &[0x8100_0002], b()).rc, 0x18b);
    client.pw(0x120, &[OWNER, 0x8100_0002], b().u32(0x8100_0002)).ok();
}

#[test]
fn a_hierarchy_that_is_enabled_may_be_enabled_by_its_owner() {
    let mut client = Client::new();
    client.pw(0x121, &[OWNER], b().u32(OWNER).u8(1)).ok();
    client.pw(0x121, &[PLATFORM], b().u32(PLATFORM).u8(1)).ok();
    assert_eq!(client.pw(0x121, &[OWNER], b().u32(ENDORSEMENT).u8(0)).rc, 0x124);
}

#[test]
fn an_authorization_value_is_no_longer_than_the_objects_hash() {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let sensitive = b().sized(&[1; 33]).sized(b"data");
    let parameters = b().sized(&sensitive.0).sized(&sealed().0);
    let rest = || parameters.clone().u16(0).u32(0);
    assert_eq!(client.pw(0x153, &[parent], rest()).rc, 0x1d5);
    assert_eq!(client.pw(0x131, &[OWNER], rest()).rc, 0x1d5);
    assert_eq!(client.pw(0x191, &[parent], parameters.clone()).rc, 0x1d5);
}

#[test]
fn a_parent_that_stays_makes_its_own_key() {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let template = b().u16(0x25).u16(0x0b).u32(0x0003_0452).u16(0).u16(6).u16(128).u16(0x43).u16(0);
    let sensitive = b().u16(0).sized(&[1; 16]);
    let parameters = b().sized(&sensitive.0).sized(&template.0).u16(0).u32(0);
    assert_eq!(client.pw(0x153, &[parent], parameters).rc, 0x2c2);
}

#[test]
fn tickets_and_timers_name_the_parameter_at_fault() {
    let mut client = Client::new();
    let (policy, trial) = (client.session(1).handle, client.session(3).handle);
    let ticket = b().sized(&[0; 4]).u16(0).u16(0).u16(0).u16(0x8025).u32(NULL).u16(0);
    assert_eq!(client.run(0x172, &[policy], ticket.clone()).rc, 0x1d5);
    assert_eq!(client.run(0x172, &[trial], ticket).rc, 0x182);
    let timer = |offset| b().sized(&[0; 8]).u16(offset).u16(0);
    assert_eq!(client.run(0x16d, &[policy], timer(100)).rc, 0x2c4);
    client.run(0x16d, &[trial], timer(100)).ok();
    for hash in [[1; 32], [2; 32]] {
        client.pw(0x151, &[OWNER, trial], policy_secret(0, &hash)).ok();
    }
    client.pw(0x151, &[OWNER, policy], policy_secret(0, &[1; 32])).ok();
    assert_eq!(client.pw(0x151, &[OWNER, policy], policy_secret(0, &[2; 32])).rc, 0x151);
    // In seconds of the TPM's time; the current second counts in full.
    client.env.now = 10_700;
    client.pw(0x151, &[OWNER, policy], policy_secret(10, &[])).ok();
    assert_eq!(client.pw(0x151, &[OWNER, policy], policy_secret(9, &[])).rc, 0x4e3);
}

#[test]
fn duplication_select_comes_before_any_command_code() {
    let mut client = Client::new();
    let select = || b().u16(0).sized(&[0, 0x0b]).u8(0);
    let session = client.session(1).handle;
    client.run(0x16c, &[session], b().u32(0x14b)).ok();
    assert_eq!(client.run(0x188, &[session], select()).rc, 0x143);
    client.run(0x180, &[session], b()).ok();
    client.run(0x188, &[session], select()).ok();
    assert_eq!(client.run(0x188, &[session], select()).rc, 0x151);
}

#[test]
fn a_session_starts_with_keys_and_entities_that_can_do_it() {
    let mut client = Client::new();
    let start = |client: &mut Client, key: u32, bind: u32, secret: &[u8]| {
        let parameters = b().sized(&[1; 16]).sized(secret).u8(0).u16(0x10).u16(0x0b);
        client.run(0x176, &[key, bind], parameters).rc
    };
    let signer = client.primary(OWNER, &ecdsa_key()).handle;
    assert_eq!(start(&mut client, signer, NULL, &[1]), 0x182);
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    assert_eq!(start(&mut client, parent, NULL, &[]), 0x2c4);
    assert_eq!(start(&mut client, parent, NULL, &[1]), 0x2c4);
    client.run(0x165, &[], b().u32(signer)).ok();
    let public = load_public(&mut client, &foreign_hmac_key());
    assert_eq!(start(&mut client, public, NULL, &[1]), 0x19c);
    assert_eq!(start(&mut client, NULL, public, &[]), 0x28b);
    // A PIN fail index: written by the owner, read with its value.
    let attributes = 1 << 1 | 8 << 4 | 1 << 17 | 1 << 18 | 1 << 25;
    let pin = b().u32(INDEX).u16(0x0b).u32(attributes).u16(0).u16(8);
    client.pw(0x12a, &[OWNER], b().u16(0).sized(&pin.0)).ok();
    assert_eq!(start(&mut client, NULL, INDEX, &[]), 0x28b);
}

#[test]
fn a_context_that_is_loaded_already_is_stale_however_full_the_memory_is() {
    let mut client = Client::new();
    let session = client.session(0).handle;
    let context = client.run(0x162, &[session], b()).ok().body;
    let load = b().raw(&context);
    client.run(0x161, &[], load.clone()).ok();
    let more = || b().sized(&[1; 16]).u16(0).u8(0).u16(0x10).u16(0x0b);
    while client.run(0x176, &[NULL, NULL], more()).rc == 0 {}
    assert_eq!(client.run(0x176, &[NULL, NULL], more()).rc, 0x903);
    assert_eq!(client.run(0x161, &[], load).rc, 0x1cb);
}

#[test]
fn signatures_are_refused_for_their_scheme_or_ticket() {
    let mut client = Client::new();
    let key = client.primary(OWNER, &ecdsa_key()).handle;
    let ticket = b().u16(0x8024).u32(OWNER).sized(&[1; 64]);
    let sign = b().sized(&[1; 32]).u16(0x10).raw(&ticket.0);
    assert_eq!(client.pw(0x15d, &[key], sign).rc, 0x3e0);
    let hmac = || b().sized(&[1; 32]).u16(5).u16(0x0b).raw(&[0; 32]);
    assert_eq!(client.run(0x177, &[key], hmac()).rc, 0x2d2);
    let public = load_public(&mut client, &foreign_hmac_key());
    assert_eq!(client.run(0x177, &[public], hmac()).rc, 0x2cb);
    let ecdsa = b().sized(&[1; 32]).u16(0x18).u16(0x0b).sized(&[1; 32]).sized(&[1; 32]);
    assert_eq!(client.run(0x177, &[public], ecdsa).rc, 0x2d2);
}

#[test]
fn what_is_certified_lies_within_the_index() {
    let mut client = Client::new();
    let public = b().u32(INDEX).u16(0x0b).u32(1 << 1 | 1 << 17).u16(0).u16(4);
    client.pw(0x12a, &[OWNER], b().u16(0).sized(&public.0)).ok();
    client.pw(0x137, &[OWNER, INDEX], b().sized(b"data").u16(0)).ok();
    for (size, offset) in [(1, 99), (5, 0), (4, 1)] {
        let auths = vec![Auth::Password(&[]), Auth::Password(&[])];
        let parameters = b().u16(0).u16(0x10).u16(size).u16(offset);
        assert_eq!(client.auth(0x184, &[NULL, OWNER, INDEX], auths, parameters).rc, 0x146);
    }
}

#[test]
fn an_import_has_a_name() {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    let public = b().u16(8).u16(0x10).u32(0x40).u16(0).u16(0x10).u16(0);
    let inner = b().sized(&[1; 16]).sized(&public.0).sized(&[0; 40]).u16(0);
    let parameters = inner.u16(6).u16(128).u16(0x43);
    assert_eq!(client.pw(0x156, &[parent], parameters).rc, 0x2c3);
}
