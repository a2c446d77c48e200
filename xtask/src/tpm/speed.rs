//! Time per command of our engine compared with swtpm, alternating so that both run under the same
//! load.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use super::commands::{
    Builder, cipher_key, create_primary, define, hmac_key, sign, signing_key, start_session,
};
use super::peers::{Peer, Peers, Simulator, code};

const OWNER: u32 = 0x4000_0001;
const INDEX: u32 = 0x0150_0010;
/// The first handle of an object, and of an HMAC session.
const OBJECT: u32 = 0x8000_0000;
const SESSION: u32 = 0x0200_0000;
/// Commands to one server before switching to the other: a real client uses one TPM at a time.
const TURN: usize = 20;

/// One measured command.
struct Case {
    name: &'static str,
    /// Only one of this many runs is made.
    part: usize,
    /// The public area of the key that is loaded as [`OBJECT`].
    key: Option<fn() -> Vec<u8>>,
    /// The command of a run.
    command: fn(usize) -> Vec<u8>,
    /// The handle that the command creates, which must be flushed.
    makes: Option<u32>,
}

impl Case {
    const fn of(name: &'static str, command: fn(usize) -> Vec<u8>) -> Self {
        Self { name, part: 1, key: None, command, makes: None }
    }

    const fn with_key(self, key: fn() -> Vec<u8>) -> Self {
        Self { key: Some(key), ..self }
    }

    const fn making(self, handle: u32) -> Self {
        Self { makes: Some(handle), ..self }
    }

    const fn one_of(self, part: usize) -> Self {
        Self { part, ..self }
    }
}

const CASES: [Case; 13] = [
    Case::of("GetRandom, 32 bytes", |_| Builder::plain(0x17B, &[]).u16(32).done()),
    Case::of("PCR_Read", |_| Builder::plain(0x17E, &[]).u32(1).u16(11).bytes(&[3, 1, 0, 0]).done()),
    Case::of("PCR_Extend", |_| {
        Builder::authorized(0x182, &[16]).u32(1).u16(11).bytes(&[7; 32]).done()
    }),
    Case::of("StartAuthSession", |_| start_session(0)).making(SESSION),
    Case::of("NV_Read, 32 bytes", |_| {
        Builder::authorized(0x14E, &[OWNER, INDEX]).u16(32).u16(0).done()
    }),
    Case::of("NV_Write, 32 bytes", |run| nv_write(run as u8)),
    Case::of("Hash, 1000 bytes", |_| {
        Builder::plain(0x17D, &[]).sized(&[7; 1000]).u16(11).u32(OWNER).done()
    }),
    Case::of("HMAC, 1000 bytes", |_| {
        Builder::authorized(0x155, &[OBJECT]).sized(&[7; 1000]).u16(11).done()
    })
    .with_key(hmac_key),
    Case::of("EncryptDecrypt2, 1000 bytes", |_| {
        let data = Builder::authorized(0x193, &[OBJECT]).sized(&[7; 1000]);
        data.bytes(&[0]).u16(0x0043).sized(&[0; 16]).done()
    })
    .with_key(cipher_key),
    Case::of("Sign, ECDSA P-256", |_| sign(OBJECT, &[9; 32])).with_key(|| signing_key(false, &[])),
    Case::of("Sign, RSASSA 2048", |_| sign(OBJECT, &[9; 32]))
        .with_key(|| signing_key(true, &[]))
        .one_of(4),
    Case::of("CreatePrimary, P-256", |_| create_primary(OWNER, &signing_key(false, &[])))
        .making(OBJECT)
        .one_of(4),
    Case::of("CreatePrimary, RSA 2048", |run| {
        let mut unique = [0; 256];
        unique[..8].copy_from_slice(&run.to_be_bytes());
        create_primary(OWNER, &signing_key(true, &unique))
    })
    .making(OBJECT)
    .one_of(8),
];

/// Measures every case and prints medians and ratios.
pub fn run(peers: &mut Peers, runs: usize) -> Result<Value> {
    let mut figures = Map::new();
    both(peers, &define(INDEX, 0x0002_0002, 32))?;
    both(peers, &nv_write(0))?;
    println!("{:28} {:>10} {:>10} {:>6}", "median of a command", "ours", "swtpm", "ratio");
    let socket = median(idle(&mut peers.ours, runs)?).as_secs_f64() * 1e6;
    println!("{:28} {socket:>7.1} µs", "none: the socket alone");
    figures.insert("socket".to_owned(), json!({ "ours": socket }));
    for case in &CASES {
        if let Some(key) = case.key {
            both(peers, &create_primary(OWNER, &key()))?;
        }
        let (mut ours, mut theirs) = (vec![], vec![]);
        for turn in 0..(runs / case.part).max(1).div_ceil(TURN) {
            let of_turn = turn * TURN..(turn + 1) * TURN;
            take_turn(&mut peers.ours, case, of_turn.clone(), &mut ours)?;
            take_turn(&mut peers.theirs, case, of_turn, &mut theirs)?;
        }
        if case.key.is_some() {
            both(peers, &flush(OBJECT))?;
        }
        let (ours, theirs) = (median(ours), median(theirs));
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        println!("{:28} {:>7.1} µs {:>7.1} µs {ratio:>6.2}", case.name, us(ours), us(theirs));
        let both = json!({ "ours": us(ours), "swtpm": us(theirs), "ratio": ratio });
        figures.insert(case.name.to_owned(), both);
    }
    Ok(Value::Object(figures))
}

/// Times messages that do not involve the TPM.
fn idle(peer: &mut Simulator, runs: usize) -> Result<Vec<Duration>> {
    let time = |_| {
        let start = Instant::now();
        peer.idle().map(|()| start.elapsed())
    };
    (0..runs).map(time).collect()
}

fn take_turn(
    peer: &mut impl Peer,
    case: &Case,
    runs: std::ops::Range<usize>,
    times: &mut Vec<Duration>,
) -> Result<()> {
    for run in runs {
        times.push(timed(peer, &(case.command)(run))?);
        if let Some(handle) = case.makes {
            timed(peer, &flush(handle))?;
        }
    }
    Ok(())
}

fn nv_write(byte: u8) -> Vec<u8> {
    Builder::authorized(0x137, &[OWNER, INDEX]).sized(&[byte; 32]).u16(0).done()
}

fn flush(handle: u32) -> Vec<u8> {
    Builder::plain(0x165, &[]).u32(handle).done()
}

fn both(peers: &mut Peers, command: &[u8]) -> Result<()> {
    timed(&mut peers.ours, command)?;
    timed(&mut peers.theirs, command)?;
    Ok(())
}

fn timed(peer: &mut impl Peer, command: &[u8]) -> Result<Duration> {
    let start = Instant::now();
    let response = peer.send(command)?;
    let time = start.elapsed();
    if code(&response) != 0 {
        bail!("a measured command fails: {:#x}", code(&response));
    }
    Ok(time)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
