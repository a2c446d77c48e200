//! The end of runs by limits, crashes or signals, without leftovers.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::console::Console;
use crate::machine::Vm;
use crate::{Environment, Outcome, Stop, Test, ensure, pace, test};

const GUEST_DIED: i32 = 64;
const TIMEOUT: i32 = 65;
const CRASHED: i32 = 67;
const INTERRUPTED: i32 = 73;

/// The tests of this part.
pub fn tests() -> Vec<Test> {
    vec![
        test("life::a_timeout_ends_the_vm", |environment| {
            let run = Vm::exec_within(environment, "15", "echo on; sleep 1000").run()?;
            ensure!(run.code == Some(TIMEOUT) && run.summary["end"] == "timeout", "{run:?}");
            ensure!(run.time < pace::limit(Duration::from_secs(20)), "it took {:?}", run.time);
            ensure!(run.errors.contains("--timeout") && run.output == b"on\n", "{run:?}");
            Ok(())
        }),
        test("life::a_guest_that_powers_off_first", |environment| {
            died(environment, "poweroff -f; sleep 1000")
        }),
        test("life::a_guest_that_resets_first", |environment| {
            died(environment, "reboot -f; sleep 1000")
        }),
        test("life::a_guest_that_panics", |environment| {
            died(environment, "echo c > /proc/sysrq-trigger; sleep 1000")
        }),
        test("life::a_crash_leaves_a_record_with_names", crash),
        test("life::a_crash_in_the_service_ends_the_tpm_alone", service_crash),
        test("life::a_signal_ends_all_and_leaves_nothing", |environment| {
            let code = end_by(environment, Signal::TERM, true)?;
            ensure!(code == Some(INTERRUPTED), "{code:?}");
            Ok(())
        }),
        test("life::a_killed_paravane_leaves_no_qemu", |environment| {
            end_by(environment, Signal::KILL, false)?;
            Ok(())
        }),
    ]
}

fn died(environment: &Environment, script: &str) -> Outcome {
    let run = Vm::exec(environment, script).run()?;
    ensure!(run.code == Some(GUEST_DIED), "{run:?}");
    ensure!(run.summary["end"] == "guest-died", "{}", run.summary);
    ensure!(run.errors.contains("before the command"), "{}", run.errors);
    ensure!(run.output.is_empty(), "{run:?}");
    Ok(())
}

/// A machine check that hits the paravisor while its guest sleeps.
///
/// QEMU's monitor raises it: an uncorrected error (VAL, UC, EN, PCC) of bank 1.
fn crash(environment: &Environment) -> Outcome {
    let vm = Vm::new(environment).args(["-m", "128M", "--kernel"]);
    let (mut console, _folder) = Console::start_vm(vm.arg(environment.guests.join("asleep")))?;
    console.wait_for("asleep")?;
    // The line is printed a moment before the guest halts.
    thread::sleep(Duration::from_millis(200));
    console.say("\x01c")?;
    console.wait_for("(qemu)")?;
    console.say("mce 0 1 0xb200000000000000 5 0 0\n")?;
    let ended = console.end_with_errors()?;
    let summary = &ended.summary;
    ensure!(summary["exit-code"] == CRASHED && summary["end"] == "paravisor-crashed", "{ended:?}");
    for word in ["exception 18", "build-id", "load-offset"] {
        ensure!(ended.errors.contains(word), "no `{word}` in\n{}", ended.errors);
    }
    // The frames lead to the VP's loop, whatever it was doing.
    for name in ["run<nested_svm::NestedSvm>", "vmm/machine/src/vp.rs:"] {
        ensure!(ended.errors.contains(name), "no `{name}` in\n{}", ended.errors);
    }
    Ok(())
}

/// A machine check while the TPM's service runs, which is most of the time here: the service ends,
/// and the guest continues. If the machine check falls into a short moment between two commands,
/// the test tries another VM.
fn service_crash(environment: &Environment) -> Outcome {
    const ATTEMPTS: usize = 8;
    for _ in 0..ATTEMPTS {
        let vm = Vm::new(environment).args(["-m", "128M", "-a", "endless", "--kernel"]);
        let (mut console, _folder) = Console::start_vm(vm.arg(environment.guests.join("tpm")))?;
        console.wait_for("makes keys")?;
        thread::sleep(Duration::from_millis(200));
        console.say("\x01c")?;
        console.wait_for("(qemu)")?;
        console.say("mce 0 1 0xb200000000000000 5 0 0\n")?;
        console.wait_for("(qemu)")?;
        let lives = console.wait_for("lives-without-its-tpm ok").is_ok();
        let ended = console.end_with_errors()?;
        if ended.summary["end"] == "paravisor-crashed" && !ended.errors.contains("service_main") {
            continue;
        }
        ensure!(lives && ended.summary["end"] == "powered-off", "{ended:?}");
        for word in ["exception 18", "build-id", "service_main", "vmm/machine/src/tpm/"] {
            ensure!(ended.errors.contains(word), "no `{word}` in\n{}", ended.errors);
        }
        return Ok(());
    }
    Err(Stop::Failed(format!("{ATTEMPTS} machine checks, and none met the service")))
}

/// Ends a running paravane; its QEMU must exit, and its files must be removed.
fn end_by(environment: &Environment, signal: Signal, early: bool) -> anyhow::Result<Option<i32>> {
    let folder = tempfile::tempdir()?;
    let sign = folder.path().display().to_string();
    let vm = Vm::exec(environment, "sleep 1000").env("TMPDIR", folder.path());
    let mut command = vm.into_command();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let seen = || processes_with(&sign) > 0;
    wait_until(Duration::from_secs(20), seen).ok_or_else(|| anyhow::anyhow!("no QEMU"))?;
    if !early {
        // Once the guest runs, nothing is left on the disk.
        let gone = || is_empty(folder.path());
        wait_until(Duration::from_secs(60), gone).ok_or_else(|| anyhow::anyhow!("files remain"))?;
    }
    kill_process(Pid::from_child(&child), signal)?;
    let status = child.wait()?;
    let gone = || processes_with(&sign) == 0;
    wait_until(Duration::from_secs(5), gone).ok_or_else(|| anyhow::anyhow!("QEMU lives on"))?;
    anyhow::ensure!(is_empty(folder.path()), "files remain in {sign}");
    Ok(status.code())
}

/// Whether a folder has nothing in it.
pub fn is_empty(folder: &std::path::Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// How many processes have this text among their arguments.
pub fn processes_with(text: &str) -> usize {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let arguments = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    arguments.filter(|bytes| String::from_utf8_lossy(bytes).contains(text)).count()
}

/// Waits for a condition, but not longer than the limit at this machine's pace.
pub fn wait_until(limit: Duration, condition: impl Fn() -> bool) -> Option<()> {
    let end = Instant::now() + pace::limit(limit);
    while Instant::now() < end {
        if condition() {
            return Some(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    None
}
