//! Damaged commands: each response is well-formed, a refused command changes no state.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::client::*;

/// A valid command with empty passwords.
fn command(code: u32, handles: &[u32], auths: u32, parameters: Bytes) -> Vec<u8> {
    let mut body = handles.iter().fold(b(), |body, &handle| body.u32(handle));
    if auths > 0 {
        body = body.u32(9 * auths);
    }
    for _ in 0..auths {
        body = body.u32(0x4000_0009).u16(0).u8(1).u16(0);
    }
    let body = body.raw(&parameters.0).0;
    let tag = if auths > 0 { 0x8002 } else { 0x8001 };
    b().u16(tag).u32(10 + body.len() as u32).u32(code).raw(&body).0
}

const INDEX: u32 = 0x0150_0000;
const KEY: u32 = 0x8000_0000;
const SEALED: u32 = 0x8000_0001;
const SIGNER: u32 = 0x8000_0002;
const POLICY: u32 = 0x0300_0001;

/// A TPM that holds an entity of every kind.
fn furnished() -> Client {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    client.child(parent, &sealed(), b"", b"data");
    client.primary(ENDORSEMENT, &ecc_attestation_key());
    client.session(0);
    client.session(1);
    let public = b().u32(INDEX).u16(0x0b).u32(1 << 1 | 1 << 17 | 1 << 25).u16(0).u16(8);
    client.pw(0x12a, &[OWNER], b().u16(0).sized(&public.0)).ok();
    client.pw(0x137, &[OWNER, INDEX], b().sized(&[1; 8]).u16(0)).ok();
    client
}

/// Valid commands for the TPM above, each of which succeeds.
fn corpus() -> Vec<Vec<u8>> {
    let selection = b().u32(1).u16(0x0b).u8(3).raw(&[1, 0, 0]);
    let sensitive = b().sized(&b().sized(b"").sized(b"data").0);
    let create = sensitive.sized(&sealed().0).u16(0).u32(0);
    let primary = b().u16(4).u32(0).sized(&ecc_srk().0).u16(0).u32(0);
    let public = b().u32(INDEX + 1).u16(0x0b).u32(1 << 1 | 1 << 17).u16(0).u16(8);
    let session = b().sized(&[1; 16]).u16(0).u8(0).u16(6).u16(128).u16(0x43).u16(0x0b);
    let info = b().sized(&[0, 0]).u16(0).u16(6);
    vec![
        command(0x131, &[OWNER], 1, primary),
        command(0x153, &[KEY], 1, create),
        command(0x15e, &[SEALED], 1, b()),
        command(0x158, &[SIGNER], 1, b().sized(b"n").u16(0x10).raw(&selection.0)),
        command(0x12a, &[OWNER], 1, b().u16(0).sized(&public.0)),
        command(0x137, &[OWNER, INDEX], 1, b().sized(b"data").u16(2)),
        command(0x14e, &[OWNER, INDEX], 1, b().u16(8).u16(0)),
        command(0x122, &[OWNER, INDEX], 1, b()),
        command(0x182, &[3], 1, b().u32(1).u16(0x0b).raw(&[7; 32])),
        command(0x17e, &[], 0, selection.clone()),
        command(0x176, &[NULL, NULL], 0, session),
        command(0x17f, &[POLICY], 0, b().u16(0).raw(&selection.0)),
        command(0x149, &[OWNER, INDEX, POLICY], 1, b().sized(&[1]).u16(0).u16(0)),
        command(0x16d, &[POLICY], 0, info),
        command(0x171, &[POLICY], 0, b().u32(2).sized(&[0; 32]).sized(&[1; 32])),
        command(0x188, &[POLICY], 0, b().sized(&[1; 34]).sized(&[2; 34]).u8(1)),
        command(0x162, &[KEY], 0, b()),
        command(0x120, &[OWNER, KEY], 1, b().u32(0x8100_0000)),
        command(0x129, &[OWNER], 1, b().sized(b"new")),
        command(0x140, &[OWNER], 1, b().u16(0x10).u32(1).u32(0x182).u32(0)),
        command(0x12b, &[PLATFORM], 1, selection),
        command(0x121, &[PLATFORM], 1, b().u32(OWNER).u8(0)),
        command(0x128, &[OWNER], 1, b().u64(9000)),
        command(0x13a, &[LOCKOUT], 1, b().u32(2).u32(3).u32(4)),
        command(0x126, &[LOCKOUT], 1, b()),
        command(0x17d, &[], 0, b().sized(b"data").u16(0x0b).u32(OWNER)),
        command(0x18b, &[SIGNER], 1, b().raw(&[0, 4, 0, 0, 0, 0]).u16(0).u16(0)),
        command(0x18e, &[], 0, b().u16(3)),
        command(0x145, &[], 0, b().u16(1)),
        command(0x17a, &[], 0, b().u32(6).u32(0x100).u32(99)),
    ]
}

/// A way to damage a command.
#[derive(Clone, Debug)]
enum Damage {
    Flip(usize, u8),
    Cut(usize),
    Grow(Vec<u8>),
    /// Replaces a 16-bit word: sizes, algorithms, counts.
    Word(usize, u16),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        match self {
            Self::Flip(place, bit) => bytes[place % length] ^= 1 << bit,
            Self::Cut(keep) => bytes.truncate(keep % length),
            Self::Grow(more) => bytes.extend(more),
            Self::Word(place, word) => {
                let place = place % (length - 1);
                bytes[place..place + 2].copy_from_slice(&word.to_be_bytes());
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let word = prop_oneof![0u16..70, Just(u16::MAX), any::<u16>()];
    prop_oneof![
        (10usize..200, 0u8..8).prop_map(|(place, bit)| Damage::Flip(place, bit)),
        any::<usize>().prop_map(Damage::Cut),
        proptest::collection::vec(any::<u8>(), 1..9).prop_map(Damage::Grow),
        (10usize..200, word).prop_map(|(place, word)| Damage::Word(place, word)),
    ]
}

fn state(client: &Client) -> (Vec<u8>, usize) {
    let saved = postcard::to_allocvec(&client.tpm.save()).expect("plain data");
    (saved, client.env.commits)
}

#[test]
fn the_corpus_is_valid() {
    for bytes in corpus() {
        let mut client = furnished();
        let response = client.send(&bytes, 0);
        let code = &bytes[6..10];
        // Commit needs an ECDAA key; the others succeed.
        let wanted: &[u8] = if code == [0, 0, 1, 0x8b] { &[0, 0, 1, 0x92] } else { &[0; 4] };
        assert_eq!(&response[6..10], wanted, "{code:x?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn damaged_commands_change_nothing_when_they_fail(
        number in any::<prop::sample::Index>(),
        damages in proptest::collection::vec(damage(), 1..4),
        right_size in any::<bool>(),
    ) {
        let mut client = furnished();
        let mut bytes = number.get(&corpus()).clone();
        for one in &damages {
            if bytes.len() > 1 {
                one.apply(&mut bytes);
            }
        }
        if right_size && bytes.len() >= 6 {
            let size = (bytes.len() as u32).to_be_bytes();
            bytes[2..6].copy_from_slice(&size);
        }
        let before = state(&client);
        let response = client.send(&bytes, 0);
        let rc = u32::from_be_bytes(response[6..10].try_into().expect("four bytes"));
        // TPM_RC_AUTH_FAIL increments failedTries; all other failures leave the state unchanged.
        if rc != 0 && rc & 0xbf != 0x8e {
            prop_assert_eq!(response.len(), 10);
            prop_assert!(state(&client) == before, "{:x?} answered {:#x} and changed", bytes, rc);
        }
    }
}
