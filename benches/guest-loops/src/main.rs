//! Loops that a guest runs to show the cost of a paravisor below it.
//!
//! Each prints a line `NAME SECONDS`; the same program runs in a guest that boots directly. With the
//! argument `tpm` the loops are commands to the TPM.
#![forbid(unsafe_code)]

mod tpm;

use std::env;
use std::hint::black_box;
use std::io::{self, Read, Write, pipe};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};

const COMPUTE_STEPS: u64 = 300_000_000;
/// 64 MiB of 8-byte words.
const WORDS: usize = 8 << 20;
const RANDOM_STEPS: usize = 4_000_000;
const ROUND_TRIPS: usize = 5_000;
const WAKE_UPS: usize = 10_000;
const NAP: Duration = Duration::from_micros(100);

fn main() -> io::Result<()> {
    if env::args().nth(1).as_deref() == Some("tpm") { tpm::run() } else { run() }
}

fn run() -> io::Result<()> {
    print("compute", compute);
    let memory = chain();
    print("random-access", || random_access(&memory));
    drop(memory);
    let start = Instant::now();
    ping_pong()?;
    println!("pipe-ping-pong {}", start.elapsed().as_secs_f64());
    print("timer-wake-ups", || (0..WAKE_UPS).for_each(|_| thread::sleep(NAP)));
    Ok(())
}

fn print(name: &str, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    println!("{name} {}", start.elapsed().as_secs_f64());
}

/// Arithmetic in registers.
fn compute() {
    let mut state = 1;
    for _ in 0..COMPUTE_STEPS {
        state = next(state);
    }
    black_box(state);
}

/// One step of Marsaglia's xorshift generator (Journal of Statistical Software 8, 14).
const fn next(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ state << 17
}

/// Words that each name the next one to read, in one cycle through all (Sattolo's shuffle).
fn chain() -> Vec<u64> {
    let mut words: Vec<u64> = (0..WORDS as u64).collect();
    let mut state = 1;
    for index in (1..WORDS).rev() {
        state = next(state);
        words.swap(index, state as usize % index);
    }
    words
}

fn random_access(words: &[u64]) {
    let mut place = 0;
    for _ in 0..RANDOM_STEPS {
        place = words.get(place as usize).copied().unwrap_or_default();
    }
    black_box(place);
}

/// A byte goes to the other VP and comes back, again and again.
fn ping_pong() -> io::Result<()> {
    let (mut here, mut to_here) = pipe()?;
    let (mut there, mut to_there) = pipe()?;
    let other = thread::spawn(move || -> io::Result<()> {
        stay_on(1)?;
        let mut byte = [0];
        for _ in 0..ROUND_TRIPS {
            there.read_exact(&mut byte)?;
            to_here.write_all(&byte)?;
        }
        Ok(())
    });
    stay_on(0)?;
    let mut byte = [0];
    for _ in 0..ROUND_TRIPS {
        to_there.write_all(&byte)?;
        here.read_exact(&mut byte)?;
    }
    other.join().map_err(|_| io::Error::other("the other thread panicked"))?
}

fn stay_on(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}
