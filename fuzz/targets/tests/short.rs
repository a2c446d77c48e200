//! A short run of every target with seeded inputs: the same in every run.

use fuzz_targets::{TARGETS, Target};

/// Inputs a target gets.
const RUNS: u64 = 30_000;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Bytes of a random length; in half of the inputs most bytes are small, as register values are.
fn bytes(random: &mut Random) -> Vec<u8> {
    let length = random.next() % 700;
    let small = random.next() & 1 != 0;
    (0..length)
        .map(|_| {
            let value = random.next();
            if small && value & 0x300 != 0 { (value & 7) as u8 } else { value as u8 }
        })
        .collect()
}

fn run(name: &str, seed: u64) {
    let target: Target =
        TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target).expect("known");
    let mut random = Random(seed);
    for _ in 0..RUNS {
        target(&bytes(&mut random));
    }
}

macro_rules! short_runs {
    ($($name:ident)*) => {
        $(#[test] fn $name() { run(stringify!($name), 1); })*

        #[test]
        fn every_target_has_a_short_run() {
            let tested = [$(stringify!($name)),*];
            for (name, _) in TARGETS {
                assert!(tested.contains(name), "{name}");
            }
        }
    };
}

short_runs!(
    config report kernel memory_map decode emulate apic chipset state_file tpm_command tpm_sequence tpm_context
    tpm_records tpm_crb igvm_file igvm_headers ghcb guest_message launch vmsa
    rmp ghcb_answers doorbell exit_information launch_pages
);
