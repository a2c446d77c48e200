//! `paravane run`: the life of one VM.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use host_wire::exec::{Event as ExecEvent, Parser};
use host_wire::{LogLevel, Status};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

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

/// Largest number of events that wait in the channel.
const WAITING: usize = 64;
/// How long a guest may take to power off after its command.
const GRACE: Duration = Duration::from_secs(20);
/// A second signal within this time counts as the first one: some senders send two.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of the guest's console that are shown when the guest dies.
const TAIL: usize = 4096;
/// QEMU's warning for each feature that its software CPU lacks; `paravane` needs none of these.
const NOISE: &str = "TCG doesn't support requested feature";

/// Runs a VM and returns the exit code.
pub fn run(options: &RunOptions) -> u8 {
    // If the summary can not be written, the user learns it before the run.
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
    // A failure here does not change the exit code, which says how the run ended.
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
    /// The kind of failure.
    pub failure: Failure,
    /// The reason for the user.
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
    // The state stays locked until the VM has ended.
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
        say!("the TPM is ephemeral: its keys are lost with the VM; --state FILE keeps them");
    }
    let sizes = summary::sizes(options, &files);
    let terminal = Saved::note();
    let (sender, events) = sync_channel(WAITING);
    let (readers, ends) = watch(&sender).map_err(stop(Failure::Ours))?;
    let mut child = qemu::command(&program, options, &files, state.as_ref(), accel, &ends)
        .and_then(|mut command| Ok(command.spawn()?))
        .context("QEMU can not be started")
        .map_err(stop(Failure::Qemu))?;
    // QEMU has inherited the ends; a channel closes only when no process holds its end.
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
    // Without a command, QEMU connects the console to the terminal, so it is not counted.
    let console_bytes = options.exec.is_some().then_some(vm.console_bytes);
    let wall = vm.started.elapsed();
    let facts = Facts { accel, wall, agent: vm.agent, console_bytes, sizes };
    Ok(Outcome { end, facts, report: vm.report })
}

/// Opens the channels out of the VM, and starts to watch for signals.
fn watch(sender: &SyncSender<Event>) -> Result<(Readers, Ends)> {
    signals::keep_children()?;
    let mut signals = signals::watch(&[SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
    let events = sender.clone();
    std::thread::spawn(move || {
        let mut signals = signals.forever();
        let Some(signal) = signals.next() else { return };
        let first = Instant::now();
        // Sending can block while nobody reads our output. A second signal then ends this program
        // at once.
        std::thread::spawn(move || events.send(Event::Signal(signal)));
        for _ in signals {
            if first.elapsed() > PATIENCE {
                std::process::exit(End::Failed(Failure::Interrupted).code().into());
            }
        }
    });
    Readers::open(sender)
}

/// A running VM with what has been received from it.
struct Vm<'a> {
    options: &'a RunOptions,
    child: Child,
    /// Present until QEMU has read them.
    files: Option<Files>,
    image: std::path::PathBuf,
    started: Instant,
    /// The time from the start to the agent's first frame.
    agent: Option<Duration>,
    report: Report,
    parser: Parser,
    outcome: Option<End>,
    /// Why the command could not be run.
    reason: String,
    /// The last bytes of the guest's console.
    console: VecDeque<u8>,
    /// The number of all bytes of the guest's console.
    console_bytes: u64,
    /// QEMU saw the VM being reset, which the paravisor never asks for.
    was_reset: bool,
    /// Set if the VM must be ended: the failure with its reason.
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

    /// Handles events until the VM has ended or must be ended; in the latter case returns why.
    fn follow(&mut self, events: &Receiver<Event>) -> Option<(Failure, String)> {
        // A deadline beyond the clock's range never comes.
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
                // The command has ended, and the guest has not powered off in time.
                Err(RecvTimeoutError::Timeout) if self.outcome.is_some() => return None,
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = self.options.timeout.unwrap_or_default().as_secs_f64();
                    let why = format!("the VM was ended after {seconds} seconds (--timeout)");
                    return Some((Failure::Timeout, why));
                }
            }
            if self.outcome.is_some() && grace.is_none() {
                grace = Some(Instant::now() + GRACE);
            }
        }
        self.wish.take()
    }

    /// Ends QEMU if it still runs, and handles the rest of its events.
    fn stop(&mut self, readers: Readers, events: &Receiver<Event>) -> Option<ExitStatus> {
        // A process that is already exiting keeps its exit code despite the signal.
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
        // The guest runs, so QEMU has read the files. Deleting them now leaves nothing behind
        // should this program be killed.
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
            // If standard error is closed, standard output still counts.
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
            let why = "the guest restarted, or wrote something else to the channel of the command's output";
            self.wish = Some((Failure::GuestDied, why.to_owned()));
        }
    }

    /// Decides how the run ended: a forced end comes first, then the paravisor's status.
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
            // Our own signal ended QEMU after the grace period.
            (None, None) if self.outcome.is_some() => None,
            (None, _) => Some(Failure::Qemu),
        };
        match (failure, self.outcome.take()) {
            (Some(Failure::Crashed), _) => End::Failed(Failure::Crashed),
            (_, Some(outcome)) => outcome,
            // With a command, every death of the guest has the same exit code.
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

    /// Tells the user why the run failed, unless that has been said.
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
                say!("QEMU ({}) ended {how}; see its messages above", accel.name());
            }
            Failure::NoCommand => say!("{}", self.reason),
            Failure::GuestDied => {
                self.show_console();
                say!("the guest ended before the command did");
            }
            Failure::GuestFailed | Failure::GuestHalted | Failure::Timeout => self.show_console(),
            Failure::UnusableVm | Failure::BadConfig | Failure::BadGuest | Failure::BadState => {
                if !self.report.has_error() {
                    say!("the paravisor refused the VM and gave no reason");
                }
            }
            Failure::Interrupted | Failure::Ours => {}
        }
    }

    fn explain_crash(&self) {
        if self.report.record.is_empty() {
            say!("the paravisor ended without a crash record, a bug of ours");
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
