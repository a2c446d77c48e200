//! The paravisor at VMPL0: exits of its guest, and calls of its host.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{command, finish, numbers};
use crate::place;

/// What an exit to the host adds on a CPU with SEV-SNP, in microseconds.
const ON_SILICON: f64 = 3.6;
const CALL: &str = "host-call.";
const TICKS: &str = "exit-ticks.";

/// Prints the exits of a boot below the paravisor on `nested-svm` and at VMPL0, by reason, and the
/// calls of the host at VMPL0.
pub fn exits(nested: &Value, snp: &Value) -> Value {
    let of = |run: &Value| numbers(run, "exits").into_iter().collect::<BTreeMap<_, _>>();
    let (nested, guests) = (of(nested), of(snp));
    println!("\n{:30} {:>10} {:>10}", "exits of a quiet boot", "nested-svm", "snp");
    let mut reasons: Vec<&String> = nested.keys().chain(guests.keys()).collect();
    reasons.sort();
    reasons.dedup();
    let count = |exits: &BTreeMap<String, u64>, reason| exits.get(reason).copied().unwrap_or(0);
    for reason in reasons {
        println!("  {reason:28} {:>10} {:>10}", count(&nested, reason), count(&guests, reason));
    }
    let (few, many) = (nested.values().sum::<u64>(), guests.values().sum::<u64>());
    let ratio = many as f64 / few as f64;
    println!("  {:28} {few:>10} {many:>10} {ratio:>7.2}", "all");
    let counters = numbers(snp, "counters");
    let calls: Vec<_> = counters.iter().filter(|(name, _)| name.starts_with(CALL)).collect();
    for (name, count) in &calls {
        println!("  {name:28} {count:>21}");
    }
    // Files are read before the guest runs.
    let at_exits = calls.iter().filter(|(name, _)| name != "host-call.files");
    let all: u64 = at_exits.map(|(_, count)| count).sum();
    let per_exit = all as f64 / many as f64;
    let silicon = (many + all) as f64 * 2.0 * ON_SILICON / 1e6;
    println!(
        "  {per_exit:.2} calls of the host for each exit, files apart; silicon would add \
         {silicon:.3} s for {} world switches",
        2 * (many + all)
    );
    json!({ "nested-svm": nested, "snp": guests, "ratio": ratio, "calls-per-exit": per_exit })
}

/// Instructions at VMPL0 between an exit and the next entry, by reason, on average.
pub fn instructions() -> Result<Value> {
    let summary = tempfile::NamedTempFile::new()?;
    let mut run = command();
    run.args(["--platform", "snp", "--memory", "128M", "--kernel"]);
    run.arg(place::test_guests().join("cost")).arg("--json").arg(summary.path());
    finish(run.args(["--", "-icount", "shift=0,sleep=off"]))?;
    let text = std::fs::read_to_string(summary.path())?;
    let run: Value = serde_json::from_str(&text).context("the --json file")?;
    let ticks: BTreeMap<_, _> = numbers(&run, "counters").into_iter().collect();
    println!("\n{:30} {:>10}", "instructions at VMPL0", "mean");
    let mut means = BTreeMap::new();
    for (reason, count) in numbers(&run, "exits") {
        if let (Some(sum), 1..) = (ticks.get(&format!("{TICKS}{reason}")), count) {
            let mean = sum / count;
            println!("  {reason:28} {mean:>10}");
            means.insert(reason, mean);
        }
    }
    Ok(json!(means))
}
