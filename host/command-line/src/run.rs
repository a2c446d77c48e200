//! The options of `paravane run`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, Command, ValueEnum};
use host_wire::LogLevel;

use crate::{Module, exit, values};

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// The guest's kernel: bzImage, ELF with a PVH note, or Multiboot
    #[arg(short, long, value_name = "FILE")]
    pub kernel: PathBuf,
    /// The guest's initial RAM disk
    #[arg(short, long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// A module for a Multiboot or PVH kernel, and the arguments that the kernel finds with it; may
    /// be given up to 8 times. A comma in the name of the file is doubled
    #[arg(long = "module", value_name = "FILE[,ARGS]", value_parser = Module::parser())]
    pub modules: Vec<Module>,
    /// The guest's command line [default: console=ttyS0 quiet]
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub append: Option<OsString>,
    /// RAM of the VM: a number with K, M or G; without a letter it counts MiB
    #[arg(short, long, value_name = "SIZE", default_value = "512M", value_parser = values::memory)]
    pub memory: u64,
    /// CPUs of the VM, 1 to 64; each is one of the guest
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = values::cpus)]
    pub cpus: u32,
    /// The machine's UUID, as the guest's SMBIOS tables have it [default: one that stays with
    /// --state, else a random one]
    #[arg(long, value_name = "UUID", value_parser = values::uuid)]
    pub uuid: Option<String>,
    /// Keep the paravisor's state (the TPM's keys, seeds and NV) in FILE, encrypted; a missing file
    /// is made. Without this option, the state is lost at the end
    #[arg(long, value_name = "FILE", conflicts_with = "direct")]
    pub state: Option<PathBuf>,
    /// The key of the state, 32 bytes [default: the state's name followed by `.key`, made together
    /// with the state]
    #[arg(long, value_name = "FILE", requires = "state")]
    pub state_key: Option<PathBuf>,
    /// Certify the endorsement keys of a new state's TPM by this CA: a PEM file with a P-256 key
    /// (PKCS#8) and its certificate [default: a test CA whose key is public]
    #[arg(long, value_name = "FILE", requires = "state")]
    pub tpm_ca: Option<PathBuf>,
    /// What holds the guest below the paravisor. The host of `snp` is chosen by --snp-host
    #[arg(long, value_enum, default_value = "nested-svm")]
    pub platform: PlatformChoice,
    /// The host of --platform snp. `kvm` needs a KVM and a QEMU that keep the host contract, and none
    /// are known to; `auto` says why it takes Drydock, which emulates SEV-SNP
    #[arg(long, value_enum, default_value = "auto")]
    pub snp_host: SnpHostChoice,
    /// The accelerator of the VM; `auto` takes KVM if it offers nested AMD-V, and says what it took
    #[arg(long, value_enum, default_value = "auto")]
    pub accel: AccelChoice,
    /// Run this shell command in the guest, pass on its output and status, then power off
    #[arg(short, long, value_name = "COMMAND", allow_hyphen_values = true)]
    pub exec: Option<OsString>,
    /// End the VM after this many seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = values::seconds)]
    pub timeout: Option<Duration>,
    /// Do not offer the Hyper-V interface to the guest
    #[arg(long)]
    pub no_hyperv: bool,
    /// Give the guest no TPM. Without --state its TPM is ephemeral: the keys are lost with the VM
    #[arg(long)]
    pub no_tpm: bool,
    /// Log level of the paravisor; from `info` on, `--exec` also shows the guest's console
    #[arg(long, value_name = "LEVEL", default_value = "warn", value_parser = values::log_level)]
    pub log: LogLevel,
    /// Write a summary of the run to FILE, or to standard output for `-`
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The paravisor's unstripped ELF file [default: `paravisor` beside this program]
    #[arg(long, value_name = "FILE", env = "PARAVANE_IMAGE")]
    pub image: Option<PathBuf>,
    /// The paravisor's unstripped ELF file for SEV-SNP [default: `paravisor-snp` beside this
    /// program]
    #[arg(long, value_name = "FILE", env = "PARAVANE_IMAGE_SNP")]
    pub image_snp: Option<PathBuf>,
    /// With `--platform snp`: Drydock's unstripped ELF file [default: `drydock` beside this program]
    #[arg(long, value_name = "FILE", env = "PARAVANE_DRYDOCK")]
    pub drydock_image: Option<PathBuf>,
    /// The program that carries --exec in the guest [default: `agent` beside this program]
    #[arg(long, value_name = "FILE", env = "PARAVANE_AGENT")]
    pub agent: Option<PathBuf>,
    /// Boot the guest without the paravisor in the same VM, for comparison
    #[arg(long)]
    pub direct: bool,
    /// Give the paravisor this file as its configuration
    #[arg(long, value_name = "FILE", hide = true)]
    pub config: Option<PathBuf>,
    /// Arguments for QEMU
    #[arg(last = true, value_name = "QEMU-ARGS", allow_hyphen_values = true)]
    pub qemu: Vec<OsString>,
}

/// The values of `--platform`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlatformChoice {
    /// AMD-V in the VM, nested or emulated by QEMU.
    NestedSvm,
    /// A confidential VM with SEV-SNP: the paravisor at VMPL0, the guest at VMPL1.
    Snp,
}

/// The values of `--snp-host`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SnpHostChoice {
    /// Drydock, until a host is known that keeps the contract.
    Auto,
    /// Drydock, in a VM of its own.
    Drydock,
    /// KVM with SEV-SNP and planes.
    Kvm,
}

/// The values of `--accel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccelChoice {
    /// KVM if it offers nested AMD-V, else QEMU's software CPU.
    Auto,
    /// KVM.
    Kvm,
    /// QEMU's software CPU, with one thread for all CPUs.
    Tcg,
    /// QEMU's software CPU with a thread for each CPU: faster if several are busy, but races in
    /// QEMU occasionally break a guest while it boots.
    TcgThreads,
}

/// The text below the options in the help.
pub fn run_help() -> String {
    format!(
        "Examples:
  paravane run --kernel vmlinuz --initrd initrd.img
      a console; Ctrl-A X leaves
  paravane run -k vmlinuz -i initrd.img -c 4 --exec 'nproc; dmesg | tail'
      a command's output, and nothing else
  paravane run -k vmlinuz -i initrd.img --exec true --json -
      how often the guest exited, and why
  paravane run -k vmlinuz -i initrd.img --state vm.state
      what the paravisor keeps outlives the VM; keep vm.state.key apart from copies of vm.state
  paravane run -k memtest86+x64.bin -a console=ttyS0 --timeout 600 -- -rtc base=utc

Exit codes:
{}
With --exec, any other code is the command's status, and 128+N says that signal N ended it. A \
command may end with one of the codes above: `end` in the --json file tells them apart.",
        exit::table()
    )
}

/// The options of `run` that were given on a command line, in a form that `paravane run` accepts.
/// Defaults and values from the environment are left out.
pub fn given(matches: &ArgMatches) -> Vec<OsString> {
    let mut words = vec![];
    let mut last = vec![];
    for argument in RunOptions::augment_args(Command::new("run")).get_arguments() {
        let id = argument.get_id().as_str();
        if matches.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let name = argument.get_long().map(|name| format!("--{name}"));
        let values = matches.get_raw(id).into_iter().flatten();
        match name {
            Some(name) if matches!(argument.get_action(), ArgAction::SetTrue) => {
                words.push(name.into());
            }
            Some(name) => words.extend(values.map(|value| {
                let mut word = OsString::from(format!("{name}="));
                word.push(value);
                word
            })),
            None => last.extend(values.map(OsString::from)),
        }
    }
    if !last.is_empty() {
        words.push("--".into());
        words.extend(last);
    }
    words
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn what_was_given_is_given_again_word_for_word() {
        let command = RunOptions::augment_args(Command::new("run"));
        let odd = OsString::from_vec(b"k\xff,=".to_vec());
        let mut words: Vec<OsString> =
            ["run", "--no-tpm", "-k"].into_iter().map(OsString::from).collect();
        words.push(odd.clone());
        words.extend(["-c4", "-e", "--kernel", "-a=", "--", "-smp", "--cpus", ""].map(Into::into));
        let first = given(&command.clone().get_matches_from(words));
        let mut kernel = OsString::from("--kernel=");
        kernel.push(odd);
        assert!(first.contains(&kernel), "{first:?}");
        assert!(first.contains(&"--exec=--kernel".into()), "a value that looks like an option");
        assert!(first.contains(&"--append=".into()) && first.contains(&"--cpus=4".into()));
        assert!(first.ends_with(&["--", "-smp", "--cpus", ""].map(Into::into)), "{first:?}");
        assert_eq!(first.len(), 9, "no defaults: {first:?}");
        let again = [OsString::from("run")].into_iter().chain(first.clone());
        assert_eq!(given(&command.get_matches_from(again)), first);
    }
}
