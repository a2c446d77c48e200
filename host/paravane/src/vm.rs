//! The life of one VM, from QEMU's start to its end.

mod launch;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use host_wire::exec::{Event as ExecEvent, Parser};
use host_wire::{LogLevel, Status};
use tempfile::TempDir;

use crate::accel::Accel;
use crate::channel::{Event, Readers};
use crate::report::Report;
use crate::say::{self, say};
use crate::symbolize;
use command_line::exit::{End, Failure};

pub use launch::{Launch, Watch};

/// How long a guest may take to power off after its command.
const GRACE: Duration = Duration::from_secs(20);
/// Bytes of the guest's console that are shown when the guest dies.
const TAIL: usize = 4096;
/// QEMU's warning for each feature that its software CPU lacks; `paravane` needs none of these.
const NOISE: &str = "TCG doesn't support requested feature";

/// Why a run never began, or could not continue.
#[derive(Debug)]
pub struct Stop {
    /// The kind of failure.
    pub failure: Failure,
    /// The reason for the user.
    pub why: anyhow::Error,
}

/// Makes a [`Stop`] of an error.
pub fn stop(failure: Failure) -> impl Fn(anyhow::Error) -> Stop {
    move |why| Stop { failure, why }
}

/// The program below the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// None: QEMU runs the guest itself.
    Nothing,
    /// The paravisor.
    Paravisor,
    /// Drydock.
    Drydock,
}

impl Below {
    /// The name in messages.
    const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "QEMU",
            Self::Paravisor => "the paravisor",
            Self::Drydock => "Drydock",
        }
    }

    /// The failure for a crash of that program.
    const fn crash(self) -> Failure {
        match self {
            Self::Nothing | Self::Paravisor => Failure::Crashed,
            Self::Drydock => Failure::DrydockCrashed,
        }
    }
}

/// The settings of a run on which the life of its VM depends.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The program below the guest.
    pub below: Below,
    /// Whether a command is run in the guest.
    pub has_command: bool,
    /// The time after which the VM is ended.
    pub timeout: Option<Duration>,
    /// The log level.
    pub log: LogLevel,
    /// The accelerator of the VM.
    pub accel: Accel,
}

/// A VM with everything that has been received from it.
#[derive(Debug)]
pub struct Vm {
    terms: Terms,
    /// The directory of files that QEMU reads, until it has read them.
    files: Option<TempDir>,
    /// The unstripped image, which names the functions of a crash record.
    image: PathBuf,
    /// The same of the paravisor that Drydock runs, if it is one.
    paravisor: Option<PathBuf>,
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
    /// QEMU saw the VM being reset, which neither the paravisor nor Drydock asks for.
    was_reset: bool,
    /// Set if the VM must be ended: the failure with its reason.
    wish: Option<(Failure, String)>,
}

/// How one process of QEMU ended.
#[derive(Debug)]
pub struct Ended {
    /// Why this program ended it, if it did.
    forced: Option<(Failure, String)>,
    status: Option<ExitStatus>,
}

impl Ended {
    /// Whether QEMU ended because the guest reset itself.
    pub fn is_reset(&self) -> bool {
        let code = self.status.and_then(|status| status.code());
        self.forced.is_none() && code.and_then(Status::of_process) == Some(Status::Reset)
    }
}

/// A run from its start to its end, for the summary.
#[derive(Debug)]
pub struct Record {
    /// How it ended.
    pub end: End,
    /// The time from QEMU's start to its end.
    pub wall: Duration,
    /// The time from QEMU's start to the agent's first frame.
    pub agent: Option<Duration>,
    /// Bytes of the guest's console, if it was connected to this program.
    pub console_bytes: Option<u64>,
    /// The lines of the report port.
    pub report: Report,
}

impl Record {
    /// A run that never began.
    pub fn unbegun(failure: Failure) -> Self {
        let (end, wall, report) = (End::Failed(failure), Duration::ZERO, Report::default());
        Self { end, wall, agent: None, console_bytes: None, report }
    }
}

impl Vm {
    /// A VM whose first process is started now. `files` are removed once QEMU has read them.
    pub fn new(terms: Terms, image: PathBuf, files: Option<TempDir>) -> Self {
        Self {
            terms,
            image,
            paravisor: None,
            files,
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

    /// The same VM, in which Drydock runs a paravisor with this unstripped image.
    pub fn with_paravisor(self, paravisor: Option<PathBuf>) -> Self {
        Self { paravisor, ..self }
    }

    /// Follows a process of QEMU to its end, by itself or by this program.
    pub fn see_through(&mut self, launch: Launch) -> Ended {
        let Launch { child, readers, events } = launch;
        let forced = self.follow(&events);
        let status = self.stop(child, readers, &events);
        Ended { forced, status }
    }

    /// Decides how the run ended, and tells the user if it failed.
    pub fn finish(mut self, ended: Ended) -> Record {
        let Ended { forced, status } = ended;
        let end = self.judge(forced, status);
        self.explain(&end, status);
        // Without a command, QEMU connects the console to the terminal, so it is not counted.
        let console_bytes = self.terms.has_command.then_some(self.console_bytes);
        let (wall, agent) = (self.started.elapsed(), self.agent);
        Record { end, wall, agent, console_bytes, report: self.report }
    }

    /// Handles events until the VM has ended or must be ended; in the latter case returns why.
    fn follow(&mut self, events: &Receiver<Event>) -> Option<(Failure, String)> {
        // A deadline beyond the clock's range never comes.
        let limit = self.terms.timeout.and_then(|timeout| self.started.checked_add(timeout));
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
                    let seconds = self.terms.timeout.unwrap_or_default().as_secs_f64();
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
    fn stop(
        &mut self,
        mut child: Child,
        readers: Readers,
        events: &Receiver<Event>,
    ) -> Option<ExitStatus> {
        // A process that is already exiting keeps its exit code despite the signal.
        let _ = child.kill();
        let status = child.wait().ok();
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
        if matches!(self.terms.log, LogLevel::Info | LogLevel::Debug) {
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

    /// Decides how the run ended: a forced end comes first, then the status of the program below the
    /// guest.
    fn judge(&mut self, forced: Option<(Failure, String)>, status: Option<ExitStatus>) -> End {
        if let Some((failure, why)) = forced {
            say!("{why}");
            return End::Failed(failure);
        }
        let code = status.and_then(|status| status.code());
        let has_command = self.terms.has_command;
        let is_direct = self.terms.below == Below::Nothing;
        let said = if is_direct { None } else { code.and_then(Status::of_process) };
        if said == Some(Status::Reset) && self.terms.below == Below::Drydock && !has_command {
            return End::Reset;
        }
        let failure = match (said, code) {
            (Some(Status::Crashed), _) => Some(self.terms.below.crash()),
            (Some(said), _) => Failure::of_status(said),
            (None, Some(0)) if is_direct => None,
            (None, Some(0)) if self.was_reset => Some(self.terms.below.crash()),
            (None, Some(0)) if self.outcome.is_none() && !self.terms.has_command => {
                return End::Left;
            }
            (None, Some(0)) => None,
            // Our own signal ended QEMU after the grace period.
            (None, None) if self.outcome.is_some() => None,
            (None, _) => Some(Failure::Qemu),
        };
        match (failure, self.outcome.take()) {
            (Some(crash @ (Failure::Crashed | Failure::DrydockCrashed)), _) => End::Failed(crash),
            (_, Some(outcome)) => outcome,
            // With a command, every death of the guest has the same exit code.
            (Some(Failure::GuestFailed | Failure::GuestHalted), None) if self.terms.has_command => {
                End::Failed(Failure::GuestDied)
            }
            (Some(failure), None) => End::Failed(failure),
            (None, None) if self.terms.has_command => End::Failed(Failure::GuestDied),
            (None, None) => End::PoweredOff,
        }
    }

    /// Tells the user why the run failed, unless that has been said.
    fn explain(&self, end: &End, status: Option<ExitStatus>) {
        let below = self.crasher();
        let is_crash = matches!(end, End::Failed(Failure::Crashed | Failure::DrydockCrashed));
        if !is_crash && !self.report.record.is_empty() {
            say!("a part of {below} crashed, a bug of ours; its record:");
            self.show_record();
        }
        let End::Failed(failure) = end else { return };
        match failure {
            Failure::Crashed | Failure::DrydockCrashed => self.explain_crash(),
            Failure::Qemu => {
                let how = match status.and_then(|status| status.signal()) {
                    Some(signal) => format!("by signal {signal}"),
                    None => format!("with code {}", status.and_then(|s| s.code()).unwrap_or(-1)),
                };
                say!("QEMU ({}) ended {how}; see its messages above", self.terms.accel.name());
            }
            Failure::NoCommand => say!("{}", self.reason),
            Failure::GuestDied => {
                self.show_console();
                // Drydock has told the reason, unless the guest ended without one.
                if self.terms.below != Below::Drydock || !self.report.has_error() {
                    say!("the guest ended before the command did");
                }
            }
            Failure::GuestFailed | Failure::GuestHalted | Failure::Timeout => self.show_console(),
            Failure::UnusableVm | Failure::BadConfig | Failure::BadGuest | Failure::BadState => {
                if !self.report.has_error() {
                    say!("{below} refused the VM and gave no reason");
                }
            }
            Failure::Interrupted | Failure::Ours => {}
        }
    }

    /// The program that the crash record is of.
    const fn crasher(&self) -> &'static str {
        let of_guest = self.report.is_of_guest;
        if of_guest { Below::Paravisor.name() } else { self.terms.below.name() }
    }

    fn explain_crash(&self) {
        let below = self.crasher();
        if self.report.record.is_empty() {
            say!("{below} ended without a crash record, a bug of ours");
            return;
        }
        say!("{below} crashed, a bug of ours; its record:");
        self.show_record();
    }

    fn show_record(&self) {
        let paravisor = self.paravisor.as_ref().filter(|_| self.report.is_of_guest);
        let record = symbolize::record(&self.report.record, paravisor.unwrap_or(&self.image));
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
