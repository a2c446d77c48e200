//! GetCapability (Part 3, section 30.2), self-tests (section 10), failure mode.

use std::vec::Vec;

use super::client::*;
use super::codes::{cc, rc};

/// moreData, the count and the entries of a list.
fn list(client: &mut Client, capability: u32, first: u32, count: u32) -> (bool, u32, Vec<u8>) {
    let parameters = b().u32(capability).u32(first).u32(count);
    let answer = client.run(cc::GET_CAPABILITY, &[], parameters).ok();
    let mut r = answer.fields();
    let more = r.u8() != 0;
    assert_eq!(r.u32(), capability);
    (more, r.u32(), r.0.into())
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let word = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
    bytes.chunks(4).map(word).collect()
}

/// Properties of the TPM as pairs.
fn properties(client: &mut Client, first: u32, count: u32) -> (bool, Vec<(u32, u32)>) {
    let (more, listed, bytes) = list(client, 6, first, count);
    let pairs: Vec<(u32, u32)> = words(&bytes).chunks(2).map(|pair| (pair[0], pair[1])).collect();
    assert_eq!(pairs.len(), listed as usize);
    (more, pairs)
}

fn property(client: &mut Client, tag: u32) -> u32 {
    let (_, pairs) = properties(client, tag, 1);
    assert_eq!(pairs[0].0, tag);
    pairs[0].1
}

#[test]
fn a_list_continues_where_the_last_one_ended() {
    let mut client = Client::new();
    // Each capability with its first value and the size of an entry, which starts with the value.
    for (capability, start, size, wide) in [
        (0, 0, 6, false),
        (1, 0x4000_0000, 4, true),
        (1, 0, 4, true),
        (2, 0, 4, true),
        (6, 0x100, 8, true),
        (6, 0x200, 8, true),
        (7, 0, 5 + 3, true),
        (8, 0, 2, false),
    ] {
        let (more, count, all) = list(&mut client, capability, start, 255);
        assert!(!more, "capability {capability}");
        assert_eq!(all.len(), count as usize * size);
        let mut first = start;
        let mut collected = Vec::new();
        loop {
            let (more, count, part) = list(&mut client, capability, first, 3);
            assert!(count <= 3);
            collected.extend_from_slice(&part);
            if !more {
                break;
            }
            let mut r = Fields(&part[part.len() - size..]);
            let last = if wide { r.u32() } else { r.u16().into() };
            // The lower half of a command's attributes holds its code.
            first = 1 + if capability == 2 { last & 0xffff } else { last };
        }
        assert_eq!(collected, all, "capability {capability}");
    }
    assert_eq!(list(&mut client, 2, 0, 0), (true, 0, Vec::new()), "none is asked for");
    assert_eq!(list(&mut client, 2, 0x2000_0000, 9), (false, 0, Vec::new()), "none is left");
}

#[test]
fn a_group_of_properties_does_not_run_into_the_next() {
    let mut client = Client::new();
    for (first, group) in [(0x100, 0x100), (0x12d, 0x100), (0x200, 0x200), (0x20e, 0x200)] {
        let (more, pairs) = properties(&mut client, first, 255);
        assert!(!more);
        assert!(pairs.iter().all(|pair| pair.0 & !0xff == group && pair.0 >= first), "{first:#x}");
        assert!(pairs.is_sorted() && !pairs.is_empty());
    }
    assert_eq!(properties(&mut client, 0x300, 255), (false, Vec::new()));
}

#[test]
fn fixed_properties_agree_with_the_limits_of_commands() {
    let mut client = Client::new();
    assert_eq!(property(&mut client, 0x100).to_be_bytes(), *b"2.0\0");
    // MAX_DIGEST: GetRandom. INPUT_BUFFER: Hash. NV_BUFFER_MAX, NV_INDEX_MAX: NV_DefineSpace.
    let digest = property(&mut client, 0x120);
    let random = client.run(cc::GET_RANDOM, &[], b().u16(u16::MAX)).ok().field(0);
    assert_eq!(random.len(), digest as usize);
    let buffer = property(&mut client, 0x10d) as usize;
    for (size, code) in [(buffer, 0), (buffer + 1, rc::param(1, rc::SIZE))] {
        let parameters = b().sized(&std::vec![0; size]).u16(0x0b).u32(NULL);
        assert_eq!(client.run(cc::HASH, &[], parameters).rc, code);
    }
    let (index, nv_buffer) = (property(&mut client, 0x117), property(&mut client, 0x12c));
    for (attributes, size, code) in [
        (0, index, 0),
        (0, index + 1, rc::param(2, rc::SIZE)),
        (1 << 12, nv_buffer, 0),
        (1 << 12, nv_buffer + 1, rc::param(2, rc::SIZE)),
    ] {
        let attributes = attributes | 1 << 1 | 1 << 17;
        let public = b().u32(0x0150_0000).u16(0x0b).u32(attributes).u16(0).u16(size as u16);
        let parameters = b().u16(0).sized(&public.0);
        assert_eq!(client.pw(cc::NV_DEFINE_SPACE, &[OWNER], parameters).rc, code, "{size}");
        if code == 0 {
            client.pw(cc::NV_UNDEFINE_SPACE, &[OWNER, 0x0150_0000], b()).ok();
        }
    }
    let (_, commands, _) = list(&mut client, 2, 0, 255);
    assert_eq!(property(&mut client, 0x129), commands, "TOTAL_COMMANDS");
    assert_eq!(property(&mut client, 0x12a), commands, "LIBRARY_COMMANDS");
}

#[test]
fn variable_properties_count_the_entities_of_the_tpm() {
    let mut client = Client::new();
    // HR_NV_INDEX, HR_LOADED, HR_LOADED_AVAIL, HR_ACTIVE, HR_ACTIVE_AVAIL, HR_TRANSIENT_AVAIL,
    // HR_PERSISTENT, HR_PERSISTENT_AVAIL, NV_COUNTERS, NV_COUNTERS_AVAIL.
    let counts = |client: &mut Client| {
        let (_, pairs) = properties(client, 0x202, 10);
        pairs.into_iter().map(|pair| pair.1).collect::<Vec<u32>>()
    };
    assert_eq!(counts(&mut client), [0, 0, 16, 0, 64, 7, 0, 16, 0, 128]);
    let key = client.primary(OWNER, &ecc_srk()).handle;
    client.pw(cc::EVICT_CONTROL, &[OWNER, key], b().u32(0x8100_0001)).ok();
    client.session(0);
    let saved = client.session(1).handle;
    client.run(cc::CONTEXT_SAVE, &[saved], b()).ok();
    for (index, kind) in [(0x0150_0000, 0), (0x0150_0001, 1 << 4)] {
        let public = b().u32(index).u16(0x0b).u32(1 << 1 | 1 << 17 | kind).u16(0).u16(8);
        client.pw(cc::NV_DEFINE_SPACE, &[OWNER], b().u16(0).sized(&public.0)).ok();
    }
    assert_eq!(counts(&mut client), [2, 1, 15, 2, 62, 6, 1, 15, 1, 126]);
    for (first, handles) in [
        (0x0100_0000, &[0x0150_0000, 0x0150_0001][..]),
        (0x0200_0000, &[0x0200_0000]),
        (0x0300_0000, &[0x0200_0001]),
        (0x8000_0000, &[0x8000_0000]),
        (0x8100_0000, &[0x8100_0001]),
        (0x8100_0002, &[]),
    ] {
        assert_eq!(words(&list(&mut client, 1, first, 9).2), handles, "from {first:#x}");
    }
}

#[test]
fn permanent_attributes_follow_the_values_that_are_set() {
    let mut client = Client::new();
    let generated = 1 << 10;
    assert_eq!(property(&mut client, 0x200), generated);
    for (hierarchy, bit) in [(OWNER, 0), (ENDORSEMENT, 1), (LOCKOUT, 2)] {
        client.pw(cc::HIERARCHY_CHANGE_AUTH, &[hierarchy], b().sized(b"v")).ok();
        assert_eq!(property(&mut client, 0x200), generated | 1 << bit, "{hierarchy:#x}");
        let auth = std::vec![Auth::Password(b"v")];
        client.auth(cc::HIERARCHY_CHANGE_AUTH, &[hierarchy], auth, b().u16(0)).ok();
    }
    let parameters = b().u32(0).u32(9).u32(9);
    client.pw(cc::DICTIONARY_ATTACK_PARAMETERS, &[LOCKOUT], parameters).ok();
    assert_eq!(property(&mut client, 0x200), generated | 1 << 9, "inLockout");
    assert_eq!([0x20f, 0x210, 0x211].map(|tag| property(&mut client, tag)), [0, 9, 9]);
    assert_eq!(property(&mut client, 0x201), 0xf, "not orderly while it runs");
    client.run(cc::SHUTDOWN, &[], b().u16(0)).ok();
    assert_eq!(property(&mut client, 0x201), 1 << 31 | 0xf);
}

#[test]
fn unknown_capabilities_are_refused() {
    let mut client = Client::new();
    for (capability, first, code) in [
        (10, 0, rc::param(1, rc::VALUE)),
        (0x100, 0, rc::param(1, rc::VALUE)),
        (5, 1, rc::param(2, rc::VALUE)),
        (1, 0x0400_0000, rc::param(2, rc::HANDLE)),
        (9, 0x8000_0000, rc::param(2, rc::VALUE)),
    ] {
        let parameters = b().u32(capability).u32(first).u32(1);
        assert_eq!(client.run(cc::GET_CAPABILITY, &[], parameters).rc, code);
    }
}

#[test]
fn algorithms_need_a_test_until_all_are_tested() {
    let test = |client: &mut Client, algorithms: &[u16]| {
        let count = b().u32(algorithms.len() as u32);
        let list = algorithms.iter().fold(count, |list, &alg| list.u16(alg));
        client.run(cc::INCREMENTAL_SELF_TEST, &[], list)
    };
    let result = |client: &mut Client| client.run(0x17c, &[], b()).ok().body;
    let mut client = Client::new();
    let (_, _, listed) = list(&mut client, 0, 0, 255);
    let all: Vec<u16> = listed.chunks(6).map(|entry| Fields(entry).u16()).collect();
    let to_do = all.iter().fold(b().u32(all.len() as u32), |list, &alg| list.u16(alg));
    assert_eq!(test(&mut client, &[0x0b, 0x12]).rc, rc::param(1, rc::VALUE), "SM3 is not built");
    assert_eq!(test(&mut client, &[0x0b; 65]).rc, rc::param(1, rc::SIZE));
    assert_eq!(test(&mut client, &[]).ok().body, to_do.0, "an empty list tests nothing");
    assert_eq!(result(&mut client), b().u16(0).u32(rc::NEEDS_TEST).0);
    assert_eq!(test(&mut client, &all).ok().body, [0; 4], "nothing is left to do");
    assert_eq!(result(&mut client), [0; 6]);
    assert_eq!(test(&mut client, &[]).ok().body, [0; 4]);
    client.power_cycle();
    client.startup(0);
    assert_eq!(result(&mut client), b().u16(0).u32(rc::NEEDS_TEST).0);
    client.run(0x143, &[], b().u8(0)).ok();
    assert_eq!(result(&mut client), [0; 6]);
}

#[test]
fn failure_mode_tells_of_itself_and_does_nothing_else() {
    let mut client = Client::new();
    let session = client.session(0);
    client.tpm.v.failed = true;
    let failed = b().u16(0).u32(rc::FAILURE);
    assert_eq!(client.run(0x17c, &[], b()).ok().body, failed.0);
    assert_eq!(property(&mut client, 0x105).to_be_bytes(), *b"PRVN");
    for code in [cc::GET_RANDOM, cc::STARTUP, 0x143, cc::READ_CLOCK] {
        assert_eq!(client.run(code, &[], b().u16(0)).rc, rc::FAILURE, "{code:#x}");
    }
    // Sessions would use the cryptography that failed.
    for code in [0x17c, cc::GET_CAPABILITY] {
        let parameters = if code == 0x17c { b() } else { b().u32(6).u32(0x105).u32(1) };
        let mut session = session.clone();
        let auth = std::vec![Auth::Session(&mut session, b"", 0x81)];
        assert_eq!(client.auth(code, &[], auth, parameters).rc, rc::FAILURE, "{code:#x}");
    }
    client.power_cycle();
    client.startup(0);
    client.run(cc::GET_RANDOM, &[], b().u16(8)).ok();
}
