//! `paravane run`: one VM from its start to its end.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use wire::exec::{Event as ExecEvent, Parser};
use wire::{LogLevel, Status};

use crate::accel::{self, Accel};
use crate::channel::{Ends, Event, Readers, read_errors};
use crate::files::{Error, Files};
use crate::report::Report;
use crate::say::{self, say};
use crate::state::State;
use crate::summary::{self, Facts, Target};
use crate::terminal::Saved;
use crate::{qemu, ram, signals, symbolize};
use command_line::exit::{End, Failure};
use command_line::{AccelChoice, RunOptions};

/// Events that may wait: more would only take memory.
const WAITING: usize = 64;
/// How long a guest may take to power off after its command.
const GRACE: Duration = Duration::from_secs(20);
/// Signals that come so soon after the first belong to it: some senders send two.
const PATIENCE: Duration = Duration::from_secs(1);
/// How much of the guest's console is shown when it dies.
const TAIL: usize = 4096;
/// What QEMU says of each feature that its software CPU lacks; nothing asked for is among them.
const NOISE: &str = "TCG doesn't support requested feature";

/// Runs a VM; answers the exit code.
pub fn run(options: &RunOptions) -> u8 {
    // Whoever wants to read of the run learns before it that nothing can be written.
    let target = match options.json.as_deref().map(|path| Target::open(path, options)).transpose() {
        Ok(target) => target,
        Err(stop) => {
            say!("--json: {:#}", stop.why);
            return End::Failed(stop.failure).code();
        }
    };
    let Outcome { end, facts, report } = try_run(options).unwrap_or_else(|stop| {
        say!("{:#}", stop.why);
        Outcome::unbegun(options, stop.failure)
    });
    // The run is over, and its code says how: what it did can not be undone by this.
    if let Some(Err(error)) = target.map(|target| target.write(&end, &facts, &report)) {
        say!("--json: {error:#}");
    }
    end.code()
}

/// How a run went.
struct Outcome {
    end: End,
    facts: Facts,
    report: Report,
}

impl Outcome {
    fn unbegun(options: &RunOptions, failure: Failure) -> Self {
        let facts = Facts {
            accel: accel::choose(options.accel).0,
            wall: Duration::ZERO,
            agent: None,
            console_bytes: None,
            sizes: serde_json::Value::Null,
        };
        Self { end: End::Failed(failure), facts, report: Report::default() }
    }
}

/// Why a run never began.
#[derive(Debug)]
pub struct Stop {
    /// Its kind.
    pub failure: Failure,
    /// The words.
    pub why: anyhow::Error,
}

fn stop(failure: Failure) -> impl Fn(anyhow::Error) -> Stop {
    move |why| Stop { failure, why }
}

fn try_run(options: &RunOptions) -> Result<Outcome, Stop> {
    let program = qemu::find()
        .context("qemu-system-x86_64 is not in PATH: install QEMU for x86")
        .map_err(stop(Failure::Qemu))?;
    let files = Files::prepare(options).map_err(|error| match error {
        Error::Guest(why) => Stop { failure: Failure::BadGuest, why },
        Error::Ours(why) => Stop { failure: Failure::Ours, why },
    })?;
    if !options.direct {
        let cpus = qemu::cpus(options, accel::choose(options.accel).0);
        ram::check(options, &files.image, cpus).map_err(stop(Failure::UnusableVm))?;
    }
    // Locked until the VM has ended.
    let state = options
        .state
        .as_deref()
        .map(|file| State::prepare(file, options.state_key.as_deref(), options.tpm_ca.as_deref()))
        .transpose()
        .context("--state")
        .map_err(stop(Failure::BadState))?;
    let (accel, why) = accel::choose(options.accel);
    if options.accel == AccelChoice::Auto {
        say!("runs on {why}");
    }
    let ephemeral = state.is_none() && !options.no_tpm && !options.direct;
    if ephemeral && options.exec.is_none() && io::stderr().is_terminal() {
        say!("the TPM is ephemeral, its keys die with the VM: --state FILE keeps it");
    }
    let sizes = summary::sizes(options, &files);
    let terminal = Saved::note();
    let (sender, events) = sync_channel(WAITING);
    let (readers, ends) = watch(&sender).map_err(stop(Failure::Ours))?;
    let mut child = qemu::command(&program, options, &files, state.as_ref(), accel, &ends)
        .and_then(|mut command| Ok(command.spawn()?))
        .context("QEMU can not be started")
        .map_err(stop(Failure::Qemu))?;
    // QEMU has its own, and a channel ends only when nobody has it any more.
    drop(ends);
    if let Some(stderr) = child.stderr.take() {
        read_errors(stderr, sender);
    }
    let mut vm = Vm::new(options, child, files);
    let forced = vm.follow(&events);
    let status = vm.stop(readers, &events);
    drop(terminal);
    let end = vm.judge(forced, status);
    vm.explain(&end, status, accel);
    // Without a command, the console is the terminal's.
    let console_bytes = options.exec.is_some().then_some(vm.console_bytes);
    let wall = vm.started.elapsed();
    let facts = Facts { accel, wall, agent: vm.agent, console_bytes, sizes };
    Ok(Outcome { end, facts, report: vm.report })
}

/// Opens the ways out of the VM, and that of signals to us.
fn watch(sender: &SyncSender<Event>) -> Result<(Readers, Ends)> {
    signals::keep_children()?;
    let mut signals = signals::watch(&[SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
    let events = sender.clone();
    std::thread::spawn(move || {
        let mut signals = signals.forever();
        let Some(signal) = signals.next() else { return };
        let first = Instant::now();
        // This waits while nobody takes our output. Whoever asks again then gets a quick end.
        std::thread::spawn(move || events.send(Event::Signal(signal)));
        for _ in signals {
            if first.elapsed() > PATIENCE {
                std::process::exit(End::Failed(Failure::Interrupted).code().into());
            }
        }
    });
    Readers::open(sender)
}

/// A running VM and what it has said.
struct Vm<'a> {
    options: &'a RunOptions,
    child: Child,
    /// Until QEMU has read them.
    files: Option<Files>,
    image: std::path::PathBuf,
    started: Instant,
    /// When the agent first spoke.
    agent: Option<Duration>,
    report: Report,
    parser: Parser,
    outcome: Option<End>,
    /// Why the command could not be run.
    reason: String,
    /// The end of what the guest's console said.
    console: VecDeque<u8>,
    /// How much it said in all.
    console_bytes: u64,
    /// QEMU saw the VM being reset, which the paravisor never asks for.
    was_reset: bool,
    /// Why the VM must end.
    wish: Option<(Failure, String)>,
}

impl<'a> Vm<'a> {
    fn new(options: &'a RunOptions, child: Child, files: Files) -> Self {
        Self {
            options,
            child,
            image: files.image.clone(),
            files: Some(files),
            started: Instant::now(),
            agent: None,
            report: Report::default(),
            parser: Parser::default(),
            outcome: None,
            reason: String::new(),
            console: VecDeque::new(),
            console_bytes: 0,
            was_reset: false,
            wish: None,
        }
    }

    /// Follows the VM to its end, or to the point where it must be ended; answers why.
    fn follow(&mut self, events: &Receiver<Event>) -> Option<(Failure, String)> {
        // A time that no clock can show never comes.
        let limit = self.options.timeout.and_then(|timeout| self.started.checked_add(timeout));
        let mut grace = None;
        while self.wish.is_none() {
            let deadline = [limit, grace].into_iter().flatten().min();
            let event = match deadline {
                Some(deadline) => {
                    events.recv_timeout(deadline.saturating_duration_since(Instant::now()))
                }
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => return None,
                Ok(event) => self.take(event),
                // What it was asked for is done.
                Err(RecvTimeoutError::Timeout) if self.outcome.is_some() => return None,
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = self.options.timeout.unwrap_or_default().as_secs_f64();
                    let why =
                        format!("the VM was ended after {seconds} seconds, as --timeout says");
                    return Some((Failure::Timeout, why));
                }
            }
            if self.outcome.is_some() && grace.is_none() {
                grace = Some(Instant::now() + GRACE);
            }
        }
        self.wish.take()
    }

    /// Ends QEMU, if it has not ended, and takes the rest of what it sent.
    fn stop(&mut self, readers: Readers, events: &Receiver<Event>) -> Option<ExitStatus> {
        // A process that is ending keeps its own exit code, whatever signal comes now.
        let _ = self.child.kill();
        let status = self.child.wait().ok();
        let finished = std::thread::spawn(|| readers.finish());
        while !finished.is_finished() {
            if let Ok(event) = events.recv_timeout(Duration::from_millis(5)) {
                self.take(event);
            }
        }
        while let Ok(event) = events.try_recv() {
            self.take(event);
        }
        self.files = None;
        status
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Report(line) => {
                if let Some(text) = self.report.take(&line) {
                    say!("{text}");
                }
            }
            Event::Monitor(line) => {
                self.was_reset |= line.contains("\"SHUTDOWN\"") && line.contains("guest-reset");
            }
            Event::Console(piece) => self.take_console(&piece),
            Event::Exec(piece) => self.take_exec(&piece),
            Event::Noise(line) if line.contains(NOISE) => {}
            Event::Noise(line) => say::line(format_args!("{line}")),
            Event::Signal(signal) => {
                self.wish = Some((Failure::Interrupted, format!("ended by signal {signal}")));
            }
            Event::Ended => {}
        }
    }

    fn take_console(&mut self, piece: &[u8]) {
        // The guest runs, so QEMU has read its files: nothing stays behind if we are killed.
        self.files = None;
        self.console_bytes += piece.len() as u64;
        if matches!(self.options.log, LogLevel::Info | LogLevel::Debug) {
            let _ = io::stderr().write_all(piece);
            return;
        }
        self.console.extend(piece);
        let excess = self.console.len().saturating_sub(TAIL);
        self.console.drain(..excess);
    }

    fn take_exec(&mut self, piece: &[u8]) {
        self.files = None;
        let (started, agent, outcome, reason) =
            (self.started, &mut self.agent, &mut self.outcome, &mut self.reason);
        let mut written = Ok(());
        self.parser.feed(piece, |event| match event {
            ExecEvent::Started => *agent = Some(started.elapsed()),
            ExecEvent::Output(bytes) if written.is_ok() => written = write_now(io::stdout(), bytes),
            // Where nobody reads the errors, the output still counts.
            ExecEvent::Error(bytes) => drop(write_now(io::stderr(), bytes)),
            ExecEvent::Output(_) => {}
            ExecEvent::Exited(status) => *outcome = Some(End::Exited(status)),
            ExecEvent::Signalled(signal) => *outcome = Some(End::Signalled(signal)),
            ExecEvent::Failed(why) => {
                *reason = String::from_utf8_lossy(why).into_owned();
                *outcome = Some(End::Failed(Failure::NoCommand));
            }
        });
        if let Err(error) = written {
            self.wish = Some((Failure::Ours, format!("standard output: {error}")));
        } else if self.parser.is_broken() {
            let why = "the guest started again, or spoils the channel of the command's output";
            self.wish = Some((Failure::GuestDied, why.to_owned()));
        }
    }

    /// Decides how the run ended: what was forced comes first, then what the paravisor says.
    fn judge(&mut self, forced: Option<(Failure, String)>, status: Option<ExitStatus>) -> End {
        if let Some((failure, why)) = forced {
            say!("{why}");
            return End::Failed(failure);
        }
        let code = status.and_then(|status| status.code());
        let said = if self.options.direct { None } else { code.and_then(Status::of_process) };
        let failure = match (said, code) {
            (Some(said), _) => Failure::of_status(said),
            (None, Some(0)) if self.options.direct => None,
            (None, Some(0)) if self.was_reset => Some(Failure::Crashed),
            (None, Some(0)) if self.outcome.is_none() && self.options.exec.is_none() => {
                return End::Left;
            }
            (None, Some(0)) => None,
            // Ours was the signal, after the grace.
            (None, None) if self.outcome.is_some() => None,
            (None, _) => Some(Failure::Qemu),
        };
        match (failure, self.outcome.take()) {
            (Some(Failure::Crashed), _) => End::Failed(Failure::Crashed),
            (_, Some(outcome)) => outcome,
            // However it died, whoever waits for a command looks for one code.
            (Some(Failure::GuestFailed | Failure::GuestHalted), None)
                if self.options.exec.is_some() =>
            {
                End::Failed(Failure::GuestDied)
            }
            (Some(failure), None) => End::Failed(failure),
            (None, None) if self.options.exec.is_some() => End::Failed(Failure::GuestDied),
            (None, None) => End::PoweredOff,
        }
    }

    /// Says what has not been said yet.
    fn explain(&self, end: &End, status: Option<ExitStatus>, accel: Accel) {
        if !matches!(end, End::Failed(Failure::Crashed)) && !self.report.record.is_empty() {
            say!("a part of the paravisor crashed, a bug of ours; its record:");
            self.show_record();
        }
        let End::Failed(failure) = end else { return };
        match failure {
            Failure::Crashed => self.explain_crash(),
            Failure::Qemu => {
                let how = match status.and_then(|status| status.signal()) {
                    Some(signal) => format!("by signal {signal}"),
                    None => format!("with code {}", status.and_then(|s| s.code()).unwrap_or(-1)),
                };
                say!("QEMU ({}) ended {how}; its own words are above", accel.name());
            }
            Failure::NoCommand => say!("{}", self.reason),
            Failure::GuestDied => {
                self.show_console();
                say!("the guest ended before the command did");
            }
            Failure::GuestFailed | Failure::GuestHalted | Failure::Timeout => self.show_console(),
            Failure::UnusableVm | Failure::BadConfig | Failure::BadGuest | Failure::BadState => {
                if !self.report.has_error() {
                    say!("the paravisor refuses, and does not say why");
                }
            }
            Failure::Interrupted | Failure::Ours => {}
        }
    }

    fn explain_crash(&self) {
        if self.report.record.is_empty() {
            say!("the paravisor ended without a word: a bug of ours");
            return;
        }
        say!("the paravisor crashed, a bug of ours; its record:");
        self.show_record();
    }

    fn show_record(&self) {
        let record = symbolize::record(&self.report.record, &self.image);
        say::line(format_args!("{}", record.trim_end()));
    }

    fn show_console(&self) {
        if self.console.is_empty() {
            return;
        }
        let bytes: Vec<u8> = self.console.iter().copied().collect();
        say!("the end of the guest's console:");
        let text = String::from_utf8_lossy(&bytes).replace('\r', "");
        say::line(format_args!("{}", text.trim_end()));
    }
}

fn write_now(mut out: impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes)?;
    out.flush()
}

#[cfg(test)]
mod tests;
