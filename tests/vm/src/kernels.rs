//! Guests that nobody here wrote.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::console::Console;
use crate::machine::Vm;
use crate::{Environment, Outcome, Stop, Test, ensure, test};

/// Lines that a guest may log below the paravisor and not in a direct boot, each with its reason.
const ALLOWED: &str = include_str!("../dmesg-allowed.txt");

/// The tests of this part.
pub fn tests(environment: &Environment) -> Vec<Test> {
    let mut tests = vec![test("kernels::own_suite_logs_no_new_warning", |environment| {
        for cpus in ["1", "4"] {
            no_new_warning(environment, &environment.kernel, cpus)?;
        }
        Ok(())
    })];
    for (suite, kernel) in &environment.other_kernels {
        let kernel = kernel.clone();
        tests.push(test(format!("kernels::{suite}_boots_and_logs_no_new_warning"), move |all| {
            let kernel = available(&kernel)?;
            for cpus in ["1", "4"] {
                no_new_warning(all, kernel, cpus)?;
            }
            Ok(())
        }));
    }
    tests.push(test("kernels::memtest_starts_its_tests", |environment| {
        memtest(environment, "1", "#1", Duration::from_secs(120))
    }));
    if environment.long {
        // Its CPUs halt after a look at a flag and are woken by NMIs: one that comes between the two
        // is slept on. More CPUs than the host has make that likely, so this is no everyday test.
        tests.push(test("kernels::memtest_starts_its_tests_with_4_vps", |environment| {
            memtest(environment, "4", "#1", Duration::from_secs(120))
        }));
        tests.push(test("kernels::memtest_passes_once", |environment| {
            memtest(environment, "1", "Pass:      1", Duration::from_secs(3600))
        }));
    }
    tests
}

fn available(file: &Result<PathBuf, String>) -> Result<&Path, Stop> {
    file.as_deref().map_err(|why| Stop::Skipped(why.clone()))
}

/// Boots directly and below the paravisor, and compares what was logged at warn or worse.
fn no_new_warning(environment: &Environment, kernel: &Path, cpus: &str) -> Outcome {
    let log = |more: &[&str]| {
        let vm = Vm::new(environment).args(["--timeout", "90", "-c", cpus, "--exec", "dmesg -r"]);
        let vm = vm.args(["--kernel"]).arg(kernel).args(["--initrd"]).arg(&environment.initrd);
        vm.args(more).run()?.text()
    };
    let direct = warnings(&log(&["--direct"])?);
    let below = log(&[])?;
    for line in warnings(&below).difference(&direct) {
        let allowed = ALLOWED.lines().filter_map(|line| line.split_once(" # "));
        let has_reason = allowed.into_iter().any(|(text, _)| line.contains(text));
        ensure!(has_reason, "{cpus} CPUs: a direct boot does not log: {line}");
    }
    for text in ["unchecked MSR access", "Firmware Bug", "unstable"] {
        ensure!(!below.contains(text), "{cpus} CPUs: `{text}` is logged");
    }
    Ok(())
}

/// Lines of level 4 (warn) and worse, without their times.
fn warnings(log: &str) -> BTreeSet<String> {
    let parse = |line: &str| {
        let (level, text) = line.strip_prefix('<')?.split_once('>')?;
        // The upper bits tell who logged.
        let is_bad = level.parse::<u32>().ok()? & 7 <= 4;
        let text = text.split_once("] ").map_or(text, |(_, text)| text);
        is_bad.then(|| text.to_owned())
    };
    log.lines().filter_map(parse).collect()
}

/// memtest86+ on its serial console, until it shows `text`.
fn memtest(environment: &Environment, cpus: &str, text: &str, time: Duration) -> Outcome {
    let image = available(&environment.memtest)?;
    let vm = Vm::new(environment).args(["-m", "32M", "-c", cpus, "-a", "console=ttyS0"]);
    let (mut console, _folder) = Console::start_vm(vm.args(["--kernel"]).arg(image))?;
    Ok(console.wait_longer_for(text, time)?)
}
