//! The default guest: the kernel of this machine's suite, and busybox with the agent as its first
//! process.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use cpio::Archive;

use crate::build::output;
use crate::userspace::{self, Flavour};
use crate::{debian, place};

const PASSWD: &[u8] = b"root::0:0:root:/root:/bin/sh\n";
const GROUP: &[u8] = b"root:x:0:\n";

/// Commands that prepare a user space of packages; for instance, the TPM's drivers are modules.
const START: &[u8] = b"mkdir -p /dev/shm /run/lock
mount -t tmpfs shm /dev/shm
depmod
[ -e /dev/tpmrm0 ] || modprobe -q tpm_crb || true
";
/// Packages that another package needs although it does not declare the dependency.
const COMPANIONS: [(&str, &str); 1] = [("tpm2-tools", "libtss2-tcti-device0")];

/// Makes an initrd of these packages of this machine's suite, with their dependencies and the
/// kernel modules for them, and returns its path.
pub fn initrd_with(packages: &[String]) -> Result<PathBuf> {
    let mut packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    let is_name = |name: &&str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
            && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b))
    };
    if let Some(bad) = packages.iter().find(|name| !is_name(name)) {
        bail!("`{bad}` is not the name of a Debian package");
    }
    for (package, companion) in COMPANIONS {
        if packages.contains(&package) {
            packages.push(companion);
        }
    }
    packages.sort_unstable();
    packages.dedup();
    let suite = debian::own_suite()?;
    let name = format!("run-{}", packages.join("_"));
    let flavour = Flavour { name: &name, packages: &packages };
    let mut bytes = fs::read(userspace::initrd(&suite, flavour)?)?;
    cpio::append(&mut bytes, &fs::read(userspace::modules(&suite)?)?);
    let agent = fs::read(place::agent()).with_context(|| place::agent().display().to_string())?;
    let mut archive = Archive::new();
    archive.directory("paravane");
    archive.file(host_wire::exec::START_PATH, 0o755, START);
    archive.file("etc/passwd", 0o644, PASSWD);
    archive.file("etc/group", 0o644, GROUP);
    archive.file("init", 0o755, &agent);
    cpio::append(&mut bytes, &archive.finish());
    let path = place::target().join("guest/initrd-packages");
    place::write_whole(&path, &bytes)?;
    Ok(path)
}

/// Makes the default initrd and returns its path.
pub fn initrd() -> Result<PathBuf> {
    let busybox = debian::busybox(&debian::own_suite()?)?;
    let agent = fs::read(place::agent()).with_context(|| place::agent().display().to_string())?;
    let applets = output(Command::new(&busybox).arg("--list-full"))?;
    let mut archive = Archive::new();
    for folder in ["dev", "etc", "proc", "root", "run", "sys", "tmp"] {
        archive.directory(folder);
    }
    archive.device("dev/console", 5, 1);
    archive.device("dev/null", 1, 3);
    archive.file("bin/busybox", 0o755, &fs::read(&busybox)?);
    for applet in applets.lines().filter(|path| *path != "bin/busybox" && !path.is_empty()) {
        archive.link(applet, "/bin/busybox");
    }
    archive.file("etc/passwd", 0o644, PASSWD);
    archive.file("etc/group", 0o644, GROUP);
    archive.file("init", 0o755, &agent);
    let path = place::target().join("guest/initrd");
    // Not compressed: unpacking costs the guest more time than reading.
    place::write_whole(&path, &archive.finish())?;
    Ok(path)
}
