//! Builds each kind of program in its own cargo invocation, so that features do not mix.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::place;

/// The cargo that runs this program.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(place::root());
    // Cargo set these for this program; they would be wrong for others.
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_PKG_NAME");
    command
}

/// Builds the paravisor, the `paravane` command and the guest's agent.
pub fn all() -> Result<()> {
    image()?;
    agent()?;
    paravane()
}

/// The paravisor.
pub fn image() -> Result<()> {
    bare_metal("the paravisor", "paravisor", &place::image())
}

/// The paravisor for SEV-SNP.
pub fn image_snp() -> Result<()> {
    bare_metal("the paravisor for SEV-SNP", "paravisor-snp", &place::image_snp())
}

/// Drydock, the stub that starts Linux in it, the paravisor for SEV-SNP, the `paravane` command and
/// the guest's agent.
pub fn all_for_drydock() -> Result<()> {
    drydock()?;
    linux_start()?;
    image_snp()?;
    agent()?;
    paravane()
}

/// Drydock.
pub fn drydock() -> Result<()> {
    bare_metal("Drydock", "drydock-image", &place::drydock())
}

/// The stub that starts Linux in an IGVM file.
pub fn linux_start() -> Result<()> {
    bare_metal("the stub that starts Linux", "linux-start", &place::linux_start())
}

fn bare_metal(what: &str, package: &str, result: &Path) -> Result<()> {
    let arguments = ["--profile", "image", "--target", place::BARE_METAL, "-p", package];
    build(what, &arguments, &[], result)
}

/// Our own test guests: below the paravisor, then at VMPL0 of an SEV-SNP VM.
pub fn test_guests() -> Result<()> {
    for (package, one) in [("test-guests", "wall"), ("snp-guests", "snp-memory")] {
        let arguments = ["--release", "--target", place::BARE_METAL, "-p", package];
        build("the test guests", &arguments, &[], &place::test_guests().join(one))?;
    }
    Ok(())
}

/// The `paravane` command.
pub fn paravane() -> Result<()> {
    build("the paravane command", &["-p", "paravane"], &[], &place::paravane())
}

/// The program that judges attestation by other people's crates. It is no part of the workspace.
pub fn verifier() -> Result<()> {
    let folder = place::root().join("tests/verifier");
    let manifest = folder.join("Cargo.toml");
    let arguments = ["--locked", "--manifest-path", manifest.to_str().context("a path")?];
    let target = place::verifier_target();
    let target = [("CARGO_TARGET_DIR", target.to_str().context("a path")?)];
    build("the verifier of reports", &arguments, &target, &place::verifier())
}

/// Builds the `paravane` command for release, to measure it.
pub fn paravane_release() -> Result<()> {
    succeed(cargo().args(["build", "--release", "-p", "paravane"]))
}

/// The guest's agent.
pub fn agent() -> Result<()> {
    for_guest("the guest's agent", "agent", &place::agent())
}

/// Loops that are measured in a guest.
pub fn guest_loops() -> Result<()> {
    for_guest("the loops for guests", "guest-loops", &place::guest_loops())
}

/// Builds a program for Linux in a guest: static, because the guest has no libraries.
fn for_guest(what: &str, package: &str, result: &Path) -> Result<()> {
    let arguments = ["--profile", "agent", "--target", place::GUEST, "-p", package];
    let flags = [("RUSTFLAGS", "-Ctarget-feature=+crt-static")];
    build(what, &arguments, &flags, result)
}

fn build(what: &str, arguments: &[&str], env: &[(&str, &str)], result: &Path) -> Result<()> {
    let mut command = cargo();
    command.arg("build").args(arguments).envs(env.iter().copied());
    if result.exists() {
        // A user who waits for a shell need not read that nothing had to be built.
        command.arg("--quiet");
    } else {
        eprintln!("xtask: builds {what}");
    }
    succeed(&mut command).with_context(|| format!("{what} cannot be built"))
}

/// Runs a command that must succeed.
pub fn succeed(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| name.clone())?;
    if !status.success() {
        bail!("{name}: {status}");
    }
    Ok(())
}

/// The standard output of a command that must succeed.
pub fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| name.clone())?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        let last = error.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        bail!("{name}: {}: {last}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
