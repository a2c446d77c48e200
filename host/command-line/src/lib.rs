//! The command line of `paravane`: its options, and the exit codes that it promises.
//!
//! `cargo xtask run` takes the options of `paravane run` from here, too.
#![forbid(unsafe_code)]

pub mod exit;
mod module;
mod run;
mod values;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub use module::Module;
pub use run::{AccelChoice, RunOptions, given, run_help};

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
        value_parser = values::address
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
    pub program: Vec<OsString>,
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
}
