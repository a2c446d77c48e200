//! `paravane drydock`: an SEV-SNP guest in a VM that emulates SEV-SNP.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use command_line::exit::{self, Failure};
use command_line::{AccelChoice, DrydockOptions, FirmwareContent, FirmwareFile};
use host_wire::drydock::{LEAST_MEMORY, MEMORY_STEP, MOST_MEMORY, is_memory};
use host_wire::{DrydockConfig, file, guest_files};
use igvm_image::{Linux, build_linux};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::accel::{self, Accel};
use crate::channel::Ends;
use crate::chip::Certified;
use crate::files::{beside_us, command_line, initrd_with_command};
use crate::plain::{check_readable, named};
use crate::qemu::{self, Machine};
use crate::say::say;
use crate::state::own_name;
use crate::summary::{self, Facts};
use crate::terminal::Saved;
use crate::vm::{Below, Launch, Record, Stop, Terms, Vm, Watch, stop};

/// The software CPU. The paravisor's reasons apply. Nested page tables of four levels translate 48
/// bits. The save area that a level has holds no upper halves of YMM registers yet, so there is no
/// AVX.
const TCG_CPU: &str = "EPYC,phys-bits=48,+svm,+npt,-cx16,-avx,-avx2,-fma,-f16c";
/// RAM that Drydock needs beside the guest's two copies.
const OWN: u64 = 96 << 20;
/// RAM for what an IGVM file can have above the guest's RAM, twice.
const FAR: u64 = 96 << 20;
/// The RAM that QEMU puts below its hole under 4 GiB, if there is enough for both sides of it.
const LOW: u64 = 2 << 30;
/// Drydock sets aside memory for its page tables for each whole GiB of RAM.
const STEP: u64 = 1 << 30;
const _: () = assert!(MOST_MEMORY <= LOW - OWN);
/// The guest policy of --linux (SNP firmware ABI 56860, section 4.3): SMT is allowed, and bit 17 is
/// always set.
pub const POLICY: u64 = 0x3_0000;
/// SEV_FEATURES of the first VP: SNPActive (AMD64 APM vol. 2, table B-4).
const SNP_ACTIVE: u64 = 1;

/// Runs a VM and returns the exit code. Without a VM to run, `--certificates` is all that is done.
pub fn run(options: &DrydockOptions) -> u8 {
    if let Some(folder) = &options.certificates
        && is_without_vm(options)
    {
        let done = Certified::of_user().and_then(|chip| chip.write_certificates(folder));
        return done.map_or_else(
            |error| {
                say!("--certificates: {error:#}");
                exit::OURS
            },
            |()| 0,
        );
    }
    let facts = Facts { launches: Some(0), ..Facts::new(accel::choose(options.accel).0) };
    let inputs = inputs(options);
    summary::around(options.json.as_deref(), &inputs, facts, |facts| try_run(options, facts))
}

/// Whether the user wants the certificates alone.
fn is_without_vm(options: &DrydockOptions) -> bool {
    let DrydockOptions { file, linux, initrd, append, exec, json, .. } = options;
    let (files, texts) = ([file, linux, initrd, json], [append, exec]);
    files.iter().all(|file| file.is_none()) && texts.iter().all(|text| text.is_none())
}

/// The VM's files that the user named.
fn inputs(options: &DrydockOptions) -> Vec<PathBuf> {
    let DrydockOptions { file, linux, initrd, image, agent, stub, .. } = options;
    [file, linux, initrd, image, agent, stub].into_iter().flatten().cloned().collect()
}

fn try_run(options: &DrydockOptions, facts: &mut Facts) -> Result<Record, Stop> {
    let source = Source::of(options).map_err(stop(Failure::BadState))?;
    launch(options, facts, None, || source.open(options))
}

/// Launches the IGVM file that `open` opens, again at each reset, until the VM ends. `paravisor` is
/// the unstripped image in that file, if it is ours.
pub fn launch(
    options: &DrydockOptions,
    facts: &mut Facts,
    paravisor: Option<&Path>,
    open: impl FnOnce() -> Result<File, Stop>,
) -> Result<Record, Stop> {
    let program = qemu::find_or_stop()?;
    let image = beside_us(options.image.as_deref(), "drydock");
    check_readable(&image).context("Drydock (--image)").map_err(stop(Failure::Ours))?;
    check_memory(options.memory).map_err(stop(Failure::UnusableVm))?;
    let guest_files = GuestFiles::of(&options.fw_cfg).map_err(stop(Failure::BadGuest))?;
    let igvm = open()?;
    let chip = chip(options).map_err(stop(Failure::Ours))?;
    let files = Files::new(igvm, config(options)?, &chip, guest_files);
    let files = files.map_err(stop(Failure::Ours))?;
    let length = files.check_length(options.memory).map_err(stop(Failure::BadGuest))?;
    let (accel, why) = accel::choose(options.accel);
    if options.accel == AccelChoice::Auto {
        say!("runs on {why}");
    }
    facts.sizes = serde_json::json!({
        "image-file": fs::metadata(&image).map(|facts| facts.len()).ok(),
        "igvm": length,
        "memory": options.memory,
    });
    let terminal = Saved::note();
    let watch = Watch::start().map_err(stop(Failure::Ours))?;
    let start = |ends: &Ends| qemu_command(&program, options, &image, &files, accel, ends);
    let mut launch = Launch::start(&watch, start)?;
    let vm = Vm::new(terms(options, accel), image.clone(), None);
    let mut vm = vm.with_paravisor(paravisor.map(Path::to_owned));
    // A confidential VM can not be reset, because its pages were measured as it was launched.
    let ended = loop {
        facts.launches = facts.launches.map(|launches| launches.saturating_add(1));
        let ended = vm.see_through(launch);
        if !ended.is_reset() || options.end_on_reset || options.exec.is_some() {
            break ended;
        }
        launch = Launch::start(&watch, start)?;
    };
    drop(terminal);
    Ok(vm.finish(ended))
}

/// The chip that the VM runs on. Its certificates are written if the user wants them.
fn chip(options: &DrydockOptions) -> Result<Certified> {
    let chip = Certified::of_user_or_new()?;
    if let Some(folder) = &options.certificates {
        chip.write_certificates(folder).context("--certificates")?;
    }
    Ok(chip)
}

fn terms(options: &DrydockOptions, accel: Accel) -> Terms {
    Terms {
        below: Below::Drydock,
        has_command: options.exec.is_some(),
        timeout: options.timeout,
        log: options.level(),
        accel,
    }
}

/// The origin of the IGVM file.
#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    /// The user has it.
    File(&'a Path),
    /// It is built from this kernel.
    Linux(&'a Path),
}

impl<'a> Source<'a> {
    fn of(options: &'a DrydockOptions) -> Result<Self> {
        match (&options.file, &options.linux) {
            (Some(_), Some(_)) => Err(anyhow!("give FILE.igvm or --linux, not both")),
            (None, None) => Err(anyhow!("give FILE.igvm or --linux KERNEL")),
            (None, Some(kernel)) => Ok(Self::Linux(kernel)),
            (Some(file), None) => {
                for (name, is_given) in [
                    ("--exec", options.exec.is_some()),
                    ("--append", options.append.is_some()),
                    ("--initrd", options.initrd.is_some()),
                ] {
                    ensure!(
                        !is_given,
                        "{name} needs --linux: an IGVM file is measured as a whole, so nothing can \
                         be added to it"
                    );
                }
                Ok(Self::File(file))
            }
        }
    }

    fn open(self, options: &DrydockOptions) -> Result<File, Stop> {
        let bad = stop(Failure::BadGuest);
        match self {
            Self::File(path) => {
                check_readable(path).context("the IGVM file").map_err(&bad)?;
                File::open(path).with_context(|| named(path)).map_err(bad)
            }
            Self::Linux(kernel) => {
                let kernel = read(kernel).context("the guest's kernel").map_err(&bad)?;
                if let Some(initrd) = &options.initrd {
                    check_readable(initrd).context("the guest's initrd").map_err(&bad)?;
                }
                let parts = Parts::of(options, kernel).map_err(stop(Failure::Ours))?;
                parts.build().map_err(bad)
            }
        }
    }
}

/// The parts of an IGVM file that starts Linux.
struct Parts {
    stub: Vec<u8>,
    kernel: Vec<u8>,
    initrd: Vec<u8>,
    command_line: Vec<u8>,
}

impl Parts {
    fn of(options: &DrydockOptions, kernel: Vec<u8>) -> Result<Self> {
        let stub = read(&beside_us(options.stub.as_deref(), "linux-start"))
            .context("the stub that starts the kernel (--stub)")?;
        let users = options.initrd.as_deref();
        let initrd = match (&options.exec, users) {
            (Some(command), _) => initrd_with_command(options.agent.as_deref(), command, users)?,
            (None, Some(path)) => read(path)?,
            (None, None) => Vec::new(),
        };
        let line = command_line(options.append.as_deref(), options.exec.is_some());
        Ok(Self { stub, kernel, initrd, command_line: line.as_os_str().as_bytes().to_vec() })
    }

    fn build(&self) -> Result<File> {
        let Self { stub, kernel, initrd, command_line } = self;
        let features = SNP_ACTIVE;
        let linux = Linux { stub, kernel, initrd, command_line, policy: POLICY, features };
        keep(&build_linux(&linux).context("the IGVM file can not be built")?)
    }
}

pub fn read(path: &Path) -> Result<Vec<u8>> {
    check_readable(path)?;
    fs::read(path).with_context(|| named(path))
}

/// A file without a name, which is gone when no process has it open any more.
pub fn keep(bytes: &[u8]) -> Result<File> {
    let mut file = tempfile::tempfile().context("a temporary file")?;
    file.write_all(bytes).context("a temporary file")?;
    Ok(file)
}

fn config(options: &DrydockOptions) -> Result<File, Stop> {
    let config = DrydockConfig { memory: options.memory, log: options.level() };
    keep(config.to_string().as_bytes()).map_err(stop(Failure::Ours))
}

/// The files that every launch gets. They stay open, so that all launches get the same.
#[derive(Debug)]
struct Files {
    igvm: File,
    config: File,
    chip: File,
    certificates: File,
    guest_files: GuestFiles,
}

/// The files for the guest's firmware.
#[derive(Debug)]
struct GuestFiles {
    /// Their names, if there are any.
    names: Option<File>,
    contents: Vec<File>,
}

impl GuestFiles {
    fn of(files: &[FirmwareFile]) -> Result<Self> {
        let most = guest_files::CONTENTS.len();
        ensure!(files.len() <= most, "--fw-cfg: the guest can have {most} files, not more");
        let contents = files.iter().map(|file| match &file.content {
            FirmwareContent::File(path) => {
                check_readable(path).context("--fw-cfg")?;
                File::open(path).with_context(|| named(path))
            }
            FirmwareContent::Text(text) => keep(text.as_bytes()),
        });
        let contents = contents.collect::<Result<_>>()?;
        let names: String = files.iter().map(|file| format!("{}\n", file.name)).collect();
        let names = (!files.is_empty()).then(|| keep(names.as_bytes())).transpose()?;
        Ok(Self { names, contents })
    }
}

impl Files {
    fn new(igvm: File, config: File, chip: &Certified, guest_files: GuestFiles) -> Result<Self> {
        let certificates = keep(&chip.table()?)?;
        let chip = keep(&chip.secrets())?;
        Ok(Self { igvm, config, chip, certificates, guest_files })
    }

    /// The length of the IGVM file, which the guest's RAM must exceed.
    fn check_length(&self, memory: u64) -> Result<u64> {
        let length = self.igvm.metadata().context("the IGVM file")?.len();
        ensure!(
            length < memory,
            "the IGVM file of {} MiB needs a guest with more RAM than that (--memory)",
            length.div_ceil(1 << 20)
        );
        Ok(length)
    }

    /// Lets the next child process inherit the files, and hands them in.
    fn give(&self, command: &mut Command) -> Result<()> {
        let Self { igvm, config, chip, certificates, guest_files } = self;
        let own = [
            (file::DRYDOCK, config),
            (file::IGVM, igvm),
            (file::CHIP, chip),
            (file::CERTIFICATES, certificates),
        ];
        let GuestFiles { names, contents } = guest_files;
        let guests = names.iter().map(|names| (guest_files::NAMES, names));
        let guests = guests.chain(guest_files::CONTENTS.into_iter().zip(contents));
        for (name, open) in own.into_iter().chain(guests) {
            fcntl_setfd(open, FdFlags::empty()).context("a file for QEMU")?;
            qemu::give_file(command, name, &own_name(open));
        }
        Ok(())
    }
}

/// Refuses a size that Drydock would refuse.
fn check_memory(memory: u64) -> Result<()> {
    ensure!(
        is_memory(memory),
        "--memory: a guest in Drydock has {} to {} MiB of RAM, in steps of {}",
        LEAST_MEMORY >> 20,
        MOST_MEMORY >> 20,
        MEMORY_STEP >> 20
    );
    Ok(())
}

/// RAM of the VM: the guest's memory that the host shares at its own addresses, and the guest's
/// private memory in one piece. QEMU allocates what Drydock uses of it.
const fn vm_memory(guest: u64) -> u64 {
    let both = 2 * guest + OWN + FAR;
    if both <= LOW {
        return both.next_multiple_of(STEP);
    }
    LOW + (guest + OWN + FAR).next_multiple_of(STEP)
}

fn qemu_command(
    program: &Path,
    options: &DrydockOptions,
    image: &Path,
    files: &Files,
    accel: Accel,
    ends: &Ends,
) -> Result<Command> {
    let machine = Machine {
        accel,
        software_cpu: TCG_CPU,
        memory: vm_memory(options.memory),
        cpus: qemu::with_spare(options.cpus, accel),
    };
    let mut command = machine.command(program, ends)?;
    qemu::report_port(&mut command, ends)?;
    command.arg(OsStr::new("-kernel")).arg(image);
    files.give(&mut command)?;
    qemu::serial_ports(&mut command, ends, options.exec.is_some())?;
    command.args(&options.qemu);
    Ok(command)
}

#[cfg(test)]
mod tests;
