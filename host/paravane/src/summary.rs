//! The summary of a run in the `--json` file.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use serde_json::{Map, Value, json};

use crate::accel::Accel;
use crate::files::Files;
use crate::say::say;
use crate::state::beside;
use crate::vm::{Record, Stop};
use command_line::RunOptions;
use command_line::exit::{End, Failure};

/// Facts about a run that its [`Record`] lacks.
#[derive(Debug)]
pub struct Facts {
    /// The accelerator that ran the VM.
    pub accel: Accel,
    /// Sizes of files.
    pub sizes: Value,
    /// How often Drydock has launched the guest, in a run with Drydock.
    pub launches: Option<u32>,
}

impl Facts {
    /// Those of a run that has not begun.
    pub const fn new(accel: Accel) -> Self {
        Self { accel, sizes: Value::Null, launches: None }
    }
}

/// Runs a VM, writes its summary to the file of `--json` if there is one, and returns the exit
/// code. `inputs` are the files of the VM, which the summary must not overwrite.
pub fn around(
    json: Option<&Path>,
    inputs: &[PathBuf],
    mut facts: Facts,
    run: impl FnOnce(&mut Facts) -> Result<Record, Stop>,
) -> u8 {
    // If the summary can not be written, the user learns it before the run.
    let target = match json.map(|path| Target::open(path, inputs)).transpose() {
        Ok(target) => target,
        Err(stop) => {
            say!("--json: {:#}", stop.why);
            return End::Failed(stop.failure).code();
        }
    };
    let record = run(&mut facts).unwrap_or_else(|stop| {
        say!("{:#}", stop.why);
        Record::unbegun(stop.failure)
    });
    // A failure here does not change the exit code, which says how the run ended.
    if let Some(Err(error)) = target.map(|target| target.write(&record, &facts)) {
        say!("--json: {error:#}");
    }
    record.end.code()
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
    /// Opens the file that the user names, unless it is one of `inputs`.
    ///
    /// # Errors
    /// The file can not be written, or is one of the VM's own files.
    pub fn open(path: &Path, inputs: &[PathBuf]) -> Result<Self, Stop> {
        if path.as_os_str() == "-" {
            return Ok(Self::Output);
        }
        let ours = |why| Stop { failure: Failure::Ours, why };
        if let Some(input) = inputs.iter().find(|input| is_same(input, path)) {
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
    pub fn write(self, record: &Record, facts: &Facts) -> Result<()> {
        let mut text = serde_json::to_string_pretty(&value(record, facts))?;
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

/// The files of a run's VM that the user named.
pub fn inputs(options: &RunOptions) -> Vec<PathBuf> {
    let RunOptions { kernel, initrd, state, state_key, tpm_ca, image, agent, config, .. } = options;
    let others = [initrd, state, state_key, tpm_ca, image, agent, config];
    let key = state.as_deref().map(beside);
    others.into_iter().flatten().chain([kernel]).cloned().chain(key).collect()
}

/// Whether both names lead to the same plain file.
fn is_same(first: &Path, second: &Path) -> bool {
    let identity = |path| {
        let facts = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some((facts.dev(), facts.ino()))
    };
    identity(first).is_some_and(|first| identity(second) == Some(first))
}

fn value(record: &Record, facts: &Facts) -> Value {
    let Record { end, wall, agent, console_bytes, report } = record;
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
    let mut value = json!({
        "end": end.name(),
        "exit-code": end.code(),
        "command-status": if let End::Exited(status) = end { Some(*status) } else { None },
        "command-signal": if let End::Signalled(signal) = end { Some(*signal) } else { None },
        "accel": facts.accel.name(),
        "wall-seconds": wall.as_secs_f64(),
        "agent-seconds": agent.map(|time| time.as_secs_f64()),
        "console-bytes": console_bytes,
        "exits": exits,
        "counters": counters,
        "sizes": facts.sizes,
        "log": log,
        "crash-record": report.record,
    });
    if let (Some(launches), Some(value)) = (facts.launches, value.as_object_mut()) {
        value.insert("launches".to_owned(), json!(launches));
        value.insert("launch-digest".to_owned(), json!(report.digest));
    }
    value
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use command_line::{Action, Arguments};
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tempfile::tempdir;

    use super::*;
    use crate::report::Report;

    fn facts() -> Facts {
        Facts { sizes: json!({}), ..Facts::new(Accel::Tcg) }
    }

    fn record(end: End) -> Record {
        let report = Report::default();
        let wall = Duration::from_millis(1500);
        Record { end, wall, agent: None, console_bytes: None, report }
    }

    fn inputs_of(words: &[&str]) -> Vec<PathBuf> {
        match Arguments::try_parse_from(["paravane", "run"].iter().chain(words)).unwrap().action {
            Action::Run(options) => inputs(&options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_old_file_stays_until_there_is_a_summary() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("json");
        fs::write(&path, "x".repeat(10_000)).unwrap();
        let target = Target::open(&path, &inputs_of(&["-k", "kernel"])).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 10_000);
        target.write(&record(End::PoweredOff), &facts()).unwrap();
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
        let inputs = inputs_of(&["-k", kernel, "--state", state, "--tpm-ca", ca]);
        for name in ["kernel", "other name", "state", "state.key", "ca"] {
            let stop = Target::open(&path(name), &inputs).unwrap_err();
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
        let inputs = inputs_of(&["-k", "kernel"]);
        for path in [&fifo, folder.path(), &folder.path().join("no/json")] {
            let stop = Target::open(path, &inputs).unwrap_err();
            assert_eq!(stop.failure, Failure::Ours);
            assert!(format!("{:#}", stop.why).contains(path.to_str().unwrap()), "{:#}", stop.why);
        }
        assert!(matches!(Target::open("-".as_ref(), &inputs), Ok(Target::Output)));
    }

    #[test]
    fn a_commands_status_or_signal_is_in_the_summary() {
        let of = |end: End| value(&record(end), &facts());
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
        let mut record = Record { console_bytes: Some(9), ..record(End::Exited(64)) };
        record.report.take("count exit.cpuid 7");
        record.report.take("count vps 2");
        let value = value(&record, &facts());
        assert_eq!(value["exits"], json!({ "cpuid": 7 }));
        assert_eq!(value["console-bytes"], json!(9));
        assert_eq!(value["counters"], json!({ "vps": 2 }));
        assert_eq!((&value["end"], &value["exit-code"]), (&json!("exited"), &json!(64)));
    }
    #[test]
    fn launches_and_their_digest_are_told_of_drydock_only() {
        let mut record = record(End::PoweredOff);
        assert_eq!(value(&record, &facts()).get("launch-digest"), None);
        let facts = Facts { launches: Some(2), ..facts() };
        assert_eq!(value(&record, &facts)["launch-digest"], Value::Null);
        let digest = "5a".repeat(48);
        record.report.take(&format!("digest {digest}"));
        let value = value(&record, &facts);
        assert_eq!((&value["launches"], &value["launch-digest"]), (&json!(2), &json!(digest)));
    }
}
