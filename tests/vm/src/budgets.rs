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
