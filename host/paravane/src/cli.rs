//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use wire::LogLevel;

use crate::exit;
use crate::module::Module;

/// Most VPs that the paravisor knows.
const MAX_CPUS: u32 = 64;

/// Runs an unmodified guest below the Paravane paravisor, in QEMU.
#[derive(Debug, Parser)]
#[command(name = "paravane", version, max_term_width = 100, subcommand_required = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What `paravane` can do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Start a VM: the paravisor, and a guest of yours below it
    #[command(after_long_help = run_help())]
    Run(Box<RunOptions>),
    /// Name the functions and lines of a crash record
    #[command(after_help = "The record is what `paravane run` printed; other lines are kept as \
        they are.\nExample: paravane symbolize --image target/x86_64-unknown-none/image/paravisor \
        record.txt")]
    Symbolize(SymbolizeOptions),
    /// Serve a TPM 2.0 to the tools of this machine, by the protocol of the TPM simulators
    #[command(after_long_help = VTPM_HELP)]
    Vtpm(VtpmOptions),
    /// Print the certificate of the CA that certifies new TPMs
    #[command(
        after_help = "Without FILE it is the test CA, whose key is public: whoever trusts it \
        trusts everybody.\nExample: paravane tpm-ca > ca.pem"
    )]
    TpmCa {
        /// A PEM file as `run --tpm-ca` takes it
        file: Option<PathBuf>,
    },
    /// Print a completion script for a shell
    #[command(after_help = "Example: paravane completions bash > \
        /etc/bash_completion.d/paravane")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Become another program that ends with its parent
    #[command(hide = true)]
    Guard(GuardOptions),
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// The guest's kernel: bzImage, ELF with a PVH note, or Multiboot
    #[arg(short, long, value_name = "FILE")]
    pub kernel: PathBuf,
    /// The guest's initial RAM disk
    #[arg(short, long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// A module for a Multiboot or PVH kernel, and the arguments that the kernel finds with it; may be
    /// given up to 8 times. A comma in the name of the file is doubled
    #[arg(long = "module", value_name = "FILE[,ARGS]", value_parser = Module::parser())]
    pub modules: Vec<Module>,
    /// The guest's command line [default: console=ttyS0 quiet]
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub append: Option<String>,
    /// RAM of the VM: a number with K, M or G; without a letter it counts MiB
    #[arg(short, long, value_name = "SIZE", default_value = "512M", value_parser = memory)]
    pub memory: u64,
    /// CPUs of the VM, 1 to 64; each is one of the guest
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = cpus)]
    pub cpus: u32,
    /// Keep the paravisor's state (the TPM's keys, seeds and NV) in FILE, encrypted; a new one is
    /// made if it is not there; without it all is lost at the end
    #[arg(long, value_name = "FILE", conflicts_with = "direct")]
    pub state: Option<PathBuf>,
    /// The key of the state, 32 bytes [default: the state's name with `.key` behind it, made with
    /// the state]
    #[arg(long, value_name = "FILE", requires = "state")]
    pub state_key: Option<PathBuf>,
    /// Certify the endorsement keys of a new state's TPM by this CA: a PEM file with a P-256 key
    /// (PKCS#8) and its certificate [default: a test CA whose key is public]
    #[arg(long, value_name = "FILE", requires = "state")]
    pub tpm_ca: Option<PathBuf>,
    /// What runs the VM; `auto` takes KVM where it offers nested AMD-V, and says which it took
    #[arg(long, value_enum, default_value = "auto")]
    pub accel: AccelChoice,
    /// Run this shell command in the guest, hand on its output and its status, power off
    #[arg(short, long, value_name = "COMMAND", allow_hyphen_values = true)]
    pub exec: Option<String>,
    /// End the VM after so many seconds
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// Do not offer the Hyper-V interface to the guest: plain hardware
    #[arg(long)]
    pub no_hyperv: bool,
    /// Give the guest no TPM. It has an ephemeral one otherwise: its keys die with the VM
    #[arg(long)]
    pub no_tpm: bool,
    /// How much the paravisor logs; from `info` on, `--exec` shows the guest's console too
    #[arg(long, value_name = "LEVEL", default_value = "warn", value_parser = log_level)]
    pub log: LogLevel,
    /// Write how the run went to FILE, or to standard output for `-`
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The paravisor's unstripped ELF file [default: `paravisor` beside this program]
    #[arg(long, value_name = "FILE", env = "PARAVANE_IMAGE")]
    pub image: Option<PathBuf>,
    /// The program that carries --exec in the guest [default: `agent` beside this program]
    #[arg(long, value_name = "FILE", env = "PARAVANE_AGENT")]
    pub agent: Option<PathBuf>,
    /// Boot the guest without the paravisor in the same VM, to compare
    #[arg(long)]
    pub direct: bool,
    /// Give the paravisor this file as its configuration
    #[arg(long, value_name = "FILE", hide = true)]
    pub config: Option<PathBuf>,
    /// Arguments for QEMU
    #[arg(last = true, value_name = "QEMU-ARGS", allow_hyphen_values = true)]
    pub qemu: Vec<String>,
}

/// Options of `symbolize`.
#[derive(Debug, Args)]
pub struct SymbolizeOptions {
    /// The crash record; `-` is standard input
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// The paravisor's unstripped ELF file [default: `paravisor` beside this program]
    #[arg(long, value_name = "FILE", env = "PARAVANE_IMAGE")]
    pub image: Option<PathBuf>,
}

/// Options of `vtpm`.
#[derive(Debug, Args)]
pub struct VtpmOptions {
    /// Listen here for commands, and on the next port for the platform's signals; port 0 takes any
    /// two that are free
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:2321",
        value_parser = crate::vtpm::address
    )]
    pub socket: SocketAddr,
    /// Keep the TPM's state in FILE, which is made if it is not there; without it all is lost at
    /// the end
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
}

/// Options of the hidden guard.
#[derive(Debug, Args)]
pub struct GuardOptions {
    /// The process that must live on.
    pub parent: i32,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub program: Vec<String>,
}

/// What `--accel` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccelChoice {
    /// The best that the machine has.
    Auto,
    /// KVM.
    Kvm,
    /// QEMU's software CPU.
    Tcg,
}

const VTPM_HELP: &str = "Examples:
  paravane vtpm &
  export TPM2TOOLS_TCTI=mssim:host=127.0.0.1,port=2321
  tpm2_startup -c; tpm2_getrandom --hex 8
      a TPM for one session
  paravane vtpm --state tpm.state
      one that keeps its keys, NV indices and seeds

Who reaches the ports may do all that a TPM's owner with physical presence may.

Exit codes: 0 ended by a signal or a client, 1 failed, 75 a port is in use";

fn run_help() -> String {
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

fn memory(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (text.get(..text.len() - 1), 10),
        Some(b'm' | b'M') => (text.get(..text.len() - 1), 20),
        Some(b'g' | b'G') => (text.get(..text.len() - 1), 30),
        _ => (Some(text), 20),
    };
    let number: Option<u64> = digits.and_then(|digits| digits.parse().ok());
    let bytes = number.and_then(|number| number.checked_mul(1 << shift));
    bytes.filter(|bytes| *bytes != 0).ok_or_else(|| "give a size such as 512M or 2G".to_owned())
}

fn cpus(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=MAX_CPUS).contains(number));
    number.ok_or_else(|| format!("a VM has 1 to {MAX_CPUS} CPUs"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: Option<f64> = text.parse().ok();
    let time = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    time.filter(|time| !time.is_zero()).ok_or_else(|| "give a number of seconds".to_owned())
}

fn log_level(text: &str) -> Result<LogLevel, String> {
    LogLevel::of_name(text).ok_or_else(|| "give error, warn, info or debug".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_state_is_the_paravisors_and_its_key_a_states() {
        let parse = |text: &str| {
            let words = ["paravane", "run", "-k", "k"].into_iter().chain(text.split(' '));
            Arguments::try_parse_from(words).map_err(|error| error.exit_code())
        };
        assert!(parse("--state s").is_ok() && parse("--state s --state-key k").is_ok());
        assert_eq!(parse("--state-key k").err(), Some(2));
        assert_eq!(parse("--state s --direct").err(), Some(2));
    }

    #[test]
    fn sizes_have_letters() {
        for (text, bytes) in [("1", 1 << 20), ("8k", 8 << 10), ("512M", 512 << 20), ("3G", 3 << 30)]
        {
            assert_eq!(memory(text), Ok(bytes));
        }
        for text in ["", "M", "0", "-1M", "1T", "1.5G", "99999999999999G", "é"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_of_cpus_and_seconds_are_bounded() {
        assert_eq!((cpus("1"), cpus("64")), (Ok(1), Ok(64)));
        for text in ["0", "65", "-1", "x", ""] {
            assert!(cpus(text).is_err(), "{text}");
        }
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "nan", "inf", "x"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
