//! Loops in a guest with two VPs, compared with the same guest booted directly.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Result, ensure};
use cpio::Archive;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{Guest, median};
use crate::place;

/// Seconds by name, one for each run.
pub type Figures = BTreeMap<String, Vec<f64>>;

/// Loops of the program.
const LOOPS: usize = 4;

/// A guest that contains the program with the loops.
pub struct Loops {
    guest: Guest,
    _folder: TempDir,
}

impl Loops {
    /// Adds the program to another guest.
    pub fn new(guest: &Guest) -> Result<Self> {
        let mut initrd = fs::read(&guest.initrd)?;
        let mut archive = Archive::new();
        archive.file("bin/guest-loops", 0o755, &fs::read(place::guest_loops())?);
        cpio::append(&mut initrd, &archive.finish());
        let folder = tempfile::tempdir()?;
        let guest = Guest { kernel: guest.kernel.clone(), initrd: folder.path().join("initrd") };
        fs::write(&guest.initrd, initrd)?;
        Ok(Self { guest, _folder: folder })
    }
}

/// Prints each loop's medians and its speed below the paravisor relative to the direct boot.
pub fn run(loops: &Loops, runs: usize) -> Result<Value> {
    let (mut direct, mut below) = (Figures::new(), Figures::new());
    for _ in 0..runs {
        measure(loops, "", &["--cpus", "2", "--direct"], LOOPS, &mut direct)?;
        measure(loops, "", &["--cpus", "2"], LOOPS, &mut below)?;
    }
    println!("\n{:30} {:>10} {:>10} {:>7}", "loops with 2 VPs", "direct", "below us", "speed");
    let mut value = Map::new();
    for (name, times) in &direct {
        let others = below.get(name).map(Vec::as_slice).unwrap_or_default();
        let (first, second) = (median(times), median(others));
        let speed = first / second;
        println!("{name:30} {first:>8.2} s {second:>8.2} s {speed:>7.2}");
        value.insert(name.clone(), json!({ "direct": times, "below": others, "speed": speed }));
    }
    Ok(Value::Object(value))
}

/// Adds the times of the program's loops of one kind, in a guest with more options.
pub fn measure(
    loops: &Loops,
    kind: &str,
    more: &[&str],
    count: usize,
    to: &mut Figures,
) -> Result<()> {
    let text = loops.guest.exec(&format!("/bin/guest-loops {kind}"), more)?;
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let mut found = 0;
    for (name, seconds) in pairs {
        to.entry(name.to_owned()).or_default().push(seconds.trim().parse()?);
        found += 1;
    }
    ensure!(found == count, "the loops printed:\n{text}");
    Ok(())
}
