//! The machine's UUID: the host's if it gives one, else the state's, else random.

use std::fs::{self, File};

use crate::console::{Console, PROMPT};
use crate::machine::Vm;
use crate::{Environment, Outcome, Stop, Test, ensure, test};

const USAGE: i32 = 2;
const READ: &str = "cat /sys/class/dmi/id/product_uuid";
const GIVEN: &str = "00112233-4455-6677-8899-AABBCCDDEEFF";

/// The tests of this part.
pub fn tests() -> Vec<Test> {
    vec![
        test("identity::the_hosts_uuid_reaches_the_guest", |environment| {
            for arguments in [&["--uuid", GIVEN][..], &["--", "-uuid", GIVEN]] {
                let uuid = read(environment, arguments)?;
                ensure!(uuid == GIVEN.to_ascii_lowercase(), "{arguments:?}: {uuid}");
            }
            let other = "01234567-89ab-cdef-0123-456789abcdef";
            let uuid = read(environment, &["--uuid", GIVEN, "--", "-uuid", other])?;
            ensure!(uuid == other, "QEMU's own argument comes last: {uuid}");
            let uuid = read(environment, &["--direct", "--uuid", GIVEN])?;
            ensure!(uuid == GIVEN.to_ascii_lowercase(), "without us: {uuid}");
            Ok(())
        }),
        test("identity::two_machines_are_two", |environment| {
            let none: [&str; 0] = [];
            let all = [read(environment, &none)?, read(environment, &["--no-tpm"])?];
            ensure!(all[0] != all[1], "{all:?}");
            for uuid in &all {
                ensure!(uuid.len() == 36 && uuid.as_bytes()[14] == b'4', "{uuid}");
            }
            Ok(())
        }),
        test("identity::a_state_is_one_machine", of_state),
        test("identity::a_reset_changes_nothing", |environment| {
            let (mut console, _folder) = Console::start(environment, &["-c", "2"])?;
            console.wait_for(PROMPT)?;
            console.say(&format!("echo =$({READ})=\n"))?;
            console.wait_for("\r\n=")?;
            let uuid = console.read_until("=\r\n")?;
            console.say("reboot -f\n")?;
            console.wait_for("powers the guest off")?;
            console.wait_for(PROMPT)?;
            console.say(&format!("echo =$({READ})=; exit\n"))?;
            console.wait_for(&format!("\r\n={uuid}="))?;
            let summary = console.end()?;
            ensure!(summary["counters"]["starts"] == 2 && uuid.len() == 36, "{summary} {uuid}");
            Ok(())
        }),
        test("identity::an_invalid_uuid_is_reported", |environment| {
            for uuid in ["", "x", "00000000-0000-0000-0000-000000000000"] {
                let run = Vm::exec(environment, "true").args(["--uuid", uuid]).run()?;
                ensure!(run.code == Some(USAGE) && run.errors.contains("--uuid"), "{run:?}");
            }
            Ok(())
        }),
    ]
}

/// The UUID that the guest sees.
fn read<S: AsRef<std::ffi::OsStr>>(
    environment: &Environment,
    arguments: &[S],
) -> Result<String, Stop> {
    Ok(Vm::exec(environment, READ).args(arguments).run()?.text()?.trim().to_owned())
}

/// Also if the paravisor creates the state on a file of zeros, and if there is no TPM to open it.
fn of_state(environment: &Environment) -> Outcome {
    let folder = tempfile::tempdir()?;
    let (made, blank) = (folder.path().join("made"), folder.path().join("blank"));
    File::create(&blank)?.set_len(1 << 20)?;
    fs::write(folder.path().join("blank.key"), [7; 32])?;
    let mut all = vec![];
    for state in [&made, &blank] {
        let state = state.to_str().ok_or("a name that is no text")?;
        let first = read(environment, &["--state", state])?;
        let second = read(environment, &["--state", state])?;
        let third = read(environment, &["--state", state, "--no-tpm"])?;
        ensure!(first == second && second == third, "{state}: {first}, {second}, {third}");
        ensure!(first.len() == 36 && first.as_bytes()[14] == b'8', "{first}");
        let given = read(environment, &["--state", state, "--uuid", GIVEN])?;
        ensure!(given == GIVEN.to_ascii_lowercase(), "the user's word counts more: {given}");
        all.push(first);
    }
    ensure!(all[0] != all[1], "two states are one machine: {all:?}");
    Ok(())
}
