//! `paravane run --platform snp`: the paravisor at VMPL0 of a confidential VM.

use std::fs::File;

use anyhow::{Context, Result, anyhow};
use command_line::exit::Failure;
use command_line::{AccelChoice, DrydockOptions, RunOptions};
use igvm_image::{Paravisor, build_paravisor};

use crate::accel;
use crate::drydock::{self, POLICY, keep, read};
use crate::files::{Error, Files};
use crate::say::say;
use crate::summary::{self, Facts};
use crate::vm::{Record, Stop, stop};

/// Runs a VM and returns the exit code.
pub fn run(options: &RunOptions) -> u8 {
    let facts = Facts { launches: Some(0), ..Facts::new(accel::choose(accelerator(options)).0) };
    let inputs = summary::inputs(options);
    summary::around(options.json.as_deref(), &inputs, facts, |facts| try_run(options, facts))
}

fn try_run(options: &RunOptions, facts: &mut Facts) -> Result<Record, Stop> {
    refuse_what_is_missing(options).map_err(stop(Failure::BadState))?;
    if options.exec.is_none() {
        say!("no SEV-SNP host is used: the VM runs in Drydock, which emulates SEV-SNP");
    }
    let files = Files::prepare(options).map_err(Error::stop)?;
    let igvm = || build(&files, options.memory).map_err(stop(Failure::BadGuest));
    drydock::launch(&drydock_options(options), facts, igvm)
}

/// Options that this platform has no answer to yet.
fn refuse_what_is_missing(options: &RunOptions) -> Result<()> {
    for (name, is_given, why) in [
        ("--state", options.state.is_some(), "the host would know the key of the state"),
        ("--direct", options.direct, "a guest without the paravisor needs `paravane drydock`"),
        ("--module", !options.modules.is_empty(), "modules are not measured yet"),
        ("--uuid", options.uuid.is_some(), "the UUID is not measured yet"),
    ] {
        if is_given {
            return Err(anyhow!("--platform snp does not take {name} yet: {why}"));
        }
    }
    Ok(())
}

/// Builds the IGVM file, whose measurement covers the paravisor with all that it starts.
fn build(files: &Files, memory: u64) -> Result<File> {
    let initrd = files.initrd.as_deref().map(read).transpose().context("the guest's initrd")?;
    let line = files.command_line_file.as_deref().map(read).transpose()?;
    let parts = [
        read(&files.config)?,
        read(&files.kernel).context("the guest's kernel")?,
        read(&files.kernel_name)?,
        initrd.unwrap_or_default(),
        line.unwrap_or_default(),
    ];
    let image = read(&files.image)?;
    let parts = parts.each_ref().map(Vec::as_slice);
    let paravisor = Paravisor { image: &image, files: parts, policy: POLICY, memory: Some(memory) };
    keep(&build_paravisor(&paravisor).context("the IGVM file can not be built")?)
}

/// Drydock runs on QEMU's software CPU, unless the user asks for something else.
const fn accelerator(options: &RunOptions) -> AccelChoice {
    match options.accel {
        AccelChoice::Auto => AccelChoice::Tcg,
        other => other,
    }
}

fn drydock_options(options: &RunOptions) -> DrydockOptions {
    DrydockOptions {
        file: None,
        linux: None,
        initrd: None,
        append: None,
        exec: options.exec.clone(),
        memory: options.memory,
        cpus: options.cpus,
        accel: accelerator(options),
        timeout: options.timeout,
        end_on_reset: false,
        log: options.log,
        trace: false,
        json: options.json.clone(),
        image: options.drydock_image.clone(),
        agent: options.agent.clone(),
        certificates: None,
        fw_cfg: Vec::new(),
        stub: None,
        qemu: options.qemu.clone(),
    }
}
