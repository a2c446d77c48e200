//! `paravane run`: prepares one VM with the paravisor, and reports how it went.

use std::io::{self, IsTerminal};

use anyhow::Context;

use crate::accel::{self, Accel};
use crate::files::{Error, Files};
use crate::say::say;
use crate::state::State;
use crate::summary::{self, Facts};
use crate::terminal::Saved;
use crate::vm::{Below, Launch, Record, Stop, Terms, Vm, Watch, stop};
use crate::{qemu, ram, snp};
use command_line::exit::Failure;
use command_line::{AccelChoice, PlatformChoice, RunOptions};

/// Runs a VM and returns the exit code.
pub fn run(options: &RunOptions) -> u8 {
    if options.platform == PlatformChoice::Snp {
        return snp::run(options);
    }
    let facts = Facts::new(accel::choose(options.accel).0);
    let inputs = summary::inputs(options);
    summary::around(options.json.as_deref(), &inputs, facts, |facts| try_run(options, facts))
}

fn try_run(options: &RunOptions, facts: &mut Facts) -> Result<Record, Stop> {
    let program = qemu::find_or_stop()?;
    let files = Files::prepare(options).map_err(Error::stop)?;
    let (accel, why) = accel::choose(options.accel);
    if !options.direct {
        let cpus = qemu::cpus(options, accel);
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
    if options.accel == AccelChoice::Auto {
        say!("runs on {why}");
    }
    let ephemeral = state.is_none() && !options.no_tpm && !options.direct;
    if ephemeral && options.exec.is_none() && io::stderr().is_terminal() {
        say!("the TPM is ephemeral: its keys are lost with the VM; --state FILE keeps them");
    }
    facts.sizes = summary::sizes(options, &files);
    let terminal = Saved::note();
    let watch = Watch::start().map_err(stop(Failure::Ours))?;
    let launch = Launch::start(&watch, |ends| {
        qemu::command(&program, options, &files, state.as_ref(), accel, ends)
    })?;
    let image = files.image.clone();
    let mut vm = Vm::new(terms(options, accel), image, Some(files.into_directory()));
    let ended = vm.see_through(launch);
    drop(terminal);
    Ok(vm.finish(ended))
}

fn terms(options: &RunOptions, accel: Accel) -> Terms {
    Terms {
        below: if options.direct { Below::Nothing } else { Below::Paravisor },
        has_command: options.exec.is_some(),
        timeout: options.timeout,
        log: options.log,
        accel,
    }
}
