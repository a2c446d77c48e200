//! `paravane run --platform snp`: the paravisor at VMPL0 of a confidential VM.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use command_line::exit::Failure;
use command_line::{
    AccelChoice, DrydockOptions, FirmwareContent, FirmwareFile, RunOptions, SnpHostChoice,
};
use host_wire::paravisor_image::NAMES;
use igvm_image::{Paravisor, build_paravisor};
use rustix::io::{FdFlags, fcntl_setfd};
use snp::features::SevFeatures;

use crate::accel::{self, Accel};
use crate::drydock::{self, POLICY, keep, read};
use crate::files::{Error, Files};
use crate::qemu;
use crate::say::say;
use crate::state::own_name;
use crate::summary::{self, Facts};
use crate::terminal::Saved;
use crate::vm::{Below, Launch, Record, Stop, Terms, Vm, Watch, stop};

/// Runs a VM and returns the exit code.
pub fn run(options: &RunOptions) -> u8 {
    let (host, why) = choose(options.snp_host, kvm_offers_snp());
    let (inputs, facts) = (summary::inputs(options), facts(options, host));
    summary::around(options.json.as_deref(), &inputs, facts, |facts| {
        try_run(options, host, why, facts)
    })
}

/// The facts of a run that has not begun.
fn facts(options: &RunOptions, host: Host) -> Facts {
    match host {
        Host::Drydock => {
            Facts { launches: Some(0), ..Facts::new(accel::choose(accelerator(options)).0) }
        }
        Host::Kvm => Facts::new(Accel::Kvm),
    }
}

fn try_run(options: &RunOptions, host: Host, why: &str, facts: &mut Facts) -> Result<Record, Stop> {
    refuse_what_is_missing(options).map_err(stop(Failure::BadState))?;
    if options.exec.is_none() {
        say!("{why}");
    }
    let files = Files::prepare(options).map_err(Error::stop)?;
    if host == Host::Kvm {
        return run_on_kvm(options, &files, facts);
    }
    let igvm = || build(&files).map_err(stop(Failure::BadGuest));
    let inside = drydock_options(options, given(&files));
    drydock::launch(&inside, facts, Some(&files.image), igvm)
}

/// The host of the confidential VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    Drydock,
    Kvm,
}

/// Whether KVM can launch VMs with SEV-SNP on this machine.
fn kvm_offers_snp() -> bool {
    let parameter = std::fs::read_to_string("/sys/module/kvm_amd/parameters/sev_snp");
    parameter.is_ok_and(|value| matches!(value.trim(), "Y" | "1"))
}

/// The host, with the line that tells the user why it was chosen.
fn choose(choice: SnpHostChoice, kvm_offers_snp: bool) -> (Host, &'static str) {
    match (choice, kvm_offers_snp) {
        (SnpHostChoice::Kvm, true) => {
            (Host::Kvm, "runs on KVM, as asked, which is not known to keep the host contract")
        }
        (SnpHostChoice::Kvm, false) => {
            (Host::Kvm, "runs on KVM, as asked, although it offers no SEV-SNP here")
        }
        (SnpHostChoice::Drydock, _) => {
            (Host::Drydock, "runs in Drydock, as asked, which emulates SEV-SNP")
        }
        (SnpHostChoice::Auto, true) => (
            Host::Drydock,
            "runs in Drydock, which emulates SEV-SNP: KVM offers it here, but is not known to keep \
             the host contract (--snp-host kvm tries it)",
        ),
        (SnpHostChoice::Auto, false) => {
            (Host::Drydock, "runs in Drydock, which emulates SEV-SNP: no SEV-SNP host is here")
        }
    }
}

/// Runs the VM on KVM, with the same IGVM file and files as in Drydock.
fn run_on_kvm(options: &RunOptions, files: &Files, facts: &mut Facts) -> Result<Record, Stop> {
    let program = qemu::find_or_stop()?;
    let igvm = build(files).map_err(stop(Failure::BadGuest))?;
    fcntl_setfd(&igvm, FdFlags::empty()).context("a file for QEMU").map_err(stop(Failure::Ours))?;
    let igvm = own_name(&igvm);
    facts.sizes = summary::sizes(options, files);
    let terminal = Saved::note();
    let watch = Watch::start().map_err(stop(Failure::Ours))?;
    let named =
        || NAMES.into_iter().zip(given(files)).filter_map(|(name, path)| Some((name, path?)));
    let launch =
        Launch::start(&watch, |ends| qemu::confidential(&program, options, &igvm, named(), ends))?;
    let terms = Terms {
        below: Below::Paravisor,
        has_command: options.exec.is_some(),
        timeout: options.timeout,
        log: options.log,
        accel: Accel::Kvm,
    };
    let mut vm = Vm::new(terms, files.image.clone(), None);
    let ended = vm.see_through(launch);
    drop(terminal);
    Ok(vm.finish(ended))
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

/// The files that the host hands in, in the order of their names; none where the user gives none.
fn given(files: &Files) -> [Option<&Path>; NAMES.len()] {
    let Files { kernel, kernel_name, initrd, command_line_file, .. } = files;
    [Some(kernel), Some(kernel_name), initrd.as_deref(), command_line_file.as_deref()]
}

/// Builds the IGVM file, whose measurement covers the paravisor with all that it starts.
fn build(files: &Files) -> Result<File> {
    let bytes = given(files).map(|file| file.map_or_else(|| Ok(Vec::new()), read));
    let bytes = bytes.into_iter().collect::<Result<Vec<_>>>().context("the guest's files")?;
    let (image, config) = (read(&files.image)?, read(&files.config)?);
    let mut contents = bytes.iter().map(Vec::as_slice);
    let files = std::array::from_fn(|_| contents.next().unwrap_or_default());
    let features = SevFeatures::new().with_secure_tsc(true).into_bits();
    let paravisor = Paravisor { image: &image, config: &config, files, policy: POLICY, features };
    keep(&build_paravisor(&paravisor).context("the IGVM file can not be built")?)
}

/// Drydock runs on QEMU's software CPU, unless the user asks for something else.
const fn accelerator(options: &RunOptions) -> AccelChoice {
    match options.accel {
        AccelChoice::Auto => AccelChoice::Tcg,
        other => other,
    }
}

fn drydock_options(options: &RunOptions, given: [Option<&Path>; NAMES.len()]) -> DrydockOptions {
    let fw_cfg = NAMES.into_iter().zip(given).filter_map(|(name, path)| {
        let content = FirmwareContent::File(path?.to_owned());
        Some(FirmwareFile { name: name.to_owned(), content })
    });
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
        // The paravisor resets its guest in place.
        end_on_reset: true,
        log: options.log,
        trace: false,
        json: options.json.clone(),
        image: options.drydock_image.clone(),
        agent: options.agent.clone(),
        certificates: None,
        fw_cfg: fw_cfg.collect(),
        stub: None,
        qemu: options.qemu.clone(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use command_line::{Action, Arguments};

    use super::*;

    #[test]
    fn the_summary_names_the_accelerator_that_runs_the_vm() {
        let words = ["paravane", "run", "-k", "kernel", "--platform", "snp", "--accel", "tcg"];
        let Action::Run(options) = Arguments::try_parse_from(words).unwrap().action else {
            panic!("another command");
        };
        let facts = facts(&options, Host::Kvm);
        assert_eq!((facts.accel, facts.launches), (Accel::Kvm, None));
        let facts = self::facts(&options, Host::Drydock);
        assert_eq!((facts.accel, facts.launches), (Accel::Tcg, Some(0)));
    }

    #[test]
    fn a_host_that_is_not_known_to_keep_the_contract_is_taken_only_when_asked_for() {
        for (choice, has_snp, host, word) in [
            (SnpHostChoice::Auto, false, Host::Drydock, "no SEV-SNP host is here"),
            (SnpHostChoice::Auto, true, Host::Drydock, "--snp-host kvm"),
            (SnpHostChoice::Drydock, true, Host::Drydock, "as asked"),
            (SnpHostChoice::Kvm, true, Host::Kvm, "not known to keep"),
            (SnpHostChoice::Kvm, false, Host::Kvm, "offers no SEV-SNP"),
        ] {
            let (chosen, why) = choose(choice, has_snp);
            assert!(chosen == host && why.contains(word), "{choice:?} {has_snp}: {why}");
        }
    }
}
