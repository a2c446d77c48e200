//! `--module`: files that a kernel finds in memory besides its initrd.

use std::fs;

use crate::machine::Vm;
use crate::{Environment, Outcome, Test, ensure, test};

/// The largest number of modules.
const COUNT: usize = 8;
const USAGE: i32 = 2;
const BAD_GUEST: i32 = 70;

/// The tests of this part.
pub fn tests() -> Vec<Test> {
    vec![
        test("modules::all_come_in_their_order_with_their_arguments", order),
        test("modules::a_module_that_can_not_be_given_is_named", refusals),
    ]
}

fn order(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    // A module's text has the name as given: a short name keeps the lines short.
    let path = |name: &str| folder.path().join(name);
    let mut vm = Vm::new(environment).args(["-m", "128M", "--timeout", "60"]);
    vm = vm.args(["--kernel"]).arg(environment.guests.join("modules")).args(["--initrd"]);
    fs::write(path("initrd"), [9; 5])?;
    vm = vm.arg(path("initrd"));
    let mut expected = vec!["module `` 5 9".to_owned()];
    for index in 0..COUNT {
        let (file, length) = (path(&index.to_string()), 1 + index * 4096);
        fs::write(&file, vec![index as u8; length])?;
        let name = file.to_str().unwrap_or_default();
        vm = vm.args(["--module"]).arg(format!("{name},a={index} b,c"));
        expected.push(format!("module `{name} a={index} b,c` {length} {index}"));
    }
    let run = vm.run()?;
    let text = String::from_utf8_lossy(&run.output).into_owned();
    let found: Vec<_> = text.lines().map(str::trim_end).collect();
    let found: Vec<_> = found.into_iter().filter(|line| line.starts_with("module")).collect();
    ensure!(found == expected, "{found:?}\n{}", run.errors);
    Ok(())
}

fn refusals(environment: &Environment) -> Outcome {
    let vm = || Vm::new(environment).args(["--timeout", "60", "--kernel"]).arg(&environment.kernel);
    let run = vm().args(["--module", ",x"]).run()?;
    ensure!(run.code == Some(USAGE) && run.errors.contains("--module"), "{run:?}");
    let run = vm().args(["--module", "nowhere"]).run()?;
    ensure!(run.code == Some(BAD_GUEST) && run.errors.contains("nowhere"), "{run:?}");
    // Linux takes one initrd.
    let mut both = vm().args(["--initrd"]).arg(&environment.initrd).args(["--module"]);
    both = both.arg(&environment.initrd);
    let run = both.run()?;
    ensure!(run.code == Some(BAD_GUEST) && run.errors.contains("one initrd"), "{run:?}");
    Ok(())
}
