//! Loops in a guest with two VPs, against the same guest booted directly.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Result, ensure};
use cpio::Archive;
use serde_json::{Map, Value, json};

use super::{Guest, median};
use crate::place;

type Figures = BTreeMap<String, Vec<f64>>;

/// Prints each loop's medians and their ratio: how fast it is below us, with the direct one as 1.
pub fn run(guest: &Guest, runs: usize) -> Result<Value> {
    let mut initrd = fs::read(&guest.initrd)?;
    let mut archive = Archive::new();
    archive.file("bin/guest-loops", 0o755, &fs::read(place::guest_loops())?);
    cpio::append(&mut initrd, &archive.finish());
    let folder = tempfile::tempdir()?;
    let guest = Guest { kernel: guest.kernel.clone(), initrd: folder.path().join("initrd") };
    fs::write(&guest.initrd, initrd)?;
    let (mut direct, mut below) = (Figures::new(), Figures::new());
    for _ in 0..runs {
        measure(&guest, &["--cpus", "2", "--direct"], &mut direct)?;
        measure(&guest, &["--cpus", "2"], &mut below)?;
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

fn measure(guest: &Guest, more: &[&str], to: &mut Figures) -> Result<()> {
    let text = guest.exec("/bin/guest-loops", more)?;
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let mut found = 0;
    for (name, seconds) in pairs {
        to.entry(name.to_owned()).or_default().push(seconds.trim().parse()?);
        found += 1;
    }
    ensure!(found == 4, "the loops printed:\n{text}");
    Ok(())
}
