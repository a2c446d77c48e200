//! The suite of tpm2-pytss, the TSS for Python: each of its tests starts a server.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::outcome::Outcomes;
use super::server::Kind;
use super::{Run, fetch};
use crate::build::output;
use crate::place;

const PACKAGE: &str = "tpm2-pytss==3.0.0";
const SOURCE: &str = "tpm2_pytss-3.0.0";
/// Seconds for one test.
const TIMEOUT: &str = "120";
/// A plugin that makes the suite use only the simulator, even if swtpm is installed.
const PLUGIN: &str = "from test import TSS2_BaseTest as base\n\
                      base.TpmSimulator.SIMULATORS = [base.IBMSimulator]\n";

/// Fetches the suite with its runner.
pub fn prepare(folder: &Path) -> Result<Run> {
    fetch::once(folder, || fill(folder)).context("needs python3-venv, libtss2-dev, a compiler")?;
    let folder = folder.to_owned();
    Ok(Box::new(move |kind| run(&folder, kind)))
}

fn fill(folder: &Path) -> Result<()> {
    let pip = folder.join("venv/bin/pip");
    output(Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")))?;
    let mut download = Command::new(&pip);
    download.args(["download", "--quiet", "--no-deps", "--no-binary", "tpm2-pytss", PACKAGE]);
    output(download.arg("--dest").arg(folder))?;
    let archive = folder.join(format!("{SOURCE}.tar.gz"));
    output(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(folder))?;
    let mut install = Command::new(&pip);
    install.args(["install", "--quiet", "pytest", "pytest-timeout"]);
    output(install.arg(folder.join(SOURCE)))?;
    write_simulator(folder)
}

/// Writes the program that the suite starts as the simulator: `tpm_server -rm -port N`.
fn write_simulator(folder: &Path) -> Result<()> {
    let program = folder.join("bin/tpm_server");
    let text = "#!/bin/sh\nexec \"$PARAVANE\" vtpm --socket \"127.0.0.1:$3\"\n";
    place::write_whole(&program, text.as_bytes())?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    place::write_whole(&folder.join("bin/only_simulator.py"), PLUGIN.as_bytes())
}

fn run(folder: &Path, kind: Kind) -> Result<Outcomes> {
    let source = folder.join(SOURCE);
    let bin = folder.join("bin");
    let mut command = Command::new(folder.join("venv/bin/pytest"));
    command.args(["-q", "-rA", "--tb=no", "--timeout", TIMEOUT]).current_dir(&source);
    command.env("PYTHONPATH", env::join_paths([&source, &bin])?);
    if kind == Kind::Paravane {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = [bin].into_iter().chain(env::split_paths(&path));
        command.args(["-p", "only_simulator"]).env("PARAVANE", place::paravane_release());
        command.env("PATH", env::join_paths(folders.collect::<Vec<PathBuf>>())?);
    }
    let output = command.output().context("pytest")?;
    Ok(Outcomes::of_pytest(&String::from_utf8_lossy(&output.stdout)))
}
