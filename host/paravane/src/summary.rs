//! The `--json` file.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::accel::Accel;
use crate::cli::RunOptions;
use crate::exit::End;
use crate::files::Files;
use crate::report::Report;

/// What the file tells beside the report.
#[derive(Debug)]
pub struct Facts {
    /// What ran the VM.
    pub accel: Accel,
    /// From QEMU's start to its end.
    pub wall: Duration,
    /// From QEMU's start to the agent's first word.
    pub agent: Option<Duration>,
    /// What the guest's console said, if it came to us.
    pub console_bytes: Option<u64>,
    /// Sizes of files.
    pub sizes: Value,
}

/// Sizes of the files, while they are still there.
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

/// Writes the file.
pub fn write(target: &Path, end: &End, facts: &Facts, report: &Report) -> Result<()> {
    let mut text = serde_json::to_string_pretty(&value(end, facts, report))?;
    text.push('\n');
    if target.as_os_str() == "-" {
        std::io::stdout().write_all(text.as_bytes()).context("standard output")
    } else {
        fs::write(target, text).with_context(|| target.display().to_string())
    }
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
    use super::*;

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
