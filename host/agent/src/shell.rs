//! The interactive shell on the console.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::process::Command;

use rustix::process::{ioctl_tiocsctty, setsid};

use crate::system;

/// Runs a shell until it ends.
pub fn run() -> io::Result<()> {
    let console = open_console()?;
    // The shell inherits the session of PID 1 with its controlling terminal. Without one it works,
    // but has no job control.
    let _ = setsid();
    let _ = ioctl_tiocsctty(&console);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    system::say(&format!(
        "Linux {release}. `exit` powers the guest off, Ctrl-A X ends it at once."
    ));
    let shell = Command::new("/bin/sh")
        .arg("-i")
        .stdin(console.try_clone()?)
        .stdout(console.try_clone()?)
        .stderr(console)
        .spawn()
        .map_err(|error| io::Error::other(format!("/bin/sh can not be run: {error}")))?;
    system::reap_until(shell.id()).map(drop)
}

/// Opens the terminal behind the console: /dev/console can not be a controlling terminal.
fn open_console() -> io::Result<File> {
    let open = |path: &str| OpenOptions::new().read(true).write(true).open(path);
    let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    match active.split_whitespace().next_back() {
        Some(name) => open(&format!("/dev/{name}")).or_else(|_| open("/dev/console")),
        None => open("/dev/console"),
    }
}
