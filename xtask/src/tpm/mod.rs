//! Compares the TPM engine with swtpm: both get the same commands, over the same kind of socket.

mod commands;
pub mod peers;
mod random;
mod speed;
mod suites;

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;

use commands::Generator;
use rustix::thread::{sched_getaffinity, sched_setaffinity};
use serde_json::Value;

use peers::{Peer, Peers, code};
pub use suites::run as suites;

/// Accepted differences in size: the command code, and the reason for the difference.
const EXPLAINED: [(u32, &str); 2] = [
    (0x17A, "TPM2_GetCapability: what is built, and who made it, is each one's own"),
    (0x17C, "TPM2_GetTestResult: outData is the maker's"),
];

/// Generated commands with an authorization area: PCR_Extend, PCR_Reset, CreatePrimary, Sign, and
/// those of NV.
const AUTHORIZED: &[u32] = &[0x182, 0x13D, 0x131, 0x15D, 0x12A, 0x122, 0x137, 0x14E, 0x134];
/// Generated commands with the handle of a policy session.
const OF_POLICIES: &[u32] = &[0x180, 0x16B, 0x18C, 0x189, 0x16C];

/// Generated commands with the handle of an object: Sign, ECDH_KeyGen, ReadPublic.
const OF_OBJECTS: &[u32] = &[0x15D, 0x163, 0x173];

/// Accepted differences in response code: command codes, our code, swtpm's, and the reason.
const EXPLAINED_CODES: [(&[u32], u32, u32, &str); 16] = [
    (AUTHORIZED, 0x144, 0x095, "Part 3, 5.5: an authorizationSize out of range is TPM_RC_AUTHSIZE"),
    (AUTHORIZED, 0x144, 0x09A, "the same, cut short"),
    (
        OF_POLICIES,
        0x910,
        0x18B,
        "Part 3, 5.4: no such session in memory is TPM_RC_REFERENCE_H0; swtpm looks at the place \
         that an HMAC session has",
    ),
    (&[0x15D], 0x3D7, 0x3C4, "Part 2, 10.7.5: a tag that is not TPM_ST_HASHCHECK is TPM_RC_TAG"),
    (&[0x131], 0x000, 0x902, "swtpm has three object slots, we have seven"),
    (&[0x131], 0x2E6, 0x902, "the same, for a curve that is not there"),
    (OF_OBJECTS, 0x910, 0x184, "the same: to swtpm the handles of the other four are out of range"),
    (&[0x165], 0x1CB, 0x1C4, "the same, where the handle is a parameter"),
    (&[0x176], 0x000, 0x903, "swtpm has three session slots, we have sixteen"),
    (&[0x137], 0x282, 0x082, "Part 2, 6.6: both are TPM_RC_ATTRIBUTES; ours names the handle, too"),
    (&[0x178], 0x1E6, 0x000, "curves that are not built"),
    (&[0x178], 0x1E6, 0x095, "the same, with bytes after it"),
    (&[0x17A], 0x1C4, 0x2C4, "TPM_CAP_ACT: there is no authenticated countdown timer"),
    (&[0x17A], 0x1C4, 0x2DA, "the same, cut short"),
    (&[0x17A], 0x1C4, 0x3DA, "the same, cut shorter"),
    (&[0x17A], 0x1C4, 0x095, "the same, with bytes after it"),
];

/// Sends `count` generated commands to both and prints where codes or sizes differ.
pub fn compare(seed: u64, count: usize) -> Result<ExitCode> {
    let mut peers = Peers::to_compare()?;
    let mut generator = Generator::new(seed);
    let mut differences: BTreeMap<(u32, u32, u32), (usize, usize, usize)> = BTreeMap::new();
    let (mut equal, mut explained) = (0, 0);
    for number in 0..count {
        let command = generator.next(number);
        let ours = peers.ours.send(&command)?;
        let theirs = peers.theirs.send(&command)?;
        peers.realign(&command, &ours, &theirs)?;
        let same_code = code(&ours) == code(&theirs);
        if same_code && ours.len() == theirs.len() {
            equal += 1;
            continue;
        }
        let of = command_code(&command);
        if is_explained(of, code(&ours), code(&theirs)) {
            explained += 1;
            continue;
        }
        let entry = differences.entry((of, code(&ours), code(&theirs)));
        let first = (number, ours.len(), theirs.len());
        let (times, ..) = entry.and_modify(|known| known.0 += 1).or_insert((1, first.1, first.2));
        if *times == 1 {
            println!("command {number}: {}", hex(&command));
        }
    }
    println!("seed {seed}: {count} commands, {equal} equal, {explained} differ as explained");
    for ((of, ours, theirs), (times, our_size, their_size)) in &differences {
        println!(
            "  command {of:#x}: {times} times ours {ours:#x} ({our_size} bytes), swtpm {theirs:#x} \
             ({their_size} bytes)"
        );
    }
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_explained(of: u32, ours: u32, theirs: u32) -> bool {
    if ours == theirs {
        return EXPLAINED.iter().any(|(command, _)| *command == of);
    }
    let is_it = |entry: &(&[u32], u32, u32, &str)| {
        entry.0.contains(&of) && (entry.1, entry.2) == (ours, theirs)
    };
    EXPLAINED_CODES.iter().any(is_it)
}

/// Measures both, prints the ratios and returns the figures.
pub fn bench(runs: usize) -> Result<Value> {
    let all = sched_getaffinity(None)?;
    let figures = speed::run(&mut Peers::to_measure()?, runs);
    // Restore the affinity: later measurements may use all CPUs.
    sched_setaffinity(None, &all)?;
    figures
}

fn command_code(command: &[u8]) -> u32 {
    command
        .get(6..10)
        .map_or(0, |code| code.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
