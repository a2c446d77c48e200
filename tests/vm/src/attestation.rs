//! Attestation reports of guests in Drydock, judged by the `sev` and `igvm` crates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cpio::Archive;
use serde_json::Value;
use tempfile::TempDir;

use crate::console::{Console, PROMPT};
use crate::kernels::available;
use crate::life::wait_until;
use crate::machine::Vm;
use crate::{Environment, Outcome, Stop, Test, ensure, test};

const OURS: i32 = 1;
/// The suite whose cloud kernel has a driver for reports: 6.12. That of 6.1 has none.
const SUITE: &str = "trixie";
/// The bytes that the guest puts into its report.
const INPUT: &[u8; 64] = b"a verifier's nonce, which the report has to have in it: 64 bytes";
/// Fetches a report through configfs.
const SCRIPT: &[u8] = b"depmod
    echo /sbin/modprobe > /proc/sys/kernel/modprobe
    modprobe sev-guest
    mount -t configfs none /sys/kernel/config
    mkdir /sys/kernel/config/tsm/report/one
    cd /sys/kernel/config/tsm/report/one
    cat /input > inblob
    show() { echo; echo \"<$1>\"; od -An -v -tx1 $1; echo \"</$1>\"; }
    show provider; show outblob; show auxblob
    ";
/// How long keys may take to be made, and a VM to run.
const LIMIT: Duration = Duration::from_secs(180);
/// Where REPORT_DATA, MEASUREMENT, REPORTED_TCB, CHIP_ID and the signature stand in a report.
const REPORT_DATA: usize = 0x50;
const MEASUREMENT: usize = 0x90;
const REPORTED_TCB: usize = 0x180;
const CHIP_ID: usize = 0x1a0;
const SIGNATURE: usize = 0x2a0;

/// The tests of this part.
pub fn tests(environment: &Environment) -> Vec<Test> {
    let kernel = environment.other_kernels.iter().find(|(suite, _)| suite == SUITE);
    let mut tests = vec![
        test("drydock::certificates_stay_the_same_until_their_file_is_damaged", kept),
        test("drydock::without_a_place_to_keep_it_a_run_has_a_chip_of_its_own", not_kept),
    ];
    let Some((_, kernel)) = kernel else { return tests };
    let [first, second] = [kernel.clone(), kernel.clone()];
    tests.push(test("drydock::trixie_fetches_a_report_that_others_verify", move |environment| {
        verified(environment, available(&first)?)
    }));
    tests.push(test("drydock::others_refuse_a_changed_report_and_a_foreign_chain", move |all| {
        refused(all, available(&second)?)
    }));
    tests
}

/// What a guest has got.
struct Evidence {
    report: Vec<u8>,
    /// The table of certificates.
    table: Vec<u8>,
    /// The summary of the run.
    summary: Value,
}

/// A folder with an IGVM file whose guest can fetch a report, and the file's path.
fn image(environment: &Environment, kernel: &Path) -> Result<(TempDir, PathBuf), Stop> {
    let modules = environment.modules.iter().find(|(suite, _)| suite == SUITE);
    let modules = available(&modules.ok_or("no modules")?.1)?;
    let mut archive = Archive::new();
    archive.file("script", 0o755, SCRIPT);
    archive.file("input", 0o644, INPUT);
    archive.link("lib", "usr/lib");
    let mut initrd = fs::read(&environment.initrd)?;
    cpio::append(&mut initrd, &fs::read(modules)?);
    cpio::append(&mut initrd, &archive.finish());
    let folder = tempfile::tempdir()?;
    let [path, file] = ["initrd", "guest.igvm"].map(|name| folder.path().join(name));
    fs::write(&path, initrd)?;
    let mut command = Command::new(&environment.paravane);
    command.args(["image", "build", "--append", "console=ttyS0 quiet", "--linux"]).arg(kernel);
    command.arg("--initrd").arg(&path).arg("--stub").arg(&environment.linux_start);
    let output = command.arg(&file).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok((folder, file))
}

/// Runs a guest from a file, and takes what it shows on its console.
fn fetch(environment: &Environment, file: &Path, options: &[&str]) -> Result<Evidence, Stop> {
    let vm = Vm::in_drydock(environment).args(options).arg(file);
    let (mut console, _folder) = Console::start_vm(vm)?;
    console.wait_for(PROMPT)?;
    console.say("sh /script; exit\n")?;
    let mut show = |name: &str| -> Result<Vec<u8>, Stop> {
        console.wait_for(&format!("<{name}>\r\n"))?;
        let text = console.read_until(&format!("</{name}>"))?;
        let bytes = text.split_whitespace().map(|digits| u8::from_str_radix(digits, 16));
        Ok(bytes.collect::<Result<_, _>>().map_err(|error| format!("{error}: {text}"))?)
    };
    let (provider, report, table) = (show("provider")?, show("outblob")?, show("auxblob")?);
    ensure!(provider == b"sev_guest\n", "{}", String::from_utf8_lossy(&provider));
    let summary = console.end()?;
    Ok(Evidence { report, table, summary })
}

/// The judge's words on a report: `certificates` is a table or a folder.
fn judge(
    environment: &Environment,
    report: &[u8],
    certificates: &Path,
    root: &Path,
) -> Result<(bool, String), Stop> {
    let verifier = available(&environment.verifier)?;
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), report)?;
    let mut command = Command::new(verifier);
    command.arg("report").arg(file.path()).arg(certificates).arg(root);
    let output = command.output()?;
    ensure!(output.stderr.is_empty(), "{output:?}");
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// A program's output, which is one line.
fn line(command: &mut Command) -> Result<String, Stop> {
    let output = command.output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Writes the certificates of the chip whose data are in `data` to `to`.
fn certificates(environment: &Environment, data: &Path, to: &Path) -> Outcome {
    let vm = Vm::in_drydock(environment).without_summary().env("XDG_DATA_HOME", data);
    let run = vm.args(["--certificates"]).arg(to).run_within(LIMIT)?;
    ensure!(run.code == Some(0) && run.output.is_empty(), "{run:?}");
    Ok(())
}

/// A part of a report, in hexadecimal digits.
fn part(report: &[u8], start: usize, length: usize) -> String {
    report.iter().skip(start).take(length).map(|byte| format!("{byte:02x}")).collect()
}

fn verified(environment: &Environment, kernel: &Path) -> Outcome {
    let (folder, file) = image(environment, kernel)?;
    let mut measure = Command::new(&environment.paravane);
    let measured = line(measure.args(["image", "measure"]).arg(&file))?;
    let verifier = available(&environment.verifier)?;
    let predicted = line(Command::new(verifier).arg("digest").arg(&file))?;
    ensure!(measured == predicted && measured.len() == 96, "{measured}, not {predicted}");
    let [host, table] = ["host", "table"].map(|name| folder.path().join(name));
    certificates(environment, &environment.data, &host)?;
    let mut chips = vec![];
    for options in [["--cpus", "1", "--memory", "512M"], ["--cpus", "4", "--memory", "256M"]] {
        let Evidence { report, table: found, summary } = fetch(environment, &file, &options)?;
        ensure!(summary["launch-digest"] == measured, "{summary}");
        let input: String = INPUT.iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(part(&report, REPORT_DATA, 64) == input, "other data");
        ensure!(part(&report, MEASUREMENT, 48) == measured, "not {measured}");
        fs::write(&table, &found)?;
        for certificates in [&table, &host] {
            let (is_good, words) =
                judge(environment, &report, certificates, &host.join("ark.pem"))?;
            ensure!(is_good && words.matches(": ok").count() == 5, "{words}");
            for fact in [format!("measurement {measured}"), format!("report data {input}")] {
                ensure!(words.contains(&fact), "no `{fact}` in: {words}");
            }
        }
        chips.push((part(&report, CHIP_ID, 64), part(&report, REPORTED_TCB, 8), found));
    }
    ensure!(chips.first() == chips.last(), "it is the same chip whatever the VM's size");
    Ok(())
}

fn refused(environment: &Environment, kernel: &Path) -> Outcome {
    let (folder, file) = image(environment, kernel)?;
    let [host, table, other, data] =
        ["host", "table", "other", "data"].map(|name| folder.path().join(name));
    certificates(environment, &environment.data, &host)?;
    certificates(environment, &data, &other)?;
    let Evidence { report, table: found, .. } = fetch(environment, &file, &[])?;
    fs::write(&table, found)?;
    let bad = |name: &str, report: &[u8], certificates: &Path, root: &Path, wrong: &[&str]| {
        let (is_good, words) = judge(environment, report, certificates, root)?;
        ensure!(!is_good, "{name}: {words}");
        for check in ["root", "chain", "signature", "tcb"] {
            let is_ok = words.contains(&format!("{check}: ok\n"));
            ensure!(is_ok != wrong.contains(&check), "{name}, {check}: {words}");
        }
        Ok(())
    };
    let root = host.join("ark.pem");
    for (name, place, wrong) in [
        ("REPORT_DATA", REPORT_DATA + 63, &["signature"][..]),
        ("MEASUREMENT", MEASUREMENT, &["signature"]),
        ("the boot loader", REPORTED_TCB, &["signature", "tcb"]),
        ("the SNP firmware", REPORTED_TCB + 6, &["signature", "tcb"]),
        ("the microcode", REPORTED_TCB + 7, &["signature", "tcb"]),
        ("CHIP_ID", CHIP_ID + 63, &["signature", "tcb"]),
        ("R", SIGNATURE, &["signature"]),
        ("S", SIGNATURE + 72, &["signature"]),
    ] {
        let mut changed = report.clone();
        *changed.get_mut(place).ok_or("a short report")? ^= 1;
        bad(name, &changed, &table, &root, wrong)?;
    }
    bad("another root", &report, &table, &other.join("ark.pem"), &["root"])?;
    let foreign = &["root", "signature", "tcb"];
    bad("another chip", &report, &other, &root, foreign)?;
    for name in ["ask.pem", "vcek.pem"] {
        let mixed = folder.path().join(format!("with the other {name}"));
        fs::create_dir(&mixed)?;
        for certificate in ["ark.pem", "ask.pem", "vcek.pem"] {
            let from = if certificate == name { &other } else { &host };
            fs::copy(from.join(certificate), mixed.join(certificate))?;
        }
        let wrong = if name == "ask.pem" { &["chain"][..] } else { &["chain", "signature", "tcb"] };
        bad(name, &report, &mixed, &root, wrong)?;
    }
    Ok(())
}

/// The text of all certificates in a folder.
fn texts(folder: &Path) -> Result<Vec<String>, Stop> {
    let names = ["ark.pem", "ask.pem", "vcek.pem"];
    Ok(names
        .map(|name| fs::read_to_string(folder.join(name)))
        .into_iter()
        .collect::<Result<_, _>>()?)
}

/// A run that is killed while it makes a chip, two that make one at once, a later one, and one that
/// finds a damaged file.
fn kept(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let data = path("data");
    let vm = Vm::in_drydock(environment).without_summary().env("XDG_DATA_HOME", &data);
    let mut killed = vm.args(["--certificates"]).arg(path("none")).into_command();
    let mut killed = killed.stderr(Stdio::null()).spawn()?;
    let begun = || data.join("paravane/drydock-chip.lock").exists();
    wait_until(LIMIT, begun).ok_or("no lock")?;
    killed.kill()?;
    killed.wait()?;
    ensure!(!path("none").exists() && !data.join("paravane/drydock-chip.pem").exists(), "too late");
    std::thread::scope(|scope| {
        let other = scope.spawn(|| certificates(environment, &data, &path("one")));
        certificates(environment, &data, &path("two"))?;
        other.join().map_err(|_| "the other thread panicked")?
    })?;
    certificates(environment, &data, &path("three"))?;
    let [one, two, three] = [texts(&path("one"))?, texts(&path("two"))?, texts(&path("three"))?];
    ensure!(one == two && two == three, "three runs have more than one chip");
    fs::write(data.join("paravane/drydock-chip.pem"), one.concat())?;
    let vm = Vm::in_drydock(environment).without_summary().env("XDG_DATA_HOME", &data);
    let run = vm.args(["--certificates"]).arg(path("four")).run_within(LIMIT)?;
    ensure!(run.code == Some(0) && run.errors.contains("is damaged"), "{run:?}");
    let four = texts(&path("four"))?;
    ensure!(one.iter().zip(&four).all(|(old, new)| old != new), "an old certificate");
    let vm = Vm::in_drydock(environment).without_summary().args(["--certificates"]);
    let run = vm.arg(data.join("paravane/drydock-chip.pem")).run_within(LIMIT)?;
    ensure!(run.code == Some(OURS) && run.errors.lines().count() == 1, "{run:?}");
    Ok(())
}

fn not_kept(environment: &Environment) -> Outcome {
    let vm = || Vm::in_drydock(environment).env("XDG_DATA_HOME", "/proc");
    let linux = vm().args(["--timeout", "150", "--linux"]).arg(&environment.kernel);
    let linux = linux.args(["--initrd"]).arg(&environment.initrd).args(["--exec", "echo on"]);
    let run = linux.run_within(LIMIT)?;
    ensure!(run.code == Some(0) && run.output == b"on\n", "{run:?}");
    ensure!(run.errors.contains("a chip of its own, as none can be kept: /proc"), "{run:?}");
    let folder = tempfile::tempdir()?;
    let alone = vm().without_summary().args(["--certificates"]).arg(folder.path().join("none"));
    let run = alone.run_within(LIMIT)?;
    ensure!(run.code == Some(OURS) && run.errors.contains("/proc"), "{run:?}");
    ensure!(run.errors.lines().count() == 1 && !folder.path().join("none").exists(), "{run:?}");
    Ok(())
}
