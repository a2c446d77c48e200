//! `paravane run --platform snp`: guests that know nothing of SEV-SNP at VMPL1, in Drydock.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::console::{Console, PROMPT};
use crate::guests::count;
use crate::kernels::{available, kexec, offline};
use crate::machine::Vm;
use crate::monitor::command as command_monitor;
use crate::{Environment, Outcome, Test, Totals, ensure, test, tpm};

const USAGE: i32 = 2;
const UNUSABLE_VM: i32 = 68;
const BAD_GUEST: i32 = 70;
/// The test guest of the tests of files, with its command line.
const GUEST: &str = "policy";
const LINE: &str = "platform=snp";
/// The `--timeout` of a boot.
const LIMIT: &str = "150";
/// How long such a run may take before it counts as hanging.
const HANG: Duration = Duration::from_secs(180);
/// Our own test guests, with their VPs.
const GUESTS: [(&str, &str); 10] = [
    ("wall", "1"),
    ("wall", "4"),
    ("interrupts", "1"),
    ("interrupts", "4"),
    ("modes", "1"),
    ("policy", "1"),
    ("policy", "4"),
    ("tpm", "2"),
    ("bios", "1"),
    ("leftovers", "1"),
];

/// The tests of this part; `cases` gets the guests' own cases.
pub fn tests(environment: &Environment, cases: &Arc<Mutex<Totals>>) -> Vec<Test> {
    let mut tests = vec![];
    let own = ("own_suite".to_owned(), Ok(environment.kernel.clone()));
    for (suite, kernel) in [own].into_iter().chain(environment.other_kernels.iter().cloned()) {
        for cpus in ["1", "4"] {
            let kernel = kernel.clone();
            let name = format!("snp::{suite}_runs_a_command_with_{cpus}_vps");
            tests.push(test(name, move |all| command(all, available(&kernel)?, cpus)));
        }
        let name = format!("snp::{suite}_reboots_and_powers_off");
        tests.push(test(name, move |all| reboot(all, available(&kernel)?)));
    }
    tests.push(test("snp::own_suite_takes_cpus_off_and_on", |environment| {
        offline(Vm::on_snp(environment), environment, &environment.kernel)
    }));
    tests.push(test("snp::own_suite_starts_itself_by_kexec", |environment| {
        kexec(Vm::on_snp, environment, &environment.kernel, false)
    }));
    for (name, cpus) in GUESTS {
        let cases = Arc::clone(cases);
        tests.push(test(format!("snp::guest_{name}_with_{cpus}_vps"), move |environment| {
            let vm = Vm::on_snp(environment).args(["--timeout", LIMIT, "-m", "128M"]);
            let vm = vm.args(["-a", "platform=snp", "-c", cpus, "--kernel"]);
            let run = vm.arg(environment.guests.join(name)).run_within(HANG)?;
            count(&run, &cases)
        }));
    }
    for (suite, kernel) in tpm::kernels(environment).into_iter().take(1) {
        tests.push(test(format!("snp::{suite}_uses_the_tpm"), move |environment| {
            tpm::uses_by(Vm::on_snp(environment), environment, &suite, &kernel, "2")
        }));
    }
    tests.push(test("snp::the_digest_of_the_paravisor_s_file_is_predicted", digest));
    tests.push(test("snp::files_that_were_not_measured_start_nothing", other_files));
    tests.push(test("snp::a_launch_that_lets_the_host_in_is_refused", policy));
    tests.push(test("snp::the_start_does_not_depend_on_the_memory", start_by_memory));
    tests.push(test("snp::a_secret_is_nowhere_in_what_the_host_sees", secret));
    tests.push(test("snp::memtest_starts_its_tests_in_32_mib", memtest));
    tests.push(test("snp::options_without_an_answer_are_refused", options));
    tests
}

fn linux(environment: &Environment, kernel: &Path, cpus: &str) -> Vm {
    let vm = Vm::on_snp(environment).args(["-c", cpus, "--kernel"]);
    vm.arg(kernel).args(["--initrd"]).arg(&environment.initrd)
}

/// The guest finds its VPs, and nothing of SEV-SNP.
fn command(environment: &Environment, kernel: &Path, cpus: &str) -> Outcome {
    let script = "nproc; dmesg | grep -qiE 'sev|memory encryption' && echo confidential; echo end";
    let vm = linux(environment, kernel, cpus).args(["--timeout", LIMIT, "--exec", script]);
    let run = vm.run_within(HANG)?;
    let wanted = format!("{cpus}\nend\n");
    ensure!(run.output == wanted.as_bytes() && run.code == Some(0), "{run:?}");
    ensure!(run.summary["launches"] == 1, "{}", run.summary);
    Ok(())
}

/// A file with the paravisor, which starts a test guest without a TPM.
fn image_of_guest(environment: &Environment, folder: &Path) -> anyhow::Result<PathBuf> {
    image_with(environment, folder, &[])
}

/// The same with further options.
fn image_with(environment: &Environment, folder: &Path, more: &[&str]) -> anyhow::Result<PathBuf> {
    let file = folder.join("guest.igvm");
    let mut command = Command::new(&environment.paravane);
    command.args(["image", "build", "--append", LINE]).args(more).arg("--paravisor");
    command.arg(&environment.image_snp).arg("--linux").arg(environment.guests.join(GUEST));
    let built = command.arg(&file).output()?;
    anyhow::ensure!(built.status.success(), "{built:?}");
    Ok(file)
}

/// The value of `--fw-cfg` for a file of the guest's.
fn fw_cfg(name: &str, path: &Path) -> OsString {
    let mut value = OsString::from(format!("name=opt/org.paravane/{name},file="));
    value.push(path);
    value
}

/// The paravisor starts the files whose digests were measured, and tells which one is another.
fn other_files(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let image = image_of_guest(environment, folder.path())?;
    let text = |name: &str, text: &str| -> anyhow::Result<PathBuf> {
        let path = folder.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    };
    let kernel = environment.guests.join(GUEST);
    let mut patched = fs::read(&kernel)?;
    if let Some(byte) = patched.last_mut() {
        *byte ^= 1;
    }
    let other_kernel = folder.path().join("kernel");
    fs::write(&other_kernel, patched)?;
    let (name, line) = (text("name", GUEST)?, text("line", LINE)?);
    let other_line = text("other-line", "platform=sno")?;
    for (kernel, line, outcome) in [
        (Some(&kernel), &line, None),
        (Some(&other_kernel), &line, Some("another opt/org.paravane/kernel than the one")),
        (Some(&kernel), &other_line, Some("another opt/org.paravane/cmdline than the one")),
        (None, &line, Some("not offer opt/org.paravane/kernel, which was measured")),
    ] {
        let mut vm = Vm::in_drydock(environment).args(["--timeout", LIMIT, "-m", "128M"]);
        let files = [("kernel", kernel), ("kernel-name", Some(&name)), ("cmdline", Some(line))];
        for (name, path) in files {
            if let Some(path) = path {
                vm = vm.arg("--fw-cfg").arg(fw_cfg(name, path));
            }
        }
        let run = vm.arg(&image).run_within(HANG)?;
        match outcome {
            None => ensure!(run.code == Some(0), "{run:?}"),
            Some(words) => {
                ensure!(run.code == Some(BAD_GUEST) && run.errors.lines().count() == 1, "{run:?}");
                ensure!(run.errors.contains(words), "{run:?}");
                ensure!(!String::from_utf8_lossy(&run.output).contains("passed"), "{run:?}");
            }
        }
    }
    Ok(())
}

/// The firmware's report tells the paravisor the policy: debugging, a migration agent.
fn policy(environment: &Environment) -> Outcome {
    for policy in ["0xb0000", "0x70000"] {
        let folder = tempfile::tempdir()?;
        let image = image_with(environment, folder.path(), &["--policy", policy])?;
        let vm = Vm::in_drydock(environment).args(["--timeout", LIMIT, "-m", "128M"]);
        let run = vm.arg(&image).run_within(HANG)?;
        ensure!(run.code == Some(UNUSABLE_VM) && run.errors.lines().count() == 1, "{run:?}");
        ensure!(run.errors.contains("policy lets the host in"), "{run:?}");
    }
    Ok(())
}

/// Counts the exits before the guest's first instruction in VMs with 128 MiB and with eight times
/// that.
fn start_by_memory(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = image_of_guest(environment, folder.path())?;
    let (name, line) = (folder.path().join("name"), folder.path().join("line"));
    fs::write(&name, GUEST)?;
    fs::write(&line, LINE)?;
    let kernel = environment.guests.join(GUEST);
    let exits = |memory: &str| -> anyhow::Result<usize> {
        let mut vm = Vm::in_drydock(environment);
        for (name, path) in [("kernel", &kernel), ("kernel-name", &name), ("cmdline", &line)] {
            vm = vm.arg("--fw-cfg").arg(fw_cfg(name, path));
        }
        let vm = vm.args(["--trace", "--timeout", LIMIT, "-m", memory]);
        let run = vm.arg(&file).run_within(HANG)?;
        let mut lines = run.errors.lines();
        let mut of_paravisor = 0;
        let has_run = lines.any(|line| {
            of_paravisor += usize::from(line.contains(" of VMPL0, "));
            line.contains(": event 0x80000018 (0x1,")
        });
        anyhow::ensure!(has_run, "the guest was never run: {:?}", run.errors.lines().last());
        Ok(of_paravisor)
    };
    let (small, large) = (exits("128M")?, exits("1G")?);
    ensure!(small > 0 && large * 10 < small * 11, "{small} exits before {large}");
    Ok(())
}

/// A reset is in place, so the VM is launched once.
fn reboot(environment: &Environment, kernel: &Path) -> Outcome {
    let (mut console, _folder) = Console::start_vm(linux(environment, kernel, "4"))?;
    for _ in 0..2 {
        console.wait_for(PROMPT)?;
        console.say("reboot -f\n")?;
    }
    console.wait_for(PROMPT)?;
    console.say("nproc; poweroff -f\n")?;
    console.wait_for("4\r\n")?;
    let summary = console.end()?;
    ensure!(summary["end"] == "powered-off" && summary["launches"] == 1, "{summary}");
    Ok(())
}

/// The emulated firmware measures a file with the paravisor as `image measure` predicts, and the file
/// is the same when it is built again.
fn digest(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let image = |words: &[&OsStr]| {
        let mut command = Command::new(&environment.paravane);
        let output = command.arg("image").args(words).output()?;
        anyhow::ensure!(output.status.success(), "{output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    let files = ["one.igvm", "two.igvm"].map(|name| folder.path().join(name));
    for file in &files {
        image(&[
            "build".as_ref(),
            "--paravisor".as_ref(),
            environment.image_snp.as_os_str(),
            "--linux".as_ref(),
            environment.kernel.as_os_str(),
            "--append".as_ref(),
            "console=ttyS0 panic=-1".as_ref(),
            file.as_os_str(),
        ])?;
    }
    let [one, two] = files;
    ensure!(fs::read(&one)? == fs::read(&two)?, "two builds differ");
    let predicted = image(&["measure".as_ref(), one.as_os_str()])?;
    let vm = Vm::in_drydock(environment).args(["--timeout", "5"]).arg(one);
    let run = vm.run_within(HANG)?;
    ensure!(run.summary["launch-digest"] == predicted.trim(), "{predicted}{}", run.summary);
    Ok(())
}

/// The guest makes a secret, and keeps it in a file and in a process. None of the memory that its
/// host sees has it; the guest's private memory, which the emulator keeps behind that, does.
fn secret(environment: &Environment) -> Outcome {
    // The SHA-256 digest of this word and a line feed, which the guest computes by itself.
    const WORD: &str = "paravane";
    const SECRET: &str = "47e0c15844402cb76ba8300207d5cde1e24f130f3c74851db1a2ce96059d2bad";
    const MEMORY: u64 = 256 << 20;
    const ALL: u64 = 1 << 30;
    let folder = tempfile::tempdir()?;
    let vm = linux(environment, &environment.kernel, "2").args(["-m", "256M"]);
    let (mut console, _folder) = Console::start_vm(vm)?;
    console.wait_for(PROMPT)?;
    let make = format!(
        "s=$(echo {WORD} | sha256sum); for i in $(seq 500); do echo $s; done > /tmp/s; \
         echo ke\"\"pt $(wc -l < /tmp/s)\n"
    );
    console.say(&make)?;
    console.wait_for("kept 500")?;
    let mut found = vec![];
    for (start, end) in [(0, MEMORY), (MEMORY, ALL)] {
        let file = folder.path().join("memory");
        let length = end - start;
        command_monitor(
            &mut console,
            &format!("pmemsave {start} {length} \"{}\"", file.display()),
        )?;
        ensure!(fs::metadata(&file)?.len() == length, "the monitor has written less");
        let count = Command::new("grep").args(["-aczF", SECRET]).arg(&file).output()?;
        found.push(String::from_utf8(count.stdout)?.trim().parse::<u32>()?);
    }
    ensure!(found[0] == 0, "the host sees the secret at {} places", found[0]);
    ensure!(found[1] > 0, "the secret is nowhere, so the search proves nothing");
    console.say("poweroff -f\n")?;
    console.end()?;
    Ok(())
}

fn memtest(environment: &Environment) -> Outcome {
    let image = available(&environment.memtest)?;
    let vm = Vm::on_snp(environment).args(["-m", "32M", "-a", "console=ttyS0", "--kernel"]);
    let (mut console, _folder) = Console::start_vm_for(vm.arg(image), HANG)?;
    Ok(console.wait_longer_for("#1", HANG)?)
}

/// What the platform has no answer to yet ends with one line.
fn options(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    for (words, reason) in [
        (vec!["--state".as_ref(), state.as_os_str()], "the host would know the key"),
        (vec!["--direct".as_ref()], "paravane drydock"),
        (vec!["--module".as_ref(), environment.kernel.as_os_str()], "not measured yet"),
    ] {
        let run = linux(environment, &environment.kernel, "1").args(words).run()?;
        ensure!(run.code == Some(USAGE), "{run:?}");
        let lines: Vec<_> = run.errors.lines().collect();
        ensure!(lines.len() == 1 && lines[0].contains(reason), "{run:?}");
        ensure!(!state.exists(), "a refused option has made a file");
    }
    Ok(())
}
