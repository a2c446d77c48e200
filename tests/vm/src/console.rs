//! A VM whose console is talked to, through pipes.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::machine::Vm;
use crate::{Environment, Outcome, Test, ensure, test};

/// How long a boot may take.
const BOOT: Duration = Duration::from_secs(60);
/// What the shell of the default guest shows.
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
        test("console::reboot_starts_the_guest_again", reboot),
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

fn reboot(environment: &Environment) -> Outcome {
    for cpus in ["1", "4"] {
        let (mut console, _folder) = Console::start(environment, &["--cpus", cpus])?;
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

/// A running VM.
pub struct Console {
    child: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    /// What was read and not yet waited for.
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
        let folder = tempfile::tempdir()?;
        let summary = folder.path().join("summary");
        let mut command = vm.args(["--timeout", "200", "--json"]).arg(&summary).into_command();
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (Some(input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else {
            anyhow::bail!("no pipes");
        };
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer.iter().copied().take(count).collect()).is_err() {
                    return;
                }
            }
        });
        Ok((Self { child, input, output: receiver, unread: vec![], summary }, folder))
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

    /// Reads until `text` comes, for so long.
    pub fn wait_longer_for(&mut self, text: &str, time: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + time;
        loop {
            let found =
                self.unread.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = found {
                self.unread.drain(..at + text.len());
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(piece) => self.unread.extend(piece),
                Err(_) => {
                    let seen = String::from_utf8_lossy(&self.unread).into_owned();
                    anyhow::bail!("`{text}` did not come; what came last:\n{seen}");
                }
            }
        }
    }

    /// Waits for the end; answers the summary.
    pub fn end(mut self) -> anyhow::Result<Value> {
        // paravane has a limit of its own.
        self.child.wait()?;
        let text = std::fs::read_to_string(&self.summary)?;
        Ok(serde_json::from_str(&text)?)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // After `end` it has ended, and there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
