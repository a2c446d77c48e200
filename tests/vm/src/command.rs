//! `--exec`: output byte for byte, statuses, signals.

use std::thread;

use crate::machine::Vm;
use crate::{Environment, Outcome, Stop, Test, ensure, test};

/// The tests of this part.
pub fn tests() -> Vec<Test> {
    vec![
        test("exec::echo_comes_back_alone", |environment| {
            let run = Vm::exec(environment, "echo hello").run()?;
            ensure!(run.code == Some(0), "{run:?}");
            ensure!(run.output == b"hello\n" && run.errors.is_empty(), "{run:?}");
            Ok(())
        }),
        test("exec::binary_output_is_byte_for_byte", binary),
        test("exec::output_may_be_empty", |environment| {
            let run = Vm::exec(environment, "true").run()?;
            ensure!(run.code == Some(0) && run.output.is_empty(), "{run:?}");
            ensure!(run.errors.is_empty() && run.summary["end"] == "exited", "{run:?}");
            Ok(())
        }),
        test("exec::a_status_is_handed_on", |environment| {
            for status in [7, 64] {
                let run = Vm::exec(environment, &format!("exit {status}")).run()?;
                ensure!(run.code == Some(status), "{run:?}");
                ensure!(run.summary["end"] == "exited", "{}", run.summary);
                ensure!(run.summary["command-status"] == status, "{}", run.summary);
            }
            Ok(())
        }),
        test("exec::a_signal_is_128_and_its_number", |environment| {
            let run = Vm::exec(environment, "kill -9 $$").run()?;
            ensure!(run.code == Some(137), "{run:?}");
            ensure!(run.summary["end"] == "signalled", "{}", run.summary);
            ensure!(run.summary["command-signal"] == 9, "{}", run.summary);
            Ok(())
        }),
        test("exec::errors_stand_apart", |environment| {
            let run = Vm::exec(environment, "echo out; echo wrong >&2; echo on").run()?;
            ensure!(run.output == b"out\non\n" && run.errors == "wrong\n", "{run:?}");
            Ok(())
        }),
        test("exec::the_command_is_not_on_the_command_line", |environment| {
            let text = Vm::exec(environment, "cat /proc/cmdline # secret").run()?.text()?;
            ensure!(text.contains("rdinit=") && !text.contains("secret"), "{text}");
            Ok(())
        }),
        test("exec::a_background_process_is_not_waited_for", |environment| {
            let run = Vm::exec(environment, "sleep 1000 & echo on").run()?;
            ensure!(run.code == Some(0) && run.output == b"on\n", "{run:?}");
            Ok(())
        }),
        test("exec::a_users_compressed_initrd_is_taken", compressed),
        test("exec::an_initrd_without_a_shell_is_named", |environment| {
            let vm = Vm::new(environment).args(["--timeout", "90", "--kernel"]);
            let run = vm.arg(&environment.kernel).args(["--exec", "true"]).run()?;
            ensure!(run.code == Some(72) && run.errors.contains("/bin/sh"), "{run:?}");
            Ok(())
        }),
        test("exec::packages_bring_tools_that_find_the_tpm", packages),
        test("exec::two_at_once_do_not_meet", |environment| {
            thread::scope(|scope| {
                let run = |text| Vm::exec(environment, text).run();
                let other = scope.spawn(move || run("echo one"));
                let run = run("echo two")?;
                let other = other.join().map_err(|_| "the other thread panicked")??;
                ensure!(run.output == b"two\n" && other.output == b"one\n", "{run:?}\n{other:?}");
                Ok(())
            })
        }),
    ]
}

fn binary(environment: &Environment) -> Outcome {
    let expected = std::fs::read(&environment.busybox)?;
    let length = 200_000.min(expected.len());
    let run = Vm::exec(environment, &format!("head -c {length} /bin/busybox")).run()?;
    ensure!(run.code == Some(0), "{:?} {}", run.code, run.errors);
    let same = expected.iter().zip(&run.output).take_while(|(a, b)| a == b).count();
    ensure!(
        same == length && run.output.len() == length,
        "{} bytes of {length} came, {same} of them right",
        run.output.len()
    );
    Ok(())
}

fn compressed(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let packed = folder.path().join("initrd, packed.gz");
    let output = std::process::Command::new("gzip").args(["-1c"]).arg(&environment.initrd).output();
    let Ok(output) = output else { return Err(Stop::Skipped("gzip is missing".to_owned())) };
    std::fs::write(&packed, output.stdout)?;
    let vm = Vm::new(environment).args(["--timeout", "90", "--kernel"]).arg(&environment.kernel);
    let run = vm.args(["--exec", "echo packed", "--initrd"]).arg(&packed).run()?;
    ensure!(run.code == Some(0) && run.output == b"packed\n", "{run:?}");
    Ok(())
}

fn packages(environment: &Environment) -> Outcome {
    let packages = environment.packages.as_ref();
    let initrd = packages.map_err(|why| Stop::Skipped(why.clone()))?;
    let vm = Vm::new(environment).args(["--timeout", "90", "-m", "1G", "--kernel"]);
    let vm = vm.arg(&environment.kernel).args(["--initrd"]).arg(initrd);
    let text = vm.args(["--exec", "tpm2_pcrread sha256:4"]).run()?.text()?;
    let value = text.split_once("0x").map_or("", |(_, value)| value.trim());
    let is_measured = value.len() == 64 && value.bytes().any(|digit| digit != b'0');
    ensure!(is_measured, "{text}");
    Ok(())
}
