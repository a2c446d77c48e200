//! The default guest: the machine's own suite's kernel, and busybox with the agent as its first
//! process.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use cpio::Archive;

use crate::build::output;
use crate::{debian, place};

/// The initrd's place.
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
    archive.file("etc/passwd", 0o644, b"root::0:0:root:/root:/bin/sh\n");
    archive.file("etc/group", 0o644, b"root:x:0:\n");
    archive.file("init", 0o755, &agent);
    let path = place::target().join("guest/initrd");
    // Not compressed: to unpack it costs the guest more than to read it.
    place::write_whole(&path, &archive.finish())?;
    Ok(path)
}
