//! `--state`: the file is created, kept, locked, hidden from the guest.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::machine::{Run, Vm};
use crate::{Environment, Outcome, Test, ensure, test};

const USAGE: i32 = 2;
/// The PCI devices that the guest sees: the host bridge.
const SEEN: &str = "0000:00:00.0\n";

/// The tests of this part.
pub fn tests() -> Vec<Test> {
    vec![
        test("state::it_is_made_and_the_guest_does_not_see_it", |environment| {
            let folder = tempfile::tempdir()?;
            let state = folder.path().join("state");
            for _ in 0..2 {
                let run =
                    with_state(environment, &state, "ls /sys/bus/pci/devices; ls /sys/block")?;
                ensure!(run.code == Some(0) && run.errors.is_empty(), "{run:?}");
                ensure!(run.output == SEEN.as_bytes(), "{run:?}");
            }
            for (name, bytes) in [("state", 1 << 20), ("state.key", 32)] {
                let facts = fs::metadata(folder.path().join(name))?;
                ensure!(facts.len() == bytes, "{name} has {} bytes", facts.len());
                ensure!(facts.permissions().mode() & 0o777 == 0o600, "{name} is others' to read");
            }
            Ok(())
        }),
        test("state::two_vms_on_one_are_refused", |environment| {
            let folder = tempfile::tempdir()?;
            let state = folder.path().join("state");
            with_state(environment, &state, "true")?;
            let held = File::open(&state)?;
            held.lock()?;
            let run = with_state(environment, &state, "true")?;
            ensure!(run.code == Some(USAGE), "{run:?}");
            ensure!(run.errors.contains("another VM uses the state"), "{run:?}");
            ensure!(run.errors.lines().count() == 1, "{run:?}");
            Ok(())
        }),
        test("state::an_unusable_state_is_reported_in_one_line", |environment| {
            let folder = tempfile::tempdir()?;
            let file = folder.path().join("short");
            fs::write(&file, "This is no state.\n")?;
            for (path, why) in [(folder.path(), "is no file"), (&file, "is too small")] {
                let run = with_state(environment, path, "true")?;
                ensure!(run.code == Some(USAGE) && run.errors.contains(why), "{run:?}");
                ensure!(run.errors.lines().count() == 1, "{run:?}");
                ensure!(run.summary["end"] == "bad-state", "{}", run.summary);
            }
            Ok(())
        }),
        test("state::a_file_that_gets_its_name_late_is_left_alone", replaced),
        test("state::a_read_only_disk_with_the_serial_number_is_reported", read_only),
    ]
}

fn with_state(environment: &Environment, state: &Path, command: &str) -> anyhow::Result<Run> {
    Vm::exec(environment, command).args(["--state".as_ref(), state.as_os_str()]).run()
}

/// Another file takes the state's name after paravane has checked and locked the state, and before
/// QEMU opens it.
fn replaced(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let (state, moved) = (folder.path().join("state"), folder.path().join("moved"));
    let qemu = folder.path().join("qemu-system-x86_64");
    let script = "#!/bin/sh
        [ -e \"$STATE\" ] && mv \"$STATE\" \"$MOVED\" && printf other > \"$STATE\"
        PATH=${PATH#*:} exec qemu-system-x86_64 \"$@\"\n";
    fs::write(&qemu, script)?;
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755))?;
    let mut path = folder.path().as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let command = "tpm=/sys/class/tpm/tpm0; cat $tpm/tpm_version_major";
    let vm = Vm::exec(environment, command).args(["--state".as_ref(), state.as_os_str()]);
    let run = vm.env("PATH", path).env("STATE", &state).env("MOVED", &moved).run()?;
    ensure!(run.code == Some(0) && run.output == b"2\n" && run.errors.is_empty(), "{run:?}");
    ensure!(fs::read(&state)? == b"other", "it was written");
    let run = Vm::exec(environment, command).args(["--state".as_ref(), moved.as_os_str()]);
    let run = run.args(["--state-key".as_ref(), folder.path().join("state.key").as_os_str()]);
    let run = run.run()?;
    ensure!(run.code == Some(0) && run.errors.is_empty(), "{run:?}");
    Ok(())
}

/// The paravisor reports a disk that it cannot write, finds it behind a disk with another serial
/// number, and continues without it.
fn read_only(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("disk");
    File::create(&file)?.set_len(1 << 20)?;
    let mut vm = Vm::exec(environment, "ls /sys/bus/pci/devices").args(["--"]);
    for (name, serial) in [("a", "other"), ("b", "paravane-state")] {
        let disk = format!(
            "driver=raw,node-name={name},read-only=on,file.driver=file,file.filename={}",
            file.display()
        );
        let device = format!("virtio-blk-pci,drive={name},serial={serial},disable-legacy=on");
        vm = vm.args(["-blockdev", &disk, "-device", &device]);
    }
    let run = vm.run()?;
    ensure!(run.code == Some(0) && run.output == SEEN.as_bytes(), "{run:?}");
    ensure!(run.errors.contains("the state's disk is read-only"), "{run:?}");
    Ok(())
}
