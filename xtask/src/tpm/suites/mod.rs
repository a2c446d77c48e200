//! Runs foreign test suites against `paravane vtpm`, with swtpm as the reference.

mod fetch;
mod outcome;
mod pytss;
mod server;
mod tpm2_tools;
mod tss_esapi;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::{build, place};
use outcome::{Outcomes, Verdict};
use server::Kind;

/// Tests that need not pass: `name # reason`, one per line.
const EXPLAINED: &str = include_str!("explained.txt");

/// A fetched suite: a function that runs it against one kind of server.
type Run = Box<dyn Fn(Kind) -> Result<Outcomes>>;

/// Runs every suite against both and prints the tests that fail only against ours. `tools` is the
/// source of tpm2-tools, if it is given.
pub fn run(tools: Option<&Path>) -> Result<ExitCode> {
    build::paravane_release()?;
    let folder = place::cache().join("tpm-suites");
    let _lock = place::lock(&folder)?;
    let suites = [
        ("tpm2-tools", tpm2_tools::prepare(&folder.join("tpm2-tools"), tools)),
        ("tpm2-pytss", pytss::prepare(&folder.join("tpm2-pytss"))),
        ("tss-esapi", tss_esapi::prepare(&folder.join("tss-esapi"))),
    ];
    let mut good = true;
    for (name, suite) in suites {
        match suite {
            Ok(suite) => good &= compare(name, &suite)?,
            Err(error) => println!("{name}: skipped: {error:#}"),
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn compare(name: &str, suite: &Run) -> Result<bool> {
    let theirs = suite(Kind::Swtpm)?;
    let ours = suite(Kind::Paravane)?;
    println!("{name}: paravane vtpm: {}", ours.summary());
    println!("{name}: swtpm: {}", theirs.summary());
    let mut good = ours.is_complete(&theirs) && theirs.passed() > 0;
    if !good {
        println!("  not as many tests have run as against swtpm, or none has passed there");
    }
    for (test, verdict) in ours.iter() {
        let explained = explanation(test);
        match (verdict, explained) {
            (Verdict::Failed(reason), _) if theirs.has_failed(test) => {
                println!("  {test}: fails against swtpm, too: {reason}");
            }
            (Verdict::Failed(_), Some(reason)) => println!("  {test}: explained: {reason}"),
            (Verdict::Failed(reason), None) => {
                println!("  {test}: FAILED: {reason}");
                good = false;
            }
            (Verdict::Passed, Some(_)) => {
                println!("  {test}: passes, but explained.txt has a reason why it need not");
                good = false;
            }
            (Verdict::Passed, None) => {}
        }
    }
    Ok(good)
}

fn explanation(test: &str) -> Option<&'static str> {
    let mut lines = EXPLAINED.lines().filter_map(|line| line.split_once(" # "));
    lines.find_map(|(name, reason)| (name == test).then_some(reason))
}
