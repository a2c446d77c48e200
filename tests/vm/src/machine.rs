//! Runs one VM per call, to test the machine that the guest finds.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Environment, Outcome, Test, ensure, pace, test};

/// How much longer than its own `--timeout` a run may take before it counts as hanging.
const HANG: Duration = Duration::from_secs(30);
/// The `--timeout` of runs with up to 64 VPs, whose threads share the host's CPUs.
const MANY_CPUS_TIMEOUT: &str = "300";
/// The `--timeout` of most runs.
const LIMIT: &str = "90";

/// A `paravane run` or `paravane drydock` that is not yet started.
#[derive(Debug)]
pub struct Vm {
    command: Command,
    has_summary: bool,
}

/// How a run went.
#[derive(Debug)]
pub struct Run {
    /// The exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub output: Vec<u8>,
    /// Standard error.
    pub errors: String,
    /// The `--json` file.
    pub summary: Value,
    /// How long it took.
    pub time: Duration,
}

impl Vm {
    /// On QEMU's software CPU, which every machine has.
    pub fn new(environment: &Environment) -> Self {
        Self::on(environment, "tcg")
    }

    /// The same with a thread for each CPU, so that two CPUs really run at once.
    pub fn with_threads(environment: &Environment) -> Self {
        Self::on(environment, "tcg-threads")
    }

    fn on(environment: &Environment, accel: &str) -> Self {
        let mut command = Command::new(&environment.paravane);
        command.args(["run", "--accel", accel]);
        command.env("PARAVANE_IMAGE", &environment.image).env("PARAVANE_AGENT", &environment.agent);
        Self { command, has_summary: true }
    }

    /// With the paravisor at VMPL0 of a confidential VM, in Drydock.
    pub fn on_snp(environment: &Environment) -> Self {
        let mut vm = Self::new(environment).args(["--platform", "snp"]);
        vm.command.env("PARAVANE_IMAGE_SNP", &environment.image_snp);
        vm.command.env("PARAVANE_DRYDOCK", &environment.drydock);
        vm.command.env("XDG_DATA_HOME", &environment.data);
        vm
    }

    /// A `paravane drydock` on QEMU's software CPU.
    pub fn in_drydock(environment: &Environment) -> Self {
        let mut command = Command::new(&environment.paravane);
        command.args(["drydock", "--accel", "tcg"]).env("PARAVANE_AGENT", &environment.agent);
        command.env("PARAVANE_DRYDOCK", &environment.drydock);
        command.env("XDG_DATA_HOME", &environment.data);
        command.env("PARAVANE_LINUX_START", &environment.linux_start);
        Self { command, has_summary: true }
    }

    /// The default guest that runs a command.
    pub fn exec(environment: &Environment, text: &str) -> Self {
        Self::exec_within(environment, LIMIT, text)
    }

    /// The same with another `--timeout`.
    pub fn exec_within(environment: &Environment, timeout: &str, text: &str) -> Self {
        let vm = Self::new(environment).args(["--timeout", timeout, "--kernel"]);
        let vm = vm.arg(&environment.kernel).args(["--initrd"]).arg(&environment.initrd);
        vm.args(["--exec", text])
    }

    /// More arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.command.arg(argument.into());
        self
    }

    /// Sets a variable of paravane's environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it in this folder.
    pub fn directory(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Leaves `--json` to the test.
    pub fn without_summary(mut self) -> Self {
        self.has_summary = false;
        self
    }

    /// Lets another program start it; that program's own arguments come first.
    pub fn by<S: AsRef<OsStr>>(
        mut self,
        program: &OsStr,
        arguments: impl IntoIterator<Item = S>,
    ) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).arg(self.command.get_program()).args(self.command.get_args());
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.command = command;
        self.has_summary = false;
        self
    }

    /// The command as it is.
    pub fn into_command(self) -> Command {
        pace::command(&self.command)
    }

    /// Runs it to its end, but never longer than any VM may take.
    pub fn run(self) -> anyhow::Result<Run> {
        self.run_within(Duration::from_secs(LIMIT.parse().unwrap_or(60)) + HANG)
    }

    /// Runs it to its end, within this time, scaled to this machine's pace.
    pub fn run_within(mut self, limit: Duration) -> anyhow::Result<Run> {
        self.command = pace::command(&self.command);
        let limit = pace::limit(limit);
        let folder = tempfile::tempdir()?;
        let summary = folder.path().join("summary");
        // Options end where QEMU's arguments begin: the summary goes before them.
        let mut command = Command::new(self.command.get_program());
        let mut arguments = self.command.get_args();
        command.args(arguments.next());
        if self.has_summary {
            command.arg("--json").arg(&summary);
        }
        command.args(arguments);
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begin = Instant::now();
        let mut child = command.spawn()?;
        let output = child.stdout.take().map(collect);
        let errors = child.stderr.take().map(collect);
        let code = loop {
            if let Some(status) = child.try_wait()? {
                break status.code();
            }
            if begin.elapsed() > limit {
                child.kill()?;
                child.wait()?;
                anyhow::bail!("paravane hangs");
            }
            thread::sleep(Duration::from_millis(10));
        };
        let time = begin.elapsed();
        let join = |pipe: Option<thread::JoinHandle<Vec<u8>>>| {
            pipe.and_then(|pipe| pipe.join().ok()).unwrap_or_default()
        };
        let summary = std::fs::read_to_string(&summary).unwrap_or_default();
        let summary = serde_json::from_str(&summary).unwrap_or_default();
        let errors = String::from_utf8_lossy(&join(errors)).into_owned();
        Ok(Run { code, output: join(output), errors, summary, time })
    }
}

impl Run {
    /// Fails unless the command succeeded; returns its output as text.
    pub fn text(self) -> anyhow::Result<String> {
        if self.code != Some(0) {
            anyhow::bail!("code {:?}\n{}", self.code, self.errors);
        }
        Ok(String::from_utf8_lossy(&self.output).into_owned())
    }

    /// A counter of the run.
    pub fn counter(&self, name: &str) -> u64 {
        self.summary["counters"][name].as_u64().unwrap_or_default()
    }

    /// The sum of all exits.
    pub fn exits(&self) -> u64 {
        let exits = self.summary["exits"].as_object();
        exits.map_or(0, |exits| exits.values().filter_map(Value::as_u64).sum())
    }
}

/// Reads a pipe to its end in a thread.
pub fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = vec![];
        // Bytes read before an error are still useful.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// The tests of this part.
pub fn tests() -> Vec<Test> {
    let mut tests = vec![
        test("machine::memory_above_4_gib_is_the_guests", |environment| {
            let run = Vm::exec(environment, "grep MemTotal /proc/meminfo").args(["-m", "5G"]);
            let text = run.run()?.text()?;
            let kib = text.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
            ensure!(kib.is_some_and(|kib| kib > 4 << 20), "{text}");
            Ok(())
        }),
        test("machine::without_hyperv_it_is_plain_hardware", |environment| {
            let text = "dmesg | grep -i -e hypervisor -e hyper-v; nproc";
            let run = Vm::exec(environment, text).args(["--no-hyperv", "-c", "2"]);
            let text = run.run()?.text()?;
            ensure!(text.trim() == "2", "{text}");
            Ok(())
        }),
        test("machine::host_devices_are_hidden", |environment| {
            let text = Vm::exec(environment, "ls /sys/bus/pci/devices").run()?.text()?;
            ensure!(text.lines().count() == 1, "{text}");
            Ok(())
        }),
        test("machine::the_clock_is_right", |environment| {
            let before = now()?;
            let run = Vm::exec(environment, "date +%s").run()?.text()?;
            let guest: u64 = run.trim().parse()?;
            ensure!((before - 2..=now()? + 2).contains(&guest), "{guest}, {before} here");
            Ok(())
        }),
    ];
    for cpus in [1, 2, 4, 8, 64] {
        let name = format!("machine::all_of_{cpus}_cpus_work");
        tests.push(test(name, move |environment| all_cpus_work(environment, cpus)));
    }
    tests
}

fn now() -> anyhow::Result<u64> {
    Ok(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())
}

/// Each CPU answers, x2APIC is on, no clock was measured against another, and the clock source is
/// one that needs no exits.
fn all_cpus_work(environment: &Environment, cpus: u32) -> Outcome {
    let script = "nproc
        for cpu in $(seq 0 $(($(nproc) - 1))); do taskset -c $cpu true && echo ran; done
        dmesg | grep -i calibrat | sed 's/^/calibration: /'
        dmesg | grep -c 'x2apic enabled'
        cat /sys/devices/system/clocksource/clocksource0/current_clocksource";
    let vm = Vm::exec_within(environment, MANY_CPUS_TIMEOUT, script);
    let run = vm.args(["-c", &cpus.to_string()]).run()?;
    ensure!(run.counter("vps") == u64::from(cpus), "{}", run.summary);
    let text = run.text()?;
    let lines: Vec<&str> = text.lines().collect();
    ensure!(lines.first() == Some(&cpus.to_string().as_str()), "{text}");
    ensure!(lines.iter().filter(|line| **line == "ran").count() == cpus as usize, "{text}");
    let mut calibrations = lines.iter().filter(|line| line.starts_with("calibration: "));
    ensure!(calibrations.all(|line| line.contains("(skipped)")), "{text}");
    let source = lines.last().copied().unwrap_or_default();
    ensure!(["tsc", "hyperv_clocksource_tsc_page"].contains(&source), "{text}");
    let x2apic = lines.iter().rev().nth(1).copied().unwrap_or("0");
    ensure!(x2apic != "0", "x2APIC is off\n{text}");
    Ok(())
}
