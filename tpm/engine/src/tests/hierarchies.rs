//! Hierarchy commands (Part 3, section 24), clock commands (29), command audit (21).

use std::vec;
use std::vec::Vec;

use tpm_crypto::hash::HashAlgorithm;

use super::client::*;
use super::codes::{cc, rc};

const HIERARCHIES: [u32; 4] = [OWNER, ENDORSEMENT, LOCKOUT, PLATFORM];
const PLATFORM_NV: u32 = 0x4000_000d;
const INDEX: u32 = 0x0150_0000;

fn change_auth(client: &mut Client, hierarchy: u32, old: &[u8], new: &[u8]) -> u32 {
    let auth = vec![Auth::Password(old)];
    client.auth(cc::HIERARCHY_CHANGE_AUTH, &[hierarchy], auth, b().sized(new)).rc
}

fn control(client: &mut Client, auth: u32, hierarchy: u32, state: u8) -> u32 {
    client.pw(cc::HIERARCHY_CONTROL, &[auth], b().u32(hierarchy).u8(state)).rc
}

fn set_policy(client: &mut Client, hierarchy: u32, policy: &[u8], alg: u16) -> u32 {
    client.pw(cc::SET_PRIMARY_POLICY, &[hierarchy], b().sized(policy).u16(alg)).rc
}

/// The policies that TPM_CAP_AUTH_POLICIES lists.
fn policies(client: &mut Client) -> Vec<(u32, u16, Vec<u8>)> {
    let answer = client.run(cc::GET_CAPABILITY, &[], b().u32(9).u32(OWNER).u32(9)).ok();
    let mut r = answer.fields();
    assert_eq!((r.u8(), r.u32(), r.u32()), (0, 9, 4));
    let mut entry = || {
        let (handle, alg) = (r.u32(), r.u16());
        let size = HashAlgorithm::from_id(alg).map_or(0, HashAlgorithm::digest_size);
        (handle, alg, r.take(size))
    };
    (0..4).map(|_| entry()).collect()
}

/// The policy of PolicyCommandCode.
fn command_policy(code: u32) -> Vec<u8> {
    let parts = b().raw(&[0; 32]).u32(cc::POLICY_COMMAND_CODE).u32(code);
    HashAlgorithm::Sha256.hash(&parts.0).to_vec()
}

/// The name of a hierarchy's primary key.
fn primary_name(client: &mut Client, hierarchy: u32) -> Vec<u8> {
    let key = client.primary(hierarchy, &ecc_srk()).handle;
    let name = client.name(key);
    client.run(cc::FLUSH_CONTEXT, &[], b().u32(key)).ok();
    name
}

/// A variable property of TPM_CAP_TPM_PROPERTIES.
fn property(client: &mut Client, tag: u32) -> u32 {
    let answer = client.run(cc::GET_CAPABILITY, &[], b().u32(6).u32(tag).u32(1)).ok();
    let mut r = Fields(&answer.body[9..]);
    assert_eq!(r.u32(), tag);
    r.u32()
}

#[test]
fn a_value_replaces_the_old_one_and_only_the_platforms_is_forgotten() {
    for hierarchy in HIERARCHIES {
        let mut client = Client::new();
        let wrong = rc::session(1, if hierarchy == LOCKOUT { rc::AUTH_FAIL } else { rc::BAD_AUTH });
        assert_eq!(change_auth(&mut client, hierarchy, b"", b"one\0\0"), 0);
        assert_eq!(change_auth(&mut client, hierarchy, b"one", b"two"), 0, "zeros do not count");
        let auth = vec![Auth::Password(b"two\0")];
        let long = client.auth(cc::HIERARCHY_CHANGE_AUTH, &[hierarchy], auth, b().sized(&[1; 65]));
        assert_eq!(long.rc, rc::param(1, rc::SIZE));
        for (kind, forgets) in [(1, false), (0, true)] {
            client.run(cc::SHUTDOWN, &[], b().u16(1)).ok();
            client.power_cycle();
            client.startup(kind);
            let forgets = forgets && hierarchy == PLATFORM;
            let value: &[u8] = if forgets { b"" } else { b"two" };
            assert_eq!(change_auth(&mut client, hierarchy, value, b"two"), 0, "{hierarchy:#x}");
        }
        assert_eq!(change_auth(&mut client, hierarchy, b"one", b"three"), wrong);
    }
}

#[test]
fn a_policy_authorizes_its_hierarchy_and_is_listed() {
    let mut client = Client::new();
    let policy = command_policy(cc::HIERARCHY_CHANGE_AUTH);
    for hierarchy in HIERARCHIES {
        for (digest, alg, code) in [
            (&policy[..31], 0x0b, rc::param(1, rc::SIZE)),
            (&policy, 0x0c, rc::param(1, rc::SIZE)),
            (&policy, 0x10, rc::param(1, rc::SIZE)),
            (&policy, 0x12, rc::param(2, rc::HASH)),
            (&[], 0x10, 0),
            (&policy, 0x0b, 0),
        ] {
            assert_eq!(set_policy(&mut client, hierarchy, digest, alg), code);
        }
        let mut session = client.session(1);
        let command = b().u32(cc::HIERARCHY_CHANGE_AUTH);
        client.run(cc::POLICY_COMMAND_CODE, &[session.handle], command).ok();
        let auth = vec![Auth::Session(&mut session, b"", 0)];
        client.auth(cc::HIERARCHY_CHANGE_AUTH, &[hierarchy], auth, b().sized(b"")).ok();
    }
    let listed = policies(&mut client);
    let handles: Vec<u32> = listed.iter().map(|entry| entry.0).collect();
    assert_eq!(handles, [OWNER, LOCKOUT, ENDORSEMENT, PLATFORM]);
    assert!(listed.iter().all(|entry| (entry.1, &entry.2) == (0x0b, &policy)));
    client.power_cycle();
    client.startup(0);
    let algs: Vec<u16> = policies(&mut client).iter().map(|entry| entry.1).collect();
    assert_eq!(algs, [0x0b, 0x0b, 0x0b, 0x10], "the platform's is forgotten");
}

#[test]
fn lockout_may_forbid_clear_and_only_the_platform_allow_it_again() {
    let mut client = Client::new();
    let mut set =
        |auth: u32, disable: u8| client.pw(cc::CLEAR_CONTROL, &[auth], b().u8(disable)).rc;
    assert_eq!(set(LOCKOUT, 0), rc::AUTH_FAIL);
    assert_eq!(set(LOCKOUT, 2), rc::param(1, rc::VALUE));
    assert_eq!(set(LOCKOUT, 1), 0);
    assert_eq!(property(&mut client, 0x200) & 1 << 8, 1 << 8, "disableClear");
    client.power_cycle();
    client.startup(0);
    for auth in [LOCKOUT, PLATFORM] {
        assert_eq!(client.pw(cc::CLEAR, &[auth], b()).rc, rc::DISABLED);
    }
    client.pw(cc::CLEAR_CONTROL, &[PLATFORM], b().u8(0)).ok();
    client.pw(cc::CLEAR, &[LOCKOUT], b()).ok();
    assert_eq!(client.pw(cc::CLEAR, &[OWNER], b()).rc, rc::handle(1, rc::VALUE));
}

#[test]
fn clear_takes_all_of_the_owner_and_leaves_the_platforms() {
    let mut client = Client::new();
    let before = [OWNER, ENDORSEMENT, PLATFORM].map(|h| primary_name(&mut client, h));
    for (hierarchy, handle) in [(OWNER, 0x8100_0001), (ENDORSEMENT, 0x8100_0002)] {
        let key = client.primary(hierarchy, &ecc_srk()).handle;
        client.pw(cc::EVICT_CONTROL, &[OWNER, key], b().u32(handle)).ok();
        client.run(cc::FLUSH_CONTEXT, &[], b().u32(key)).ok();
    }
    let of_platform = client.primary(PLATFORM, &ecc_srk()).handle;
    client.pw(cc::EVICT_CONTROL, &[PLATFORM, of_platform], b().u32(0x8180_0001)).ok();
    for (auth, index, attributes) in
        [(OWNER, INDEX, 1 << 1 | 1 << 17), (PLATFORM, INDEX + 1, 1 | 1 << 16 | 1 << 30)]
    {
        let public = b().u32(index).u16(0x0b).u32(attributes).u16(0).u16(8);
        client.pw(cc::NV_DEFINE_SPACE, &[auth], b().u16(0).sized(&public.0)).ok();
    }
    let of_owner = client.primary(OWNER, &ecc_srk()).handle;
    let of_endorsement = client.primary(ENDORSEMENT, &ecc_srk()).handle;
    let contexts = [of_owner, of_endorsement, of_platform]
        .map(|handle| client.run(cc::CONTEXT_SAVE, &[handle], b()).ok().body);
    for hierarchy in [OWNER, ENDORSEMENT, LOCKOUT] {
        assert_eq!(set_policy(&mut client, hierarchy, &[1; 32], 0x0b), 0);
        assert_eq!(change_auth(&mut client, hierarchy, b"", b"value"), 0);
    }
    client.pw(cc::HIERARCHY_CONTROL, &[PLATFORM], b().u32(ENDORSEMENT).u8(0)).ok();
    client.env.now = 90_000;
    let counter = client.run(cc::PCR_READ, &[], b().u32(0)).ok().fields().u32();
    client.pw(cc::CLEAR, &[PLATFORM], b()).ok();

    let clock = client.run(cc::READ_CLOCK, &[], b()).ok().body;
    assert_eq!(clock, b().u64(90_000).u64(0).u32(0).u32(0).u8(1).0, "Clock and its counts");
    assert!(client.run(cc::PCR_READ, &[], b().u32(0)).ok().fields().u32() > counter);
    for (hierarchy, old) in [OWNER, ENDORSEMENT, PLATFORM].into_iter().zip(before) {
        // The endorsement seed stays, because the certificate is for its key.
        let same = hierarchy != OWNER;
        assert_eq!(primary_name(&mut client, hierarchy) == old, same, "{hierarchy:#x}");
    }
    let present = [0x8100_0001, 0x8100_0002, of_owner, of_endorsement]
        .map(|handle| client.run(cc::READ_PUBLIC, &[handle], b()).rc == 0);
    assert_eq!(present, [false; 4]);
    client.run(cc::READ_PUBLIC, &[0x8180_0001], b()).ok();
    client.run(cc::READ_PUBLIC, &[of_platform], b()).ok();
    assert_eq!(client.run(cc::NV_READ_PUBLIC, &[INDEX], b()).rc, rc::handle(1, rc::HANDLE));
    client.run(cc::NV_READ_PUBLIC, &[INDEX + 1], b()).ok();
    // The proofs of owner and endorsement are new.
    let loaded = contexts.map(|context| client.run(cc::CONTEXT_LOAD, &[], b().raw(&context)).rc);
    let lost = rc::param(1, rc::INTEGRITY);
    assert_eq!(loaded, [lost, lost, 0]);
    assert!(policies(&mut client).iter().all(|entry| entry.1 == 0x10));
    for hierarchy in HIERARCHIES {
        assert_eq!(change_auth(&mut client, hierarchy, b"", b""), 0, "{hierarchy:#x}");
    }
}

#[test]
fn clear_resets_the_clock_and_enables_the_owner() {
    let mut client = Client::new();
    client.run(cc::SHUTDOWN, &[], b().u16(1)).ok();
    client.power_cycle();
    client.startup(0);
    client.env.now += 20_000_000;
    let shown = |client: &mut Client| client.run(cc::READ_CLOCK, &[], b()).ok().body[8..].to_vec();
    assert_eq!(shown(&mut client), b().u64(20_000_000).u32(1).u32(1).u8(1).0);
    assert_eq!(control(&mut client, OWNER, OWNER, 0), 0);
    client.pw(cc::CLEAR, &[LOCKOUT], b()).ok();
    assert_eq!(shown(&mut client), b().u64(0).u32(0).u32(0).u8(1).0);
    assert_eq!(change_auth(&mut client, OWNER, b"", b""), 0, "enabled");
    // After a power failure the clock continues from the value in NV.
    client.power_cycle();
    client.startup(0);
    assert!(Fields(&shown(&mut client)).u64() < 10_000_000);
}

#[test]
fn a_new_seed_takes_the_objects_of_its_hierarchy() {
    for (command, hierarchy, other) in
        [(cc::CHANGE_EPS, ENDORSEMENT, PLATFORM), (cc::CHANGE_PPS, PLATFORM, ENDORSEMENT)]
    {
        let mut client = Client::new();
        let names = [hierarchy, other, OWNER].map(|h| primary_name(&mut client, h));
        let key = client.primary(hierarchy, &ecc_srk()).handle;
        let (auth, handle) =
            if hierarchy == PLATFORM { (PLATFORM, 0x8180_0001) } else { (OWNER, 0x8100_0001) };
        client.pw(cc::EVICT_CONTROL, &[auth, key], b().u32(handle)).ok();
        let context = client.run(cc::CONTEXT_SAVE, &[key], b()).ok().body;
        let others = client.primary(other, &ecc_srk()).handle;
        assert_eq!(set_policy(&mut client, hierarchy, &[1; 32], 0x0b), 0);
        if hierarchy == ENDORSEMENT {
            assert_eq!(change_auth(&mut client, ENDORSEMENT, b"", b"value"), 0);
            assert_eq!(control(&mut client, PLATFORM, ENDORSEMENT, 0), 0);
        }
        let counter =
            |client: &mut Client| client.run(cc::PCR_READ, &[], b().u32(0)).ok().fields().u32();
        let count = counter(&mut client);
        client.pw(command, &[PLATFORM], b()).ok();
        assert_eq!(counter(&mut client), count + 1, "pcrUpdateCounter");
        let after = [hierarchy, other, OWNER].map(|h| primary_name(&mut client, h));
        assert_ne!(after[0], names[0], "enabled, with an empty value and another seed");
        assert_eq!(after[1..], names[1..]);
        assert_eq!(client.run(cc::READ_PUBLIC, &[handle], b()).rc, rc::handle(1, rc::HANDLE));
        assert_eq!(client.run(cc::READ_PUBLIC, &[key], b()).rc, rc::REFERENCE_H0);
        client.run(cc::READ_PUBLIC, &[others], b()).ok();
        let load = client.run(cc::CONTEXT_LOAD, &[], b().raw(&context));
        assert_eq!(load.rc, rc::param(1, rc::INTEGRITY));
        assert!(policies(&mut client).iter().all(|entry| entry.1 == 0x10));
    }
}

#[test]
fn each_enable_has_its_authorizations() {
    // Authorization, hierarchy, state, and the code while the hierarchy is enabled or disabled.
    for (auth, hierarchy, state, enabled, disabled) in [
        (OWNER, OWNER, 0, 0, rc::handle(1, rc::HIERARCHY)),
        (OWNER, ENDORSEMENT, 0, rc::AUTH_TYPE, rc::AUTH_TYPE),
        (OWNER, PLATFORM, 0, rc::AUTH_TYPE, rc::AUTH_TYPE),
        (OWNER, PLATFORM_NV, 0, rc::AUTH_TYPE, rc::AUTH_TYPE),
        (ENDORSEMENT, ENDORSEMENT, 0, 0, rc::handle(1, rc::HIERARCHY)),
        (ENDORSEMENT, OWNER, 1, rc::AUTH_TYPE, rc::AUTH_TYPE),
        (PLATFORM, OWNER, 1, 0, 0),
        (PLATFORM, ENDORSEMENT, 1, 0, 0),
        (PLATFORM, PLATFORM_NV, 1, 0, 0),
        (PLATFORM, NULL, 1, rc::param(1, rc::VALUE), rc::param(1, rc::VALUE)),
    ] {
        let mut client = Client::new();
        assert_eq!(control(&mut client, auth, hierarchy, state), enabled, "{auth:x} {hierarchy:x}");
        if hierarchy == PLATFORM || hierarchy == NULL {
            continue;
        }
        assert_eq!(control(&mut client, PLATFORM, hierarchy, 0), 0);
        assert_eq!(control(&mut client, auth, hierarchy, 1), disabled, "{auth:x} {hierarchy:x}");
    }
}

#[test]
fn a_disabled_hierarchy_loses_its_objects_until_it_is_enabled() {
    let mut client = Client::new();
    let keys = [OWNER, ENDORSEMENT, PLATFORM].map(|h| client.primary(h, &ecc_srk()).handle);
    let context = client.run(cc::CONTEXT_SAVE, &[keys[0]], b()).ok().body;
    client.pw(cc::EVICT_CONTROL, &[OWNER, keys[0]], b().u32(0x8100_0001)).ok();
    assert_eq!(control(&mut client, OWNER, OWNER, 0), 0);
    assert_eq!(property(&mut client, 0x201) & 0xf, 0b1101, "all but shEnable");
    let read = |client: &mut Client, handle| client.run(cc::READ_PUBLIC, &[handle], b()).rc;
    assert_eq!(keys.map(|key| read(&mut client, key)), [rc::REFERENCE_H0, 0, 0]);
    assert_eq!(read(&mut client, 0x8100_0001), rc::handle(1, rc::HANDLE));
    let load = b().raw(&context);
    assert_eq!(client.run(cc::CONTEXT_LOAD, &[], load.clone()).rc, rc::param(1, rc::HIERARCHY));
    client.run(cc::SHUTDOWN, &[], b().u16(1)).ok();
    client.power_cycle();
    client.startup(1);
    assert_eq!(property(&mut client, 0x201) & 0xf, 0b1101, "Resume keeps it disabled");
    assert_eq!(control(&mut client, PLATFORM, OWNER, 1), 0);
    assert_eq!(read(&mut client, 0x8100_0001), 0);
    client.run(cc::CONTEXT_LOAD, &[], load).ok();
    // The platform hierarchy stays disabled until the next Startup.
    assert_eq!(control(&mut client, PLATFORM, PLATFORM, 0), 0);
    assert_eq!(control(&mut client, PLATFORM, PLATFORM, 1), rc::handle(1, rc::HIERARCHY));
    client.power_cycle();
    client.startup(0);
    assert_eq!(property(&mut client, 0x201) & 0xf, 0b1111);
}

#[test]
fn indices_hide_with_the_hierarchy_that_keeps_them() {
    let mut client = Client::new();
    let indices = [(OWNER, INDEX, 1 << 1 | 1 << 17), (PLATFORM, INDEX + 1, 1 | 1 << 16 | 1 << 30)];
    for (auth, index, attributes) in indices {
        let public = b().u32(index).u16(0x0b).u32(attributes).u16(0).u16(8);
        client.pw(cc::NV_DEFINE_SPACE, &[auth], b().u16(0).sized(&public.0)).ok();
    }
    for (hierarchy, hidden) in [(OWNER, 0), (PLATFORM_NV, 1)] {
        assert_eq!(control(&mut client, PLATFORM, hierarchy, 0), 0);
        let seen = [INDEX, INDEX + 1].map(|i| client.run(cc::NV_READ_PUBLIC, &[i], b()).rc);
        let mut expected = [0; 2];
        expected[hidden] = rc::handle(1, rc::HANDLE);
        assert_eq!(seen, expected);
        let listed = client.run(cc::GET_CAPABILITY, &[], b().u32(1).u32(0x0100_0000).u32(9)).ok();
        assert_eq!(listed.body[5..], b().u32(1).u32(INDEX + 1 - hidden as u32).0);
        assert_eq!(control(&mut client, PLATFORM, hierarchy, 1), 0);
    }
    assert_eq!(control(&mut client, PLATFORM, PLATFORM_NV, 0), 0);
    let public = b().u32(INDEX + 2).u16(0x0b).u32(1 | 1 << 16 | 1 << 30).u16(0).u16(8);
    let define = client.pw(cc::NV_DEFINE_SPACE, &[PLATFORM], b().u16(0).sized(&public.0));
    assert_eq!(define.rc, rc::handle(1, rc::HIERARCHY));
}

fn clock(client: &mut Client) -> u64 {
    u64::from_be_bytes(client.run(cc::READ_CLOCK, &[], b()).ok().body[8..16].try_into().expect("8"))
}

#[test]
fn the_clock_is_set_forward_only() {
    let mut client = Client::new();
    let mut set = |auth: u32, time: u64| client.pw(cc::CLOCK_SET, &[auth], b().u64(time)).rc;
    let last = 0xffff_0000_0000_0000;
    for (auth, time, code) in [
        (OWNER, 5_000, 0),
        (PLATFORM, 5_000, 0),
        (OWNER, 4_999, rc::param(1, rc::VALUE)),
        (OWNER, last + 1, rc::param(1, rc::VALUE)),
        (ENDORSEMENT, 6_000, rc::handle(1, rc::VALUE)),
        (OWNER, last, 0),
    ] {
        assert_eq!(set(auth, time), code, "{time}");
    }
    client.power_cycle();
    client.startup(0);
    assert!(clock(&mut client) >= last, "it is stored");
}

#[test]
fn the_clock_runs_faster_and_slower_within_a_tenth() {
    let second = 1_000_000;
    let run = |steps: &[i8]| {
        let mut client = Client::new();
        for step in steps {
            client.pw(cc::CLOCK_RATE_ADJUST, &[OWNER], b().u8(*step as u8)).ok();
        }
        client.env.now += second;
        clock(&mut client)
    };
    assert_eq!(run(&[]), second);
    assert_eq!(run(&[0]), second);
    let (fine, medium, coarse) = (run(&[1]), run(&[2]), run(&[3]));
    assert!(second < fine && fine < medium && medium < coarse, "{fine} {medium} {coarse}");
    assert!(run(&[-3]) < run(&[-2]) && run(&[-2]) < run(&[-1]) && run(&[-1]) < second);
    assert_eq!(run(&[3, -3]), second);
    for (step, limit) in [(3_i8, 1_100_000), (-3, 900_000)] {
        let mut client = Client::new();
        let mut adjust = || client.pw(cc::CLOCK_RATE_ADJUST, &[OWNER], b().u8(step as u8)).rc;
        let steps = (0..20).take_while(|_| adjust() == 0).count();
        assert_eq!(adjust(), rc::param(1, rc::VALUE), "a tenth is the limit");
        let rate = run(&vec![step; steps]);
        assert!(rate.abs_diff(limit) < 16_000 && rate.abs_diff(second) <= 100_000, "{rate}");
    }
    let mut client = Client::new();
    for step in [4_i8, -4, 127] {
        let answer = client.pw(cc::CLOCK_RATE_ADJUST, &[OWNER], b().u8(step as u8));
        assert_eq!(answer.rc, rc::param(1, rc::VALUE));
    }
}

#[test]
fn the_list_of_audited_commands_has_fixed_members_and_one_algorithm() {
    let mut client = Client::new();
    let set = |client: &mut Client, alg: u16, set: &[u32], clear: &[u32]| {
        let list = |codes: &[u32]| codes.iter().fold(b().u32(codes.len() as u32), |l, &c| l.u32(c));
        let parameters = b().u16(alg).raw(&list(set).0).raw(&list(clear).0);
        client.pw(cc::SET_COMMAND_CODE_AUDIT_STATUS, &[OWNER], parameters).rc
    };
    let listed = |client: &mut Client| -> Vec<u32> {
        let answer = client.run(cc::GET_CAPABILITY, &[], b().u32(4).u32(0).u32(99)).ok();
        let mut r = Fields(&answer.body[5..]);
        (0..r.u32()).map(|_| r.u32()).collect()
    };
    let own = cc::SET_COMMAND_CODE_AUDIT_STATUS;
    assert_eq!(listed(&mut client), [own]);
    let many = [cc::UNSEAL, cc::CLEAR, cc::SHUTDOWN, 0x1ff, cc::CLEAR];
    assert_eq!(set(&mut client, 0x10, &many, &[]), 0);
    assert_eq!(listed(&mut client), [cc::CLEAR, own, cc::UNSEAL], "built ones but Shutdown");
    assert_eq!(set(&mut client, 0x0b, &[], &[cc::CLEAR, own]), 0);
    assert_eq!(listed(&mut client), [own, cc::UNSEAL]);
    assert_eq!(set(&mut client, 0x0c, &[cc::CLEAR], &[]), rc::param(1, rc::VALUE));
    assert_eq!(set(&mut client, 0x0c, &[], &[cc::UNSEAL]), rc::param(1, rc::VALUE));
    assert_eq!(set(&mut client, 0x0c, &[], &[]), 0);
    assert_eq!(set(&mut client, 0x0c, &[cc::CLEAR], &[]), 0, "it is the algorithm now");
    let answer = client.pw(own, &[OWNER], b().u16(0x10).u32(255));
    assert_eq!(answer.rc, rc::param(2, rc::SIZE));
    client.power_cycle();
    client.startup(0);
    assert_eq!(listed(&mut client), [cc::CLEAR, own, cc::UNSEAL], "it is stored");
}
