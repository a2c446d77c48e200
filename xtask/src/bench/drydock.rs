//! SEV-SNP guests in Drydock: the boot beside a direct one, and what an exit costs.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Guest, costs, finish, median, numbers, snp};
use crate::{build, place};

/// How the TSC counts instructions.
const COUNT: [&str; 3] = ["--", "-icount", "shift=0,sleep=off"];

/// Prints and returns the figures.
pub fn run(guest: &Guest, runs: usize) -> Result<Value> {
    build::all_for_drydock()?;
    println!("\nin Drydock:");
    let boot = boot(guest, runs)?;
    let exit = exit(runs)?;
    let snp = snp::instructions()?;
    Ok(json!({ "boot": boot, "exit": exit, "snp-instructions": snp }))
}

/// Direct boots and boots in Drydock, alternating.
fn boot(guest: &Guest, runs: usize) -> Result<Value> {
    let (mut direct, mut inside, mut last) = (vec![], vec![], Value::Null);
    let (mut nested, mut confidential) = (vec![], vec![]);
    let (mut below, mut at_vmpl0) = (Value::Null, Value::Null);
    let seconds = |run: &Value| run["agent-seconds"].as_f64().context("no agent-seconds");
    for _ in 0..runs {
        direct.push(seconds(&guest.boot(&["--direct"])?)?);
        last = linux(guest)?;
        inside.push(seconds(&last)?);
        below = guest.boot(&[])?;
        nested.push(seconds(&below)?);
        at_vmpl0 = guest.boot(&["--platform", "snp"])?;
        confidential.push(seconds(&at_vmpl0)?);
    }
    let (first, second) = (median(&direct), median(&inside));
    let ratio = second / first;
    println!("{:30} {first:>8.2} s {second:>8.2} s {ratio:>7.2}", "QEMU's start to userspace");
    for (name, count) in numbers(&last, "counters") {
        println!("  {name:28} {count:>10}");
    }
    let snp = median(&confidential);
    let (beside_nested, beside_enlightened) = (snp / median(&nested), snp / second);
    println!(
        "below the paravisor at VMPL0 {snp:.2} s: {beside_nested:.2} times nested-svm, \
         {beside_enlightened:.2} times the enlightened guest"
    );
    let exits = snp::exits(&below, &at_vmpl0);
    Ok(json!({
        "direct": direct, "drydock": inside, "ratio": ratio, "run": last, "snp-exits": exits,
        "nested-svm": nested, "snp": confidential,
        "snp-to-nested-svm": beside_nested, "snp-to-enlightened": beside_enlightened,
    }))
}

fn linux(guest: &Guest) -> Result<Value> {
    let summary = tempfile::NamedTempFile::new()?;
    let mut command = drydock();
    command.args(["--exec", "true", "--linux"]).arg(&guest.kernel);
    command.arg("--initrd").arg(&guest.initrd).arg("--json").arg(summary.path());
    finish(&mut command)?;
    serde_json::from_str(&std::fs::read_to_string(summary.path())?).context("the --json file")
}

/// Costs of exits, in instructions and in time, the latter beside an exit below the paravisor.
fn exit(runs: usize) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("cost");
    let mut build = Command::new(place::paravane());
    build.args(["image", "build", "--elf"]).arg(place::test_guests().join("snp-cost")).arg(&file);
    finish(&mut build)?;
    let inside = |more: &[&str]| -> Result<Vec<(String, u64)>> {
        let mut command = drydock();
        command.args(["--memory", "256M"]).arg(&file).args(more);
        Ok(costs::counts(&finish(&mut command)?))
    };
    println!("{:30} {:>10}", "instructions", "count");
    let instructions = inside(&COUNT)?;
    for (name, count) in &instructions {
        println!("{name:30} {count:>10}");
    }
    let (mut plain, mut reflected) = (vec![], vec![]);
    for _ in 0..runs {
        plain.push(find(&costs::below(&[])?, "cpuid")?);
        reflected.push(find(&inside(&[])?, "reflected-cpuid")?);
    }
    let ratio = median(&reflected) / median(&plain);
    println!("a reflected exit takes {ratio:.2} times an exit below the paravisor");
    let instructions: serde_json::Map<String, Value> =
        instructions.into_iter().map(|(name, count)| (name, json!(count))).collect();
    Ok(json!({ "instructions": instructions, "reflected-ratio": ratio }))
}

fn find(counts: &[(String, u64)], wanted: &str) -> Result<f64> {
    let found = counts.iter().find(|(name, _)| name == wanted);
    found.map(|(_, count)| *count as f64).with_context(|| format!("no cost of {wanted}"))
}

/// `paravane drydock` on QEMU's software CPU, still without a guest.
fn drydock() -> Command {
    let mut command = Command::new(place::paravane());
    command.args(["drydock", "--accel", "tcg", "--timeout", "300"]).stdin(Stdio::null());
    command.env("PARAVANE_DRYDOCK", place::drydock()).env("PARAVANE_AGENT", place::agent());
    command.env("PARAVANE_LINUX_START", place::linux_start());
    command
}
