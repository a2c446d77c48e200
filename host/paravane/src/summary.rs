//! The summary of a run in the `--json` file.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use serde_json::{Map, Value, json};

use crate::accel::Accel;
use crate::files::Files;
use crate::report::Report;
use crate::run::Stop;
use crate::state::beside;
use command_line::RunOptions;
use command_line::exit::{End, Failure};

/// Facts about a run that are not in the paravisor's report.
#[derive(Debug)]
pub struct Facts {
    /// The accelerator that ran the VM.
    pub accel: Accel,
    /// The time from QEMU's start to its end.
    pub wall: Duration,
    /// The time from QEMU's start to the agent's first frame.
    pub agent: Option<Duration>,
    /// Bytes of the guest's console, if it was connected to this program.
    pub console_bytes: Option<u64>,
    /// Sizes of files.
    pub sizes: Value,
}

/// The sizes of the VM's files, which must still exist.
pub fn sizes(options: &RunOptions, files: &Files) -> Value {
    let size = |path: &Path| fs::metadata(path).map(|facts| facts.len()).ok();
    json!({
        "image-file": if options.direct { None } else { size(&files.image) },
        "kernel": size(&files.kernel),
        "initrd": files.initrd.as_deref().and_then(size),
        "command-line": files.command_line.len(),
        "memory": options.memory,
    })
}

/// The destination of the summary, opened before the VM starts.
#[derive(Debug)]
pub enum Target {
    /// Standard output.
    Output,
    /// A file, whose old content stays until the summary is written.
    File(File, PathBuf),
}

impl Target {
    /// Opens the file that the user names.
    ///
    /// # Errors
    /// The file can not be written, or is one of the VM's own files.
    pub fn open(path: &Path, options: &RunOptions) -> Result<Self, Stop> {
        if path.as_os_str() == "-" {
            return Ok(Self::Output);
        }
        let ours = |why| Stop { failure: Failure::Ours, why };
        let key = options.state.as_deref().map(beside);
        let mut inputs = inputs(options).chain(key.as_deref());
        if let Some(input) = inputs.find(|input| is_same(input, path)) {
            let why = anyhow!("{} is the VM's own {}", path.display(), input.display());
            return Err(Stop { failure: Failure::BadState, why });
        }
        let file = open(path).with_context(|| path.display().to_string()).map_err(ours)?;
        Ok(Self::File(file, path.to_owned()))
    }

    /// Writes the summary.
    ///
    /// # Errors
    /// The summary could not be written.
    pub fn write(self, end: &End, facts: &Facts, report: &Report) -> Result<()> {
        let mut text = serde_json::to_string_pretty(&value(end, facts, report))?;
        text.push('\n');
        match self {
            Self::Output => {
                let mut out = std::io::stdout().lock();
                out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("standard output")
            }
            Self::File(mut file, path) => {
                let mut write = || {
                    if file.metadata()?.is_file() {
                        file.set_len(0)?;
                    }
                    file.write_all(text.as_bytes())
                };
                write().with_context(|| path.display().to_string())
            }
        }
    }
}

/// Opens a file for writing without blocking: a FIFO without a reader is refused.
fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path);
    let file = file.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NXIO) => anyhow!("nobody reads it"),
        _ => error.into(),
    })?;
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// The VM's files that the user named.
fn inputs(options: &RunOptions) -> impl Iterator<Item = &Path> {
    let RunOptions { kernel, initrd, state, state_key, tpm_ca, image, agent, config, .. } = options;
    let others = [initrd, state, state_key, tpm_ca, image, agent, config];
    others.into_iter().flatten().chain([kernel]).map(PathBuf::as_path)
}

/// Whether both names lead to the same plain file.
fn is_same(first: &Path, second: &Path) -> bool {
    let identity = |path| {
        let facts = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some((facts.dev(), facts.ino()))
    };
    identity(first).is_some_and(|first| identity(second) == Some(first))
}

fn value(end: &End, facts: &Facts, report: &Report) -> Value {
    let mut exits = Map::new();
    let mut counters = Map::new();
    for (name, count) in &report.counters {
        match name.strip_prefix("exit.") {
            Some(reason) => exits.insert(reason.to_owned(), json!(count)),
            None => counters.insert(name.clone(), json!(count)),
        };
    }
    let log: Vec<Value> =
        report.log.iter().map(|(level, text)| json!({ "level": level, "text": text })).collect();
    json!({
        "end": end.name(),
        "exit-code": end.code(),
        "command-status": if let End::Exited(status) = end { Some(*status) } else { None },
        "command-signal": if let End::Signalled(signal) = end { Some(*signal) } else { None },
        "accel": facts.accel.name(),
        "wall-seconds": facts.wall.as_secs_f64(),
        "agent-seconds": facts.agent.map(|time| time.as_secs_f64()),
        "console-bytes": facts.console_bytes,
        "exits": exits,
        "counters": counters,
        "sizes": facts.sizes,
        "log": log,
        "crash-record": report.record,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use command_line::{Action, Arguments};
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tempfile::tempdir;

    use super::*;

    fn facts() -> Facts {
        let (accel, wall) = (Accel::Tcg, Duration::from_millis(1500));
        Facts { accel, wall, agent: None, console_bytes: None, sizes: json!({}) }
    }

    fn options(words: &[&str]) -> RunOptions {
        match Arguments::try_parse_from(["paravane", "run"].iter().chain(words)).unwrap().action {
            Action::Run(options) => *options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_old_file_stays_until_there_is_a_summary() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("json");
        fs::write(&path, "x".repeat(10_000)).unwrap();
        let target = Target::open(&path, &options(&["-k", "kernel"])).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 10_000);
        target.write(&End::PoweredOff, &facts(), &Report::default()).unwrap();
        let value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!((&value["end"], &value["exit-code"]), (&json!("powered-off"), &json!(0)));
        assert_eq!((&value["accel"], &value["wall-seconds"]), (&json!("tcg"), &json!(1.5)));
        for absent in ["command-status", "command-signal", "agent-seconds", "console-bytes"] {
            assert_eq!(value.get(absent), Some(&Value::Null), "{absent}");
        }
    }

    #[test]
    fn the_vms_own_files_are_never_overwritten() {
        let folder = tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["kernel", "state", "state.key", "ca"] {
            fs::write(path(name), name).unwrap();
        }
        fs::hard_link(path("kernel"), path("other name")).unwrap();
        let given = ["kernel", "state", "ca"].map(|name| path(name).display().to_string());
        let [kernel, state, ca] = &given;
        let options = options(&["-k", kernel, "--state", state, "--tpm-ca", ca]);
        for name in ["kernel", "other name", "state", "state.key", "ca"] {
            let stop = Target::open(&path(name), &options).unwrap_err();
            assert_eq!(stop.failure, Failure::BadState, "{name}");
            assert!(stop.why.to_string().contains(name), "{}", stop.why);
        }
        assert_eq!(fs::read(path("state.key")).unwrap(), b"state.key");
    }

    #[test]
    fn a_target_that_can_not_be_written_is_refused_without_blocking() {
        let folder = tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let options = options(&["-k", "kernel"]);
        for path in [&fifo, folder.path(), &folder.path().join("no/json")] {
            let stop = Target::open(path, &options).unwrap_err();
            assert_eq!(stop.failure, Failure::Ours);
            assert!(format!("{:#}", stop.why).contains(path.to_str().unwrap()), "{:#}", stop.why);
        }
        assert!(matches!(Target::open("-".as_ref(), &options), Ok(Target::Output)));
    }

    #[test]
    fn a_commands_status_or_signal_is_in_the_summary() {
        let of = |end: End| value(&end, &facts(), &Report::default());
        let exited = of(End::Exited(3));
        assert_eq!((&exited["command-status"], &exited["exit-code"]), (&json!(3), &json!(3)));
        let signalled = of(End::Signalled(9));
        assert_eq!(
            (&signalled["command-signal"], &signalled["end"]),
            (&json!(9), &json!("signalled"))
        );
        assert_eq!(signalled["command-status"], Value::Null);
    }

    #[test]
    fn exits_stand_apart_from_other_counters_and_ends_are_told_apart() {
        let mut report = Report::default();
        report.take("count exit.cpuid 7");
        report.take("count vps 2");
        let facts = Facts {
            accel: Accel::Tcg,
            wall: Duration::from_secs(1),
            agent: None,
            console_bytes: Some(9),
            sizes: json!({}),
        };
        let value = value(&End::Exited(64), &facts, &report);
        assert_eq!(value["exits"], json!({ "cpuid": 7 }));
        assert_eq!(value["console-bytes"], json!(9));
        assert_eq!(value["counters"], json!({ "vps": 2 }));
        assert_eq!((&value["end"], &value["exit-code"]), (&json!("exited"), &json!(64)));
    }
}
