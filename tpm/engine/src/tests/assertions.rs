//! Policy assertions about the authorized command (Part 3, section 23): digest, refusals, effect.

use std::vec;
use std::vec::Vec;

use tpm_crypto::hash::HashAlgorithm;

use super::client::*;
use super::codes::{cc, rc};

const INDEX: u32 = 0x0150_0000;
/// TPMA_NV: POLICYWRITE, POLICYREAD.
const POLICY_ACCESS: u32 = 1 << 3 | 1 << 19;

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    HashAlgorithm::Sha256.hash_parts(parts).to_vec()
}

/// The digest of a session that took one assertion.
fn asserted(code: u32, parts: &[&[u8]]) -> Vec<u8> {
    let code = code.to_be_bytes();
    sha256(&[&[&[0; 32][..], &code], parts].concat())
}

fn digest(client: &mut Client, session: &Session) -> Vec<u8> {
    client.run(cc::POLICY_GET_DIGEST, &[session.handle], b()).ok().field(0)
}

/// A policy session that took one assertion.
fn with(client: &mut Client, code: u32, parameters: Bytes) -> Session {
    let session = client.session(1);
    client.run(code, &[session.handle], parameters).ok();
    session
}

/// A client whose owner has a policy.
fn owned_by(policy: &[u8]) -> Client {
    let mut client = Client::new();
    client.pw(cc::SET_PRIMARY_POLICY, &[OWNER], b().sized(policy).u16(0x0b)).ok();
    client
}

/// ClockSet by the owner's policy.
fn set_clock(client: &mut Client, session: &mut Session, time: u64) -> u32 {
    let auth = vec![Auth::Session(session, b"", 1)];
    client.auth(cc::CLOCK_SET, &[OWNER], auth, b().u64(time)).rc
}

#[test]
fn a_cp_hash_lets_one_command_with_one_set_of_parameters_through() {
    let time = 5_000_u64;
    let cp = sha256(&[&cc::CLOCK_SET.to_be_bytes(), &OWNER.to_be_bytes(), &time.to_be_bytes()]);
    let policy = asserted(cc::POLICY_CP_HASH, &[&cp]);
    let mut client = owned_by(&policy);
    let mut session = with(&mut client, cc::POLICY_CP_HASH, b().sized(&cp));
    assert_eq!(digest(&mut client, &session), policy);
    let fail = rc::session(1, rc::POLICY_FAIL);
    assert_eq!(set_clock(&mut client, &mut session, time + 1), fail);
    assert_eq!(set_clock(&mut client, &mut session, time), 0);
    assert_eq!(set_clock(&mut client, &mut session, time), fail, "used up");
}

#[test]
fn a_name_hash_lets_any_parameters_through_for_the_named_entities() {
    let names = sha256(&[&OWNER.to_be_bytes()]);
    let policy = asserted(cc::POLICY_NAME_HASH, &[&names]);
    let mut client = owned_by(&policy);
    let mut session = with(&mut client, cc::POLICY_NAME_HASH, b().sized(&names));
    assert_eq!(digest(&mut client, &session), policy);
    assert_eq!(set_clock(&mut client, &mut session, 5_000), 0);
    // The platform has the same policy, but another name.
    client.pw(cc::SET_PRIMARY_POLICY, &[PLATFORM], b().sized(&policy).u16(0x0b)).ok();
    client.run(cc::POLICY_NAME_HASH, &[session.handle], b().sized(&names)).ok();
    let auth = vec![Auth::Session(&mut session, b"", 1)];
    let answer = client.auth(cc::CLOCK_SET, &[PLATFORM], auth, b().u64(6_000));
    assert_eq!(answer.rc, rc::session(1, rc::POLICY_FAIL));
}

#[test]
fn a_template_hash_lets_objects_of_one_template_be_made() {
    let (wanted, other) = (ecc_srk(), ecc_attestation_key());
    let hash = sha256(&[&wanted.0]);
    let policy = asserted(cc::POLICY_TEMPLATE, &[&hash]);
    let mut client = owned_by(&policy);
    let mut session = with(&mut client, cc::POLICY_TEMPLATE, b().sized(&hash));
    assert_eq!(digest(&mut client, &session), policy);
    let fail = rc::session(1, rc::POLICY_FAIL);
    let mut create = |client: &mut Client, code: u32, template: &Bytes| {
        let rest = if code == cc::CREATE_PRIMARY { b().u16(0).u32(0) } else { b() };
        let parameters = b().u16(4).u32(0).sized(&template.0).raw(&rest.0);
        let auth = vec![Auth::Session(&mut session, b"", 1)];
        let rc = client.auth(code, &[OWNER], auth, parameters).rc;
        if rc == 0 {
            client.run(cc::POLICY_TEMPLATE, &[session.handle], b().sized(&hash)).ok();
        }
        rc
    };
    assert_eq!(create(&mut client, cc::CREATE_PRIMARY, &other), fail);
    assert_eq!(create(&mut client, cc::CREATE_PRIMARY, &wanted), 0);
    assert_eq!(create(&mut client, cc::CREATE_LOADED, &other), fail);
    assert_eq!(create(&mut client, cc::CREATE_LOADED, &wanted), 0);
    assert_eq!(set_clock(&mut client, &mut session, 5_000), fail, "no template");
}

#[test]
fn a_policy_has_one_hash_of_one_kind() {
    let codes = [cc::POLICY_CP_HASH, cc::POLICY_NAME_HASH, cc::POLICY_TEMPLATE];
    for first in codes {
        let mut client = Client::new();
        let session = client.session(1).handle;
        let set = |client: &mut Client, code: u32, hash: &[u8]| {
            client.run(code, &[session], b().sized(hash)).rc
        };
        for size in [0, 20, 31, 33] {
            assert_eq!(set(&mut client, first, &[1; 33][..size]), rc::param(1, rc::SIZE));
        }
        assert_eq!(set(&mut client, first, &[1; 32]), 0);
        for second in codes {
            // The same hash again does not contradict a cpHash or a template.
            let (same, other) = match (first == second, second) {
                (true, cc::POLICY_CP_HASH) => (0, rc::CPHASH),
                (true, cc::POLICY_TEMPLATE) => (0, rc::param(1, rc::VALUE)),
                _ => (rc::CPHASH, rc::CPHASH),
            };
            assert_eq!(set(&mut client, second, &[1; 32]), same, "{first:#x} {second:#x}");
            assert_eq!(set(&mut client, second, &[2; 32]), other, "{first:#x} {second:#x}");
        }
        client.run(cc::POLICY_RESTART, &[session], b()).ok();
        assert_eq!(set(&mut client, first, &[2; 32]), 0, "restarted");
    }
}

#[test]
fn localities_narrow_until_none_is_left() {
    let mut client = Client::new();
    // Each list of assertions, with the code of the last.
    let range = rc::param(1, rc::RANGE);
    for (list, code) in [
        (&[0][..], range),
        (&[0x1f], 0),
        (&[0x1f, 0x03, 0x02], 0),
        (&[0x03, 0x04], range),
        (&[0x20], 0),
        (&[0x20, 0x20], 0),
        (&[0x20, 0x21], range),
        (&[0x20, 0x01], range),
        (&[0x01, 0x20], range),
    ] {
        let session = client.session(1).handle;
        let last =
            list.iter().map(|&bits| client.run(cc::POLICY_LOCALITY, &[session], b().u8(bits)).rc);
        assert_eq!(last.last(), Some(code), "{list:x?}");
        client.run(cc::FLUSH_CONTEXT, &[], b().u32(session)).ok();
    }
    for (bits, allowed) in [(0x02, &[1][..]), (0x1d, &[0, 2, 3, 4]), (0x25, &[0x25])] {
        let policy = asserted(cc::POLICY_LOCALITY, &[&[bits]]);
        let mut client = owned_by(&policy);
        for locality in [0, 1, 2, 3, 4, 0x24, 0x25] {
            let mut session = with(&mut client, cc::POLICY_LOCALITY, b().u8(bits));
            assert_eq!(digest(&mut client, &session), policy);
            client.env.locality = locality;
            let rc = set_clock(&mut client, &mut session, 5_000);
            let code = if allowed.contains(&locality) { 0 } else { rc::LOCALITY };
            assert_eq!(rc, code, "{bits:#x} at {locality}");
            client.env.locality = 0;
            client.run(cc::FLUSH_CONTEXT, &[], b().u32(session.handle)).ok();
        }
    }
}

#[test]
fn presence_is_looked_at_when_the_command_runs() {
    let policy = asserted(cc::POLICY_PHYSICAL_PRESENCE, &[]);
    let mut client = owned_by(&policy);
    let mut session = with(&mut client, cc::POLICY_PHYSICAL_PRESENCE, b());
    assert_eq!(digest(&mut client, &session), policy);
    assert_eq!(set_clock(&mut client, &mut session, 5_000), rc::PP);
    client.env.presence = true;
    assert_eq!(set_clock(&mut client, &mut session, 5_000), 0);
}

#[test]
fn a_command_code_lets_one_command_through() {
    let code = cc::CLOCK_SET.to_be_bytes();
    let policy = asserted(cc::POLICY_COMMAND_CODE, &[&code]);
    let mut client = owned_by(&policy);
    let mut session = with(&mut client, cc::POLICY_COMMAND_CODE, b().raw(&code));
    assert_eq!(digest(&mut client, &session), policy);
    let set = |client: &mut Client, code: u32| {
        client.run(cc::POLICY_COMMAND_CODE, &[session.handle], b().u32(code)).rc
    };
    assert_eq!(set(&mut client, cc::CLEAR), rc::param(1, rc::VALUE));
    assert_eq!(set(&mut client, 0x11e), rc::param(1, rc::POLICY_CC), "not built");
    let auth = vec![Auth::Session(&mut session, b"", 1)];
    let answer = client.auth(cc::CLOCK_RATE_ADJUST, &[OWNER], auth, b().u8(0));
    assert_eq!(answer.rc, rc::session(1, rc::POLICY_CC));
    assert_eq!(set_clock(&mut client, &mut session, 5_000), 0);
}

#[test]
fn auth_value_and_password_have_one_digest_and_show_the_value_in_two_ways() {
    let policy = asserted(cc::POLICY_AUTH_VALUE, &[]);
    let mut client = owned_by(&policy);
    client.pw(cc::HIERARCHY_CHANGE_AUTH, &[OWNER], b().sized(b"own")).ok();
    let bad = rc::session(1, rc::BAD_AUTH);
    for (value, code) in [(&b"own"[..], 0), (b"no", bad)] {
        let mut session = with(&mut client, cc::POLICY_AUTH_VALUE, b());
        session.with_value = true;
        assert_eq!(digest(&mut client, &session), policy);
        let auth = vec![Auth::Session(&mut session, value, 0)];
        assert_eq!(client.auth(cc::CLOCK_SET, &[OWNER], auth, b().u64(5_000)).rc, code);
        let mut session = with(&mut client, cc::POLICY_PASSWORD, b());
        assert_eq!(digest(&mut client, &session), policy);
        let auth = vec![Auth::Shown(&mut session, value)];
        assert_eq!(client.auth(cc::CLOCK_SET, &[OWNER], auth, b().u64(5_000)).rc, code);
    }
    // The later of both assertions counts, in two sessions of one digest.
    let twice = asserted(cc::POLICY_AUTH_VALUE, &[]);
    let twice = sha256(&[&twice, &cc::POLICY_AUTH_VALUE.to_be_bytes()]);
    let auth = vec![Auth::Password(b"own")];
    let set = b().sized(&twice).u16(0x0b);
    client.auth(cc::SET_PRIMARY_POLICY, &[OWNER], auth, set).ok();
    let mut session = with(&mut client, cc::POLICY_AUTH_VALUE, b());
    client.run(cc::POLICY_PASSWORD, &[session.handle], b()).ok();
    let auth = vec![Auth::Shown(&mut session, b"own")];
    client.auth(cc::CLOCK_SET, &[OWNER], auth, b().u64(5_000)).ok();
    let mut session = with(&mut client, cc::POLICY_PASSWORD, b());
    client.run(cc::POLICY_AUTH_VALUE, &[session.handle], b()).ok();
    session.with_value = true;
    let auth = vec![Auth::Session(&mut session, b"own", 0)];
    client.auth(cc::CLOCK_SET, &[OWNER], auth, b().u64(5_000)).ok();
}

#[test]
fn nv_written_lets_an_index_be_written_once() {
    let mut client = Client::new();
    let policy = asserted(cc::POLICY_NV_WRITTEN, &[&[0]]);
    let public = b().u32(INDEX).u16(0x0b).u32(POLICY_ACCESS).sized(&policy).u16(4);
    client.pw(cc::NV_DEFINE_SPACE, &[OWNER], b().u16(0).sized(&public.0)).ok();
    let write = |client: &mut Client| {
        let mut session = with(client, cc::POLICY_NV_WRITTEN, b().u8(0));
        let auth = vec![Auth::Session(&mut session, b"", 0)];
        client.auth(cc::NV_WRITE, &[INDEX, INDEX], auth, b().sized(b"once").u16(0)).rc
    };
    assert_eq!(write(&mut client), 0);
    assert_eq!(write(&mut client), rc::session(1, rc::POLICY_FAIL));
    let session = with(&mut client, cc::POLICY_NV_WRITTEN, b().u8(1));
    assert_eq!(digest(&mut client, &session), asserted(cc::POLICY_NV_WRITTEN, &[&[1]]));
    for (state, code) in [(0, rc::param(1, rc::VALUE)), (2, rc::param(1, rc::VALUE)), (1, 0)] {
        let answer = client.run(cc::POLICY_NV_WRITTEN, &[session.handle], b().u8(state));
        assert_eq!(answer.rc, code);
    }
    // A command without an index does not fit.
    let mut client = owned_by(&policy);
    let mut session = with(&mut client, cc::POLICY_NV_WRITTEN, b().u8(0));
    assert_eq!(set_clock(&mut client, &mut session, 5_000), rc::session(1, rc::POLICY_FAIL));
}

#[test]
fn a_pcr_policy_is_void_once_any_counted_pcr_changes() {
    let selection = b().u32(1).u16(0x0b).u8(3).raw(&[3, 0, 0]).0;
    let values = sha256(&[&[0; 64]]);
    let policy = asserted(cc::POLICY_PCR, &[&selection, &values]);
    let mut client = owned_by(&policy);
    let assert = |client: &mut Client, session: &Session, digest: &[u8]| {
        client.run(cc::POLICY_PCR, &[session.handle], b().sized(digest).raw(&selection)).rc
    };
    let trial = client.session(3);
    assert_eq!(assert(&mut client, &trial, &[9; 32]), 0, "a trial believes what it is told");
    assert_eq!(digest(&mut client, &trial), asserted(cc::POLICY_PCR, &[&selection, &[9; 32]]));
    let mut session = client.session(1);
    assert_eq!(assert(&mut client, &session, &[9; 32]), rc::param(1, rc::VALUE));
    assert_eq!(assert(&mut client, &session, &values), 0);
    assert_eq!(digest(&mut client, &session), policy);
    let extend = |client: &mut Client, pcr: u32| {
        client.pw(cc::PCR_EXTEND, &[pcr], b().u32(1).u16(0x0b).raw(&[7; 32])).ok();
    };
    extend(&mut client, 16);
    assert_eq!(set_clock(&mut client, &mut session, 5_000), 0, "the debug PCR does not count");
    assert_eq!(assert(&mut client, &session, b""), 0);
    extend(&mut client, 9);
    assert_eq!(set_clock(&mut client, &mut session, 5_000), rc::PCR_CHANGED);
    assert_eq!(assert(&mut client, &session, b""), rc::PCR_CHANGED);
}

#[test]
fn counter_timer_compares_the_time_info() {
    let mut client = Client::new();
    client.env.now = 1_000;
    let session = client.session(1);
    let compare = |client: &mut Client, operand: &[u8], offset: u16, operation: u16| {
        let parameters = b().sized(operand).u16(offset).u16(operation);
        client.run(cc::POLICY_COUNTER_TIMER, &[session.handle], parameters).rc
    };
    let time = 1_000_u64.to_be_bytes();
    // TPMS_TIME_INFO: time, clock, resetCount, restartCount, safe. Operations: 0 equal, 3 greater,
    // 5 less, 7 greater or equal, unsigned.
    for (operand, offset, operation, code) in [
        (&time[..], 0, 0, 0),
        (&time, 8, 0, 0),
        (&[0, 0, 0, 1], 16, 0, 0),
        (&[0, 0, 0, 0], 20, 0, 0),
        (&[1], 24, 0, 0),
        (&time, 0, 5, rc::POLICY),
        (&time, 0, 7, 0),
        (&[0], 24, 3, 0),
        (&[2], 24, 3, rc::POLICY),
        (&[1], 25, 0, rc::RANGE),
        (&[1], 26, 0, rc::param(2, rc::VALUE)),
        (&[1], 24, 12, rc::param(3, rc::VALUE)),
    ] {
        assert_eq!(compare(&mut client, operand, offset, operation), code, "{operand:?} {offset}");
    }
    let session = client.session(1);
    let parameters = b().sized(&time).u16(0).u16(0);
    client.run(cc::POLICY_COUNTER_TIMER, &[session.handle], parameters).ok();
    let arguments = sha256(&[&time, &[0, 0, 0, 0]]);
    assert_eq!(digest(&mut client, &session), asserted(cc::POLICY_COUNTER_TIMER, &[&arguments]));
}

#[test]
fn an_assertion_with_a_term_expires_with_its_session() {
    let name = OWNER.to_be_bytes();
    let policy = sha256(&[&asserted(cc::POLICY_SECRET, &[&name])]);
    let mut client = owned_by(&policy);
    let mut session = client.session(1);
    let secret = |client: &mut Client, session: &Session, nonce: &[u8], seconds: i32| {
        let parameters = b().sized(nonce).u16(0).u16(0).u32(seconds as u32);
        client.pw(cc::POLICY_SECRET, &[OWNER, session.handle], parameters)
    };
    let nonce = session.nonce.clone();
    let answer = secret(&mut client, &session, &nonce, 10).ok();
    assert_eq!(answer.body, b().u16(0).u16(0x8023).u32(NULL).u16(0).0, "no ticket");
    assert_eq!(digest(&mut client, &session), policy);
    client.env.now += 10_000;
    assert_eq!(set_clock(&mut client, &mut session, 50_000), 0);
    let nonce = session.nonce.clone();
    let answer = secret(&mut client, &session, &nonce, -10).ok();
    let mut r = answer.fields();
    assert_eq!(r.sized(), 20_000_u64.to_be_bytes(), "from the session's use on");
    assert_eq!((r.u16(), r.u32(), r.sized().len()), (0x8023, OWNER, 64));
    client.env.now += 10_001;
    let expired = rc::session(1, rc::EXPIRED);
    assert_eq!(set_clock(&mut client, &mut session, 50_000), expired);
}

#[test]
fn restart_forgets_everything_but_the_session() {
    let mut client = Client::new();
    let session = client.session(1);
    client.run(cc::POLICY_PHYSICAL_PRESENCE, &[session.handle], b()).ok();
    client.run(cc::POLICY_COMMAND_CODE, &[session.handle], b().u32(cc::CLEAR)).ok();
    client.run(cc::POLICY_LOCALITY, &[session.handle], b().u8(1)).ok();
    client.run(cc::POLICY_RESTART, &[session.handle], b()).ok();
    assert_eq!(digest(&mut client, &session), [0; 32]);
    client.run(cc::POLICY_COMMAND_CODE, &[session.handle], b().u32(cc::UNSEAL)).ok();
    client.run(cc::POLICY_LOCALITY, &[session.handle], b().u8(2)).ok();
    let hmac = client.session(0).handle;
    for code in [cc::POLICY_RESTART, cc::POLICY_GET_DIGEST, cc::POLICY_AUTH_VALUE] {
        assert_eq!(client.run(code, &[hmac], b()).rc, rc::handle(1, rc::VALUE), "{code:#x}");
    }
}
