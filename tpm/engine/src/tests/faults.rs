//! Failed commits of each command that writes NV: the state stays as it was.

use std::collections::BTreeMap;
use std::vec;
use std::vec::Vec;

use super::client::*;

const INDEX: u32 = 0x0150_0000;
const OWNER_ACCESS: u32 = 1 << 1 | 1 << 17;
const KEY: u32 = 0x8100_0001;
/// TPM_RC_NV_UNAVAILABLE.
const UNAVAILABLE: u32 = 0x923;

/// A TPM whose client can restore its sessions to an earlier state.
struct World {
    client: Client,
    hmac: Session,
    policy: Session,
    key: u32,
}

type Step = fn(&mut World) -> u32;

fn define(w: &mut World, auth: u32, index: u32, attributes: u32, policy: &[u8]) -> u32 {
    let size = if attributes >> 4 & 15 == 4 { 32 } else { 8 };
    let public = b().u32(index).u16(0x0b).u32(attributes).sized(policy).u16(size);
    w.client.pw(0x12a, &[auth], b().sized(b"").sized(&public.0)).rc
}

fn owner(w: &mut World, code: u32, index: u32, parameters: Bytes) -> u32 {
    w.client.pw(code, &[OWNER, INDEX + index], parameters).rc
}

fn platform(w: &mut World, code: u32, parameters: Bytes) -> u32 {
    w.client.pw(code, &[PLATFORM], parameters).rc
}

/// The digest of PolicyCommandCode.
fn command_policy(code: u32) -> Vec<u8> {
    let parts = b().raw(&[0; 32]).u32(0x16c).u32(code).0;
    tpm_crypto::hash::HashAlgorithm::Sha256.hash(&parts).to_vec()
}

fn by_policy(w: &mut World, code: u32, handles: &[u32], parameters: Bytes) -> u32 {
    let mut auths = vec![Auth::Session(&mut w.policy, b"", 1)];
    if handles.len() == 2 {
        auths.push(Auth::Password(b""));
    }
    w.client.auth(code, handles, auths, parameters).rc
}

fn policy_for(w: &mut World, code: u32) {
    w.client.run(0x180, &[w.policy.handle], b()).ok();
    w.client.run(0x16c, &[w.policy.handle], b().u32(code)).ok();
}

/// GetCommandAuditDigest: starts a new digest, so the next audited command increments the counter
/// in NV.
fn report_audit(w: &mut World) {
    let key = w.client.primary(ENDORSEMENT, &ecc_attestation_key()).handle;
    let auths = vec![Auth::Password(b""), Auth::Password(b"")];
    w.client.auth(0x133, &[ENDORSEMENT, key], auths, b().u16(0).u16(0x10)).ok();
    w.client.run(0x165, &[], b().u32(key)).ok();
}

/// Steps that write NV, each possible after the ones before it.
const STEPS: &[(&str, Step)] = &[
    ("define ordinary", |w| define(w, OWNER, INDEX, OWNER_ACCESS | 1 << 14 | 1 << 31, b"")),
    ("define counter", |w| define(w, OWNER, INDEX + 1, OWNER_ACCESS | 1 << 4, b"")),
    ("define bits", |w| define(w, OWNER, INDEX + 2, OWNER_ACCESS | 2 << 4, b"")),
    ("define extend", |w| define(w, OWNER, INDEX + 3, OWNER_ACCESS | 4 << 4, b"")),
    ("define PIN", |w| define(w, OWNER, INDEX + 4, OWNER_ACCESS | 1 << 18 | 8 << 4 | 1 << 25, b"")),
    ("define orderly", |w| define(w, OWNER, INDEX + 5, OWNER_ACCESS | 1 << 4 | 1 << 26, b"")),
    ("define special", |w| {
        let policy = command_policy(0x11f);
        define(w, PLATFORM, INDEX + 6, 1 | 1 << 16 | 1 << 10 | 1 << 30, &policy)
    }),
    ("define for ChangeAuth", |w| {
        let policy = command_policy(0x13b);
        define(w, OWNER, INDEX + 7, OWNER_ACCESS | 1 << 15, &policy)
    }),
    ("write", |w| owner(w, 0x137, 0, b().sized(b"data").u16(1))),
    ("increment", |w| owner(w, 0x134, 1, b())),
    ("set bits", |w| owner(w, 0x135, 2, b().u64(5))),
    ("extend", |w| owner(w, 0x136, 3, b().sized(b"x"))),
    ("write PIN", |w| owner(w, 0x137, 4, b().u16(8).u64(3).u16(0))),
    ("increment orderly", |w| owner(w, 0x134, 5, b())),
    ("write lock", |w| owner(w, 0x138, 0, b())),
    ("read lock", |w| owner(w, 0x14f, 0, b())),
    ("define for the global lock", |w| define(w, OWNER, INDEX + 8, OWNER_ACCESS | 1 << 15, b"")),
    ("global write lock", |w| w.client.pw(0x132, &[OWNER], b()).rc),
    ("make persistent", |w| w.client.pw(0x120, &[OWNER, w.key], b().u32(KEY)).rc),
    ("remove persistent", |w| w.client.pw(0x120, &[OWNER, KEY], b().u32(KEY)).rc),
    ("audit more", |w| {
        let list = b().u32(3).u32(0x128).u32(0x182).u32(0x121);
        w.client.pw(0x140, &[OWNER], b().u16(0x10).raw(&list.0).u32(0)).rc
    }),
    ("audited extend in a session", |w| {
        let auths = vec![Auth::Session(&mut w.hmac, b"", 1)];
        w.client.auth(0x182, &[3], auths, b().u32(1).u16(0x0b).raw(&[7; 32])).rc
    }),
    ("set clock in a session that audits", |w| {
        let auths = vec![Auth::Session(&mut w.hmac, b"", 0x81)];
        w.client.auth(0x128, &[OWNER], auths, b().u64(90_000)).rc
    }),
    ("set clock and end the session", |w| {
        let auths = vec![Auth::Session(&mut w.hmac, b"", 0)];
        w.client.auth(0x128, &[OWNER], auths, b().u64(95_000)).rc
    }),
    ("audit by another algorithm", |w| {
        w.client.pw(0x140, &[OWNER], b().u16(0x0c).u32(0).u32(0)).rc
    }),
    ("disable a hierarchy, audited for the first time", |w| {
        platform(w, 0x121, b().u32(ENDORSEMENT).u8(0))
    }),
    ("physical presence", |w| platform(w, 0x12d, b().u32(1).u32(0x126).u32(1).u32(0x126))),
    ("lock-out parameters", |w| w.client.pw(0x13a, &[LOCKOUT], b().u32(5).u32(9).u32(9)).rc),
    ("lock-out reset", |w| w.client.pw(0x139, &[LOCKOUT], b()).rc),
    ("owner's policy", |w| w.client.pw(0x12e, &[OWNER], b().sized(&[1; 32]).u16(0x0b)).rc),
    ("owner's value", |w| w.client.pw(0x129, &[OWNER], b().sized(b"own")).rc),
    ("a wrong value for lockout", |w| {
        w.client.auth(0x139, &[LOCKOUT], vec![Auth::Password(b"no")], b()).rc
    }),
    ("a wrong PIN", |w| {
        let index = INDEX + 4;
        let auth = vec![Auth::Password(b"no")];
        w.client.auth(0x14e, &[index, index], auth, b().u16(8).u16(0)).rc
    }),
    ("a right PIN after it", |w| {
        let index = INDEX + 4;
        w.client.pw(0x14e, &[index, index], b().u16(8).u16(0)).rc
    }),
    ("change an index's value", |w| by_policy(w, 0x13b, &[INDEX + 7], b().sized(b"new"))),
    ("undefine special", |w| by_policy(w, 0x11f, &[INDEX + 6, PLATFORM], b())),
    ("undefine", |w| {
        let auth = vec![Auth::Password(b"own")];
        w.client.auth(0x122, &[OWNER, INDEX + 1], auth, b()).rc
    }),
    ("change the endorsement seed", |w| platform(w, 0x124, b())),
    ("change the platform seed", |w| platform(w, 0x125, b())),
    ("allow Clear", |w| platform(w, 0x127, b().u8(0))),
    ("clear", |w| platform(w, 0x126, b())),
    ("shut down, keeping state", |w| w.client.run(0x145, &[], b().u16(1)).rc),
    ("extend after a shutdown", |w| {
        w.client.pw(0x182, &[3], b().u32(1).u16(0x0b).raw(&[7; 32])).rc
    }),
    ("allocate PCRs", |w| platform(w, 0x12b, b().u32(1).u16(0x0c).u8(3).raw(&[0, 0, 0]))),
    ("shut down", |w| w.client.run(0x145, &[], b().u16(0)).rc),
    ("GetRandom's session after a shutdown", |w| {
        let parameters = b().sized(&[1; 16]).u16(0).u8(0).u16(0x10).u16(0x0b);
        w.client.run(0x176, &[NULL, NULL], parameters).rc
    }),
];

/// Steps that do not succeed.
fn wanted(name: &str) -> u32 {
    match name {
        "a wrong value for lockout" => 0x98e,
        "a wrong PIN" => 0x9a2,
        _ => 0,
    }
}

fn whole(client: &Client) -> (Vec<u8>, BTreeMap<u32, Vec<u8>>) {
    let saved = postcard::to_allocvec(&client.tpm.save()).expect("plain data");
    (saved, client.env.records.clone())
}

/// Runs a step once for each of its commits with that commit failing, then without a fault. Returns
/// the number of commits.
fn take(w: &mut World, name: &str, step: Step) -> usize {
    let before = whole(&w.client);
    for number in 1.. {
        let (hmac, policy) = (w.hmac.clone(), w.policy.clone());
        let first = w.client.env.commits;
        w.client.env.fail_from = Some(first + number);
        let rc = step(w);
        w.client.env.fail_from = None;
        let commits = w.client.env.commits - first;
        if commits < number {
            assert_eq!(rc, wanted(name), "{name}");
            return commits;
        }
        assert_eq!(rc, UNAVAILABLE, "{name}: commit {number}");
        assert!(whole(&w.client) == before, "{name}: commit {number} failed with a trace");
        (w.hmac, w.policy) = (hmac, policy);
    }
    0
}

fn world() -> World {
    let mut client = Client::new();
    // PP_Commands requires physical presence.
    client.env.presence = true;
    let key = client.primary(OWNER, &ecc_srk()).handle;
    let (hmac, policy) = (client.session(0), client.session(1));
    World { client, hmac, policy, key }
}

#[test]
fn no_command_leaves_a_trace_of_a_failed_commit() {
    let mut w = world();
    for &(name, step) in STEPS {
        match name {
            "change an index's value" => policy_for(&mut w, 0x13b),
            "audited extend in a session" | "disable a hierarchy, audited for the first time" => {
                report_audit(&mut w);
            }
            "undefine special" => policy_for(&mut w, 0x11f),
            _ => {}
        }
        let commits = take(&mut w, name, step);
        assert!(commits > 0, "{name} writes");
    }
}

#[test]
fn each_startup_can_fail_and_be_repeated() {
    for (shutdown, startup) in [(None, 0), (Some(0), 0), (Some(1), 0), (Some(1), 1)] {
        let mut w = world();
        if let Some(kind) = shutdown {
            w.client.run(0x145, &[], b().u16(kind)).ok();
        }
        w.client.power_cycle();
        let step: Step = match startup {
            0 => |w| w.client.run(0x144, &[], b().u16(0)).rc,
            _ => |w| w.client.run(0x144, &[], b().u16(1)).rc,
        };
        assert_eq!(take(&mut w, "startup", step), 1);
    }
}

#[test]
fn a_lack_of_entropy_for_nonces_is_found_before_the_change() {
    let mut w = world();
    let records = w.client.env.records.clone();
    let saved = w.client.tpm.save();
    w.client.env.dry = true;
    // A restored TPM has no generator yet.
    w.client.tpm = crate::Tpm::restore(saved, &mut w.client.env).expect("its own state");
    let before = whole(&w.client);
    let auths = vec![Auth::Session(&mut w.hmac, b"", 1)];
    let answer = w.client.auth(0x129, &[OWNER], auths, b().sized(b"new"));
    assert_eq!(answer.rc, 0x101);
    assert!(whole(&w.client) == before);
    assert_eq!(w.client.env.records, records);
    w.client.env.dry = false;
    w.client.pw(0x129, &[OWNER], b().sized(b"new")).ok();
}
