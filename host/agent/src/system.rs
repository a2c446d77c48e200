//! What PID 1 owes its machine: file systems at the start, a wait for each orphan, power off at the
//! end.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};
use rustix::system::{RebootCommand, reboot};
use wire::exec;

/// File systems that a user expects: type, place, a file that shows that it is there already.
const FILE_SYSTEMS: [(&str, &str, &str); 3] = [
    ("devtmpfs", "/dev", "/dev/ttyS1"),
    ("proc", "/proc", "/proc/self"),
    ("sysfs", "/sys", "/sys/class"),
];

/// Mounts what is missing. A failure shows where the place is used first, so it is not one here.
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

/// Runs the script that the initial file system brings for its own needs, if it brings one: it loads
/// drivers, say. What it has to say goes to the console.
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

/// Waits until a child has ended, and for every orphan that ends before it.
pub fn reap_until(child: u32) -> io::Result<WaitStatus> {
    loop {
        let (process, status) = reap()?;
        if process.as_raw_nonzero().get().cast_unsigned() == child {
            return Ok(status);
        }
    }
}

/// Waits for every orphan, until there is neither child nor orphan.
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

/// Powers the machine off; if the kernel can not, waits for whoever can.
pub fn power_off() -> ! {
    rustix::fs::sync();
    if let Err(error) = reboot(RebootCommand::PowerOff) {
        say(&format!("paravane agent: the guest can not be powered off: {error}"));
    }
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
