//! `cargo xtask fuzz`: libFuzzer on every parser and state machine that guest or host can reach.
//!
//! The corpus stays in the target folder, so a later run continues from it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use vm_tests::Totals;

use crate::{build, place};

/// Compiler flags for libFuzzer: counters at every edge, traces of comparisons. Overflows and
/// failed debug assertions count as findings too.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1";
/// Seconds that one input may take before it counts as a hang.
const HANG: u32 = 10;
/// MiB that a target may use.
const MEMORY: u32 = 1024;

/// Runs all targets, or only the named one, for `seconds` each.
pub fn run(only: Option<&str>, seconds: u64) -> Result<ExitCode> {
    let totals = campaign(only, seconds)?;
    println!("{} passed, {} failed, {} skipped", totals.passed, totals.failed, totals.skipped);
    Ok(if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the targets and returns the counts.
pub fn campaign(only: Option<&str>, seconds: u64) -> Result<Totals> {
    let program = build()?;
    // The program prints the list and ends the process. libFuzzer takes that for a failing input
    // and writes a file about it, so only the printed list is used.
    let folder = tempfile::tempdir()?;
    let listed = Command::new(&program).arg("-runs=1").current_dir(folder.path()).output();
    let listed = listed.context("the fuzz targets")?;
    let names = String::from_utf8(listed.stdout)?;
    let names: Vec<&str> =
        names.lines().filter(|name| only.is_none_or(|only| *name == only)).collect();
    ensure!(!names.is_empty(), "no fuzz target {}", only.unwrap_or_default());
    let mut totals = Totals::default();
    for name in names {
        if one(&program, name, seconds)? {
            totals.passed += 1;
        } else {
            totals.failed += 1;
        }
    }
    Ok(totals)
}

fn build() -> Result<PathBuf> {
    let target = place::target().join("fuzz");
    let manifest = place::root().join("fuzz/Cargo.toml");
    let mut command = build::cargo();
    command.args(["build", "--quiet", "--release", "--target", place::GUEST]);
    command.arg("--manifest-path").arg(manifest).env("CARGO_TARGET_DIR", &target);
    command.env("RUSTFLAGS", FLAGS);
    build::succeed(&mut command).context("the fuzz targets (libFuzzer wants a C++ compiler)")?;
    Ok(target.join(place::GUEST).join("release/any"))
}

/// Fuzzes one target; true if there was no finding.
fn one(program: &Path, name: &str, seconds: u64) -> Result<bool> {
    let folder = place::target().join("fuzz/corpus").join(name);
    let findings = place::target().join("fuzz/findings");
    fs::create_dir_all(&folder)?;
    fs::create_dir_all(&findings)?;
    let mut command = Command::new(program);
    command.env("TARGET", name).arg(format!("-max_total_time={seconds}"));
    command.args([format!("-timeout={HANG}"), format!("-rss_limit_mb={MEMORY}")]);
    command.arg(format!("-artifact_prefix={}/{name}-", findings.display()));
    command.args(["-print_final_stats=1", "-verbosity=0"]).arg(&folder);
    let result = command.output().context("a fuzz target")?;
    let text = String::from_utf8_lossy(&result.stderr);
    let runs = text.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
    let runs = runs.unwrap_or("?").trim();
    if result.status.success() {
        println!("fuzz {name} ... ok ({runs} inputs in {seconds} s)");
    } else {
        println!("fuzz {name} ... FAILED; the input is in {}", findings.display());
        text.lines().for_each(|line| println!("    {line}"));
    }
    Ok(result.status.success())
}
