//! PCR commands (Part 3, section 22).

use std::vec;
use std::vec::Vec;

use tpm_crypto::hash::HashAlgorithm;

use super::client::*;
use super::codes::{cc, rc};

/// The banks of a new TPM, by TPM_ALG_ID.
const BANKS: [HashAlgorithm; 3] =
    [HashAlgorithm::Sha1, HashAlgorithm::Sha256, HashAlgorithm::Sha384];

fn selection(alg: u16, bits: u32) -> Bytes {
    let [a, second, c, _] = bits.to_le_bytes();
    b().u16(alg).u8(3).raw(&[a, second, c])
}

/// PCR_Read of one bank: update counter, the PCRs returned, their values.
fn read(client: &mut Client, alg: u16, bits: u32) -> (u32, u32, Vec<Vec<u8>>) {
    let answer = client.run(cc::PCR_READ, &[], b().u32(1).raw(&selection(alg, bits).0)).ok();
    let mut r = answer.fields();
    let (counter, banks, bank, size) = (r.u32(), r.u32(), r.u16(), r.u8());
    assert_eq!((banks, bank, size), (1, alg, 3));
    let came = (0..3).fold(0, |all, place| all | u32::from(r.u8()) << (8 * place));
    let values = (0..r.u32()).map(|_| r.sized()).collect();
    (counter, came, values)
}

fn value(client: &mut Client, alg: u16, pcr: u32) -> Vec<u8> {
    read(client, alg, 1 << pcr).2.remove(0)
}

fn extend(client: &mut Client, pcr: u32) -> u32 {
    client.pw(cc::PCR_EXTEND, &[pcr], b().u32(1).u16(0x0b).raw(&[7; 32])).rc
}

/// TPML_DIGEST_VALUES of all banks for an event.
fn digests(data: &[u8]) -> Bytes {
    let count = b().u32(BANKS.len() as u32);
    BANKS.iter().fold(count, |list, bank| list.u16(bank.id()).raw(&bank.hash(data)))
}

#[test]
fn extend_takes_one_digest_for_each_bank_that_is_named() {
    let mut client = Client::new();
    let both = b().u32(2).u16(4).raw(&[1; 20]).u16(0x0c).raw(&[2; 48]);
    client.pw(cc::PCR_EXTEND, &[3], both).ok();
    let sha1 = HashAlgorithm::Sha1.hash_parts(&[&[0; 20], &[1; 20]]);
    let sha384 = HashAlgorithm::Sha384.hash_parts(&[&[0; 48], &[2; 48]]);
    assert_eq!(value(&mut client, 4, 3), sha1.as_bytes());
    assert_eq!(value(&mut client, 0x0b, 3), [0; 32]);
    assert_eq!(value(&mut client, 0x0c, 3), sha384.as_bytes());
    let counter = read(&mut client, 4, 0).0;
    let null = b().u32(1).u16(0x0b).raw(&[7; 32]);
    client.pw(cc::PCR_EXTEND, &[NULL], null).ok();
    assert_eq!(read(&mut client, 4, 0).0, counter, "no PCR, no change");
    for (parameters, code) in [
        (b().u32(1).u16(0x12).raw(&[7; 32]), rc::param(1, rc::HASH)),
        (b().u32(5), rc::param(1, rc::SIZE)),
        (b().u32(1).u16(0x0b).raw(&[7; 33]), rc::SIZE),
    ] {
        assert_eq!(client.pw(cc::PCR_EXTEND, &[3], parameters).rc, code);
    }
    assert_eq!(client.pw(cc::PCR_EXTEND, &[24], b().u32(0)).rc, rc::handle(1, rc::VALUE));
}

#[test]
fn an_event_extends_all_banks_with_its_digests() {
    let data = b"the event";
    let extended = |bank: HashAlgorithm| {
        let zeros = vec![0; bank.digest_size()];
        bank.hash_parts(&[&zeros, &bank.hash(data)]).to_vec()
    };
    let mut client = Client::new();
    let answer = client.pw(cc::PCR_EVENT, &[5], b().sized(data)).ok();
    assert_eq!(answer.body, digests(data).0);
    let sequence = client.run(cc::HASH_SEQUENCE_START, &[], b().u16(0).u16(0x10)).ok().handle;
    client.pw(cc::SEQUENCE_UPDATE, &[sequence], b().sized(&data[..4])).ok();
    let both = vec![Auth::Password(b""), Auth::Password(b"")];
    let last = b().sized(&data[4..]);
    let answer = client.auth(cc::EVENT_SEQUENCE_COMPLETE, &[6, sequence], both, last).ok();
    assert_eq!(answer.body, digests(data).0);
    for bank in BANKS {
        assert_eq!(value(&mut client, bank.id(), 5), extended(bank));
        assert_eq!(value(&mut client, bank.id(), 6), extended(bank));
    }
    let counter = read(&mut client, 4, 0).0;
    assert_eq!(client.pw(cc::PCR_EVENT, &[NULL], b().sized(data)).ok().body, digests(data).0);
    assert_eq!(read(&mut client, 4, 0).0, counter);
}

#[test]
fn eight_values_come_at_a_time_with_their_selection() {
    let mut client = Client::new();
    let (_, came, values) = read(&mut client, 0x0b, 0x00ff_ffff);
    assert_eq!((came, values.len()), (0xff, 8));
    let (_, came, values) = read(&mut client, 0x0b, 0x00ff_ff00);
    assert_eq!((came, values.len()), (0xff00, 8));
    let (_, came, values) = read(&mut client, 0x0b, 0x0003_0000);
    assert_eq!((came, values), (0x0003_0000, vec![vec![0; 32], vec![0xff; 32]]));
    let (_, came, values) = read(&mut client, 0x0d, 0x00ff_ffff);
    assert_eq!((came, values.len()), (0, 0), "no bank of SHA-512");
    let two = b().u32(2).raw(&selection(0x0c, 0x7f).0).raw(&selection(4, 0x07).0);
    let answer = client.run(cc::PCR_READ, &[], two).ok();
    let came = b().raw(&selection(0x0c, 0x7f).0).raw(&selection(4, 0x01).0).u32(8);
    assert_eq!(answer.body[8..8 + came.0.len()], came.0, "eight over both banks");
    for (list, code) in [
        (b().u32(5), rc::param(1, rc::SIZE)),
        (b().u32(1).u16(0x0b).u8(2).raw(&[0, 0]), rc::param(1, rc::VALUE)),
        (b().u32(1).raw(&selection(0x12, 1).0), rc::param(1, rc::HASH)),
    ] {
        assert_eq!(client.run(cc::PCR_READ, &[], list).rc, code);
    }
}

#[test]
fn the_update_counter_passes_over_the_debug_and_application_pcrs() {
    let mut client = Client::new();
    client.env.locality = 2;
    for pcr in [0, 15, 16, 17, 18, 19, 20, 21, 22, 23] {
        let before = read(&mut client, 4, 0).0;
        assert_eq!(extend(&mut client, pcr), 0);
        let counts = !matches!(pcr, 16 | 21 | 22 | 23);
        assert_eq!(read(&mut client, 4, 0).0 - before, u32::from(counts), "PCR {pcr}");
    }
}

/// The PCRs that have a property of TPM_PT_PCR.
fn property(client: &mut Client, tag: u32) -> u32 {
    let answer = client.run(cc::GET_CAPABILITY, &[], b().u32(7).u32(tag).u32(1)).ok();
    let mut r = answer.fields();
    r.take(9);
    assert_eq!((r.u32(), r.u8()), (tag, 3), "the property is listed");
    (0..3).fold(0, |all, place| all | u32::from(r.u8()) << (8 * place))
}

#[test]
fn localities_extend_and_reset_exactly_the_pcrs_that_are_listed() {
    let mut client = Client::new();
    // Entries from the table of the PC Client profile.
    assert_eq!(property(&mut client, 0x01) & 0x00ff_ffff, 0x0081_ffff, "extended at locality 0");
    assert_eq!(property(&mut client, 0x0a) & 0x000e_0000, 0x000e_0000, "reset at locality 4");
    for locality in 0..5 {
        let extends = property(&mut client, 1 + 2 * u32::from(locality));
        let resets = property(&mut client, 2 + 2 * u32::from(locality));
        client.env.locality = locality;
        for pcr in 0..24 {
            let code = |allowed: u32| if allowed >> pcr & 1 != 0 { 0 } else { rc::LOCALITY };
            assert_eq!(extend(&mut client, pcr), code(extends), "extend {pcr} at {locality}");
            let rc = client.pw(cc::PCR_RESET, &[pcr], b()).rc;
            assert_eq!(rc, code(resets), "reset {pcr} at {locality}");
            if rc == 0 {
                assert_eq!(value(&mut client, 0x0b, pcr), [0; 32]);
            }
        }
        client.env.locality = 0;
    }
}

#[test]
fn a_group_of_pcrs_has_a_value_until_the_next_clear() {
    let mut client = Client::new();
    client.env.locality = 2;
    let set = |client: &mut Client, pcr: u32, old: &[u8]| {
        client.auth(cc::PCR_SET_AUTH_VALUE, &[pcr], vec![Auth::Password(old)], b().sized(b"new")).rc
    };
    assert_eq!(set(&mut client, 16, b""), rc::handle(1, rc::VALUE), "not of the group");
    assert_eq!(set(&mut client, 20, b""), 0);
    assert_eq!(set(&mut client, 21, b""), rc::session(1, rc::BAD_AUTH), "of the same group");
    assert_eq!(extend(&mut client, 22), rc::session(1, rc::BAD_AUTH));
    let parameters = b().u32(1).u16(0x0b).raw(&[7; 32]);
    client.auth(cc::PCR_EXTEND, &[22], vec![Auth::Password(b"new")], parameters).ok();
    client.env.locality = 0;
    client.run(cc::SHUTDOWN, &[], b().u16(1)).ok();
    for (kind, code) in [(1, rc::session(1, rc::BAD_AUTH)), (0, 0)] {
        client.power_cycle();
        client.startup(kind);
        client.env.locality = 2;
        assert_eq!(extend(&mut client, 22), code);
        client.env.locality = 0;
        client.run(cc::SHUTDOWN, &[], b().u16(1)).ok();
    }
}

/// Uses a policy session with PolicyCommandCode(PCR_Extend) on PCR 20.
fn extend_by_policy(client: &mut Client) -> u32 {
    let mut session = client.session(1);
    let code = b().u32(cc::PCR_EXTEND);
    client.run(cc::POLICY_COMMAND_CODE, &[session.handle], code).ok();
    let auth = vec![Auth::Session(&mut session, b"", 0)];
    let parameters = b().u32(1).u16(0x0b).raw(&[7; 32]);
    client.auth(cc::PCR_EXTEND, &[20], auth, parameters).rc
}

#[test]
fn a_group_of_pcrs_has_a_policy_until_the_platform_seed_changes() {
    let mut client = Client::new();
    client.env.locality = 2;
    assert_eq!(extend_by_policy(&mut client), rc::AUTH_UNAVAILABLE);
    let code = b().raw(&[0; 32]).u32(cc::POLICY_COMMAND_CODE).u32(cc::PCR_EXTEND);
    let policy = HashAlgorithm::Sha256.hash(&code.0);
    let mut set = |policy: &[u8], alg: u16, pcr: u32| {
        let parameters = b().sized(policy).u16(alg).u32(pcr);
        client.pw(cc::PCR_SET_AUTH_POLICY, &[PLATFORM], parameters).rc
    };
    for (policy, alg, pcr, code) in [
        (&policy[..31], 0x0b, 20, rc::param(1, rc::SIZE)),
        (&policy, 0x10, 20, rc::param(1, rc::SIZE)),
        (&[], 0x0b, 20, rc::param(1, rc::SIZE)),
        (&policy, 0x12, 20, rc::param(2, rc::HASH)),
        (&policy, 0x0b, 19, rc::param(3, rc::VALUE)),
        (&policy, 0x0b, 24, rc::param(3, rc::VALUE)),
        (&policy, 0x0b, 21, 0),
    ] {
        assert_eq!(set(policy, alg, pcr), code, "{alg:#x} {pcr}");
    }
    assert_eq!(extend_by_policy(&mut client), 0);
    client.env.locality = 0;
    client.power_cycle();
    client.startup(0);
    client.env.locality = 2;
    assert_eq!(extend_by_policy(&mut client), 0, "it is stored");
    client.pw(cc::CHANGE_PPS, &[PLATFORM], b()).ok();
    assert_eq!(extend_by_policy(&mut client), rc::AUTH_UNAVAILABLE);
}

#[test]
fn an_allocation_is_in_force_from_the_next_reset_on() {
    let mut client = Client::new();
    let all = 0x00ff_ffff;
    let allocate = |client: &mut Client, list: &[(u16, u32)]| {
        let count = b().u32(list.len() as u32);
        let list = list.iter().fold(count, |all, &(alg, bits)| all.raw(&selection(alg, bits).0));
        client.pw(cc::PCR_ALLOCATE, &[PLATFORM], list)
    };
    let answer = allocate(&mut client, &[(4, 0), (0x0c, 1)]).ok();
    // allocationSuccess, maxPCR, sizeNeeded, sizeAvailable.
    let (needed, available) = (24 * 32 + 48, 24 * (20 + 32 + 48));
    assert_eq!(answer.body, b().u8(1).u32(24).u32(needed).u32(available).0);
    assert_eq!(value(&mut client, 4, 0), [0; 20], "not in force yet");
    client.power_cycle();
    client.startup(0);
    assert_eq!(read(&mut client, 4, all).1, 0);
    assert_eq!(read(&mut client, 0x0c, all).1, 1);
    let listed = client.run(cc::GET_CAPABILITY, &[], b().u32(5).u32(0).u32(9)).ok().body;
    let banks = [(4, 0), (0x0b, all), (0x0c, 1)];
    let banks =
        banks.iter().fold(b().u32(3), |list, &(alg, bits)| list.raw(&selection(alg, bits).0));
    assert_eq!(listed[5..], banks.0);
    let digests = b().u32(2).u16(4).raw(&[1; 20]).u16(0x0c).raw(&[2; 48]);
    client.pw(cc::PCR_EXTEND, &[0], digests).ok();
    client.pw(cc::PCR_EVENT, &[1], b().sized(b"x")).ok();
    assert_ne!(value(&mut client, 0x0c, 0), [0; 48]);
    for (list, code) in [
        (&[(0x0b, all & !1), (0x0c, 0)][..], rc::PCR),
        (&[(0x0b, all & !(1 << 17))], rc::PCR),
        (&[(0x0d, 1)], rc::param(1, rc::VALUE)),
        (&[(0x0d, 0)], 0),
        (&[(4, all), (0x0b, all), (0x0c, all)], 0),
    ] {
        assert_eq!(allocate(&mut client, list).rc, code, "{list:x?}");
    }
    client.power_cycle();
    client.startup(0);
    assert_eq!(value(&mut client, 4, 0), [0; 20]);
}
