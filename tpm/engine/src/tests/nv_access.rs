//! NV indices (Part 3, section 31): definition, access, locks, effects of Startup.

use std::vec;

use tpm_crypto::hash::HashAlgorithm;

use super::client::*;
use super::codes::{cc, rc};

const INDEX: u32 = 0x0150_0000;

/// TPMA_NV (Part 2, section 13.4).
const PP_WRITE: u32 = 1 << 0;
const OWNER_WRITE: u32 = 1 << 1;
const AUTH_WRITE: u32 = 1 << 2;
const POLICY_WRITE: u32 = 1 << 3;
const COUNTER: u32 = 1 << 4;
const BITS: u32 = 2 << 4;
const EXTEND: u32 = 4 << 4;
const PIN_FAIL: u32 = 8 << 4;
const PIN_PASS: u32 = 9 << 4;
const POLICY_DELETE: u32 = 1 << 10;
const WRITE_LOCKED: u32 = 1 << 11;
const WRITE_ALL: u32 = 1 << 12;
const WRITE_DEFINE: u32 = 1 << 13;
const WRITE_STCLEAR: u32 = 1 << 14;
const GLOBAL_LOCK: u32 = 1 << 15;
const PP_READ: u32 = 1 << 16;
const OWNER_READ: u32 = 1 << 17;
const AUTH_READ: u32 = 1 << 18;
const NO_DA_NV: u32 = 1 << 25;
const ORDERLY: u32 = 1 << 26;
const CLEAR_STCLEAR: u32 = 1 << 27;
const READ_LOCKED: u32 = 1 << 28;
const WRITTEN: u32 = 1 << 29;
const PLATFORM_CREATE: u32 = 1 << 30;
const READ_STCLEAR: u32 = 1 << 31;
const OWNED: u32 = OWNER_WRITE | OWNER_READ;

fn public(index: u32, attributes: u32, policy: &[u8], size: u16) -> Bytes {
    b().u32(index).u16(0x0b).u32(attributes).sized(policy).u16(size)
}

fn define(client: &mut Client, auth: u32, index: u32, attributes: u32, size: u16) -> u32 {
    let public = public(index, attributes, b"", size);
    client.pw(cc::NV_DEFINE_SPACE, &[auth], b().sized(b"").sized(&public.0)).rc
}

fn write(client: &mut Client, index: u32, data: &[u8], offset: u16) -> u32 {
    client.pw(cc::NV_WRITE, &[OWNER, index], b().sized(data).u16(offset)).rc
}

fn read(client: &mut Client, index: u32, size: u16, offset: u16) -> Answer {
    client.pw(cc::NV_READ, &[OWNER, index], b().u16(size).u16(offset))
}

/// The attributes that NV_ReadPublic shows.
fn attributes(client: &mut Client, index: u32) -> u32 {
    let public = client.run(cc::NV_READ_PUBLIC, &[index], b()).ok().field(0);
    u32::from_be_bytes(public[6..10].try_into().expect("four bytes"))
}

fn restart(client: &mut Client, shutdown: Option<u16>, startup: u16) {
    if let Some(kind) = shutdown {
        client.run(cc::SHUTDOWN, &[], b().u16(kind)).ok();
    }
    client.power_cycle();
    client.startup(startup);
}

#[test]
fn attributes_that_contradict_each_other_define_nothing() {
    let attributes = rc::param(2, rc::ATTRIBUTES);
    let size = rc::param(2, rc::SIZE);
    for (auth, bits, bytes, code) in [
        (OWNER, OWNED, 0, 0),
        (OWNER, OWNED, 2048, 0),
        (OWNER, OWNED, 2049, size),
        (OWNER, OWNED | WRITE_ALL, 1024, 0),
        (OWNER, OWNED | WRITE_ALL, 1025, size),
        (OWNER, OWNER_READ, 8, attributes),
        (OWNER, OWNER_WRITE, 8, attributes),
        (OWNER, OWNED | WRITTEN, 8, attributes),
        (OWNER, OWNED | WRITE_LOCKED, 8, attributes),
        (OWNER, OWNED | READ_LOCKED, 8, attributes),
        (OWNER, OWNED | 1 << 8, 8, rc::param(2, rc::RESERVED_BITS)),
        (OWNER, OWNED | 3 << 4, 8, attributes),
        (OWNER, OWNED | COUNTER, 8, 0),
        (OWNER, OWNED | COUNTER, 4, size),
        (OWNER, OWNED | COUNTER | CLEAR_STCLEAR, 8, attributes),
        (OWNER, OWNED | BITS, 9, size),
        (OWNER, OWNED | EXTEND, 32, 0),
        (OWNER, OWNED | EXTEND, 8, size),
        (OWNER, OWNED | PIN_PASS, 8, 0),
        (OWNER, OWNED | PIN_PASS, 9, size),
        (OWNER, OWNED | PIN_PASS | AUTH_WRITE, 8, attributes),
        (OWNER, OWNED | PIN_PASS | GLOBAL_LOCK, 8, attributes),
        (OWNER, OWNED | PIN_PASS | WRITE_DEFINE, 8, attributes),
        (OWNER, OWNED | PIN_FAIL, 8, attributes),
        (OWNER, OWNED | PIN_FAIL | NO_DA_NV, 8, 0),
        (OWNER, OWNED | CLEAR_STCLEAR | WRITE_DEFINE, 8, attributes),
        (OWNER, OWNED | POLICY_DELETE, 8, attributes),
        (OWNER, OWNED | PLATFORM_CREATE, 8, rc::handle(1, rc::ATTRIBUTES)),
        (PLATFORM, OWNED, 8, rc::handle(1, rc::ATTRIBUTES)),
        (PLATFORM, OWNED | PLATFORM_CREATE | POLICY_DELETE, 8, 0),
    ] {
        let mut client = Client::new();
        assert_eq!(define(&mut client, auth, INDEX, bits, bytes), code, "{bits:#x} {bytes}");
    }
    let mut client = Client::new();
    for (auth, public, code) in [
        (&[1; 33][..], public(INDEX, OWNED, b"", 8), rc::param(1, rc::SIZE)),
        (&[], public(INDEX, OWNED, &[1; 31], 8), size),
        (&[], public(0x8000_0000, OWNED, b"", 8), rc::param(2, rc::VALUE)),
        (&[], b().u32(INDEX).u16(0x10).u32(OWNED).u16(0).u16(8), rc::param(2, rc::HASH)),
    ] {
        let parameters = b().sized(auth).sized(&public.0);
        assert_eq!(client.pw(cc::NV_DEFINE_SPACE, &[OWNER], parameters).rc, code);
    }
}

#[test]
fn each_authorization_wants_its_attribute() {
    // Each authorization with its attributes for writing and reading.
    let ways = [
        (PLATFORM, PP_WRITE, PP_READ),
        (OWNER, OWNER_WRITE, OWNER_READ),
        (INDEX, AUTH_WRITE, AUTH_READ),
    ];
    for (allowed, write, read) in ways {
        let mut client = Client::new();
        assert_eq!(
            define(&mut client, OWNER, INDEX, write | read | READ_STCLEAR | WRITE_STCLEAR, 4),
            0
        );
        let commands = [
            (cc::NV_WRITE, b().sized(b"data").u16(0)),
            (cc::NV_READ, b().u16(4).u16(0)),
            (cc::NV_READ_LOCK, b()),
            (cc::NV_WRITE_LOCK, b()),
        ];
        for (auth, ..) in ways {
            // With neither attribute, the index's own value authorizes no command.
            let refused = if auth == INDEX { rc::AUTH_UNAVAILABLE } else { rc::NV_AUTHORIZATION };
            for (command, parameters) in &commands {
                if auth != allowed {
                    let answer = client.pw(*command, &[auth, INDEX], parameters.clone());
                    assert_eq!(answer.rc, refused, "{command:#x} by {auth:#x}");
                }
            }
        }
        for (command, parameters) in commands {
            client.pw(command, &[allowed, INDEX], parameters).ok();
        }
    }
    let mut client = Client::new();
    assert_eq!(define(&mut client, OWNER, INDEX, OWNED | AUTH_READ, 4), 0);
    assert_eq!(define(&mut client, OWNER, INDEX + 1, OWNED | AUTH_READ, 4), 0);
    assert_eq!(write(&mut client, INDEX + 1, b"data", 0), 0);
    let other = client.pw(cc::NV_READ, &[INDEX + 1, INDEX], b().u16(4).u16(0));
    assert_eq!(other.rc, rc::NV_AUTHORIZATION, "the value of another index");
}

#[test]
fn a_policy_reads_and_writes_where_the_value_may_not() {
    let mut client = Client::new();
    let policy = HashAlgorithm::Sha256.hash(&b().raw(&[0; 32]).u32(cc::POLICY_AUTH_VALUE).0);
    let public = public(INDEX, POLICY_WRITE | AUTH_READ, &policy, 4);
    client.pw(cc::NV_DEFINE_SPACE, &[OWNER], b().sized(b"v").sized(&public.0)).ok();
    let by_policy = |client: &mut Client, command: u32, parameters: Bytes| {
        let mut session = client.session(1);
        client.run(cc::POLICY_AUTH_VALUE, &[session.handle], b()).ok();
        session.with_value = true;
        let auth = vec![Auth::Session(&mut session, b"v", 0)];
        client.auth(command, &[INDEX, INDEX], auth, parameters).rc
    };
    let by_value = |client: &mut Client, command: u32, parameters: Bytes| {
        client.auth(command, &[INDEX, INDEX], vec![Auth::Password(b"v")], parameters).rc
    };
    let write = || b().sized(b"data").u16(0);
    assert_eq!(by_value(&mut client, cc::NV_WRITE, write()), rc::NV_AUTHORIZATION);
    assert_eq!(by_policy(&mut client, cc::NV_WRITE, write()), 0);
    let read = || b().u16(4).u16(0);
    assert_eq!(by_policy(&mut client, cc::NV_READ, read()), rc::NV_AUTHORIZATION);
    assert_eq!(by_value(&mut client, cc::NV_READ, read()), 0);
}

#[test]
fn reading_an_unwritten_index_is_no_wrong_guess() {
    let mut client = Client::new();
    let public = public(INDEX, OWNED | AUTH_READ, b"", 8);
    client.pw(cc::NV_DEFINE_SPACE, &[OWNER], b().sized(b"value").sized(&public.0)).ok();
    let session = client.session(1).handle;
    let null = 0x4000_0007;
    let commands: [(u32, &[u32], Bytes); 4] = [
        (cc::NV_READ, &[INDEX, INDEX], b().u16(8).u16(0)),
        (cc::NV_CERTIFY, &[null, INDEX, INDEX], b().u16(0).u16(0x10).u16(8).u16(0)),
        (cc::POLICY_NV, &[INDEX, INDEX, session], b().sized(&[0; 8]).u16(0).u16(0)),
        (cc::POLICY_AUTHORIZE_NV, &[INDEX, INDEX, session], b()),
    ];
    let mut code = |(command, handles, parameters): &(u32, &[u32], Bytes), value: &'static [u8]| {
        let mut auths = vec![Auth::Password(value)];
        if handles[0] == null {
            auths.insert(0, Auth::Password(b""));
        }
        let answer = client.auth(*command, handles, auths, parameters.clone());
        let tries = b().u32(6).u32(0x20e).u32(1);
        let body = client.run(cc::GET_CAPABILITY, &[], tries).ok().body;
        assert_eq!(body[13..], [0; 4], "TPM_PT_LOCKOUT_COUNTER after {command:#x}");
        answer.rc
    };
    for command in &commands {
        for value in [b"value", &b"wrong"[..]] {
            assert_eq!(code(command, value), rc::NV_UNINITIALIZED, "{:#x}", command.0);
        }
    }
}

#[test]
fn each_kind_of_index_has_its_commands() {
    let commands = [
        (cc::NV_WRITE, b().sized(&[1; 8]).u16(0)),
        (cc::NV_INCREMENT, b()),
        (cc::NV_SET_BITS, b().u64(6)),
        (cc::NV_EXTEND, b().sized(b"x")),
    ];
    // Each kind with the position of the one write command for it.
    for (kind, own, size) in
        [(0, 0, 8), (COUNTER, 1, 8), (BITS, 2, 8), (EXTEND, 3, 32), (PIN_PASS, 0, 8)]
    {
        let mut client = Client::new();
        assert_eq!(define(&mut client, OWNER, INDEX, OWNED | kind, size), 0);
        for (place, (command, parameters)) in commands.iter().enumerate() {
            let code = if place == own { 0 } else { rc::handle(2, rc::ATTRIBUTES) };
            let answer = client.pw(*command, &[OWNER, INDEX], parameters.clone());
            assert_eq!(answer.rc, code, "{command:#x} of {kind:#x}");
        }
        assert_eq!(attributes(&mut client, INDEX), OWNED | kind | WRITTEN);
    }
}

#[test]
fn ranges_lie_within_the_index() {
    let mut client = Client::new();
    assert_eq!(define(&mut client, OWNER, INDEX, OWNED, 2048), 0);
    for (data, offset, code) in [
        (&[7; 1024][..], 1024, 0),
        (&[8; 1024], 0, 0),
        (&[], 2048, 0),
        (&[], 2049, rc::param(2, rc::VALUE)),
        (&[9], 2048, rc::NV_RANGE),
        (&[9; 1025], 0, rc::param(1, rc::SIZE)),
    ] {
        assert_eq!(write(&mut client, INDEX, data, offset), code, "{} at {offset}", data.len());
    }
    for (size, offset, code) in [
        (1024, 1024, 0),
        (0, 2048, 0),
        (1, 2048, rc::NV_RANGE),
        (1, 2049, rc::param(2, rc::VALUE)),
        (1025, 0, rc::param(1, rc::VALUE)),
    ] {
        assert_eq!(read(&mut client, INDEX, size, offset).rc, code, "{size} at {offset}");
    }
    assert_eq!(read(&mut client, INDEX, 2, 1023).ok().field(0), [8, 7]);
    assert_eq!(define(&mut client, OWNER, INDEX + 1, OWNED | WRITE_ALL, 4), 0);
    assert_eq!(write(&mut client, INDEX + 1, b"dat", 0), rc::NV_RANGE, "not all of it");
    assert_eq!(write(&mut client, INDEX + 1, b"data", 0), 0);
}

#[test]
fn startup_treats_each_index_by_its_attributes() {
    // The attributes of a written and locked index after a Resume, a Restart, a Reset after
    // Shutdown(CLEAR), a Reset without a shutdown.
    let events = [(Some(1), 1), (Some(1), 0), (Some(0), 0), (None, 0)];
    for (extra, shown) in [
        (0, [WRITTEN; 4]),
        (WRITE_STCLEAR, [WRITTEN | WRITE_LOCKED, WRITTEN, WRITTEN, WRITTEN]),
        (WRITE_DEFINE, [WRITTEN | WRITE_LOCKED; 4]),
        (READ_STCLEAR, [WRITTEN | READ_LOCKED, WRITTEN, WRITTEN, WRITTEN]),
        (CLEAR_STCLEAR, [WRITTEN, 0, 0, 0]),
        (ORDERLY, [WRITTEN, WRITTEN, 0, 0]),
        (ORDERLY | WRITE_DEFINE, [WRITTEN | WRITE_LOCKED, WRITTEN | WRITE_LOCKED, 0, 0]),
        (CLEAR_STCLEAR | WRITE_STCLEAR, [WRITTEN | WRITE_LOCKED, 0, 0, 0]),
    ] {
        for ((shutdown, startup), shown) in events.into_iter().zip(shown) {
            let mut client = Client::new();
            assert_eq!(define(&mut client, OWNER, INDEX, OWNED | extra, 8), 0);
            assert_eq!(write(&mut client, INDEX, b"contents", 0), 0);
            let locks = [
                (cc::NV_READ_LOCK, READ_STCLEAR),
                (cc::NV_WRITE_LOCK, WRITE_STCLEAR | WRITE_DEFINE),
            ];
            for (command, lockable) in locks {
                let code = if extra & lockable != 0 { 0 } else { rc::handle(2, rc::ATTRIBUTES) };
                assert_eq!(client.pw(command, &[OWNER, INDEX], b()).rc, code);
                if code == 0 {
                    client.pw(command, &[OWNER, INDEX], b()).ok();
                }
            }
            restart(&mut client, shutdown, startup);
            let state = attributes(&mut client, INDEX) & (WRITTEN | WRITE_LOCKED | READ_LOCKED);
            assert_eq!(state, shown, "{extra:#x} {shutdown:?} {startup}");
            let code = match state {
                _ if state & READ_LOCKED != 0 => rc::NV_LOCKED,
                _ if state & WRITTEN == 0 => rc::NV_UNINITIALIZED,
                _ => 0,
            };
            assert_eq!(read(&mut client, INDEX, 8, 0).rc, code);
            let code = if state & WRITE_LOCKED != 0 { rc::NV_LOCKED } else { 0 };
            assert_eq!(write(&mut client, INDEX, b"CONTENTS", 0), code);
        }
    }
}

#[test]
fn a_partial_write_reveals_no_data_that_startup_cleared() {
    for attribute in [CLEAR_STCLEAR, ORDERLY] {
        let mut client = Client::new();
        assert_eq!(define(&mut client, OWNER, INDEX, OWNED | attribute, 8), 0);
        assert_eq!(write(&mut client, INDEX, b"contents", 0), 0);
        restart(&mut client, Some(0), 0);
        assert_eq!(write(&mut client, INDEX, b"C", 0), 0);
        assert_eq!(read(&mut client, INDEX, 8, 0).ok().field(0), *b"C\xff\xff\xff\xff\xff\xff\xff");
    }
}

#[test]
fn the_global_lock_takes_the_indices_that_allow_it() {
    let mut client = Client::new();
    assert_eq!(define(&mut client, OWNER, INDEX, OWNED | GLOBAL_LOCK, 4), 0);
    assert_eq!(define(&mut client, OWNER, INDEX + 1, OWNED, 4), 0);
    client.pw(cc::NV_GLOBAL_WRITE_LOCK, &[OWNER], b()).ok();
    let written = |client: &mut Client| [INDEX, INDEX + 1].map(|i| write(client, i, b"data", 0));
    assert_eq!(written(&mut client), [rc::NV_LOCKED, 0]);
    restart(&mut client, None, 0);
    assert_eq!(written(&mut client), [0, 0]);
    let answer = client.pw(cc::NV_GLOBAL_WRITE_LOCK, &[LOCKOUT], b());
    assert_eq!(answer.rc, rc::handle(1, rc::VALUE));
}

#[test]
fn an_orderly_counter_never_shows_a_count_twice() {
    let mut client = Client::new();
    assert_eq!(define(&mut client, OWNER, INDEX, OWNED | COUNTER | ORDERLY, 8), 0);
    let count = |client: &mut Client| {
        client.pw(cc::NV_INCREMENT, &[OWNER, INDEX], b()).ok();
        u64::from_be_bytes(read(client, INDEX, 8, 0).ok().field(0).try_into().expect("eight"))
    };
    let mut last = 0;
    // After an orderly shutdown the count continues; after a power failure it skips ahead.
    for (shutdown, increments) in [(Some(0), 3), (None, 3), (None, 300), (Some(1), 1), (None, 0)] {
        for _ in 0..increments {
            let next = count(&mut client);
            assert_eq!(next, last + 1);
            last = next;
        }
        restart(&mut client, shutdown, 0);
        let next = count(&mut client);
        assert!(next > last && (shutdown.is_none() || next == last + 1), "{last} then {next}");
        last = next;
    }
}

#[test]
fn a_pin_pass_index_counts_the_uses_of_its_value() {
    let mut client = Client::new();
    let public = public(INDEX, OWNED | AUTH_READ | PIN_PASS, b"", 8);
    client.pw(cc::NV_DEFINE_SPACE, &[OWNER], b().sized(b"pin").sized(&public.0)).ok();
    let session = client.session(1).handle;
    let secret = |client: &mut Client, pin: &[u8]| {
        // An expiration that asks for a ticket; but the uses of a ticket would not be counted.
        let parameters = b().u16(0).u16(0).u16(0).u32(-10_i32 as u32);
        let auth = vec![Auth::Password(pin)];
        let answer = client.auth(cc::POLICY_SECRET, &[INDEX, session], auth, parameters);
        if answer.rc == 0 {
            assert_eq!(answer.body, b().u16(0).u16(0x8023).u32(NULL).u16(0).0, "no ticket");
        }
        answer.rc
    };
    assert_eq!(secret(&mut client, b"pin"), rc::AUTH_UNAVAILABLE, "no limit yet");
    assert_eq!(write(&mut client, INDEX, &2_u64.to_be_bytes(), 0), 0);
    assert_eq!(secret(&mut client, b"nip"), rc::session(1, rc::AUTH_FAIL));
    let counts = |client: &mut Client| read(client, INDEX, 8, 0).ok().field(0);
    assert_eq!(counts(&mut client), [0, 0, 0, 0, 0, 0, 0, 2], "a wrong value does not count");
    assert_eq!((secret(&mut client, b"pin"), secret(&mut client, b"pin")), (0, 0));
    assert_eq!(counts(&mut client), [0, 0, 0, 2, 0, 0, 0, 2]);
    assert_eq!(secret(&mut client, b"pin"), rc::AUTH_UNAVAILABLE, "used up");
    assert_eq!(write(&mut client, INDEX, &2_u64.to_be_bytes(), 0), 0);
    assert_eq!(secret(&mut client, b"pin"), 0, "the owner gives more");
}

#[test]
fn an_index_is_deleted_and_gets_a_new_value_by_its_policy() {
    let by_policy = |client: &mut Client, command: u32, parameters: Bytes| {
        let mut session = client.session(1);
        client.run(cc::POLICY_COMMAND_CODE, &[session.handle], b().u32(command)).ok();
        let mut auths = vec![Auth::Session(&mut session, b"", 0)];
        let mut handles = vec![INDEX];
        if command == cc::NV_UNDEFINE_SPACE_SPECIAL {
            handles.push(PLATFORM);
            auths.push(Auth::Password(b""));
        }
        client.auth(command, &handles, auths, parameters).rc
    };
    let by_value = |client: &mut Client, value: &[u8]| {
        let auth = vec![Auth::Password(value)];
        client.auth(cc::NV_READ, &[INDEX, INDEX], auth, b().u16(4).u16(0)).rc
    };
    let defined = |command: u32| {
        let mut client = Client::new();
        let code = b().raw(&[0; 32]).u32(cc::POLICY_COMMAND_CODE).u32(command);
        let policy = HashAlgorithm::Sha256.hash(&code.0);
        let bits = OWNED | AUTH_READ | NO_DA_NV | PLATFORM_CREATE | POLICY_DELETE;
        let parameters = b().sized(b"old").sized(&public(INDEX, bits, &policy, 4).0);
        client.pw(cc::NV_DEFINE_SPACE, &[PLATFORM], parameters).ok();
        assert_eq!(write(&mut client, INDEX, b"data", 0), 0);
        client
    };
    let mut client = defined(cc::NV_CHANGE_AUTH);
    let auth = vec![Auth::Password(b"old")];
    let answer = client.auth(cc::NV_CHANGE_AUTH, &[INDEX], auth, b().sized(b"new"));
    assert_eq!(answer.rc, rc::AUTH_TYPE, "the value itself is not enough");
    let change =
        |client: &mut Client, new: &[u8]| by_policy(client, cc::NV_CHANGE_AUTH, b().sized(new));
    assert_eq!(change(&mut client, &[1; 33]), rc::param(1, rc::SIZE));
    assert_eq!(by_value(&mut client, b"old"), 0);
    assert_eq!(change(&mut client, b"new"), 0);
    assert_eq!(by_value(&mut client, b"old"), rc::session(1, rc::BAD_AUTH));
    restart(&mut client, None, 0);
    assert_eq!(by_value(&mut client, b"new"), 0);
    let delete = |client: &mut Client| by_policy(client, cc::NV_UNDEFINE_SPACE_SPECIAL, b());
    assert_eq!(delete(&mut client), rc::session(1, rc::POLICY_FAIL), "for another command");

    let mut client = defined(cc::NV_UNDEFINE_SPACE_SPECIAL);
    for auth in [OWNER, PLATFORM] {
        let answer = client.pw(cc::NV_UNDEFINE_SPACE, &[auth, INDEX], b());
        assert_eq!(answer.rc, rc::handle(2, rc::ATTRIBUTES), "by its policy only");
    }
    assert_eq!(delete(&mut client), 0);
    assert_eq!(read(&mut client, INDEX, 4, 0).rc, rc::handle(2, rc::HANDLE));
    assert_eq!(define(&mut client, OWNER, INDEX, OWNED, 4), 0);
    assert_eq!(delete(&mut client), rc::AUTH_UNAVAILABLE, "no policy");
}

#[test]
fn space_ends_and_comes_back() {
    let mut client = Client::new();
    let full = |client: &mut Client, first: u32, size: u16| -> u32 {
        let mut defined = (0..).map(|n| define(client, OWNER, first + n, OWNED, size));
        let count = defined.by_ref().take_while(|&rc| rc == 0).count();
        count as u32
    };
    let large = full(&mut client, INDEX, 2048);
    assert!((15..=16).contains(&large), "32 KiB: {large}");
    assert_eq!(define(&mut client, OWNER, INDEX + large, OWNED, 2048), rc::NV_SPACE);
    client.pw(cc::NV_UNDEFINE_SPACE, &[OWNER, INDEX], b()).ok();
    assert_eq!(define(&mut client, OWNER, INDEX, OWNED, 2048), 0);
    let mut client = Client::new();
    assert_eq!(full(&mut client, INDEX, 0), 128);
}
