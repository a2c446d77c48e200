//! The project's own commands: `cargo xtask run`, `check`, `test`, `fuzz`, `bench`.
#![forbid(unsafe_code)]

mod bench;
mod build;
mod check;
mod debian;
mod fuzz;
mod guest;
mod place;
mod run;
mod setup;
mod sources;
mod test;
mod tpm;
mod userspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum, value_parser};

/// Seconds that libFuzzer accepts: it reads a signed 32-bit number, and 0 means no limit.
const SECONDS: std::ops::RangeInclusive<u64> = 1..=i32::MAX as u64;
/// The largest number of runs or commands that an option accepts.
const MOST: usize = 1_000_000;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Set up what is missing, build, and boot a guest below the paravisor
    #[command(after_long_help = command_line::run_help())]
    Run(run::Wishes),
    /// Format, lints, layers, licences, the image's instructions, budgets
    Check,
    /// Run all tests: of crates on the host, and of whole VMs
    Test {
        /// Also run the tests that take minutes each
        #[arg(long)]
        long: bool,
        /// Only the tests whose name contains this; the prefix `vm::` selects tests of whole VMs
        /// only
        filter: Option<String>,
    },
    /// Search with libFuzzer for inputs that crash or hang a parser or a device
    Fuzz {
        /// Seconds for each target
        #[arg(long, value_name = "N", default_value_t = 60, value_parser = value_parser!(u64).range(SECONDS))]
        seconds: u64,
        /// Only this target
        target: Option<String>,
    },
    /// Compare the TPM engine with swtpm: response codes and sizes of generated commands
    Tpm {
        /// The seed of the commands
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
        /// How many commands; with --bench, how many runs of each command
        #[arg(long, value_name = "N", default_value = "2000", value_parser = count)]
        count: usize,
        /// Measure the time per command instead
        #[arg(long)]
        bench: bool,
        /// Run the test suites of tpm2-pytss, tss-esapi and tpm2-tools against both instead
        #[arg(long, conflicts_with = "bench")]
        suites: bool,
        /// The source of tpm2-tools, if Debian's is not available
        #[arg(long, value_name = "DIR", requires = "suites")]
        tpm2_tools: Option<PathBuf>,
    },
    /// Measure the boot against a direct one in the same QEMU, and exits by reason
    Bench {
        /// Write the figures to FILE
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Boots of each kind
        #[arg(long, value_name = "N", default_value = "5", value_parser = count)]
        runs: usize,
        /// Also measure another hypervisor below a guest, in the same QEMU
        #[arg(long, value_enum)]
        peer: Option<Peer>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Peer {
    /// QEMU with KVM
    Kvm,
}

/// Parses a number of runs; a median needs at least one.
fn count(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MOST).contains(number));
    number.ok_or_else(|| format!("give a number from 1 to {MOST}"))
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Run(wishes) => run::run(&wishes),
        Task::Check => check::run(),
        Task::Test { long, filter } => test::run(long, filter.as_deref()),
        Task::Fuzz { seconds, target } => fuzz::run(target.as_deref(), seconds),
        Task::Tpm { suites: true, tpm2_tools, .. } => tpm::suites(tpm2_tools.as_deref()),
        Task::Tpm { count, bench: true, .. } => tpm::bench(count).map(|_| ExitCode::SUCCESS),
        Task::Tpm { seed, count, .. } => tpm::compare(seed, count),
        Task::Bench { json, runs, peer } => bench::run(json.as_deref(), runs, peer.is_some()),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
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
    fn numbers_at_their_limits_are_accepted_and_beyond_are_refused() {
        let parse = |text: &str| {
            let words = ["xtask"].into_iter().chain(text.split(' '));
            Arguments::try_parse_from(words).map(drop).map_err(|error| error.exit_code())
        };
        for text in ["fuzz --seconds 1", "tpm --seed 18446744073709551615", "bench --runs 1"] {
            assert_eq!(parse(text), Ok(()), "{text}");
        }
        for text in [
            "fuzz --seconds 0",
            "fuzz --seconds 2147483648",
            "tpm --count 0",
            "tpm --count 18446744073709551615",
            "tpm --seed 18446744073709551616",
            "bench --runs 0",
            "bench --runs 1000001",
            "bench --runs -1",
        ] {
            assert_eq!(parse(text), Err(2), "{text}");
        }
    }
}
