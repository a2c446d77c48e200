//! Ends QEMU together with this program, even if this program is killed.
//!
//! A copy of this program asks the kernel to kill it when its parent dies, then executes QEMU in
//! its own place.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, anyhow};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use command_line::GuardOptions;

use crate::signals;

/// A command that runs `program` and ends with this process. Start it from the main thread: its end
/// is tied to the thread that started it.
pub fn command(program: &Path) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("guard").arg(std::process::id().to_string()).arg(program);
    Ok(command)
}

/// Executes the program in place of this one; returns only if that fails, with the reason.
pub fn become_program(options: &GuardOptions) -> anyhow::Error {
    match try_become(options) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_become(options: &GuardOptions) -> anyhow::Result<std::convert::Infallible> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("the end of the parent can not be watched")?;
    // The parent may have died before the kernel was asked to watch it.
    if getppid().map(Pid::as_raw_nonzero).map(std::num::NonZero::get) != Some(options.parent) {
        return Err(anyhow!("the parent has ended"));
    }
    signals::block_ignored()?;
    let (program, arguments) = options.program.split_first().context("no program is given")?;
    Err(anyhow!("{}: {}", program.display(), Command::new(program).args(arguments).exec()))
}
