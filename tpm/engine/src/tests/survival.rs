//! The state that survives each kind of startup: TPM Reset, Restart, Resume (Part 1, section 12;
//! Part 3, section 9.3).

use std::vec::Vec;

use super::client::*;
use super::codes::{cc, rc};

/// The parts of `World` that are left.
#[derive(Debug, PartialEq)]
struct Left {
    /// A transient object, and a context of it and of one with stClear.
    object: bool,
    context: bool,
    st_clear_context: bool,
    /// A session in memory, and a saved one.
    session: bool,
    saved_session: bool,
    /// A sequence's context.
    sequence_context: bool,
    /// PCRs 0 and 16, extended.
    pcrs: [bool; 2],
    /// platformAuth; a disabled owner hierarchy.
    platform_value: bool,
    disabled: bool,
    /// Whether the NULL hierarchy still derives the same primary key.
    null_seed: bool,
    /// resetCount and restartCount.
    counts: [u32; 2],
}

/// A TPM that holds every kind of state that a power cycle can remove.
struct World {
    client: Client,
    object: u32,
    context: Vec<u8>,
    st_clear_context: Vec<u8>,
    sequence_context: Vec<u8>,
    session: u32,
    saved_session: Vec<u8>,
    null_name: Vec<u8>,
}

fn null_name(client: &mut Client) -> Vec<u8> {
    let key = client.primary(NULL, &ecc_srk()).handle;
    let name = client.name(key);
    client.run(cc::FLUSH_CONTEXT, &[], b().u32(key)).ok();
    name
}

fn pcr(client: &mut Client, pcr: u32) -> Vec<u8> {
    let [x, y, z, _] = (1_u32 << pcr).to_le_bytes();
    let list = b().u32(1).u16(0x0b).u8(3).raw(&[x, y, z]);
    let answer = client.run(cc::PCR_READ, &[], list).ok();
    answer.body[answer.body.len() - 32..].into()
}

impl World {
    fn new() -> Self {
        let mut client = Client::new();
        let save = |client: &mut Client, handle: u32| {
            client.run(cc::CONTEXT_SAVE, &[handle], b()).ok().body
        };
        let null_name = null_name(&mut client);
        let object = client.primary(ENDORSEMENT, &ecc_srk()).handle;
        let context = save(&mut client, object);
        let attributes = FIXED | ORIGIN | USER | SIGN | ST_CLEAR;
        let st_clear = client.primary(ENDORSEMENT, &ecc_key(attributes, &none())).handle;
        let st_clear_context = save(&mut client, st_clear);
        let start = b().u16(0).u16(0x0b);
        let sequence = client.run(cc::HASH_SEQUENCE_START, &[], start).ok().handle;
        let sequence_context = save(&mut client, sequence);
        let session = client.session(0).handle;
        let saved_session = client.session(0).handle;
        let saved_session = save(&mut client, saved_session);
        for pcr in [0, 16] {
            client.pw(cc::PCR_EXTEND, &[pcr], b().u32(1).u16(0x0b).raw(&[7; 32])).ok();
        }
        client.pw(cc::HIERARCHY_CONTROL, &[PLATFORM], b().u32(OWNER).u8(0)).ok();
        client.pw(cc::HIERARCHY_CHANGE_AUTH, &[PLATFORM], b().sized(b"value")).ok();
        Self {
            client,
            object,
            context,
            st_clear_context,
            sequence_context,
            session,
            saved_session,
            null_name,
        }
    }

    fn left(&mut self) -> Left {
        let client = &mut self.client;
        let load = |client: &mut Client, context: &[u8]| {
            let loaded = client.run(cc::CONTEXT_LOAD, &[], b().raw(context));
            if loaded.rc == 0 {
                client.run(cc::FLUSH_CONTEXT, &[], b().u32(loaded.handle)).ok();
            }
            loaded.rc == 0
        };
        let object = client.run(cc::READ_PUBLIC, &[self.object], b()).rc == 0;
        let session = client.run(cc::CONTEXT_SAVE, &[self.session], b()).rc == 0;
        let clock = client.run(cc::READ_CLOCK, &[], b()).ok();
        let mut r = Fields(&clock.body[16..]);
        let value = client.pw(cc::HIERARCHY_CHANGE_AUTH, &[PLATFORM], b().u16(0)).rc;
        Left {
            object,
            context: load(client, &self.context),
            st_clear_context: load(client, &self.st_clear_context),
            session,
            saved_session: load(client, &self.saved_session),
            sequence_context: load(client, &self.sequence_context),
            pcrs: [0, 16].map(|index| pcr(client, index) != [0; 32]),
            platform_value: value != 0,
            disabled: client.pw(cc::CLOCK_RATE_ADJUST, &[OWNER], b().u8(0)).rc != 0,
            null_seed: null_name(client) == self.null_name,
            counts: [r.u32(), r.u32()],
        }
    }
}

#[test]
fn each_kind_of_startup_keeps_its_part_of_the_state() {
    let reset = Left {
        object: false,
        context: false,
        st_clear_context: false,
        session: false,
        saved_session: false,
        sequence_context: false,
        pcrs: [false; 2],
        platform_value: false,
        disabled: false,
        null_seed: false,
        counts: [2, 0],
    };
    let restart = || Left {
        context: true,
        saved_session: true,
        sequence_context: true,
        null_seed: true,
        counts: [1, 1],
        ..reset
    };
    let resume = Left {
        st_clear_context: true,
        pcrs: [true, false],
        platform_value: true,
        disabled: true,
        ..restart()
    };
    for (shutdown, startup, expected) in
        [(Some(1), 1, &resume), (Some(1), 0, &restart()), (Some(0), 0, &reset), (None, 0, &reset)]
    {
        let mut world = World::new();
        if let Some(kind) = shutdown {
            world.client.run(cc::SHUTDOWN, &[], b().u16(kind)).ok();
        }
        world.client.power_cycle();
        world.client.startup(startup);
        assert_eq!(world.left(), *expected, "Shutdown {shutdown:?}, Startup {startup}");
    }
}

#[test]
fn nothing_is_lost_without_a_power_cycle() {
    let left = World::new().left();
    assert!(left.object && left.context && left.st_clear_context && left.sequence_context);
    assert!(left.session && left.saved_session && left.null_seed && left.disabled);
    assert_eq!((left.pcrs, left.counts), ([true; 2], [1, 0]));
}

#[test]
fn a_command_that_changes_state_undoes_the_shutdown() {
    // TPMA_STARTUP_CLEAR orderly, after Shutdown(STATE) and a command.
    for (code, parameters, still) in [
        (cc::GET_RANDOM, b().u16(4), true),
        (cc::READ_CLOCK, b(), true),
        (cc::PCR_READ, b().u32(0), true),
        (cc::HASH_SEQUENCE_START, b().u16(0).u16(0x0b), false),
        (cc::STIR_RANDOM, b().u16(0), false),
    ] {
        let mut client = Client::new();
        client.run(cc::SHUTDOWN, &[], b().u16(1)).ok();
        client.run(code, &[], parameters).ok();
        client.power_cycle();
        let rc = client.run(cc::STARTUP, &[], b().u16(1)).rc;
        assert_eq!(rc, if still { 0 } else { rc::param(1, rc::VALUE) }, "{code:#x}");
    }
    for parameters in [b().u16(2), b().u16(0xffff)] {
        let mut client = Client::new();
        let shutdown = client.run(cc::SHUTDOWN, &[], parameters.clone());
        assert_eq!(shutdown.rc, rc::param(1, rc::VALUE));
        client.power_cycle();
        assert_eq!(client.run(cc::STARTUP, &[], parameters).rc, rc::param(1, rc::VALUE));
    }
}

#[test]
fn the_platform_hierarchy_is_enabled_by_every_startup() {
    for (shutdown, startup) in [(1, 1), (1, 0), (0, 0)] {
        let mut client = Client::new();
        client.pw(cc::HIERARCHY_CONTROL, &[PLATFORM], b().u32(PLATFORM).u8(0)).ok();
        client.run(cc::SHUTDOWN, &[], b().u16(shutdown)).ok();
        client.power_cycle();
        client.startup(startup);
        client.primary(PLATFORM, &ecc_srk());
    }
}

#[test]
fn the_clock_is_safe_again_once_it_is_stored() {
    let mut client = Client::new();
    client.env.now = 50_000;
    client.run(cc::READ_CLOCK, &[], b()).ok();
    client.power_cycle();
    client.startup(0);
    let clock = |client: &mut Client| {
        let answer = client.run(cc::READ_CLOCK, &[], b()).ok();
        let mut r = Fields(&answer.body[8..]);
        (r.u64(), r.take(8)[7], r.u8())
    };
    let (after, _, safe) = clock(&mut client);
    assert!((50_000..131_072).contains(&after), "never back, never far ahead: {after}");
    assert_eq!(safe, 0);
    client.env.now += 65_536;
    assert_eq!(clock(&mut client).2, 1);
    assert_eq!(clock(&mut client).0, after + 65_536);
}
