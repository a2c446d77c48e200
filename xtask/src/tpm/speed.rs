//! Time per command, ours against swtpm's, alternating so that both meet the same machine.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::commands::{Builder, create_primary, define, sign, signing_key};
use super::peers::{Peer, Peers, code};

const OWNER: u32 = 0x4000_0001;
const INDEX: u32 = 0x0150_0010;
const ECC_KEY: u32 = 0x8000_0000;
const RSA_KEY: u32 = 0x8000_0001;
const NEW_KEY: u32 = 0x8000_0002;

/// What is measured: name, one of how many runs, the command of a run.
type Case = (&'static str, usize, fn(usize) -> Vec<u8>);

const CASES: [Case; 9] = [
    ("GetRandom, 32 bytes", 1, |_| Builder::plain(0x17B, &[]).u16(32).done()),
    ("PCR_Read", 1, |_| Builder::plain(0x17E, &[]).u32(1).u16(11).bytes(&[3, 1, 0, 0]).done()),
    ("PCR_Extend", 1, |_| Builder::authorized(0x182, &[16]).u32(1).u16(11).bytes(&[7; 32]).done()),
    ("Hash, 1000 bytes", 1, |_| {
        Builder::plain(0x17D, &[]).sized(&[7; 1000]).u16(11).u32(OWNER).done()
    }),
    ("NV_Read, 32 bytes", 1, |_| Builder::authorized(0x14E, &[OWNER, INDEX]).u16(32).u16(0).done()),
    ("Sign, ECDSA P-256", 1, |_| sign(ECC_KEY, &[9; 32])),
    ("Sign, RSASSA 2048", 4, |_| sign(RSA_KEY, &[9; 32])),
    ("CreatePrimary, P-256", 4, |_| create_primary(OWNER, &signing_key(false, &[]))),
    ("CreatePrimary, RSA 2048", 16, |run| {
        let mut unique = [0; 256];
        unique[..8].copy_from_slice(&run.to_be_bytes());
        create_primary(OWNER, &signing_key(true, &unique))
    }),
];

/// Measures every case and prints medians and ratios.
pub fn run(peers: &mut Peers, runs: usize) -> Result<ExitCode> {
    let set_up = [
        create_primary(OWNER, &signing_key(false, &[])),
        create_primary(OWNER, &signing_key(true, &[])),
        define(INDEX, 0x0002_0002, 32),
        Builder::authorized(0x137, &[OWNER, INDEX]).sized(&[3; 32]).u16(0).done(),
    ];
    for command in &set_up {
        timed(&mut peers.ours, command)?;
        timed(&mut peers.theirs, command)?;
    }
    println!("{:26} {:>10} {:>10} {:>6}", "median of a command", "ours", "swtpm", "ratio");
    for (name, part, command) in CASES {
        let (mut ours, mut theirs) = (vec![], vec![]);
        for run in 0..(runs / part).max(3) {
            let command = command(run);
            ours.push(timed(&mut peers.ours, &command)?);
            theirs.push(timed(&mut peers.theirs, &command)?);
            if name.starts_with("CreatePrimary") {
                let flush = Builder::plain(0x165, &[]).u32(NEW_KEY).done();
                timed(&mut peers.ours, &flush)?;
                timed(&mut peers.theirs, &flush)?;
            }
        }
        let (ours, theirs) = (median(ours), median(theirs));
        let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
        let us = |time: Duration| time.as_micros();
        println!("{name:26} {:>7} µs {:>7} µs {ratio:>6.2}", us(ours), us(theirs));
    }
    Ok(ExitCode::SUCCESS)
}

fn timed(peer: &mut impl Peer, command: &[u8]) -> Result<Duration> {
    let start = Instant::now();
    let response = peer.send(command)?;
    let time = start.elapsed();
    if code(&response) != 0 {
        bail!("a command that is measured fails: {:#x}", code(&response));
    }
    Ok(time)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
