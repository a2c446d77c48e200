//! A TPM that outlives its VM, with the identity from its manufacture.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use cpio::Archive;
use rustix::process::{Pid, Signal, kill_process};

use crate::machine::{Run, Vm};
use crate::tpm::{MEMORY, SET_UP, initrd, kernels};
use crate::{Environment, Outcome, Stop, Test, ensure, test};

/// The example of the docs, whose `sh` blocks run unchanged.
const EXAMPLE: &str = include_str!("../../../docs/attestation.md");

/// The tests of this part.
pub fn tests() -> Vec<Test> {
    vec![
        test("tpm::a_sealed_secret_survives_the_vm_and_follows_the_command_line", sealed),
        test("tpm::acknowledged_writes_survive_a_vm_that_is_killed", killed),
        test("tpm::a_quote_is_checked_down_to_the_authority", attestation),
        test("tpm::a_state_that_was_changed_is_refused", changed),
        test("tpm::a_request_made_before_power_off_is_performed_by_the_next_vm", asked),
    ]
}

/// Runs a script in the user space, on a state.
fn run(
    environment: &Environment,
    state: &Path,
    script: &str,
    more: Archive,
    arguments: &[&str],
) -> Result<Run, Stop> {
    let (vm, _folder) = vm(environment, state, script, more)?;
    Ok(vm.args(arguments).run()?)
}

/// A VM that runs a script in the user space, on a state. Keep the folder.
fn vm(
    environment: &Environment,
    state: &Path,
    script: &str,
    more: Archive,
) -> Result<(Vm, tempfile::TempDir), Stop> {
    let all = kernels(environment);
    let (suite, kernel) = all.first().ok_or_else(|| Stop::Skipped("no kernel".to_owned()))?;
    let kernel = kernel.as_ref().map_err(|why| Stop::Skipped(why.clone()))?;
    let (initrd, folder) = initrd(environment, suite, more)?;
    let vm = Vm::new(environment).args(["-m", MEMORY, "-c", "2", "--kernel"]).arg(kernel);
    let vm = vm.args(["--initrd"]).arg(initrd).args(["--state"]).arg(state);
    Ok((vm.args(["--timeout", "90"]).arg("--exec").arg(format!("{SET_UP}{script}")), folder))
}

/// Runs a VM until it has written this many lines, kills it, and returns its whole output.
fn cut_off(vm: Vm, lines: usize) -> anyhow::Result<String> {
    let mut command = vm.into_command();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let output = child.stdout.take().ok_or_else(|| anyhow::anyhow!("no pipe"))?;
    let (mut output, mut text) = (BufReader::new(output), String::new());
    while text.lines().count() < lines && output.read_line(&mut text)? != 0 {}
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    output.read_to_string(&mut text)?;
    child.wait()?;
    Ok(text)
}

/// The same script each time, so that PCR 9 is the same: it seals at first, and unseals later.
fn sealed(environment: &Environment) -> Outcome {
    let script = "if tpm2_readpublic -Q -c 0x81000002 2>/dev/null; then
            tpm2_unseal -c 0x81000002 -p pcr:sha256:4,8,9 2>/dev/null || echo kept
        else
            tpm2_createprimary -Q -C o -c p
            tpm2_startauthsession -S s; tpm2_policypcr -Q -S s -l sha256:4,8,9 -L policy
            tpm2_flushcontext s
            echo secret | tpm2_create -Q -C p -L policy -i - -u u -r r
            tpm2_load -Q -C p -u u -r r -c k
            tpm2_evictcontrol -Q -C o -c k 0x81000002; echo sealed
        fi";
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let other = ["--append", "console=ttyS0 quiet other"];
    for (wanted, arguments) in
        [("sealed\n", &[][..]), ("secret\n", &[]), ("kept\n", &other), ("secret\n", &[])]
    {
        let run = run(environment, &state, script, Archive::new(), arguments)?;
        ensure!(run.output == wanted.as_bytes() && run.code == Some(0), "not {wanted}: {run:?}");
    }
    Ok(())
}

/// The next VM has the SHA-1 bank. The third VM clears the TPM. The fourth still reports the
/// result, and does not clear it again.
fn asked(environment: &Environment) -> Outcome {
    let ppi = "P=/sys/class/tpm/tpm0/ppi; B() { tpm2_getcap pcrs | sed -n 's/.*sha1: //p'; }
        D() { tpm2_nvdefine -Q 0x1500001 -C o -s 8; }
        N() { tpm2_getcap handles-nv-index | grep -ci 0x1500001 || true; }\n";
    let banks = "B | tr -cd , | wc -c";
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    for (script, wanted) in [
        (format!("{banks}; echo 23 3 > $P/request; cat $P/request"), "0\n23 3\n"),
        (
            format!("{banks}; cat $P/response $P/request; D; N; echo 5 > $P/request"),
            "23\n23 0: Success\n0\n1\n",
        ),
        ("N; cat $P/response; D; N".to_owned(), "0\n5 0: Success\n1\n"),
        ("N; cat $P/response $P/request".to_owned(), "1\n5 0: Success\n0\n"),
    ] {
        let run = run(environment, &state, &format!("{ppi}{script}"), Archive::new(), &[])?;
        ensure!(run.output == wanted.as_bytes() && run.code == Some(0), "not {wanted}: {run:?}");
    }
    Ok(())
}

/// A VM that is killed while it counts has lost no count that it reported.
fn killed(environment: &Environment) -> Outcome {
    let script = "I=0x1500002
        tpm2_nvread $I -C o >/dev/null 2>&1 || {
            tpm2_nvdefine -Q $I -C o -a 'ownerread|ownerwrite|nt=counter'
            tpm2_nvincrement -Q $I -C o
        }
        while :; do
            echo $((0x$(tpm2_nvread $I -C o | xxd -p))); tpm2_nvincrement -Q $I -C o
        done";
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let mut last = 0;
    for _ in 0..3 {
        let (vm, _folder) = vm(environment, &state, script, Archive::new())?;
        let text = cut_off(vm, 8)?;
        // The last line may be incomplete.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let counts: Vec<u64> = whole.lines().map(str::parse).collect::<Result<_, _>>()?;
        let (Some(first), Some(end)) = (counts.first(), counts.last()) else {
            return Err(Stop::Failed("it counted nothing".to_owned()));
        };
        // One more count may have happened after the last reported one.
        ensure!(last == 0 || (last..=last + 1).contains(first), "{first} after {last}");
        ensure!(counts.windows(2).all(|pair| pair[1] == pair[0] + 1), "{counts:?}");
        ensure!(end - first > 3, "{counts:?}: too few to be killed in between");
        last = *end;
    }
    Ok(())
}

/// The example of `docs/attestation.md`, word for word.
fn attestation(environment: &Environment) -> Outcome {
    let authority = Command::new(&environment.paravane).arg("tpm-ca").output()?;
    ensure!(authority.status.success(), "{authority:?}");
    let script: String = EXAMPLE
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block)
        .collect();
    let mut archive = Archive::new();
    archive.file("ca.pem", 0o644, &authority.stdout);
    let folder = tempfile::tempdir()?;
    let run = run(environment, &folder.path().join("state"), &script, archive, &[])?;
    let text = String::from_utf8_lossy(&run.output);
    ensure!(run.code == Some(0) && text.contains("\nattested\n"), "{run:?}");
    ensure!(text.ends_with("stale-is-refused\n"), "{run:?}");
    Ok(())
}

/// A flipped bit in the state's newest content, or a wrong key: one line, and no guest runs.
fn changed(environment: &Environment) -> Outcome {
    const BAD_STATE: i32 = 2;
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let start = || Vm::exec(environment, "echo ran").args(["--state"]).arg(&state).run();
    ensure!(start()?.output == b"ran\n", "a new state");
    let (good, key) = (std::fs::read(&state)?, folder.path().join("state.key"));
    let mut bent = good.clone();
    // Each slot's records follow its header.
    for place in [8 * 512 + 100, (1024 + 8) * 512 + 100] {
        bent[place] ^= 1;
    }
    std::fs::write(&state, bent)?;
    let refused = start()?;
    std::fs::write(&state, &good)?;
    let own = std::fs::read(&key)?;
    std::fs::write(&key, [7; 32])?;
    let foreign = start()?;
    for run in [refused, foreign] {
        ensure!(run.code == Some(BAD_STATE) && run.output.is_empty(), "{run:?}");
        ensure!(run.summary["end"] == "bad-state", "{}", run.summary);
        ensure!(run.errors.lines().count() == 1 && run.errors.contains("state"), "{run:?}");
    }
    std::fs::write(&key, own)?;
    ensure!(start()?.output == b"ran\n", "the state as it was");
    Ok(())
}
