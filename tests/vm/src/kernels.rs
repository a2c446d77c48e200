//! Guests that nobody here wrote.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cpio::Archive;

use crate::console::{Console, PROMPT};
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
    let own = ("own_suite".to_owned(), Ok(environment.kernel.clone()));
    for (suite, kernel) in [own].iter().chain(&environment.other_kernels) {
        let [first, second, third] = [kernel.clone(), kernel.clone(), kernel.clone()];
        let races = suite == "bullseye";
        tests.push(test(format!("kernels::{suite}_takes_cpus_off_and_on"), move |all| {
            offline(Vm::new(all), all, available(&first)?)
        }));
        tests.push(test(format!("kernels::{suite}_starts_itself_by_kexec"), move |all| {
            kexec(Vm::new, all, available(&second)?, races)
        }));
        tests.push(test(format!("kernels::{suite}_reboots_and_powers_off"), move |all| {
            reboot(all, available(&third)?)
        }));
    }
    for cpus in ["1", "4"] {
        tests
            .push(test(format!("kernels::memtest_starts_its_tests_with_{cpus}_vps"), move |all| {
                memtest(all, cpus, "#1", Duration::from_secs(120))
            }));
        if environment.long {
            tests.push(test(format!("kernels::memtest_passes_once_with_{cpus}_vps"), move |all| {
                memtest(all, cpus, "Pass:  1 ", Duration::from_secs(3600))
            }));
        }
    }
    tests
}

pub fn available(file: &Result<PathBuf, String>) -> Result<&Path, Stop> {
    file.as_deref().map_err(|why| Stop::Skipped(why.clone()))
}

/// Reboots twice, powers off; the machine must have started three times.
fn reboot(environment: &Environment, kernel: &Path) -> Outcome {
    for cpus in ["1", "4"] {
        let vm = Vm::new(environment).args(["--cpus", cpus, "--kernel"]).arg(kernel);
        let (mut console, _folder) =
            Console::start_vm(vm.args(["--initrd"]).arg(&environment.initrd))?;
        for _ in 0..2 {
            console.wait_for(PROMPT)?;
            console.say("reboot -f\n")?;
        }
        console.wait_for(PROMPT)?;
        console.say("nproc; poweroff -f\n")?;
        console.wait_for(&format!("{cpus}\r\n"))?;
        let summary = console.end()?;
        ensure!(summary["end"] == "powered-off", "{summary}");
        ensure!(summary["counters"]["starts"] == 3, "{summary}");
    }
    Ok(())
}

/// Takes VPs 1 to 3 offline and online; afterwards each runs its task.
pub fn offline(vm: Vm, environment: &Environment, kernel: &Path) -> Outcome {
    let script = "for round in $(seq 20); do
            for value in 0 1; do
                for cpu in 1 2 3; do echo $value > /sys/devices/system/cpu/cpu$cpu/online; done
                echo $(nproc)
            done
        done
        for cpu in 1 2 3; do taskset -c $cpu true && echo ran; done
        dmesg -r | grep -E '^<[0-4]>'";
    let vm = vm.args(["--timeout", "150", "-c", "4", "--exec", script]);
    let vm = vm.args(["--kernel"]).arg(kernel).args(["--initrd"]).arg(&environment.initrd);
    let run = vm.run_within(Duration::from_secs(180))?;
    let text = String::from_utf8_lossy(&run.output);
    let rounds = "1\n4\n".repeat(20) + "ran\nran\nran\n";
    ensure!(text.starts_with(&rounds), "code {:?}\n{text}\n{}", run.code, run.errors);
    let complaint = text.lines().find(|line| line.contains("smpboot") || line.contains("stuck"));
    ensure!(complaint.is_none(), "the guest complains: {complaint:?}");
    Ok(())
}

/// A running kernel loads itself again by kexec and starts the copy, without a reset.
///
/// A kernel that `races` starts the next one while its other CPUs are still on their way to a halt,
/// and these may execute what overwrites them. Linux 5.10 does that: it counts a CPU as stopped
/// before the CPU has stopped. A direct boot with all CPUs in one thread of QEMU fails by it, too. So
/// such a kernel takes its other CPUs off first.
pub fn kexec(
    new: fn(&Environment) -> Vm,
    environment: &Environment,
    kernel: &Path,
    races: bool,
) -> Outcome {
    let folder = tempfile::tempdir()?;
    let mut archive = Archive::new();
    archive.file("init", 0o755, &fs::read(&environment.agent)?);
    archive.file("boot/kernel", 0o644, &fs::read(kernel)?);
    archive.file("boot/initrd", 0o644, &fs::read(&environment.initrd)?);
    let mut initrd = fs::read(available(&environment.kexec)?)?;
    cpio::append(&mut initrd, &archive.finish());
    let path = folder.path().join("initrd");
    fs::write(&path, initrd)?;
    for cpus in ["1", "4"] {
        let vm = new(environment).args(["-c", cpus, "--kernel"]).arg(kernel);
        let (mut console, _folder) = Console::start_vm(vm.args(["--initrd"]).arg(&path))?;
        console.wait_for(PROMPT)?;
        if races {
            console
                .say("for cpu in /sys/devices/system/cpu/cpu*/online; do echo 0 > $cpu; done\n")?;
            console.wait_for(PROMPT)?;
        }
        let command = "kexec -l /boot/kernel --initrd=/boot/initrd --reuse-cmdline && kexec -e\n";
        console.say(command)?;
        // The second kernel's agent prints its greeting again.
        console.wait_for("powers the guest off")?;
        console.wait_for(PROMPT)?;
        console.say("ls /boot; echo $(nproc) CPUs; poweroff -f\n")?;
        console.wait_for("No such file")?;
        console.wait_for(&format!("{cpus} CPUs\r\n"))?;
        let summary = console.end()?;
        ensure!(summary["end"] == "powered-off", "{summary}");
        // A confidential VM tells no counters.
        let starts = summary["counters"].get("starts").unwrap_or(&summary["launches"]);
        ensure!(*starts == 1, "it was a reset: {summary}");
    }
    Ok(())
}

/// Boots directly and below the paravisor, and compares the messages at level warn or worse.
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
pub fn warnings(log: &str) -> BTreeSet<String> {
    let parse = |line: &str| {
        let (level, text) = line.strip_prefix('<')?.split_once('>')?;
        // The upper bits are the facility.
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
    let (mut console, _folder) = Console::start_vm_for(vm.args(["--kernel"]).arg(image), time)?;
    Ok(console.wait_longer_for(text, time)?)
}
