//! The interface of the `paravane` command: options, exit codes.
//!
//! `cargo xtask run` uses the options of `paravane run` from here.
#![forbid(unsafe_code)]

mod drydock;
pub mod exit;
mod firmware_file;
mod image;
mod module;
mod run;
mod values;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub use drydock::{DrydockOptions, drydock_help};
pub use firmware_file::{FirmwareContent, FirmwareFile};
pub use image::{BuildOptions, ImageAction, MeasureOptions};
pub use module::Module;
pub use run::{AccelChoice, PlatformChoice, RunOptions, SnpHostChoice, given, run_help};

/// Runs an unmodified guest below the Paravane paravisor, in QEMU.
#[derive(Debug, Parser)]
#[command(name = "paravane", version, max_term_width = 100, subcommand_required = true)]
pub struct Arguments {
    /// The subcommand.
    #[command(subcommand)]
    pub action: Action,
}

/// The subcommands of `paravane`.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Start a VM: the paravisor, and a guest of yours below it
    #[command(after_long_help = run_help())]
    Run(Box<RunOptions>),
    /// Run an SEV-SNP guest in Drydock, which emulates SEV-SNP on a machine without it
    #[command(after_long_help = drydock_help())]
    Drydock(Box<DrydockOptions>),
    /// Name the functions and lines of a crash record
    #[command(after_help = "The record is what `paravane run` printed; other lines are kept as \
        they are.\nExample: paravane symbolize --image target/x86_64-unknown-none/image/paravisor \
        record.txt")]
    Symbolize(SymbolizeOptions),
    /// Serve a TPM 2.0 to the tools of this machine, by the protocol of the TPM simulators
    #[command(after_long_help = VTPM_HELP)]
    Vtpm(VtpmOptions),
    /// Build an IGVM file for a confidential VM, or predict its launch digest
    Image {
        /// What to do.
        #[command(subcommand)]
        action: ImageAction,
    },
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
    /// two free neighbours
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:2321",
        value_parser = values::address
    )]
    pub socket: SocketAddr,
    /// Keep the TPM's state in FILE; a missing file is made. Without this option, the state is lost
    /// at the end
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
}

/// Arguments of the hidden `guard`.
#[derive(Debug, Args)]
pub struct GuardOptions {
    /// The ID of the process with which the program ends.
    pub parent: i32,
    /// The program and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub program: Vec<OsString>,
}

const VTPM_HELP: &str = "Examples:
  paravane vtpm &
  export TPM2TOOLS_TCTI=mssim:host=127.0.0.1,port=2321
  tpm2_startup -c; tpm2_getrandom --hex 8
      a TPM for one session
  paravane vtpm --state tpm.state
      one that keeps its keys, NV indices and seeds

Anyone who can reach the ports can do whatever a TPM's owner with physical presence can.

Exit codes: 0 ended by a signal or a client, 1 failed, 75 a port is in use";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    fn run_options(words: &[&str]) -> RunOptions {
        let words = ["paravane", "run"].iter().chain(words);
        match Arguments::try_parse_from(words).map(|arguments| arguments.action) {
            Ok(Action::Run(options)) => *options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_kernel_is_enough_to_run() {
        let options = run_options(&["-k", "vmlinuz"]);
        assert_eq!(options.kernel, PathBuf::from("vmlinuz"));
        assert_eq!((options.memory, options.cpus), (512 << 20, 1));
        assert_eq!((options.accel, options.log), (AccelChoice::Auto, host_wire::LogLevel::Warn));
        let files = [&options.initrd, &options.state, &options.state_key, &options.tpm_ca];
        assert!(files.iter().all(|file| file.is_none()) && options.modules.is_empty());
        assert!(options.append.is_none() && options.exec.is_none() && options.uuid.is_none());
        assert!(options.timeout.is_none() && options.json.is_none() && options.qemu.is_empty());
        assert!(!options.no_hyperv && !options.no_tpm && !options.direct);
    }

    #[test]
    fn values_may_look_like_options_where_they_are_text() {
        let options = run_options(&["-k", "k", "-a", "-x --y", "-e", "--help", "--", "-smp", "2"]);
        assert_eq!(options.append.as_deref(), Some("-x --y".as_ref()));
        assert_eq!(options.exec.as_deref(), Some("--help".as_ref()));
        assert_eq!(options.qemu, ["-smp", "2"]);
        let options = run_options(&["-k", "k", "--module", "a,x=1", "--module", "b"]);
        let files: Vec<_> = options.modules.iter().map(|module| module.file.clone()).collect();
        assert_eq!(files, [PathBuf::from("a"), PathBuf::from("b")]);
    }

    #[test]
    fn a_wrong_command_line_ends_with_the_code_for_usage() {
        for words in [
            &[][..],
            &["nonsense"],
            &["run"],
            &["run", "-k"],
            &["run", "-k", "k", "-c", "65"],
            &["run", "-k", "k", "-m", "0"],
            &["run", "-k", "k", "--accel", "hvf"],
            &["run", "-k", "k", "--module", ",a"],
            &["run", "-k", "k", "--tpm-ca", "ca"],
            &["run", "-k", "k", "-k", "k"],
            &["run", "-k", "k", "stray"],
            &["vtpm", "--socket", "65535"],
            &["guard", "1"],
            &["drydock", "f.igvm", "-c", "0"],
            &["drydock", "f.igvm", "-c", "65"],
            &["drydock", "f.igvm", "-m", "0"],
            &["drydock", "f.igvm", "--trace", "--log", "info"],
            &["drydock", "one.igvm", "two.igvm"],
        ] {
            let error = Arguments::try_parse_from(["paravane"].iter().chain(words)).unwrap_err();
            assert_eq!(error.exit_code(), i32::from(exit::USAGE), "{words:?}");
        }
        let asked = Arguments::try_parse_from(["paravane", "run", "--help"]).unwrap_err();
        assert_eq!(asked.exit_code(), 0);
    }

    #[test]
    fn the_other_commands_have_defaults() {
        let parse = |words: &[&str]| {
            Arguments::try_parse_from(["paravane"].iter().chain(words)).unwrap().action
        };
        let Action::Vtpm(options) = parse(&["vtpm"]) else { panic!("no vtpm") };
        assert_eq!(options.socket, SocketAddr::from(([127, 0, 0, 1], 2321)));
        assert!(options.state.is_none());
        let Action::Symbolize(options) = parse(&["symbolize"]) else { panic!("no symbolize") };
        assert_eq!(options.file, PathBuf::from("-"));
        let Action::Guard(options) = parse(&["guard", "7", "qemu", "-m", "1"]) else {
            panic!("no guard")
        };
        assert_eq!((options.parent, options.program.len()), (7, 3));
    }

    #[test]
    fn drydock_takes_a_file_or_a_kernel() {
        let parse = |words: &[&str]| match Arguments::try_parse_from(
            ["paravane", "drydock"].iter().chain(words),
        ) {
            Ok(Arguments { action: Action::Drydock(options) }) => *options,
            other => panic!("{other:?}"),
        };
        let options = parse(&["f.igvm"]);
        assert_eq!(options.file, Some(PathBuf::from("f.igvm")));
        assert_eq!((options.memory, options.cpus), (512 << 20, 1));
        assert_eq!(options.accel, AccelChoice::Tcg);
        assert_eq!(options.level(), host_wire::LogLevel::Warn);
        assert!(!options.end_on_reset && options.qemu.is_empty() && options.json.is_none());
        assert!(options.certificates.is_none());
        let options = parse(&["--kernel", "k", "-e", "-x", "--trace", "--", "-smp", "2"]);
        assert_eq!((&options.file, options.linux), (&None, Some(PathBuf::from("k"))));
        assert_eq!(options.exec.as_deref(), Some("-x".as_ref()));
        assert_eq!(options.qemu, ["-smp", "2"]);
        assert_eq!(parse(&["f", "--trace"]).level(), host_wire::LogLevel::Debug);
        assert_eq!(parse(&["f", "--log", "info"]).level(), host_wire::LogLevel::Info);
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
}
