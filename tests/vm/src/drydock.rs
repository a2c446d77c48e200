//! `paravane drydock`: SEV-SNP guests in the emulator.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::bad_input::refused;
use crate::console::{Console, PROMPT};
use crate::kernels::{available, warnings};
use crate::life::{is_empty, processes_with, wait_until};
use crate::machine::{Run, Vm};
use crate::{Environment, Outcome, Stop, Test, ensure, test};

const USAGE: i32 = 2;
const GUEST_DIED: i32 = 64;
const TIMEOUT: i32 = 65;
const UNUSABLE_VM: i32 = 68;
const BAD_GUEST: i32 = 70;
const GUEST_FAILED: i32 = 71;
const INTERRUPTED: i32 = 73;

/// The `--timeout` of a boot: an exit costs more here than below the paravisor.
const LIMIT: &str = "150";
/// How long such a run may take before it counts as hanging.
const HANG: Duration = Duration::from_secs(180);
/// The suite of a second kernel that can be an SEV-SNP guest. Debian's 5.10 can not be one.
const SECOND: &str = "trixie";
/// Messages that a guest may log in Drydock and not in a direct boot, each with its reason: a part of
/// the message, or the whole one behind an equals sign.
const ALLOWED: &str = include_str!("../drydock-allowed.txt");

/// The tests of this part.
pub fn tests(environment: &Environment) -> Vec<Test> {
    let second = environment.other_kernels.iter().find(|(suite, _)| suite == SECOND);
    let second = second.map(|(suite, kernel)| (suite.clone(), kernel.clone()));
    let own = ("own_suite".to_owned(), Ok(environment.kernel.clone()));
    let mut tests = vec![];
    for (suite, kernel) in [own].into_iter().chain(second) {
        // One kernel shows that more VPs than those of the other tests start.
        let sizes: &[&str] = if suite == "own_suite" { &["1", "4", "8"] } else { &["1", "4"] };
        for cpus in sizes {
            let kernel = kernel.clone();
            tests.push(test(
                format!("drydock::{suite}_runs_a_command_with_{cpus}_vps"),
                move |environment| command(environment, available(&kernel)?, cpus),
            ));
        }
        tests.push(test(
            format!("drydock::{suite}_logs_no_warning_without_a_reason"),
            move |environment| {
                let kernel = available(&kernel)?;
                ["1", "4"].iter().try_for_each(|cpus| no_new_warning(environment, kernel, cpus))
            },
        ));
    }
    tests.extend(ends());
    tests.extend(inputs());
    tests
}

/// Ends of guests and of the command.
fn ends() -> Vec<Test> {
    vec![
        test("drydock::a_reset_is_a_new_launch_and_a_power_off_the_end", |environment| {
            let (mut console, _folder) = Console::start_vm(shell(environment))?;
            console.wait_for(PROMPT)?;
            console.say("reboot -f\n")?;
            console.wait_for(PROMPT)?;
            console.say("exit\n")?;
            let summary = console.end()?;
            ensure!(summary["end"] == "powered-off" && summary["exit-code"] == 0, "{summary}");
            ensure!(summary["launches"] == 2, "{summary}");
            Ok(())
        }),
        test("drydock::a_reset_ends_the_run_if_the_user_wants_it", |environment| {
            let vm = shell(environment).args(["--end-on-reset"]);
            let (mut console, _folder) = Console::start_vm(vm)?;
            console.wait_for(PROMPT)?;
            console.say("reboot -f\n")?;
            let summary = console.end()?;
            ensure!(summary["end"] == "reset" && summary["exit-code"] == 0, "{summary}");
            ensure!(summary["launches"] == 1, "{summary}");
            Ok(())
        }),
        test("drydock::a_guest_that_ends_before_its_command", |environment| {
            for command in ["poweroff -f", "reboot -f", "echo c > /proc/sysrq-trigger"] {
                let run = run(exec(environment, &format!("{command}; sleep 1000")))?;
                ensure!(run.code == Some(GUEST_DIED), "{run:?}");
                ensure!(run.errors.contains("the guest ended before the command did"), "{run:?}");
                ensure!(run.summary["launches"] == 1, "{}", run.summary);
            }
            Ok(())
        }),
        test("drydock::a_timeout_ends_the_vm", |environment| {
            let vm = linux(environment, &environment.kernel, "20");
            let run = run(vm.args(["--exec", "echo on; sleep 1000"]))?;
            ensure!(run.code == Some(TIMEOUT) && run.output == b"on\n", "{run:?}");
            Ok(())
        }),
        test("drydock::a_guest_that_resets_for_ever_is_ended_by_the_timeout", |environment| {
            // Without a root file system Linux panics, and resets at once.
            let vm = Vm::in_drydock(environment).args(["--timeout", "20", "--linux"]);
            let vm = vm.arg(&environment.kernel).args(["--append", "quiet panic=-1"]);
            let run = run(vm)?;
            ensure!(run.code == Some(TIMEOUT), "{run:?}");
            ensure!(run.summary["launches"].as_u64() > Some(1), "{}", run.summary);
            Ok(())
        }),
        test("drydock::a_signal_ends_all_and_leaves_nothing", |environment| {
            let code = end_by(environment, Signal::TERM)?;
            ensure!(code == Some(INTERRUPTED), "{code:?}");
            Ok(())
        }),
        test("drydock::a_killed_paravane_leaves_no_qemu", |environment| {
            end_by(environment, Signal::KILL)?;
            Ok(())
        }),
        test("drydock::two_at_once_do_not_meet", |environment| {
            thread::scope(|scope| {
                let other = scope.spawn(move || run(exec(environment, "echo one")));
                let run = run(exec(environment, "echo two"))?;
                let other = other.join().map_err(|_| "the other thread panicked")??;
                ensure!(run.output == b"two\n" && other.output == b"one\n", "{run:?}\n{other:?}");
                Ok(())
            })
        }),
        test("drydock::the_digest_is_the_one_that_image_measure_predicts", digest),
        test("drydock::a_summary_tells_of_the_run", summary),
        test("drydock::a_trace_shows_every_exit", trace),
    ]
}

/// Files, sizes and options that can not be used, and sizes that can.
fn inputs() -> Vec<Test> {
    vec![
        test("drydock::a_file_that_is_no_igvm_file", no_files),
        test("drydock::an_igvm_file_that_is_damaged", damaged),
        test("drydock::a_file_that_is_no_kernel_ends_the_guest_with_words", |environment| {
            let folder = tempfile::tempdir()?;
            let path = folder.path().join("text");
            fs::write(&path, "This is no kernel.\n".repeat(1000))?;
            let run = run(linux(environment, &path, LIMIT))?;
            ensure!(run.summary["end"] == "guest-failed", "{}", run.summary);
            refused(run, GUEST_FAILED, "the kernel")
        }),
        test("drydock::memory_of_a_wrong_size", wrong_sizes),
        test("drydock::memory_of_many_sizes", |environment| {
            for memory in ["128M", "466M", "976M", "978M", "1952M"] {
                let run = run(exec(environment, "echo on").args(["--memory", memory]))?;
                ensure!(run.code == Some(0) && run.output == b"on\n", "{memory}: {run:?}");
            }
            Ok(())
        }),
        test("drydock::no_vp_and_too_many", |environment| {
            for cpus in ["0", "65"] {
                let run = run(exec(environment, "true").args(["--cpus", cpus]))?;
                ensure!(run.code == Some(USAGE) && run.errors.contains("1 to 64"), "{run:?}");
            }
            Ok(())
        }),
        test("drydock::options_that_contradict_each_other", |environment| {
            let vm = || Vm::in_drydock(environment).args(["--timeout", "60"]);
            let kernel = &environment.kernel;
            let added = vm().args(["--exec", "true"]).arg(kernel);
            refused(added.run()?, USAGE, "--exec needs --linux")?;
            refused(vm().run()?, USAGE, "--linux KERNEL")?;
            refused(vm().arg(kernel).args(["--linux"]).arg(kernel).run()?, USAGE, "not both")
        }),
    ]
}

/// Linux with the default initrd.
fn linux(environment: &Environment, kernel: &Path, timeout: &str) -> Vm {
    let vm = Vm::in_drydock(environment).args(["--timeout", timeout, "--linux"]).arg(kernel);
    vm.args(["--initrd"]).arg(&environment.initrd)
}

/// The own suite's kernel that runs a command.
fn exec(environment: &Environment, command: &str) -> Vm {
    linux(environment, &environment.kernel, LIMIT).args(["--exec", command])
}

/// The own suite's kernel with a shell on the console.
fn shell(environment: &Environment) -> Vm {
    let vm = Vm::in_drydock(environment).args(["--linux"]).arg(&environment.kernel);
    vm.args(["--initrd"]).arg(&environment.initrd)
}

fn run(vm: Vm) -> anyhow::Result<Run> {
    vm.run_within(HANG)
}

fn command(environment: &Environment, kernel: &Path, cpus: &str) -> Outcome {
    let script = "dmesg | grep -c 'AMD SEV SEV-ES SEV-SNP'; nproc; echo wrong >&2; exit 7";
    let run = run(linux(environment, kernel, LIMIT).args(["-c", cpus, "--exec", script]))?;
    ensure!(run.code == Some(7) && run.errors == "wrong\n", "{run:?}");
    ensure!(run.output == format!("1\n{cpus}\n").as_bytes(), "{run:?}");
    Ok(())
}

/// Compares the messages at level warn or worse with those of a direct boot.
fn no_new_warning(environment: &Environment, kernel: &Path, cpus: &str) -> Outcome {
    let vm = Vm::new(environment).args(["--direct", "--timeout", LIMIT, "-c", cpus]);
    let vm = vm.args(["--kernel"]).arg(kernel).args(["--initrd"]).arg(&environment.initrd);
    let direct = warnings(&run(vm.args(["--exec", "dmesg -r"]))?.text()?);
    let vm = linux(environment, kernel, LIMIT).args(["-c", cpus, "--exec", "dmesg -r"]);
    for line in warnings(&run(vm)?.text()?).difference(&direct) {
        ensure!(has_reason(line), "{cpus} VPs: a direct boot does not log: {line}");
    }
    Ok(())
}

/// Whether a message has a reason in the list.
fn has_reason(message: &str) -> bool {
    let mut allowed = ALLOWED.lines().filter_map(|line| line.split_once(" # "));
    allowed.any(|(text, _)| match text.strip_prefix('=') {
        Some(whole) => message == whole,
        None => message.contains(text),
    })
}

/// Ends a running paravane; its QEMU must exit, and no file may remain.
fn end_by(environment: &Environment, signal: Signal) -> anyhow::Result<Option<i32>> {
    let folder = tempfile::tempdir()?;
    let sign = folder.path().display().to_string();
    let vm = exec(environment, "sleep 1000").env("TMPDIR", folder.path());
    let mut command = vm.args(["--", "-name", &sign]).into_command();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    // One process is paravane itself, the other QEMU.
    let seen = || processes_with(&sign) > 1;
    wait_until(Duration::from_secs(20), seen).ok_or_else(|| anyhow::anyhow!("no QEMU"))?;
    anyhow::ensure!(is_empty(folder.path()), "files are in {sign}");
    kill_process(Pid::from_child(&child), signal)?;
    let status = child.wait()?;
    let gone = || processes_with(&sign) == 0;
    wait_until(Duration::from_secs(5), gone).ok_or_else(|| anyhow::anyhow!("QEMU lives on"))?;
    Ok(status.code())
}

/// Builds an IGVM file that starts a shell; returns its path.
fn image(environment: &Environment, folder: &Path) -> Result<PathBuf, Stop> {
    let path = folder.join("linux, shell.igvm");
    let mut command = Command::new(&environment.paravane);
    command.args(["image", "build", "--append", "console=ttyS0 quiet", "--linux"]);
    command.arg(&environment.kernel).arg("--initrd").arg(&environment.initrd).arg("--stub");
    let output = command.arg(&environment.linux_start).arg(&path).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(path)
}

fn digest(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = image(environment, folder.path())?;
    let output =
        Command::new(&environment.paravane).args(["image", "measure"]).arg(&path).output()?;
    let predicted = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(predicted.len() == 96, "{output:?}");
    let (mut console, _folder) = Console::start_vm(Vm::in_drydock(environment).arg(&path))?;
    console.wait_for(PROMPT)?;
    // Every launch gets the file that the first one got.
    fs::remove_file(&path)?;
    console.say("reboot -f\n")?;
    console.wait_for(PROMPT)?;
    console.say("exit\n")?;
    let summary = console.end()?;
    ensure!(summary["end"] == "powered-off" && summary["launches"] == 2, "{summary}");
    ensure!(summary["launch-digest"] == predicted, "not {predicted}: {summary}");
    Ok(())
}

fn summary(environment: &Environment) -> Outcome {
    let run = run(exec(environment, "exit 3").args(["--log", "info"]))?;
    let summary = &run.summary;
    ensure!(run.code == Some(3) && summary["end"] == "exited", "{run:?}");
    ensure!(summary["command-status"] == 3 && summary["accel"] == "tcg", "{summary}");
    ensure!(summary["launches"] == 1 && summary["sizes"]["memory"] == 512 << 20, "{summary}");
    let digest = summary["launch-digest"].as_str().unwrap_or_default();
    let line = format!("info: launch digest {digest}");
    ensure!(digest.len() == 96 && run.errors.contains(&line), "{run:?}");
    Ok(())
}

/// Traces a VM that ends soon: the stub finds no kernel.
fn trace(environment: &Environment) -> Outcome {
    let run = run(linux(environment, &environment.busybox, LIMIT).args(["--trace"]))?;
    ensure!(run.code == Some(GUEST_FAILED), "{run:?}");
    // VMGEXIT, by which the stub asks for the end.
    let is_exit = |line: &&str| line.contains("trace: VP 0") && line.contains(": exit 0x403 (");
    let exits = run.errors.lines().filter(is_exit).count();
    let last = run.errors.lines().last().unwrap_or_default();
    ensure!(exits == 1, "{exits} of these exits; the last line is {last}");
    Ok(())
}

/// Missing, empty, oversized files, and files of another kind.
fn no_files(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    fs::write(path("empty"), "")?;
    fs::write(path("text"), "This is no IGVM file.\n".repeat(1000))?;
    File::create(path("large"))?.set_len(600 << 20)?;
    File::create(path("larger than fw_cfg can hold"))?.set_len(5 << 30)?;
    for (file, word) in [
        (path("missing"), "missing"),
        (folder.path().to_owned(), "is no file"),
        (path("empty"), "IGVM file"),
        (path("text"), "IGVM"),
        (path("large"), "600 MiB"),
        (path("larger than fw_cfg can hold"), "5120 MiB"),
    ] {
        let run = Vm::in_drydock(environment).args(["--timeout", "60"]).arg(file).run()?;
        ensure!(run.summary["end"] == "bad-guest", "{run:?}");
        refused(run, BAD_GUEST, word)?;
    }
    Ok(())
}

/// A file that is cut off at several points, and one with flipped bytes in its headers.
fn damaged(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let whole = fs::read(image(environment, folder.path())?)?;
    let path = folder.path().join("damaged");
    let refuse = |bytes: &[u8], what: &str| -> Outcome {
        fs::write(&path, bytes)?;
        let run = Vm::in_drydock(environment).args(["--timeout", "60"]).arg(&path).run()?;
        let code = run.code;
        refused(run, BAD_GUEST, "IGVM").map_err(|stop| match stop {
            Stop::Failed(text) => Stop::Failed(format!("{what}, code {code:?}: {text}")),
            skipped => skipped,
        })
    };
    for length in [3, 20, 100, 10_000, whole.len() / 2, whole.len() - 1] {
        refuse(whole.get(..length).unwrap_or_default(), &format!("{length} bytes"))?;
    }
    for place in [0, 4, 8, 12, 20, 24, 100] {
        let mut bytes = whole.clone();
        *bytes.get_mut(place).ok_or("a short file")? ^= 0x55;
        refuse(&bytes, &format!("byte {place}"))?;
    }
    Ok(())
}

/// Sizes that Drydock refuses with the sizes that it takes, and sizes that the file or the VM does
/// not fit.
fn wrong_sizes(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("small");
    fs::write(&path, "IGVM")?;
    for memory in ["1k", "1M", "3M", "15M", "17M", "513M", "1954M", "2G", "17179869183G"] {
        let vm = Vm::in_drydock(environment).args(["--timeout", "60", "--memory", memory]);
        refused(vm.arg(&path).run()?, UNUSABLE_VM, "16 to 1952 MiB of RAM, in steps of 2")?;
    }
    for (memory, word) in [("16M", "more RAM"), ("64M", "no RAM: give it more")] {
        refused(run(exec(environment, "true").args(["-m", memory]))?, BAD_GUEST, word)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_message_allows_no_other() {
        assert!([" #1", " #2", " #3"].into_iter().all(has_reason));
        for message in ["BUG: worker #1 hangs", " #1 is broken", " #11", "#1", " #4", ""] {
            assert!(!has_reason(message), "{message}");
        }
        assert!(has_reason("hrtimer: interrupt took 12345 ns"));
    }
}
