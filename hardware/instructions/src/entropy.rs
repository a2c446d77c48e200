//! Random bytes from the CPU's generator.
//!
//! RDSEED where the CPU has it, else RDRAND (Intel SDM vol. 1, 7.3.17). A generator that stops, or
//! that gives the same again, counts as none.

use crate::{cpuid, rdrand, rdseed};

/// CPUID 1, ECX.
const RDRAND: u32 = 1 << 30;
/// CPUID 7, EBX.
const RDSEED: u32 = 1 << 18;
/// Tries for one word: RDRAND fails ten times in a row only if it is broken, RDSEED also if the
/// other CPUs drain it.
const TRIES: u32 = 1000;

/// Fills `to`; false without a working source.
pub fn fill(to: &mut [u8]) -> bool {
    fill_by(cpuid, to)
}

/// Fills `to`, where CPUID can not be executed and `cpuid` answers in its place; false without a
/// working source.
pub fn fill_by(cpuid: impl Fn(u32, u32) -> [u32; 4], to: &mut [u8]) -> bool {
    let Some(source) = source(cpuid) else { return false };
    let Some(mut last) = word(source) else { return false };
    for part in to.chunks_mut(8) {
        let Some(next) = word(source) else { return false };
        // Of 64 random bits, two words in a row are never equal; some CPUs gave all ones for ever.
        if next == last {
            return false;
        }
        last = next;
        for (byte, random) in part.iter_mut().zip(next.to_le_bytes()) {
            *byte = random;
        }
    }
    true
}

/// The instruction to use.
fn source(cpuid: impl Fn(u32, u32) -> [u32; 4]) -> Option<fn() -> Option<u64>> {
    let has_seed = cpuid(0, 0)[0] >= 7 && cpuid(7, 0)[1] & RDSEED != 0;
    if has_seed {
        return Some(rdseed);
    }
    (cpuid(1, 0)[2] & RDRAND != 0).then_some(rdrand)
}

fn word(source: fn() -> Option<u64>) -> Option<u64> {
    (0..TRIES).find_map(|_| {
        let word = source();
        if word.is_none() {
            core::hint::spin_loop();
        }
        word
    })
}
