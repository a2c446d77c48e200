//! NV indices of every kind, with faults of the storage.

use std::vec;
use std::vec::Vec;

use super::client::*;

const INDEX: u32 = 0x0150_0000;
const OWNER_ACCESS: u32 = 1 << 1 | 1 << 17;
const AUTH_ACCESS: u32 = 1 << 2 | 1 << 18;

fn define(client: &mut Client, index: u32, attributes: u32, size: u16, auth: &[u8]) -> u32 {
    let public = b().u32(index).u16(0x0b).u32(attributes).u16(0).u16(size);
    client.pw(0x12a, &[OWNER], b().sized(auth).sized(&public.0)).rc
}

fn read(client: &mut Client, index: u32, size: u16) -> Answer {
    client.pw(0x14e, &[OWNER, index], b().u16(size).u16(0))
}

#[test]
fn ordinary_data_is_read_back_after_power_off() {
    let mut client = Client::new();
    assert_eq!(define(&mut client, INDEX, OWNER_ACCESS, 16, b""), 0);
    assert_eq!(define(&mut client, INDEX, OWNER_ACCESS, 16, b""), 0x14c);
    assert_eq!(read(&mut client, INDEX, 16).rc, 0x14a);
    client.pw(0x137, &[OWNER, INDEX], b().sized(b"hello").u16(3)).ok();
    assert_eq!(client.pw(0x137, &[OWNER, INDEX], b().sized(b"hello").u16(12)).rc, 0x146);
    client.power_cycle();
    client.startup(0);
    assert_eq!(read(&mut client, INDEX, 16).ok().field(0)[3..8], *b"hello");
    client.pw(0x122, &[OWNER, INDEX], b()).ok();
    assert_eq!(read(&mut client, INDEX, 16).rc, 0x28b);
}

#[test]
fn counters_never_go_back() {
    let mut client = Client::new();
    let counter = OWNER_ACCESS | 1 << 4;
    assert_eq!(define(&mut client, INDEX, counter, 8, b""), 0);
    for _ in 0..3 {
        client.pw(0x134, &[OWNER, INDEX], b()).ok();
    }
    assert_eq!(read(&mut client, INDEX, 8).ok().field(0), 3u64.to_be_bytes());
    client.pw(0x122, &[OWNER, INDEX], b()).ok();
    assert_eq!(define(&mut client, INDEX, counter, 8, b""), 0);
    client.pw(0x134, &[OWNER, INDEX], b()).ok();
    assert_eq!(read(&mut client, INDEX, 8).ok().field(0), 4u64.to_be_bytes());
    assert_eq!(define(&mut client, INDEX + 1, counter | 1 << 26, 8, b""), 0);
    client.pw(0x134, &[OWNER, INDEX + 1], b()).ok();
    client.power_cycle();
    client.startup(0);
    let orderly = read(&mut client, INDEX + 1, 8).ok().field(0);
    assert!(orderly[..] > 5u64.to_be_bytes()[..], "beyond what was ever shown");
}

#[test]
fn bits_and_extend_accumulate() {
    let mut client = Client::new();
    assert_eq!(define(&mut client, INDEX, OWNER_ACCESS | 2 << 4, 8, b""), 0);
    client.pw(0x135, &[OWNER, INDEX], b().u64(1)).ok();
    client.pw(0x135, &[OWNER, INDEX], b().u64(4)).ok();
    assert_eq!(read(&mut client, INDEX, 8).ok().field(0), 5u64.to_be_bytes());
    assert_eq!(define(&mut client, INDEX + 1, OWNER_ACCESS | 4 << 4, 32, b""), 0);
    client.pw(0x136, &[OWNER, INDEX + 1], b().sized(b"x")).ok();
    let expected = tpm_crypto::hash::HashAlgorithm::Sha256.hash_parts(&[&[0; 32], b"x"]);
    assert_eq!(read(&mut client, INDEX + 1, 32).ok().field(0), expected.as_bytes());
    assert_eq!(client.pw(0x134, &[OWNER, INDEX], b()).rc, 0x282);
}

#[test]
fn a_pin_fail_index_counts_wrong_pins_durably() {
    let mut client = Client::new();
    let attributes = OWNER_ACCESS | 1 << 18 | 8 << 4 | 1 << 25;
    assert_eq!(define(&mut client, INDEX, attributes, 8, b"pin"), 0);
    client.pw(0x137, &[OWNER, INDEX], b().sized(&2u64.to_be_bytes()).u16(0)).ok();
    let try_pin = |client: &mut Client, pin: &[u8]| {
        let auth = vec![Auth::Password(pin)];
        client.auth(0x14e, &[INDEX, INDEX], auth, b().u16(8).u16(0)).rc
    };
    assert_eq!(try_pin(&mut client, b"pin"), 0);
    assert_eq!(try_pin(&mut client, b"bad"), 0x9a2);
    client.power_cycle();
    client.startup(0);
    assert_eq!(try_pin(&mut client, b"bad"), 0x9a2);
    assert_eq!(try_pin(&mut client, b"pin"), 0x12f, "used up");
}

#[test]
fn locks_hold_until_the_next_clear() {
    let mut client = Client::new();
    assert_eq!(define(&mut client, INDEX, OWNER_ACCESS | 1 << 14 | 1 << 31, 4, b""), 0);
    client.pw(0x137, &[OWNER, INDEX], b().sized(b"data").u16(0)).ok();
    client.pw(0x138, &[OWNER, INDEX], b()).ok();
    client.pw(0x14f, &[OWNER, INDEX], b()).ok();
    assert_eq!(client.pw(0x137, &[OWNER, INDEX], b().sized(b"data").u16(0)).rc, 0x148);
    assert_eq!(read(&mut client, INDEX, 4).rc, 0x148);
    client.power_cycle();
    client.startup(0);
    client.pw(0x137, &[OWNER, INDEX], b().sized(b"DATA").u16(0)).ok();
    assert_eq!(read(&mut client, INDEX, 4).ok().field(0), b"DATA");
}

#[test]
fn owner_needs_its_attribute() {
    let mut client = Client::new();
    assert_eq!(define(&mut client, INDEX, AUTH_ACCESS, 4, b"v"), 0);
    assert_eq!(client.pw(0x137, &[OWNER, INDEX], b().sized(b"data").u16(0)).rc, 0x149);
    let auth = vec![Auth::Password(b"v")];
    client.auth(0x137, &[INDEX, INDEX], auth, b().sized(b"data").u16(0)).ok();
    assert_eq!(define(&mut client, INDEX + 1, OWNER_ACCESS, 4000, b""), 0x2d5);
    assert_eq!(define(&mut client, INDEX + 1, 0, 4, b""), 0x2c2);
}

/// A sequence of commands that all change NV.
fn life(client: &mut Client) -> Vec<u32> {
    let mut codes = vec![client.run(0x144, &[], b().u16(0)).rc];
    codes.push(define(client, INDEX, OWNER_ACCESS, 4, b""));
    codes.push(client.pw(0x137, &[OWNER, INDEX], b().sized(b"data").u16(0)).rc);
    codes.push(define(client, INDEX + 1, OWNER_ACCESS | 1 << 4, 8, b""));
    codes.push(client.pw(0x134, &[OWNER, INDEX + 1], b()).rc);
    codes.push(client.pw(0x129, &[ENDORSEMENT], b().sized(b"new")).rc);
    codes.push(client.pw(0x126, &[LOCKOUT], b()).rc);
    codes.push(client.run(0x145, &[], b().u16(1)).rc);
    codes
}

/// The part of the storage that determines the result of the sequence above.
fn storage(client: &Client) -> Vec<(u32, Vec<u8>)> {
    client.env.records.clone().into_iter().collect()
}

#[test]
fn a_failed_commit_acknowledges_nothing_and_changes_nothing() {
    for failing in 2..12 {
        let mut env = Fake::default();
        let tpm = crate::Tpm::manufacture(&mut env).expect("a TPM");
        let mut client = Client { tpm, env };
        client.env.fail_from = Some(failing);
        let codes = life(&mut client);
        let failed = codes.iter().position(|&rc| rc != 0).unwrap_or(codes.len());
        let stored = storage(&client);
        // The same commands without a fault, up to this one, store the same records.
        let mut env = Fake::default();
        let tpm = crate::Tpm::manufacture(&mut env).expect("a TPM");
        let mut other = Client { tpm, env };
        other.env.fail_from = None;
        let mut reference = vec![storage(&other)];
        let mut seen = other.env.commits;
        let all = life(&mut other);
        assert!(all.iter().all(|&rc| rc == 0), "{all:x?}");
        seen = other.env.commits - seen;
        assert!(seen >= codes.len() - 1, "each step commits");
        reference.push(storage(&other));
        if failed == codes.len() {
            assert_eq!(stored.len(), reference[1].len());
        } else {
            assert_eq!(codes[failed], 0x923, "step {failed}");
        }
        // The storage works again: all acknowledged writes are there.
        client.env.fail_from = None;
        client.power_cycle();
        client.startup(0);
        if failed == 5 || failed == 4 {
            assert_eq!(read(&mut client, INDEX, 4).ok().field(0), b"data");
        }
    }
}

#[test]
fn a_failed_clear_leaves_memory_as_it_was() {
    let mut client = Client::new();
    let key = client.primary(OWNER, &ecc_srk()).handle;
    client.env.fail_from = Some(0);
    assert_eq!(client.pw(0x126, &[LOCKOUT], b()).rc, 0x923);
    client.env.fail_from = None;
    client.run(0x173, &[key], b()).ok();
    client.pw(0x126, &[LOCKOUT], b()).ok();
    assert_eq!(client.run(0x173, &[key], b()).rc, 0x910);
}
