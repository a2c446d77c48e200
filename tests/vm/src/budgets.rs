//! Budgets of a running VM, from `budgets.toml`.

use crate::machine::Vm;
use crate::{Environment, Outcome, Stop, Test, ensure, test};

/// The tests of this part.
pub fn tests() -> Vec<Test> {
    vec![
        test("budgets::exits_of_a_quiet_boot_with_1_vp", |environment| {
            exits(environment, "1", "exits.quiet-boot-1-vp")
        }),
        test("budgets::exits_of_a_quiet_boot_with_4_vps", |environment| {
            exits(environment, "4", "exits.quiet-boot-4-vps")
        }),
        test("budgets::memory_that_the_guest_loses", memory),
        test("budgets::instructions_of_exits", instructions),
        test("budgets::instructions_to_the_guests_first", start),
    ]
}

fn budget(environment: &Environment, name: &str) -> Result<u64, Stop> {
    let found = environment.budgets.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| *value as u64).ok_or_else(|| Stop::Failed(format!("no budget {name}")))
}

fn exits(environment: &Environment, cpus: &str, name: &str) -> Outcome {
    let run = Vm::exec(environment, "true").args(["-c", cpus]).run()?;
    ensure!(run.code == Some(0) && run.exits() > 0, "{run:?}");
    let most = budget(environment, name)?;
    ensure!(run.exits() <= most, "{} exits; the budget is {most}", run.exits());
    Ok(())
}

/// Two runs give the same counts, and none exceeds its budget.
fn instructions(environment: &Environment) -> Outcome {
    let first = costs(environment)?;
    let second = costs(environment)?;
    ensure!(first == second, "two runs differ:\n{first:?}\n{second:?}");
    for (name, most) in &environment.budgets {
        let Some(wanted) = name.strip_prefix("instructions.") else { continue };
        let found = first.iter().find(|(name, _)| name == wanted).map(|(_, count)| *count);
        ensure!(found.is_some_and(|count| count <= *most as u64), "{name}: {found:?}, not {most}");
    }
    Ok(())
}

/// The counts of the guest `cost`, by name; its RDTSC counts instructions.
fn costs(environment: &Environment) -> Result<Vec<(String, u64)>, Stop> {
    let vm = Vm::new(environment).args(["--timeout", "90", "--memory", "128M", "--kernel"]);
    let vm = vm.arg(environment.guests.join("cost"));
    let text = vm.args(["--", "-icount", "shift=0,sleep=off"]).run()?.text()?;
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("count cost."));
    let pairs = lines.filter_map(|line| line.split_once(' '));
    Ok(pairs.filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?))).collect())
}

/// Counts from the paravisor's first instruction to the guest's, for several RAM sizes.
fn start(environment: &Environment) -> Outcome {
    let most = budget(environment, "start.instructions")?;
    let ticks = |memory: &str| -> Result<u64, Stop> {
        let vm = Vm::new(environment).args(["--timeout", "90", "--memory", memory, "--kernel"]);
        let vm = vm.arg(environment.guests.join("cost"));
        Ok(vm.args(["--", "-icount", "shift=0,sleep=off"]).run()?.counter("start-ticks"))
    };
    let (first, second, large) = (ticks("128M")?, ticks("128M")?, ticks("2G")?);
    ensure!(first == second, "two runs differ: {first} and {second}");
    for count in [first, large] {
        ensure!(0 < count && count <= most, "{count} instructions; the budget is {most}");
    }
    ensure!(large.abs_diff(first) < first / 10, "{first} with 128 MiB, {large} with 2 GiB");
    Ok(())
}

fn memory(environment: &Environment) -> Outcome {
    let base = budget(environment, "ram.own-bytes-2-vps")?;
    let further = budget(environment, "ram.own-bytes-per-further-vp")?;
    for (cpus, most) in [("2", base), ("8", base + 6 * further)] {
        let run = Vm::exec(environment, "true").args(["-c", cpus]).run()?;
        let own = run.counter("own-bytes");
        ensure!(run.code == Some(0) && own > 0, "{run:?}");
        ensure!(own <= most, "{own} bytes with {cpus} VPs; the budget is {most}");
    }
    Ok(())
}
