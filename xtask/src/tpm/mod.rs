//! The TPM engine against swtpm: the same commands to both, over sockets of the same kind.

mod commands;
mod peers;
mod random;
mod speed;
mod suites;

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;

use commands::Generator;
use peers::{Peer, Peers, code};
pub use suites::run as suites;

/// Differences in size that are meant: the command code, and why the two may differ there.
const EXPLAINED: [(u32, &str); 2] = [
    (0x17A, "TPM2_GetCapability: what is built, and who made it, is each one's own"),
    (0x17C, "TPM2_GetTestResult: outData is the maker's"),
];

/// Differences in code that are meant: the command code, or 0 for any; our code; swtpm's; and why.
const EXPLAINED_CODES: [(u32, u32, u32, &str); 9] = [
    (0, 0x144, 0x095, "Part 3, 5.5: an authorizationSize beyond the command is TPM_RC_AUTHSIZE"),
    (0, 0x144, 0x09A, "as above"),
    (0x131, 0, 0x902, "swtpm has three object slots, we have seven"),
    (0x176, 0, 0x903, "swtpm has three session slots, we have sixteen"),
    (0x137, 0x282, 0x082, "Part 2, 6.6: both are TPM_RC_ATTRIBUTES; ours names the handle, too"),
    (0x178, 0x1E6, 0, "curves that are not built"),
    (0x178, 0x1E6, 0x095, "the same, with bytes after it"),
    (0x17A, 0x1C4, 0x2C4, "TPM_CAP_ACT: there is no authenticated countdown timer"),
    (0x17A, 0x1C4, 0x2DA, "as above, cut short"),
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
    let is_it = |entry: &(u32, u32, u32, &str)| {
        (entry.0 == 0 || entry.0 == of) && (entry.1, entry.2) == (ours, theirs)
    };
    EXPLAINED_CODES.iter().any(is_it)
}

/// Measures both and prints the ratios.
pub fn bench(runs: usize) -> Result<ExitCode> {
    speed::run(&mut Peers::to_measure()?, runs)
}

fn command_code(command: &[u8]) -> u32 {
    command
        .get(6..10)
        .map_or(0, |code| code.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
