//! The system duties of PID 1: mounting file systems, reaping orphans, powering off.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use host_wire::exec;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};
use rustix::system::{RebootCommand, reboot};

/// File systems to mount: the type, the mount point, and a file that exists if it is mounted.
const FILE_SYSTEMS: [(&str, &str, &str); 3] = [
    ("devtmpfs", "/dev", "/dev/ttyS1"),
    ("proc", "/proc", "/proc/self"),
    ("sysfs", "/sys", "/sys/class"),
];

/// Mounts the missing file systems. Failures are ignored here: the first use of the mount point
/// reports them.
pub fn mount_all() {
    for (kind, place, sign) in FILE_SYSTEMS {
        if Path::new(sign).exists() {
            continue;
        }
        let made = fs::create_dir_all(place);
        if made.is_ok() {
            let _ = mount(kind, place, kind, MountFlags::NOSUID, None);
        }
    }
}

/// Runs the start script of the initial file system, if it has one, for example to load drivers.
/// Its output goes to the console.
pub fn run_start_script() {
    let script = Path::new("/").join(exec::START_PATH);
    if !script.exists() {
        return;
    }
    let child = Command::new("/bin/sh").arg(script).stdin(Stdio::null()).spawn();
    let ended = child.and_then(|child| reap_until(child.id()));
    match ended {
        Ok(status) if status.exit_status() == Some(0) => {}
        Ok(_) => say("paravane agent: the start script has failed"),
        Err(error) => say(&format!("paravane agent: the start script can not be run: {error}")),
    }
}

/// Reaps processes until this child has ended.
pub fn reap_until(child: u32) -> io::Result<WaitStatus> {
    loop {
        let (process, status) = reap()?;
        if process.as_raw_nonzero().get().cast_unsigned() == child {
            return Ok(status);
        }
    }
}

/// Reaps processes until none is left.
pub fn reap_all() {
    while reap().is_ok() {}
}

fn reap() -> io::Result<(Pid, WaitStatus)> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some(ended)) => return Ok(ended),
            Ok(None) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Writes a line on the console.
pub fn say(line: &str) {
    if let Ok(mut console) = OpenOptions::new().write(true).open("/dev/console") {
        let _ = writeln!(console, "{line}");
    }
}

/// Powers the machine off; if the kernel can not, sleeps until the VM is ended from outside.
pub fn power_off() -> ! {
    rustix::fs::sync();
    if let Err(error) = reboot(RebootCommand::PowerOff) {
        say(&format!("paravane agent: the guest can not be powered off: {error}"));
    }
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
