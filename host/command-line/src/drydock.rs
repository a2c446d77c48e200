//! The options of `paravane drydock`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use host_wire::LogLevel;

use crate::firmware_file::{self, FirmwareFile};
use crate::{AccelChoice, exit, values};

/// Options of `drydock`.
#[derive(Debug, Args)]
pub struct DrydockOptions {
    /// The IGVM file to launch, with a platform SEV-SNP; or give --linux
    #[arg(value_name = "FILE.igvm")]
    pub file: Option<PathBuf>,
    /// Build an IGVM file for this run from a Linux kernel, as `paravane image build` does
    #[arg(short = 'k', long, value_name = "KERNEL", visible_alias = "kernel")]
    pub linux: Option<PathBuf>,
    /// The initial RAM disk of --linux
    #[arg(short, long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// The command line of --linux [default: console=ttyS0 quiet]
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub append: Option<OsString>,
    /// Run this shell command in the guest of --linux, pass on its output and status, then power
    /// off
    #[arg(short, long, value_name = "COMMAND", allow_hyphen_values = true)]
    pub exec: Option<OsString>,
    /// RAM of the guest, a multiple of 2 MiB: a number with K, M or G; without a letter it counts
    /// MiB. The VM that emulates takes about twice as much
    #[arg(short, long, value_name = "SIZE", default_value = "512M", value_parser = values::memory)]
    pub memory: u64,
    /// VPs of the guest, 1 to 64
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = values::cpus)]
    pub cpus: u32,
    /// Hand a file to the guest's firmware by QEMU's firmware configuration device (fw_cfg), under
    /// this name; up to 8 times
    #[arg(long, value_name = "name=NAME,file=FILE", value_parser = firmware_file::parse)]
    pub fw_cfg: Vec<FirmwareFile>,
    /// The accelerator of the VM that emulates; only `tcg` has been tested
    #[arg(long, value_enum, default_value = "tcg")]
    pub accel: AccelChoice,
    /// End the VM after this many seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = values::seconds)]
    pub timeout: Option<Duration>,
    /// End at a reset of the guest; without this option the guest is launched again
    #[arg(long)]
    pub end_on_reset: bool,
    /// Log level of Drydock; from `info` on, `--exec` also shows the guest's console
    #[arg(long, value_name = "LEVEL", default_value = "warn", value_parser = values::log_level)]
    pub log: LogLevel,
    /// Log every exit of the guest with its answer: the same as `--log debug`
    #[arg(long, conflicts_with = "log")]
    pub trace: bool,
    /// Write a summary of the run, with the launch digest, to FILE, or to standard output for `-`
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the certificates that verify the guest's attestation reports to DIR: ark.pem, ask.pem,
    /// vcek.pem. Without a guest that is all
    #[arg(long, value_name = "DIR")]
    pub certificates: Option<PathBuf>,
    /// Drydock's unstripped ELF file [default: `drydock` beside this program]
    #[arg(long, value_name = "FILE", env = "PARAVANE_DRYDOCK")]
    pub image: Option<PathBuf>,
    /// The program that carries --exec in the guest [default: `agent` beside this program]
    #[arg(long, value_name = "FILE", env = "PARAVANE_AGENT")]
    pub agent: Option<PathBuf>,
    /// The measured stub that starts the kernel of --linux [default: `linux-start` beside this
    /// program]
    #[arg(long, value_name = "FILE", env = "PARAVANE_LINUX_START")]
    pub stub: Option<PathBuf>,
    /// Arguments for QEMU
    #[arg(last = true, value_name = "QEMU-ARGS", allow_hyphen_values = true)]
    pub qemu: Vec<OsString>,
}

impl DrydockOptions {
    /// The log level that `--log` or `--trace` asks for.
    pub const fn level(&self) -> LogLevel {
        if self.trace { LogLevel::Debug } else { self.log }
    }
}

/// The text below the options in the help.
pub fn drydock_help() -> String {
    format!(
        "Examples:
  paravane drydock svsm.igvm
      an IGVM file for SEV-SNP; its first serial port is this terminal, Ctrl-A X leaves
  paravane drydock --linux vmlinuz --initrd initrd.img -c 4 --exec 'dmesg | grep SEV'
      Linux as an SEV-SNP guest: a command's output, and nothing else
  paravane drydock guest.igvm --trace 2> exits.log
      every exit of the guest, and how it was answered
  paravane drydock guest.igvm --json - --timeout 60
      the launch digest that the emulated firmware has computed
  paravane drydock --certificates certs
      the certificates that `snpguest verify` and the sev crate take

Exit codes:
{}
With --exec, any other code is the command's status, and 128+N says that signal N ended it. `end` \
in the --json file tells a command's status from one of the codes above.",
        exit::drydock_table()
    )
}
