//! `cargo xtask bench`: ratios of alternating runs, with counts.

mod costs;
mod drydock;
mod loops;
mod peer;
mod snp;
mod tpm;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::check::Budgets;
use crate::{build, debian, guest, place, setup};

/// Numbers of VPs whose exits are counted.
const CPUS: [u32; 5] = [1, 2, 4, 8, 64];

/// Measures, prints a table, writes the figures to `target` if there is one. Fails if a budget is
/// exceeded.
pub fn run(target: Option<&Path>, runs: usize, with_kvm: bool) -> Result<ExitCode> {
    ensure!(runs > 0, "--runs takes 1 or more");
    setup::rust_target()?;
    setup::qemu()?;
    build::all()?;
    build::test_guests()?;
    build::guest_loops()?;
    let guest = Guest { kernel: debian::kernel(&debian::own_suite()?)?, initrd: guest::initrd()? };
    println!("guest: {}, 1 VP, quiet, {runs} boots of each kind", debian::origin(&guest.kernel));
    let boot = boot(&guest, runs)?;
    let console = console(&guest, runs)?;
    let program = loops::Loops::new(&guest)?;
    let loops = loops::run(&program, runs)?;
    let costs = costs::run()?;
    let exits = exits(&guest)?;
    let drydock = drydock::run(&guest, runs)?;
    let tpm = tpm_or_why(&program, runs)?;
    let peer = if with_kvm { peer::run(&guest, boot.direct, runs)? } else { Value::Null };
    if let Some(target) = target {
        let value = json!({
            "runs": runs,
            "boot": boot.value,
            "console": console,
            "loops": loops,
            "instructions": costs,
            "exits": exits,
            "drydock": drydock,
            "tpm": tpm,
            "peer": peer,
        });
        fs::write(target, format!("{value:#}\n")).with_context(|| target.display().to_string())?;
    }
    let budgets = Budgets::read()?;
    let inside = drydock["boot"]["ratio"].as_f64().unwrap_or_default();
    let mut code = ExitCode::SUCCESS;
    for (what, section, ratio) in
        [("the boot", "time", boot.ratio), ("the boot in Drydock", "drydock", inside)]
    {
        let most = budgets.get(section, "boot-ratio")?;
        if ratio > most {
            println!("{what} takes {ratio:.2} times the direct one; the budget is {most}");
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

/// The TPM's figures; without swtpm there is nothing to compare them with.
fn tpm_or_why(program: &loops::Loops, runs: usize) -> Result<Value> {
    if Command::new("swtpm").arg("--version").output().is_err() {
        println!("\nTPM: skipped: needs swtpm: apt-get install swtpm");
        return Ok(Value::Null);
    }
    tpm::run(program, runs)
}

struct Guest {
    kernel: PathBuf,
    initrd: PathBuf,
}

struct Boot {
    ratio: f64,
    /// Seconds of a direct boot to userspace.
    direct: f64,
    value: Value,
}

/// Direct boots and boots below the paravisor, alternating, so that both run under the same load.
fn boot(guest: &Guest, runs: usize) -> Result<Boot> {
    let (mut direct, mut below) = (vec![], vec![]);
    for _ in 0..runs {
        direct.push(guest.boot(&["--direct"])?);
        below.push(guest.boot(&[])?);
    }
    println!("{:30} {:>10} {:>10} {:>7}", "median", "direct", "below us", "ratio");
    let mut value = Map::new();
    let mut line = |name: &str, key: &str| -> Result<(f64, f64)> {
        let times = |runs: &[Value]| -> Result<Vec<f64>> {
            let time = |run: &Value| run.get(key).and_then(Value::as_f64);
            runs.iter().map(|run| time(run).with_context(|| format!("no {key}"))).collect()
        };
        let (direct, below) = (times(&direct)?, times(&below)?);
        let (first, second) = (median(&direct), median(&below));
        let ratio = second / first;
        println!("{name:30} {first:>8.2} s {second:>8.2} s {ratio:>7.2}");
        let figures = json!({ "direct": direct, "below": below, "ratio": ratio });
        value.insert(key.to_owned(), figures);
        Ok((first, ratio))
    };
    let (direct, ratio) = line("QEMU's start to userspace", "agent-seconds")?;
    line("QEMU's start to power off", "wall-seconds")?;
    Ok(Boot { ratio, direct, value: Value::Object(value) })
}

/// Boots that write the kernel's whole log to the serial console.
fn console(guest: &Guest, runs: usize) -> Result<Value> {
    const LOUD: [&str; 2] = ["--append", "console=ttyS0 loglevel=8"];
    let quiet = guest.boot(&[])?;
    let (mut direct, mut below, mut loud) = (vec![], vec![], Value::Null);
    let seconds = |run: &Value| run.get("agent-seconds").and_then(Value::as_f64);
    for _ in 0..runs {
        direct.extend(seconds(&guest.boot(&["--direct", LOUD[0], LOUD[1]])?));
        loud = guest.boot(&LOUD)?;
        below.extend(seconds(&loud));
    }
    let ratio = median(&below) / median(&direct);
    let ports = |run: &Value| run["exits"]["port"].as_u64().unwrap_or_default();
    let bytes = loud["console-bytes"].as_u64().unwrap_or_default();
    let accesses = ports(&loud).saturating_sub(ports(&quiet));
    let per_byte = accesses as f64 / bytes as f64;
    let (first, second) = (median(&direct), median(&below));
    println!("{:30} {first:>8.2} s {second:>8.2} s {ratio:>7.2}", "the same with a full console");
    println!("  {accesses} more port exits for {bytes} bytes: {per_byte:.2} a byte");
    Ok(json!({ "direct": direct, "below": below, "ratio": ratio, "port-exits": accesses,
        "bytes": bytes, "exits-per-byte": per_byte }))
}

/// Exits by reason, and other counters.
fn exits(guest: &Guest) -> Result<Value> {
    let mut all = Map::new();
    for cpus in CPUS {
        let run = guest.boot(&["--cpus", &cpus.to_string()])?;
        let mut exits: Vec<(String, u64)> = numbers(&run, "exits");
        exits.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let sum: u64 = exits.iter().map(|(_, count)| count).sum();
        println!("\nexits of a boot with {cpus} VPs: {sum}");
        for (reason, count) in exits {
            println!("  {reason:28} {count:>10}");
        }
        for (name, count) in numbers(&run, "counters") {
            println!("  ({name} {count})");
        }
        all.insert(cpus.to_string(), json!({ "sum": sum, "run": run }));
    }
    Ok(Value::Object(all))
}

fn numbers(run: &Value, key: &str) -> Vec<(String, u64)> {
    let object = run.get(key).and_then(Value::as_object).into_iter().flatten();
    object.filter_map(|(name, value)| Some((name.clone(), value.as_u64()?))).collect()
}

impl Guest {
    /// Boots to the agent and powers off; returns the `--json` file.
    fn boot(&self, more: &[&str]) -> Result<Value> {
        let summary = tempfile::NamedTempFile::new()?;
        let mut command = self.command("true", more);
        finish(command.arg("--json").arg(summary.path()))?;
        serde_json::from_str(&fs::read_to_string(summary.path())?).context("the --json file")
    }

    /// Boots, runs a command and returns its output.
    fn exec(&self, text: &str, more: &[&str]) -> Result<String> {
        finish(&mut self.command(text, more))
    }

    fn command(&self, text: &str, more: &[&str]) -> Command {
        let mut command = command();
        command.args(["--exec", text, "--kernel"]).arg(&self.kernel);
        command.arg("--initrd").arg(&self.initrd).args(more);
        command
    }
}

/// `paravane run` on QEMU's software CPU, still without a command to run.
fn command() -> Command {
    let mut command = Command::new(place::paravane());
    command.args(["run", "--accel", "tcg", "--timeout", "300"]).stdin(Stdio::null());
    command.env("PARAVANE_IMAGE", place::image()).env("PARAVANE_AGENT", place::agent());
    command.env("PARAVANE_IMAGE_SNP", place::image_snp()).env("PARAVANE_DRYDOCK", place::drydock());
    command
}

/// The standard output of a run that must succeed.
fn finish(command: &mut Command) -> Result<String> {
    let output = command.output().context("paravane")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("a run failed: {}\n{errors}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }
}
