//! Tests of whole VMs: each starts the `paravane` command as a user would.
//!
//! Tests are deterministic except for time; every wait has a limit. `cargo xtask test` runs them.
#![forbid(unsafe_code)]

mod attestation;
mod bad_input;
mod bios;
mod budgets;
mod command;
mod console;
mod drydock;
mod guests;
mod host;
mod id_block;
mod identity;
mod initrd;
mod kernels;
mod life;
mod machine;
mod modules;
mod monitor;
mod pace;
mod serial;
mod snp;
mod soak;
mod state;
mod tpm;
mod tpm_state;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

/// Files and settings that the tests use.
#[derive(Debug)]
pub struct Environment {
    /// The `paravane` command.
    pub paravane: PathBuf,
    /// The paravisor.
    pub image: PathBuf,
    /// The paravisor for SEV-SNP.
    pub image_snp: PathBuf,
    /// Drydock.
    pub drydock: PathBuf,
    /// The folder in which Drydock's chip is kept.
    pub data: PathBuf,
    /// The program that judges attestation by other people's crates, or the reason why it is
    /// missing.
    pub verifier: Result<PathBuf, String>,
    /// The stub that starts Linux in an IGVM file.
    pub linux_start: PathBuf,
    /// The guest's agent.
    pub agent: PathBuf,
    /// The folder of our own test guests.
    pub guests: PathBuf,
    /// The kernel of the machine's own suite.
    pub kernel: PathBuf,
    /// The default initrd.
    pub initrd: PathBuf,
    /// The busybox in it.
    pub busybox: PathBuf,
    /// Kernels of other suites, or the reason why one is missing.
    pub other_kernels: Vec<(String, Result<PathBuf, String>)>,
    /// memtest86+, or the reason why it is missing.
    pub memtest: Result<PathBuf, String>,
    /// A Debian user space with kexec-tools, or the reason why it is missing.
    pub kexec: Result<PathBuf, String>,
    /// A Debian user space with stress-ng and cyclictest, or the reason why it is missing.
    pub load: Result<PathBuf, String>,
    /// The initrd of `cargo xtask run --packages tpm2-tools`, or the reason why it is missing.
    pub packages: Result<PathBuf, String>,
    /// A Debian user space that uses a TPM, or the reason why it is missing.
    pub tpm: Result<PathBuf, String>,
    /// Modules of each suite's kernel, as an archive to append to an initrd.
    pub modules: Vec<(String, Result<PathBuf, String>)>,
    /// The numbers of `budgets.toml`.
    pub budgets: Vec<(String, f64)>,
    /// Whether tests that take minutes run too.
    pub long: bool,
}

/// The reason why a test did not pass.
#[derive(Debug)]
enum Stop {
    /// It found a fault.
    Failed(String),
    /// It cannot run here.
    Skipped(String),
}

impl<E: std::fmt::Display> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}

type Outcome = Result<(), Stop>;

/// A test by name.
struct Test {
    name: String,
    /// It measures, or starves others, so no other test may run at the same time.
    alone: bool,
    body: Box<dyn Fn(&Environment) -> Outcome + Send + Sync>,
}

fn test(
    name: impl Into<String>,
    body: impl Fn(&Environment) -> Outcome + Send + Sync + 'static,
) -> Test {
    Test { name: name.into(), alone: false, body: Box::new(body) }
}

/// Ends a test unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err($crate::Stop::Failed(format!($($text)*)));
        }
    };
}
use ensure;

/// Numbers of tests by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Skipped.
    pub skipped: usize,
}

impl Totals {
    /// Adds another tier's numbers.
    pub fn add(&mut self, other: Self) {
        let Self { passed, failed, skipped } = other;
        self.passed += passed;
        self.failed += failed;
        self.skipped += skipped;
    }
}

/// Runs the tests whose name contains `filter`, `workers` at a time; prints a line for each.
pub fn run(environment: &Environment, filter: Option<&str>, workers: usize) -> Totals {
    let cases = Arc::new(Mutex::new(Totals::default()));
    let lists = [
        // The longest test first, so that others run beside it.
        soak::tests(environment),
        guests::tests(&cases, environment.long),
        command::tests(),
        bad_input::tests(),
        console::tests(),
        host::tests(),
        identity::tests(),
        initrd::tests(),
        serial::tests(),
        monitor::tests(),
        modules::tests(),
        bios::tests(),
        state::tests(),
        life::tests(),
        machine::tests(),
        kernels::tests(environment),
        tpm::tests(environment),
        tpm_state::tests(),
        drydock::tests(environment),
        attestation::tests(environment),
        snp::tests(environment, &cases),
        budgets::tests(),
    ];
    let wanted = |test: &Test| filter.is_none_or(|filter| test.name.contains(filter));
    let tests = lists.into_iter().flatten().filter(wanted);
    let (alone, together): (Vec<Test>, Vec<Test>) = tests.partition(|test| test.alone);
    let totals = Mutex::new(Totals::default());
    match pace::measure(environment) {
        Ok((pace, boot)) => {
            let boot = boot.as_secs_f64();
            println!("a direct boot takes {boot:.1} s: limits are {pace:.1} times the usual ones");
        }
        Err(error) => println!("a direct boot can not be measured: {error:#}"),
    }
    run_list(&together, environment, workers, &totals);
    run_list(&alone, environment, 1, &totals);
    let cases = cases.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let vms = totals.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Totals {
        passed: vms.passed + cases.passed,
        failed: vms.failed + cases.failed,
        skipped: vms.skipped,
    }
}

fn run_list(tests: &[Test], environment: &Environment, workers: usize, totals: &Mutex<Totals>) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..workers.max(1) {
            scope.spawn(|| {
                while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begin = Instant::now();
                    let outcome = run_one(test, environment);
                    let mut totals =
                        totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    report(test, &outcome, begin, &mut totals);
                }
            });
        }
    });
}

fn run_one(test: &Test, environment: &Environment) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| (test.body)(environment)))
        .unwrap_or_else(|_| Err(Stop::Failed("the test itself panicked".to_owned())))
}

fn report(test: &Test, outcome: &Outcome, begin: Instant, totals: &mut Totals) {
    let seconds = begin.elapsed().as_secs_f64();
    let name = &test.name;
    match outcome {
        Ok(()) => {
            totals.passed += 1;
            println!("test vm::{name} ... ok ({seconds:.1} s)");
        }
        Err(Stop::Skipped(why)) => {
            totals.skipped += 1;
            println!("test vm::{name} ... skipped: {why}");
        }
        Err(Stop::Failed(why)) => {
            totals.failed += 1;
            println!("test vm::{name} ... FAILED ({seconds:.1} s)");
            for line in why.lines() {
                println!("    {line}");
            }
        }
    }
}
