//! Instructions of an exit including its handling, as the test guest `cost` counts them.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{command, finish};
use crate::check::Budgets;
use crate::place;

/// Prints the counts beside their budgets. Under `-icount`, RDTSC counts instructions.
pub fn run() -> Result<Value> {
    let found = below(&["--", "-icount", "shift=0,sleep=off"])?;
    let budgets = Budgets::read()?;
    println!("\n{:30} {:>10} {:>10}", "instructions of an exit", "count", "budget");
    let mut value = Map::new();
    for (name, count) in found {
        // Counts without a budget are steps of the measurement.
        let Ok(budget) = budgets.get("instructions", &name) else { continue };
        println!("{name:30} {count:>10} {budget:>10}");
        value.insert(name, json!(count));
    }
    Ok(Value::Object(value))
}

/// What the test guest `cost` counts below the paravisor.
pub fn below(more: &[&str]) -> Result<Vec<(String, u64)>> {
    let mut command = command();
    command.args(["--memory", "128M", "--kernel"]).arg(place::test_guests().join("cost"));
    Ok(counts(&finish(command.args(more))?))
}

/// Lines `count cost.NAME VALUE`.
pub fn counts(text: &str) -> Vec<(String, u64)> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("count cost."));
    let pairs = lines.filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(name, count)| Some((name.to_owned(), count.trim().parse().ok()?))).collect()
}
