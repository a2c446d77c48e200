//! `cargo xtask test`: crates on the host, then whole VMs.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use vm_tests::{Environment, Totals};

use crate::check::{Budgets, bare_metal_packages};
use crate::{build, debian, fuzz, guest, place, setup, userspace};

/// Debian's suites whose kernels are tried: 5.10, 6.1, 6.12.
const SUITES: [&str; 3] = ["bullseye", "bookworm", "trixie"];
/// How long each fuzz target runs in the long tests.
const FUZZ_SECONDS: u64 = 600;
/// VM tests that run at the same time: each has at least one busy thread.
const WORKERS: usize = 2;

/// Prefix of a filter that selects VM tests only. Their names are printed with it.
const VM_PREFIX: &str = "vm::";

/// Runs all tests, or those whose name contains the filter.
pub fn run(long: bool, filter: Option<&str>) -> Result<ExitCode> {
    say("sets up what the tests need");
    setup::rust_target()?;
    setup::qemu()?;
    setup::packers();
    build::all()?;
    build::all_for_drydock()?;
    build::test_guests()?;
    let vm_filter = filter.map(|filter| filter.strip_prefix(VM_PREFIX).unwrap_or(filter));
    let mut tiers = vec![];
    if filter == vm_filter {
        say("builds and runs the tests of the crates; each dot is a test");
        tiers.push(("unit and property tests", crates(filter)?));
    }
    if long && filter.is_none() {
        say("fuzzes");
        tiers.push(("fuzz targets", fuzz::campaign(None, FUZZ_SECONDS)?));
    }
    say("prepares the guests' files");
    let environment = environment(long)?;
    say("runs whole VMs, two at a time");
    tiers.push(("tests of whole VMs", vm_tests::run(&environment, vm_filter, WORKERS)));
    let mut totals = Totals::default();
    println!();
    for (name, tier) in tiers {
        let Totals { passed, failed, skipped } = tier;
        println!("{name}: {passed} passed, {failed} failed, {skipped} skipped");
        totals.add(tier);
    }
    println!("{} passed, {} failed, {} skipped", totals.passed, totals.failed, totals.skipped);
    Ok(if totals.failed == 0 && totals.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the current step.
fn say(what: &str) {
    eprintln!("xtask: {what}");
}

/// The files that the VM tests need. The kernel of this machine's suite is required; the others may
/// be missing.
pub fn environment(long: bool) -> Result<Environment> {
    let own = debian::own_suite()?;
    let text = |error: anyhow::Error| format!("{error:#}");
    let others = SUITES.iter().filter(|suite| **suite != own);
    let other_kernels =
        others.map(|suite| ((*suite).to_owned(), debian::kernel(suite).map_err(text))).collect();
    make_chip()?;
    let environment = Environment {
        paravane: place::paravane(),
        image: place::image(),
        image_snp: place::image_snp(),
        drydock: place::drydock(),
        data: place::test_data(),
        verifier: build::verifier().map(|()| place::verifier()).map_err(text),
        linux_start: place::linux_start(),
        agent: place::agent(),
        guests: place::test_guests(),
        kernel: debian::kernel(&own).context("the kernel of the machine's own suite")?,
        initrd: guest::initrd()?,
        busybox: debian::busybox(&own)?,
        other_kernels,
        memtest: debian::memtest(&own).map_err(text),
        kexec: userspace::initrd(&own, userspace::KEXEC).map_err(text),
        load: userspace::initrd(&own, userspace::LOAD).map_err(text),
        packages: guest::initrd_with(&["tpm2-tools".to_owned()]).map_err(text),
        tpm: userspace::initrd(&own, userspace::TPM).map_err(text),
        modules: SUITES
            .iter()
            .map(|suite| ((*suite).to_owned(), userspace::modules(suite).map_err(text)))
            .collect(),
        budgets: Budgets::read()?.all(),
        long,
    };
    println!("the guest's kernel: {}", debian::origin(&environment.kernel));
    Ok(environment)
}

/// Makes the chip of the tests with Drydock, as the first of them would be slowed down by it.
fn make_chip() -> Result<()> {
    let certificates = tempfile::tempdir()?;
    let mut command = Command::new(place::paravane());
    command.arg("drydock").arg("--certificates").arg(certificates.path());
    build::succeed(command.env("XDG_DATA_HOME", place::test_data()))
}

/// Tests of all crates that run on the host.
fn crates(filter: Option<&str>) -> Result<Totals> {
    let mut arguments = vec!["--workspace".to_owned()];
    for package in bare_metal_packages()? {
        arguments.extend(["--exclude".to_owned(), package]);
    }
    let mut totals = cargo_test(&arguments, filter)?;
    // Run once more with the image's features: the workspace's programs enable features of
    // libraries.
    totals.add(cargo_test(&["-p", "tpm", "-p", "tpm-crypto"].map(str::to_owned), filter)?);
    Ok(totals)
}

/// Runs tests, passes cargo's output on and counts the results.
fn cargo_test(arguments: &[String], filter: Option<&str>) -> Result<Totals> {
    let mut command = build::cargo();
    command.args(["test", "--no-fail-fast"]).args(arguments).args(["--", "--quiet"]).args(filter);
    let mut child = command.stdout(Stdio::piped()).spawn().context("cargo test")?;
    let mut totals = Totals::default();
    for line in BufReader::new(child.stdout.take().context("cargo test")?).lines() {
        let line = line?;
        println!("{line}");
        if let Some((passed, failed, ignored)) = counts(&line) {
            totals.passed += passed;
            totals.failed += failed;
            totals.skipped += ignored;
        }
    }
    if !child.wait()?.success() && totals.failed == 0 {
        // A build failed, or a test was killed.
        println!("cargo test failed");
        totals.failed += 1;
    }
    Ok(totals)
}

/// Reads passed, failed and ignored from a line
/// `test result: ok. 1 passed; 2 failed; 3 ignored; …`.
fn counts(line: &str) -> Option<(usize, usize, usize)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = counts.split("; ").map(|part| part.split(' ').next()?.parse().ok());
    Some((counts.next()??, counts.next()??, counts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let line =
            "test result: FAILED. 14 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(counts(line), Some((14, 2, 1)));
        assert_eq!(counts("test x ... ok"), None);
    }
}
