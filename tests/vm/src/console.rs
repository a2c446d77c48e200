//! A VM whose console the test uses interactively, through pipes.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::machine::{Vm, collect};
use crate::{Environment, Test, ensure, pace, test};

/// How long a boot may take.
const BOOT: Duration = Duration::from_secs(60);
/// How long most VMs may run.
const LIMIT: Duration = Duration::from_secs(200);
/// How many bytes of output an error shows when the expected text did not arrive.
const TAIL: usize = 2048;
/// The prompt of the default guest's shell.
pub const PROMPT: &str = "/ # ";

/// The tests of this part.
pub fn tests() -> Vec<Test> {
    vec![
        test("console::a_shell_ends_and_powers_off", |environment| {
            let (mut console, _folder) = Console::start(environment, &[])?;
            console.wait_for(PROMPT)?;
            console.say("echo $((40 + 2)); exit\n")?;
            console.wait_for("42")?;
            let summary = console.end()?;
            ensure!(summary["end"] == "powered-off", "{summary}");
            ensure!(summary["counters"]["starts"] == 1, "{summary}");
            Ok(())
        }),
        test("console::ctrl_a_x_leaves", |environment| {
            let (mut console, _folder) = Console::start(environment, &[])?;
            console.wait_for(PROMPT)?;
            console.say("\x01x")?;
            let summary = console.end()?;
            ensure!(summary["end"] == "left" && summary["exit-code"] == 0, "{summary}");
            Ok(())
        }),
    ]
}

/// How a VM ended.
#[derive(Debug)]
pub struct Ended {
    /// The `--json` file.
    pub summary: Value,
    /// The bytes that paravane wrote to its standard error.
    pub errors: String,
}

/// A running VM.
pub struct Console {
    child: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    errors: Option<thread::JoinHandle<Vec<u8>>>,
    /// Output that was read but not yet matched by a wait.
    unread: Vec<u8>,
    summary: std::path::PathBuf,
}

impl Console {
    /// Starts the default guest. The folder holds the summary: keep it.
    pub fn start(
        environment: &Environment,
        arguments: &[&str],
    ) -> anyhow::Result<(Self, tempfile::TempDir)> {
        let vm = Vm::new(environment).args(["--kernel"]).arg(&environment.kernel);
        Self::start_vm(vm.args(["--initrd"]).arg(&environment.initrd).args(arguments))
    }

    /// Starts any VM.
    pub fn start_vm(vm: Vm) -> anyhow::Result<(Self, tempfile::TempDir)> {
        Self::start_vm_for(vm, LIMIT)
    }

    /// Starts any VM, with a time limit.
    pub fn start_vm_for(vm: Vm, limit: Duration) -> anyhow::Result<(Self, tempfile::TempDir)> {
        let limit = limit.as_secs().to_string();
        let folder = tempfile::tempdir()?;
        let summary = folder.path().join("summary");
        let mut command = vm.args(["--timeout", &limit, "--json"]).arg(&summary).into_command();
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(mut output), Some(errors)) = pipes else {
            anyhow::bail!("no pipes");
        };
        let errors = Some(collect(errors));
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer.iter().copied().take(count).collect()).is_err() {
                    return;
                }
            }
        });
        Ok((Self { child, input, output: receiver, errors, unread: vec![], summary }, folder))
    }

    /// Types.
    pub fn say(&mut self, text: &str) -> anyhow::Result<()> {
        self.input.write_all(text.as_bytes())?;
        Ok(self.input.flush()?)
    }

    /// Reads until `text` comes.
    pub fn wait_for(&mut self, text: &str) -> anyhow::Result<()> {
        self.wait_longer_for(text, BOOT)
    }

    /// Reads until `text` comes; returns the output before it.
    pub fn read_until(&mut self, text: &str) -> anyhow::Result<String> {
        let before = self.take_until(text, BOOT)?;
        Ok(String::from_utf8_lossy(&before).into_owned())
    }

    /// Reads until `text` comes, with a time limit.
    pub fn wait_longer_for(&mut self, text: &str, time: Duration) -> anyhow::Result<()> {
        self.take_until(text, time).map(drop)
    }

    fn take_until(&mut self, text: &str, time: Duration) -> anyhow::Result<Vec<u8>> {
        let deadline = Instant::now() + pace::limit(time);
        loop {
            let found =
                self.unread.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = found {
                let before = self.unread.drain(..at).collect();
                self.unread.drain(..text.len());
                return Ok(before);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(piece) => self.unread.extend(piece),
                Err(_) => return Err(self.did_not_come(text)),
            }
        }
    }

    /// Ends the VM; the error has the last output of the VM and of paravane.
    fn did_not_come(&mut self, text: &str) -> anyhow::Error {
        let start = self.unread.len().saturating_sub(TAIL);
        let seen = String::from_utf8_lossy(self.unread.get(start..).unwrap_or_default());
        // Killing it also closes the pipe of its errors.
        let _ = self.child.kill();
        let errors = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        let errors = String::from_utf8_lossy(&errors);
        anyhow::anyhow!("`{text}` did not come; what came last:\n{seen}\n{errors}")
    }

    /// Waits for the end; returns the summary.
    pub fn end(self) -> anyhow::Result<Value> {
        Ok(self.end_with_errors()?.summary)
    }

    /// Waits for the end; returns the summary with the errors.
    pub fn end_with_errors(mut self) -> anyhow::Result<Ended> {
        // No limit here: paravane has its own.
        self.child.wait()?;
        let summary = serde_json::from_str(&std::fs::read_to_string(&self.summary)?)?;
        let errors = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        Ok(Ended { summary, errors: String::from_utf8_lossy(&errors).into_owned() })
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // After `end` the process has exited and the kill fails harmlessly.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
