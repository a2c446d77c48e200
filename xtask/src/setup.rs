//! Programs that this machine needs: installed as root on Debian, otherwise named in an error.

use std::env;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::build::{output, succeed};
use crate::place;

/// Properties of this machine that decide what can be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The Debian suite's name, on Debian.
    pub suite: Option<String>,
    /// Whether packages may be installed.
    pub is_root: bool,
}

impl Machine {
    /// Looks at this machine.
    pub fn look() -> Self {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        Self { suite: suite_of(&release), is_root: rustix::process::geteuid().is_root() }
    }
}

fn suite_of(release: &str) -> Option<String> {
    let field = |name: &str| {
        let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.trim_matches('"').to_owned())
    };
    if field("ID")? == "debian" { field("VERSION_CODENAME") } else { None }
}

/// Adds Rust's target for the image, if it is missing.
pub fn rust_target() -> Result<()> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let part = Path::new(sysroot.trim()).join("lib/rustlib").join(place::BARE_METAL);
    if part.exists() {
        return Ok(());
    }
    eprintln!("xtask: adds Rust's target {}", place::BARE_METAL);
    succeed(to_stderr(Command::new("rustup").args(["target", "add", place::BARE_METAL])))
        .with_context(|| format!("Rust's target {} is missing", place::BARE_METAL))
}

/// Adds a component of the toolchain, if cargo does not find it.
pub fn rust_component(command: &str, component: &str) -> Result<()> {
    let found = crate::build::cargo().args([command, "--version"]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    eprintln!("xtask: adds Rust's component {component}");
    succeed(to_stderr(Command::new("rustup").args(["component", "add", component])))
        .with_context(|| format!("Rust's component {component} is missing"))
}

/// Installs QEMU, if it is missing.
pub fn qemu() -> Result<()> {
    program("qemu-system-x86_64", "qemu-system-x86", "QEMU for x86")
}

/// Installs the programs that pack initrds for tests, if they are missing. A test without its
/// program is skipped, so a failed installation is not an error.
pub fn packers() {
    for (name, package) in
        [("bzip2", "bzip2"), ("xz", "xz-utils"), ("lzop", "lzop"), ("lz4", "lz4"), ("zstd", "zstd")]
    {
        let machine = Machine::look();
        if !is_there(name) && machine.suite.is_some() && machine.is_root {
            eprintln!("xtask: installs Debian's package {package}");
            let _ = install(package);
        }
    }
}

/// Whether a program is in PATH.
fn is_there(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

fn program(name: &str, package: &str, what: &str) -> Result<()> {
    if is_there(name) {
        return Ok(());
    }
    let machine = Machine::look();
    if machine.suite.is_none() || !machine.is_root {
        bail!(
            "{what} is missing ({name}; Debian's package {package}); install it: as root on \
             Debian it would be done now"
        );
    }
    eprintln!("xtask: installs Debian's package {package} and what it needs; this takes a while");
    install(package).with_context(|| format!("{package} cannot be installed"))
}

fn install(package: &str) -> Result<()> {
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["-q", "-y", "-o", "Dpkg::Use-Pty=0"]).args(arguments);
        // Its hundred lines of output matter only on failure, and then only the last one.
        output(command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()))
    };
    let install = ["install", "--no-install-recommends", package];
    // The lists may be missing or old: on failure, fetch them and try again.
    let installed = apt(&install).or_else(|_| {
        eprintln!("xtask: fetches Debian's package lists");
        apt(&["update"])?;
        apt(&install)
    });
    installed.map(drop)
}

/// A helper's output must not mix with a guest's output.
fn to_stderr(command: &mut Command) -> &mut Command {
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(stderr) => command.stdout(stderr),
        Err(_) => command.stdout(Stdio::null()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_is_known_by_its_release_file() {
        let debian = "NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        assert_eq!(suite_of(debian), Some("bookworm".to_owned()));
        assert_eq!(suite_of("ID=other\nVERSION_CODENAME=noble\n"), None);
        assert_eq!(suite_of("ID_LIKE=debian\n"), None);
    }
}
