//! Mistakes of users and hosts: each gives one clear line, its own exit code, no hang.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use crate::machine::{Run, Vm};
use crate::{Environment, Outcome, Stop, Test, ensure, pace, test};

const USAGE: i32 = 2;
const QEMU: i32 = 66;
const UNUSABLE_VM: i32 = 68;
const BAD_CONFIG: i32 = 69;
const BAD_GUEST: i32 = 70;

/// The tests of this part.
pub fn tests() -> Vec<Test> {
    let mut tests = files();
    tests.extend(machines());
    tests
}

/// Kernels and initrds that cannot be used.
fn files() -> Vec<Test> {
    vec![
        test("bad_input::a_kernel_that_is_missing", |environment| {
            refused(with_kernel(environment, "/nonexistent".as_ref())?, BAD_GUEST, "/nonexistent")
        }),
        test("bad_input::a_kernel_that_is_a_folder", |environment| {
            refused(with_kernel(environment, "/".as_ref())?, BAD_GUEST, "is no file")
        }),
        test("bad_input::a_truncated_kernel", truncated),
        test("bad_input::a_file_that_is_no_kernel", |environment| {
            let folder = tempfile::tempdir()?;
            let path = folder.path().join("text");
            std::fs::write(&path, "This is no kernel.\n".repeat(1000))?;
            refused(with_kernel(environment, &path)?, BAD_GUEST, "kernel")
        }),
        test("bad_input::an_initrd_larger_than_memory", |environment| {
            let folder = tempfile::tempdir()?;
            let path = folder.path().join("initrd");
            File::create(&path)?.set_len(300 << 20)?;
            let vm = Vm::new(environment).args(["--timeout", "60", "-m", "256M", "--initrd"]);
            let run = vm.arg(&path).args(["--kernel"]).arg(&environment.kernel).run()?;
            refused(run, BAD_GUEST, "initrd")
        }),
    ]
}

/// Settings and machines that cannot be used.
fn machines() -> Vec<Test> {
    vec![
        test("bad_input::a_command_line_too_long", |environment| {
            let run = Vm::exec(environment, "true").args(["--append", &"x".repeat(5000)]).run()?;
            refused(run, BAD_GUEST, "command line")?;
            let run =
                Vm::exec(environment, "true").args(["--append", &"x".repeat(100_000)]).run()?;
            refused(run, BAD_GUEST, "command line")
        }),
        test("bad_input::16_mib_of_memory", |environment| {
            let run = Vm::exec(environment, "true").args(["--memory", "16M"]).run()?;
            ensure!([Some(UNUSABLE_VM), Some(BAD_GUEST)].contains(&run.code), "{run:?}");
            one_line(&run, "16 MiB")
        }),
        test("bad_input::no_cpu_and_too_many", |environment| {
            for cpus in ["0", "66"] {
                let run = Vm::exec(environment, "true").args(["--cpus", cpus]).run()?;
                ensure!(run.code == Some(USAGE) && run.errors.contains("1 to 64"), "{run:?}");
            }
            let run = Vm::exec(environment, "true").args(["--", "-smp", "66"]).run()?;
            refused(run, UNUSABLE_VM, "CPU")
        }),
        test("bad_input::a_cpu_without_amd_v", |environment| {
            let run = Vm::exec(environment, "true").args(["--", "-cpu", "qemu64,-svm"]).run()?;
            refused(run, UNUSABLE_VM, "CPU")
        }),
        test("bad_input::a_malformed_configuration", malformed),
        test("bad_input::qemu_is_missing", |environment| {
            refused(Vm::exec(environment, "true").env("PATH", "/nonexistent").run()?, QEMU, "QEMU")
        }),
        test("bad_input::qemu_refuses_its_arguments", |environment| {
            let run = Vm::exec(environment, "true").args(["--", "-nonsense"]).run()?;
            ensure!(run.code == Some(QEMU) && run.errors.contains("-nonsense"), "{run:?}");
            Ok(())
        }),
    ]
}

/// A kernel truncated at several points, from within the header to almost its end.
fn truncated(environment: &Environment) -> Outcome {
    let kernel = std::fs::read(&environment.kernel)?;
    for length in [0, 100, 600, 10_000, kernel.len() / 2, kernel.len() - 20_000] {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("kernel");
        std::fs::write(&path, kernel.get(..length).unwrap_or_default())?;
        refused(with_kernel(environment, &path)?, BAD_GUEST, "kernel").map_err(
            |stop| match stop {
                Stop::Failed(text) => Stop::Failed(format!("{length} bytes: {text}")),
                skipped => skipped,
            },
        )?;
    }
    Ok(())
}

fn malformed(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("config");
    for text in ["colour=red\n", "log", "\u{0}", &"\n".repeat(5000)] {
        std::fs::write(&path, text)?;
        let run = Vm::exec(environment, "true").args(["--config"]).arg(&path).run()?;
        refused(run, BAD_CONFIG, "configuration")?;
    }
    Ok(())
}

fn with_kernel(environment: &Environment, kernel: &Path) -> anyhow::Result<Run> {
    Vm::new(environment).args(["--timeout", "60", "--kernel"]).arg(kernel).run()
}

/// Expects the exit code, one line with this word, and a prompt end.
pub fn refused(run: Run, code: i32, word: &str) -> Outcome {
    ensure!(run.code == Some(code), "code {code} was expected\n{run:?}");
    ensure!(run.time < pace::limit(Duration::from_secs(30)), "it took {:?}", run.time);
    one_line(&run, word)
}

fn one_line(run: &Run, word: &str) -> Outcome {
    let is_one = run.errors.trim_end().lines().count() == 1;
    ensure!(is_one && run.errors.starts_with("paravane: "), "{}", run.errors);
    ensure!(run.errors.contains(word), "`{word}` is not in: {}", run.errors);
    ensure!(run.output.is_empty(), "{run:?}");
    Ok(())
}
