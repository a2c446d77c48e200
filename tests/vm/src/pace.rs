//! Scales time limits with this machine's current speed, measured by a boot.

use std::ffi::{OsStr, OsString};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::Environment;
use crate::machine::Vm;

/// Seconds of a direct boot on the machine where the limits were chosen.
const USUAL_BOOT: f64 = 2.5;
/// Two VMs run at a time, and the machine may get busier after the boot that is measured.
const RESERVE: f64 = 2.0;
/// Longer limits, in seconds, mean no limit and are not scaled.
const LONGEST: f64 = 1e6;

static PACE: OnceLock<f64> = OnceLock::new();

/// Measures a direct boot. Returns the factor for all limits, and the duration of the boot.
pub fn measure(environment: &Environment) -> anyhow::Result<(f64, Duration)> {
    let run = Vm::exec_within(environment, "600", "true").args(["--direct"]);
    let time = run.run_within(Duration::from_secs(630))?.time;
    let pace = (time.as_secs_f64() / USUAL_BOOT).max(1.0) * RESERVE;
    Ok((*PACE.get_or_init(|| pace), time))
}

/// A limit, at this machine's pace.
pub fn limit(usual: Duration) -> Duration {
    usual.mul_f64(PACE.get().copied().unwrap_or(1.0))
}

/// The same command, with its `--timeout` at this machine's pace.
pub fn command(usual: &Command) -> Command {
    let mut command = Command::new(usual.get_program());
    let mut is_limit = false;
    for argument in usual.get_args() {
        let paced = if is_limit { seconds(argument) } else { None };
        is_limit = argument == "--timeout";
        command.arg(paced.unwrap_or_else(|| argument.to_owned()));
    }
    for (name, value) in usual.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(folder) = usual.get_current_dir() {
        command.current_dir(folder);
    }
    command
}

fn seconds(text: &OsStr) -> Option<OsString> {
    let usual: f64 = text.to_str()?.parse().ok()?;
    let time = (usual < LONGEST).then(|| limit(Duration::from_secs_f64(usual)))?;
    Some(time.as_secs_f64().to_string().into())
}
