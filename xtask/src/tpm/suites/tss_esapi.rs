//! The suite of tss-esapi, the TSS for Rust: its tests share one server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::outcome::Outcomes;
use super::server::{Kind, SwtpmWithControl};
use super::{Run, fetch};
use crate::build::output;
use crate::place;
use crate::tpm::peers::{Simulator, start_up};

/// A package that only depends on the suite's.
const ASKS: &str = "[package]\nname = \"asks\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
                    [lib]\npath = \"lib.rs\"\n[dependencies]\ntss-esapi = \"=7.7.0\"\n[workspace]\n";

/// Fetches the suite and builds it.
pub fn prepare(folder: &Path) -> Result<Run> {
    fetch::once(folder, || fill(folder)).context("the package's source")?;
    let source = folder.join("source");
    let mut build = cargo(&source);
    output(build.args(["--no-run", "--quiet"])).context("needs libtss2-dev and pkg-config")?;
    Ok(Box::new(move |kind| run(&source, kind)))
}

fn fill(folder: &Path) -> Result<()> {
    let asks = folder.join("asks");
    place::write_whole(&asks.join("Cargo.toml"), ASKS.as_bytes())?;
    place::write_whole(&asks.join("lib.rs"), b"")?;
    let mut metadata = Command::new("cargo");
    metadata.args(["metadata", "--format-version", "1", "--quiet"]).current_dir(&asks);
    let metadata: serde_json::Value = serde_json::from_str(&output(&mut metadata)?)?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let package = packages.iter().find(|package| package["name"] == "tss-esapi");
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let original = Path::new(manifest.context("cargo metadata has no tss-esapi")?).parent();
    let source = folder.join("source");
    output(Command::new("cp").arg("-r").arg(original.context("no folder")?).arg(&source))?;
    // Its own workspace, wherever the cache is.
    let manifest = source.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)? + "\n[workspace]\n";
    place::write_whole(&manifest, text.as_bytes())
}

fn cargo(source: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.args(["test", "--test", "integration_tests"]).current_dir(source);
    command.env("CARGO_TARGET_DIR", target());
    command
}

fn target() -> PathBuf {
    place::target().join("tss-esapi")
}

fn run(source: &Path, kind: Kind) -> Result<Outcomes> {
    match kind {
        Kind::Paravane => {
            let mut server = Simulator::start(&place::paravane_release())?;
            start_up(&mut server)?;
            test(source, &format!("mssim:host=127.0.0.1,port={}", server.port()?))
        }
        Kind::Swtpm => {
            let server = SwtpmWithControl::start()?;
            test(source, &format!("swtpm:host=127.0.0.1,port={}", server.port()))
        }
    }
}

fn test(source: &Path, tcti: &str) -> Result<Outcomes> {
    let mut command = cargo(source);
    command.args(["--", "--test-threads=1"]);
    // Without a backtrace a failed test's reason is one line.
    command.env("TEST_TCTI", tcti).env("RUST_BACKTRACE", "0").env("RUST_LOG", "off");
    let output = command.output().context("cargo test")?;
    Ok(Outcomes::of_libtest(&String::from_utf8_lossy(&output.stdout)))
}
