//! Startup, PCRs, clock, capabilities.

use std::vec::Vec;

use super::client::{Client, Fake, OWNER, b};
use crate::Tpm;

fn pcr(client: &mut Client, index: u8) -> Vec<u8> {
    let mut bits = [0; 3];
    bits[usize::from(index / 8)] = 1 << (index % 8);
    let answer = client.run(0x17e, &[], b().u32(1).u16(0x0b).u8(3).raw(&bits)).ok();
    answer.body[answer.body.len() - 32..].into()
}

fn extend(client: &mut Client, index: u32) -> u32 {
    client.pw(0x182, &[index], b().u32(1).u16(0x0b).raw(&[7; 32])).rc
}

#[test]
fn nothing_but_startup_is_answered_before_startup() {
    let mut env = Fake::default();
    let tpm = Tpm::manufacture(&mut env).expect("a TPM");
    let mut client = Client { tpm, env };
    assert_eq!(client.run(0x17b, &[], b().u16(8)).rc, 0x100);
    client.startup(0);
    client.run(0x17b, &[], b().u16(8)).ok();
    assert_eq!(client.run(0x144, &[], b().u16(0)).rc, 0x100, "a second Startup");
}

#[test]
fn an_extended_pcr_lives_through_a_resume_only() {
    let mut client = Client::new();
    assert_eq!(extend(&mut client, 1), 0);
    let value = pcr(&mut client, 1);
    assert_ne!(value, [0; 32]);
    client.run(0x145, &[], b().u16(1)).ok();
    client.power_cycle();
    client.startup(1);
    assert_eq!(pcr(&mut client, 1), value, "resume");
    client.power_cycle();
    assert_eq!(client.run(0x144, &[], b().u16(1)).rc, 0x1c4, "no Shutdown before");
    client.startup(0);
    assert_eq!(pcr(&mut client, 1), [0; 32], "reset");
}

#[test]
fn localities_guard_the_dynamic_pcrs() {
    let mut client = Client::new();
    assert_eq!(pcr(&mut client, 17), [0xff; 32]);
    assert_eq!(extend(&mut client, 17), 0x907);
    assert_eq!(client.pw(0x13d, &[0], b()).rc, 0x907);
    assert_eq!(extend(&mut client, 16), 0);
    client.pw(0x13d, &[16], b()).ok();
    assert_eq!(pcr(&mut client, 16), [0; 32]);
    client.tpm.hash_start();
    client.tpm.hash_data(b"event");
    client.tpm.hash_end();
    assert_eq!(pcr(&mut client, 18), [0; 32]);
    assert_ne!(pcr(&mut client, 17), [0; 32]);
}

#[test]
fn an_h_crtm_event_shows_locality_four_in_pcr_0() {
    let mut env = Fake::default();
    let tpm = Tpm::manufacture(&mut env).expect("a TPM");
    let mut client = Client { tpm, env };
    client.tpm.hash_start();
    client.tpm.hash_data(b"event");
    client.tpm.hash_end();
    client.startup(0);
    let digest = tpm_crypto::hash::HashAlgorithm::Sha256.hash(b"event");
    let mut start = [0; 32];
    start[31] = 4;
    let expected = tpm_crypto::hash::HashAlgorithm::Sha256.hash_parts(&[&start, &digest]);
    assert_eq!(pcr(&mut client, 0), expected.as_bytes());
}

#[test]
fn the_listed_commands_are_those_that_are_answered() {
    let mut client = Client::new();
    let answer = client.run(0x17a, &[], b().u32(2).u32(0).u32(256)).ok();
    let listed: Vec<u32> = answer.body[9..]
        .chunks_exact(4)
        .map(|cc| u32::from_be_bytes(cc.try_into().expect("four bytes")) & 0xffff)
        .collect();
    assert_eq!(listed.len(), crate::commands::COMMANDS.len());
    assert!(listed.is_sorted());
    for code in 0x110..0x1a0 {
        let rc = client.run(code, &[], b()).rc;
        assert_eq!(rc == 0x143, !listed.contains(&code), "command {code:#x}");
    }
}

#[test]
fn time_goes_on_and_the_clock_outlives_power() {
    let mut client = Client::new();
    client.env.now = 100_000;
    let before = client.run(0x181, &[], b()).ok().body;
    assert_eq!(before[..8], 100_000u64.to_be_bytes());
    client.run(0x145, &[], b().u16(0)).ok();
    client.power_cycle();
    client.startup(0);
    let after = client.run(0x181, &[], b()).ok().body;
    assert_eq!(after[..8], 0u64.to_be_bytes());
    assert_eq!(after[8..16], 100_000u64.to_be_bytes());
    assert_eq!(after[24], 1, "safe after an orderly shutdown");
    client.power_cycle();
    client.startup(0);
    assert_eq!(client.run(0x181, &[], b()).ok().body[24], 0, "not safe after none");
}

#[test]
fn malformed_headers_have_their_codes() {
    let mut client = Client::new();
    let code = |response: Vec<u8>| u32::from_be_bytes(response[6..10].try_into().expect("four"));
    assert_eq!(code(client.send(&b().u16(0x1234).u32(10).u32(0x17b).0, 0)), 0x1e);
    assert_eq!(code(client.send(&b().u16(0x8001).u32(11).u32(0x17b).0, 0)), 0x142);
    assert_eq!(code(client.send(&b().u16(0x8001).u32(10).u32(0x17b).0, 0)), 0x1da);
    assert_eq!(code(client.send(&b().u16(0x8001).u32(13).u32(0x17b).u16(4).u8(0).0, 0)), 0x95);
    assert_eq!(code(client.send(&b().u16(0x8001).u32(14).u32(0x173).u32(0x8000_0000).0, 0)), 0x910);
    assert_eq!(code(client.send(&b().u16(0x8001).u32(14).u32(0x173).u32(0x4000_0001).0, 0)), 0x184);
}

#[test]
fn handles_out_of_range_are_told_apart_from_those_of_nothing() {
    let mut client = Client::new();
    assert_eq!(client.run(0x173, &[0x8000_0006], b()).rc, 0x910);
    assert_eq!(client.run(0x173, &[0x8000_0007], b()).rc, 0x184);
    assert_eq!(client.run(0x189, &[0x0300_003f], b()).rc, 0x910);
    assert_eq!(client.run(0x189, &[0x0300_0040], b()).rc, 0x184);
    assert_eq!(client.run(0x165, &[], b().u32(0x0200_003f)).rc, 0x1cb);
    assert_eq!(client.run(0x165, &[], b().u32(0x0200_0040)).rc, 0x1c4);
    let context = |handle: u32| b().u32(0).u32(1).u32(handle).u32(OWNER).sized(&[0, 0, 1]);
    assert_eq!(client.run(0x161, &[], context(0x8000_0002)).rc, 0x1df);
    assert_eq!(client.run(0x161, &[], context(0x8000_0003)).rc, 0x1c4);
}

#[test]
fn a_size_that_does_not_fit_its_structure_is_told_apart_from_missing_bytes() {
    let mut client = Client::new();
    let public = b().u32(0x0150_0000).u16(0x0b).u32(1 << 1 | 1 << 17).u16(0).u16(8).0;
    let mut define =
        |size: u16, public: &[u8]| client.pw(0x12a, &[OWNER], b().u16(0).u16(size).raw(public)).rc;
    assert_eq!(define(13, &public), 0x2d5);
    assert_eq!(define(15, &public), 0x2d5);
    assert_eq!(define(14, &public[..13]), 0x2da);
    assert_eq!(define(14, &public), 0);
    let of_the_platform =
        b().u32(0x0150_0001).u16(0x0b).u32(1 << 30 | 1 << 1 | 1 << 17).u16(0).u16(8);
    assert_eq!(define(14, &of_the_platform.0), 0x182);
}

#[test]
fn pp_commands_needs_presence_from_the_first_day() {
    let mut client = Client::new();
    let listed = client.run(0x17a, &[], b().u32(3).u32(0).u32(8)).ok();
    assert_eq!(listed.body, b().u8(0).u32(3).u32(1).u32(0x12d).0);
    let none = || b().u32(0).u32(0);
    client.env.presence = false;
    assert_eq!(client.pw(0x12d, &[0x4000_000c], none()).rc, 0x990);
    client.env.presence = true;
    let clears_itself = b().u32(0).u32(1).u32(0x12d);
    client.pw(0x12d, &[0x4000_000c], clears_itself).ok();
    client.env.presence = false;
    assert_eq!(client.pw(0x12d, &[0x4000_000c], none()).rc, 0x990);
}

#[test]
fn each_curve_has_the_key_derivation_of_the_registry() {
    let mut client = Client::new();
    for (curve, bits, hash) in [(3, 256, 0x0b), (4, 384, 0x0c)] {
        let answer = client.run(0x178, &[], b().u16(curve)).ok();
        let head = b().u16(curve).u16(bits).u16(0x20).u16(hash).u16(0x10).0;
        assert_eq!(answer.body[..head.len()], head);
    }
}

#[test]
fn policies_are_asked_for_by_permanent_handles() {
    let mut client = Client::new();
    client.run(0x17a, &[], b().u32(9).u32(0x4000_0001).u32(1)).ok();
    assert_eq!(client.run(0x17a, &[], b().u32(9).u32(0x8000_0000).u32(1)).rc, 0x2c4);
    assert_eq!(client.run(0x17a, &[], b().u32(1).u32(0xff00_0000).u32(1)).rc, 0x2cb);
}

#[test]
fn the_known_answers_come_out() {
    let mut client = Client::new();
    client.run(0x143, &[], b().u8(1)).ok();
    client.run(0x142, &[], b().u32(1).u16(0x23)).ok();
    assert_eq!(client.run(0x17c, &[], b()).ok().body, [0; 6]);
}
