//! The command's environment on the host: odd names, odd files, small machines, signals.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::machine::{Run, Vm};
use crate::{Environment, Outcome, Stop, Test, ensure, test};

const OURS: i32 = 1;
const USAGE: i32 = 2;
const UNUSABLE_VM: i32 = 68;
const BAD_GUEST: i32 = 70;

/// The tests of this part.
pub fn tests() -> Vec<Test> {
    let mut tests = names_and_signals();
    tests.extend(files_and_ram());
    tests
}

/// Paths that are no regular files, summaries that cannot be written, a VM that is too small.
fn files_and_ram() -> Vec<Test> {
    vec![
        test("host::too_little_ram_is_reported_with_the_least_amount", little_ram),
        test("host::a_path_that_is_no_file_is_refused_and_not_waited_for", no_files),
        test(
            "host::a_summary_that_can_not_be_written_is_reported_before_the_vm_starts",
            no_summary,
        ),
        test("host::a_summary_that_fails_leaves_the_status", |environment| {
            let vm = Vm::exec(environment, "echo on; exit 7").without_summary();
            let run = vm.args(["--json", "/dev/full"]).run()?;
            ensure!(run.code == Some(7) && run.output == b"on\n", "{run:?}");
            ensure!(run.errors.lines().count() == 1 && run.errors.contains("--json"), "{run:?}");
            Ok(())
        }),
        test("host::a_summary_does_not_overwrite_the_state_or_its_key", |environment| {
            let folder = tempfile::tempdir()?;
            let state = folder.path().join("state");
            Vm::exec(environment, "true").args(["--state"]).arg(&state).run()?;
            for name in ["state", "state.key"] {
                let target = folder.path().join(name);
                let before = fs::read(&target)?;
                let vm = Vm::exec(environment, "true").without_summary().args(["--state"]);
                let run = vm.arg(&state).args(["--json"]).arg(&target).run()?;
                ensure!(run.code == Some(USAGE) && run.errors.lines().count() == 1, "{run:?}");
                ensure!(fs::read(&target)? == before, "{name} is lost");
            }
            Ok(())
        }),
    ]
}

/// Odd names and numbers, streams that nobody reads, signals.
fn names_and_signals() -> Vec<Test> {
    vec![
        test("host::names_need_not_be_utf8", odd_names),
        test("host::a_command_need_not_be_utf8", |environment| {
            let command = OsString::from_vec(b"printf '\xff\\n'".to_vec());
            let vm = Vm::new(environment).args(["--timeout", "90", "--kernel"]);
            let vm = vm.arg(&environment.kernel).args(["--initrd"]).arg(&environment.initrd);
            let run = vm.args(["--append", "quiet x=", "--exec"]).arg(command).run()?;
            ensure!(run.code == Some(0) && run.output == b"\xff\n", "{run:?}");
            Ok(())
        }),
        test("host::a_folder_for_temporary_files_may_have_a_long_name", |environment| {
            let folder = tempfile::tempdir()?;
            let long = folder.path().join("x".repeat(119));
            fs::create_dir(&long)?;
            let run = Vm::exec(environment, "echo on").env("TMPDIR", &long).run()?;
            ensure!(run.code == Some(0) && run.output == b"on\n", "{run:?}");
            ensure!(fs::read_dir(&long)?.next().is_none(), "files remain");
            Ok(())
        }),
        test("host::a_timeout_may_be_longer_than_time_itself", |environment| {
            let run = Vm::exec_within(environment, "1e19", "echo on").run()?;
            ensure!(run.code == Some(0) && run.output == b"on\n", "{run:?}");
            Ok(())
        }),
        test("host::errors_that_nobody_reads_cost_nothing", |environment| {
            let mut command = Vm::exec(environment, "echo wrong >&2; exit 7").into_command();
            command.args(["--log", "info"]).stdin(Stdio::null()).stdout(Stdio::null());
            command.stderr(fs::OpenOptions::new().write(true).open("/dev/full")?);
            let status = command.status()?;
            ensure!(status.code() == Some(7), "{status:?}");
            Ok(())
        }),
        test("host::signals_that_were_ignored_stay_ignored", ignored),
        test("host::the_end_of_children_may_be_ignored", |environment| {
            // QEMU's exit is the only sign of this signal.
            let folder = tempfile::tempdir()?;
            let path = folder.path().join("text");
            fs::write(&path, "This is no kernel.\n".repeat(1000))?;
            let vm = Vm::new(environment).args(["--timeout", "60", "--kernel"]).arg(&path);
            let run = vm.by(OsStr::new("env"), ["--ignore-signal=CHLD"]).run()?;
            ensure!(run.code == Some(BAD_GUEST) && run.errors.lines().count() == 1, "{run:?}");
            Ok(())
        }),
        test("host::the_agent_waits_for_orphans", orphans),
    ]
}

/// Kernel, initrd, temporary files and the working folder, each with a byte that is not valid UTF-8
/// and with a comma, at which QEMU splits its options.
fn odd_names(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let odd = |name: &str| {
        let mut bytes = name.as_bytes().to_vec();
        bytes.extend(b"\xff, \xc3=");
        PathBuf::from(OsString::from_vec(bytes))
    };
    let work = folder.path().join(odd("work"));
    fs::create_dir_all(work.join(odd("temporary")))?;
    fs::copy(&environment.kernel, work.join(odd("kernel")))?;
    fs::copy(&environment.initrd, work.join(odd("initrd")))?;
    let vm = Vm::new(environment).args(["--timeout", "90", "--exec", "echo on", "--kernel"]);
    let vm = vm.arg(odd("kernel")).args(["--initrd"]).arg(odd("initrd")).args(["--state"]);
    let vm = vm.arg(odd("state")).directory(&work).env("TMPDIR", work.join(odd("temporary")));
    let run = vm.without_summary().args(["--json"]).arg(odd("summary")).run()?;
    ensure!(run.code == Some(0) && run.output == b"on\n", "{run:?}");
    for name in ["state", "summary"] {
        ensure!(work.join(odd(name)).exists(), "no {name}");
    }
    Ok(())
}

/// The error names the minimum: the paravisor's error if it can start, otherwise the command's.
/// Both name the same minimum.
fn little_ram(environment: &Environment) -> Outcome {
    for cpus in ["1", "2", "64"] {
        let mut needs = vec![];
        for size in ["1k", "640K", "1M", "2M", "5M"] {
            let vm = Vm::exec(environment, "true").args(["-c", cpus, "--memory", size]);
            needs.push(needed(&vm.run()?)?);
        }
        ensure!(needs.windows(2).all(|pair| pair[0] == pair[1]), "{cpus} CPUs: {needs:?}");
    }
    needed(&Vm::exec(environment, "true").args(["--", "-m", "2"]).run()?)?;
    Ok(())
}

fn needed(run: &Run) -> Result<String, Stop> {
    ensure!(run.code == Some(UNUSABLE_VM), "{run:?}");
    ensure!(run.summary["end"] == "unusable-vm", "{run:?}");
    ensure!(run.errors.lines().count() == 1 && !run.errors.contains("a bug"), "{run:?}");
    let (_, need) = run.errors.split_once("the paravisor and a guest need ").unwrap_or_default();
    ensure!(need.trim_end().ends_with(" MiB"), "{run:?}");
    Ok(need.trim_end().to_owned())
}

/// FIFOs, sockets, devices and folders, in every option that takes a file.
fn no_files(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let (fifo, socket) = (folder.path().join("fifo"), folder.path().join("socket"));
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    let _listener = UnixListener::bind(&socket)?;
    for path in [&fifo, &socket, Path::new("/dev/zero"), folder.path()] {
        for (option, code) in [
            ("--kernel", BAD_GUEST),
            ("--initrd", BAD_GUEST),
            ("--image", OURS),
            ("--agent", OURS),
            ("--config", OURS),
            ("--state", USAGE),
            ("--state-key", USAGE),
            ("--tpm-ca", USAGE),
        ] {
            let vm = Vm::new(environment).args(["--timeout", "60", "--exec", "true", "-k"]);
            let other = if option == "--kernel" { path } else { &environment.kernel };
            let mut vm = vm.arg(other);
            if option != "--kernel" {
                vm = vm.arg(option).arg(path);
            }
            if ["--state-key", "--tpm-ca"].contains(&option) {
                vm = vm.args(["--state"]).arg(folder.path().join("state"));
            }
            let run = vm.run()?;
            let what = format!("{option} {}", path.display());
            ensure!(run.code == Some(code), "{what}: {run:?}");
            ensure!(run.errors.lines().count() == 1, "{what}: {run:?}");
            ensure!(run.errors.contains("is no file"), "{what}: {run:?}");
        }
    }
    Ok(())
}

fn no_summary(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let fifo = folder.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    for path in [&folder.path().join("none/summary"), &fifo, folder.path()] {
        let vm = Vm::exec(environment, "echo on").without_summary().args(["--json"]);
        let run = vm.arg(path).run()?;
        ensure!(run.code == Some(OURS) && run.output.is_empty(), "{run:?}");
        ensure!(run.errors.lines().count() == 1 && run.errors.contains("--json"), "{run:?}");
        ensure!(run.errors.contains(&path.display().to_string()), "{run:?}");
    }
    Ok(())
}

/// As from a terminal, the signals go to the whole process group, including QEMU.
fn ignored(environment: &Environment) -> Outcome {
    let vm =
        Vm::exec(environment, "echo up; cat /proc/uptime >/dev/null; sleep 3; echo on; exit 7");
    let mut command = Command::new("setsid");
    let original = vm.into_command();
    command.args(["--wait", "/bin/sh", "-c", "trap '' HUP INT TERM; exec \"$@\"", "sh"]);
    command.arg(original.get_program()).args(original.get_args());
    command.envs(original.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        return Err(Stop::Skipped("setsid is missing".to_owned()));
    };
    let mut output = child.stdout.take().ok_or("no pipe")?;
    let mut seen = [0; 3];
    output.read_exact(&mut seen)?;
    ensure!(&seen == b"up\n", "{seen:?}");
    // `setsid --wait` either becomes the new session's leader or forks a child that does.
    let group = session_of(child.id()).and_then(|group| Pid::from_raw(group.cast_signed()));
    for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
        kill_process_group(group.ok_or("no session")?, signal)?;
    }
    let mut rest = String::new();
    output.read_to_string(&mut rest)?;
    let status = child.wait()?;
    ensure!(status.code() == Some(7) && rest == "on\n", "{status:?}, {rest:?}");
    Ok(())
}

/// The session that `setsid` has made, in this process or a child of it.
fn session_of(process: u32) -> Option<u32> {
    let field = |process: u32, index: usize| {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let (_, fields) = text.rsplit_once(") ")?;
        fields.split(' ').nth(index)?.parse::<u32>().ok()
    };
    const PARENT: usize = 1;
    const SESSION: usize = 3;
    if field(process, SESSION) == Some(process) {
        return Some(process);
    }
    let all = fs::read_dir("/proc").ok()?.flatten();
    let mut all = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    all.find(|other| {
        field(*other, PARENT) == Some(process) && field(*other, SESSION) == Some(*other)
    })
}

/// Orphaned processes become the agent's children, which it must wait for, even under a shell on
/// the console.
fn orphans(environment: &Environment) -> Outcome {
    let script = "for i in $(seq 50); do (true & ); done; \
        for i in $(seq 100); do \
            zombies=$(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l); \
            [ $zombies = 0 ] && break; sleep 0.1; \
        done; echo zombies-$zombies";
    let run = Vm::exec(environment, &format!("{script}; exit 7")).run()?;
    ensure!(run.code == Some(7) && run.output == b"zombies-0\n", "{run:?}");
    let (mut console, _folder) = crate::console::Console::start(environment, &[])?;
    console.wait_for(crate::console::PROMPT)?;
    console.say(&format!("{script}; exit\n"))?;
    console.wait_for("zombies-0\r\n")?;
    let summary = console.end()?;
    ensure!(summary["end"] == "powered-off", "{summary}");
    Ok(())
}
