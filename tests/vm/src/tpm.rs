//! The guest's TPM, used by third-party software.

use std::fs;
use std::path::{Path, PathBuf};

use cpio::Archive;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::console::{Console, PROMPT};
use crate::machine::{Run, Vm};
use crate::{Environment, Outcome, Stop, Test, ensure, test};

/// RAM for the user space with the TPM's tools.
pub const MEMORY: &str = "1G";
/// The suite whose kernel is built without IMA.
const WITHOUT_IMA: &str = "bullseye";
/// Preparation for every script. The user space contains drivers that a kernel has as modules.
pub const SET_UP: &str = "set -e
    export TPM2TOOLS_TCTI=device:/dev/tpmrm0
    mount -t securityfs none /sys/kernel/security
    depmod
    echo /usr/bin/modprobe > /proc/sys/kernel/modprobe
    [ -e /dev/tpmrm0 ] || modprobe tpm_crb
    L=/sys/kernel/security/tpm0/binary_bios_measurements
    cd /tmp
    ";

/// A test on the kernel of a suite.
type OnKernel = fn(&Environment, &str, &Result<PathBuf, String>) -> Outcome;
/// Tests that must pass on every kernel.
const EVERYWHERE: [(&str, OnKernel); 3] = [
    ("unlocks_a_disk_by_pcr", disk),
    ("has_a_log_that_replays_to_the_pcrs", log),
    ("signs_by_openssl", openssl),
];

/// The tests of this part.
pub fn tests(environment: &Environment) -> Vec<Test> {
    let mut tests = vec![];
    for (suite, kernel) in kernels(environment) {
        for cpus in ["1", "4"] {
            let (suite, kernel) = (suite.clone(), kernel.clone());
            let name = format!("tpm::{suite}_uses_it_with_{cpus}_vps");
            tests.push(test(name, move |all| uses(all, &suite, &kernel, cpus)));
        }
        let with_ima = ("resets_requests_and_ima", resets as OnKernel);
        let of_suite = EVERYWHERE.into_iter().chain((suite != WITHOUT_IMA).then_some(with_ima));
        for (name, run) in of_suite {
            let (suite, kernel) = (suite.clone(), kernel.clone());
            let name = format!("tpm::{suite}_{name}");
            tests.push(test(name, move |all| run(all, &suite, &kernel)));
        }
    }
    tests.extend([
        test("tpm::none_where_none_is_wanted", none),
        test("tpm::a_timer_is_regular_while_a_key_is_made", timer),
    ]);
    tests
}

/// Suites with their kernels, or the reason why one is missing.
pub fn kernels(environment: &Environment) -> Vec<(String, Result<PathBuf, String>)> {
    let others = &environment.other_kernels;
    let is_own = |suite: &str| others.iter().all(|(other, _)| other != suite);
    let own = environment.modules.iter().map(|(suite, _)| suite).find(|suite| is_own(suite));
    let own = own.map(|suite| (suite.clone(), Ok(environment.kernel.clone())));
    own.into_iter().chain(others.iter().cloned()).collect()
}

/// The user space, with a suite's modules and more files.
pub fn initrd(
    environment: &Environment,
    suite: &str,
    more: Archive,
) -> Result<(PathBuf, TempDir), Stop> {
    let skip = |why: &String| Stop::Skipped(why.clone());
    let modules = environment.modules.iter().find(|(known, _)| known == suite);
    let modules = modules.ok_or_else(|| Stop::Skipped(format!("no modules of {suite}")))?;
    let mut bytes = fs::read(environment.tpm.as_ref().map_err(skip)?)?;
    cpio::append(&mut bytes, &fs::read(modules.1.as_ref().map_err(skip)?)?);
    cpio::append(&mut bytes, &more.finish());
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("initrd");
    fs::write(&path, bytes)?;
    Ok((path, folder))
}

/// Runs a script in the user space.
fn run(
    vm: Vm,
    environment: &Environment,
    suite: &str,
    kernel: &Result<PathBuf, String>,
    cpus: &str,
    script: &str,
) -> Result<Run, Stop> {
    let kernel = kernel.as_ref().map_err(|why| Stop::Skipped(why.clone()))?;
    let (initrd, _folder) = initrd(environment, suite, Archive::new())?;
    let vm = vm.args(["-m", MEMORY, "-c", cpus, "--timeout", "90", "--kernel"]);
    let vm = vm.arg(kernel).args(["--initrd"]).arg(initrd);
    Ok(vm.arg("--exec").arg(format!("{SET_UP}{script}")).run()?)
}

fn uses(
    environment: &Environment,
    suite: &str,
    kernel: &Result<PathBuf, String>,
    cpus: &str,
) -> Outcome {
    uses_by(Vm::new(environment), environment, suite, kernel, cpus)
}

/// The guest of `vm` finds the TPM, and seals a secret to PCR 16.
pub fn uses_by(
    vm: Vm,
    environment: &Environment,
    suite: &str,
    kernel: &Result<PathBuf, String>,
    cpus: &str,
) -> Outcome {
    let script = "echo version $(cat /sys/class/tpm/tpm0/tpm_version_major)
        tpm2_selftest -f
        echo random $(tpm2_getrandom --hex 16 | wc -c)
        tpm2_createprimary -Q -C o -c p.ctx
        tpm2_startauthsession -S s; tpm2_policypcr -Q -S s -l sha256:16 -L policy
        tpm2_flushcontext s
        echo secret | tpm2_create -Q -C p.ctx -L policy -i - -u u -r r
        tpm2_load -Q -C p.ctx -u u -r r -c k
        tpm2_unseal -c k -p pcr:sha256:16
        tpm2_pcrextend 16:sha256=$(printf %064d 1)
        tpm2_unseal -c k -p pcr:sha256:16 2>/dev/null || echo kept
        dmesg | grep -i 'tpm.*\\(error\\|fail\\|bug\\)' || echo quiet";
    let run = run(vm, environment, suite, kernel, cpus, script)?;
    let wanted = "version 2\nrandom 32\nsecret\nkept\nquiet\n";
    ensure!(String::from_utf8_lossy(&run.output) == wanted, "{run:?}");
    ensure!(run.code == Some(0), "{run:?}");
    Ok(())
}

/// A LUKS volume opens by PCRs, and no longer once one of them has changed.
fn disk(environment: &Environment, suite: &str, kernel: &Result<PathBuf, String>) -> Outcome {
    let script = "modprobe loop; modprobe dm_crypt
        mkdir -p /run/cryptsetup; dd if=/dev/zero of=disk bs=1M count=32 2>/dev/null
        printf %s password > password
        cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 disk password
        P=4+8+9
        PASSWORD=password systemd-cryptenroll --tpm2-device=auto --tpm2-pcrs=$P disk >/dev/null 2>&1
        open() {
            /lib/systemd/systemd-cryptsetup attach volume /tmp/disk - \\
                tpm2-device=auto,headless=true >/dev/null 2>&1
        }
        open; ls /dev/mapper | grep volume
        /lib/systemd/systemd-cryptsetup detach volume
        tpm2_pcrextend 8:sha256=$(printf %064d 1)
        open || echo closed";
    let run = run(Vm::new(environment), environment, suite, kernel, "2", script)?;
    ensure!(run.output == b"volume\nclosed\n" && run.code == Some(0), "{run:?}");
    Ok(())
}

/// tpm2_eventlog reads the log, which has the digests of the started files; its replay gives the
/// PCRs.
fn log(environment: &Environment, suite: &str, kernel: &Result<PathBuf, String>) -> Outcome {
    let script = "cat /proc/cmdline
        tpm2_eventlog $L 2>errors >log; grep -v '^$' errors && exit 1
        sed -n '/^pcrs:/,$p' log | grep ' : ' | tr -d ' ' | tr A-F a-f >replayed
        tpm2_pcrread sha256:0,1,2,3,4,5,6,7,8,9 | grep ': *0x' | tr -d ' ' | tr A-F a-f >read
        cmp replayed read; wc -l <read
        cat log";
    let run = run(Vm::new(environment), environment, suite, kernel, "2", script)?;
    let kernel = kernel.as_ref().map_err(|why| Stop::Skipped(why.clone()))?;
    let text = String::from_utf8_lossy(&run.output);
    let mut lines = text.lines();
    let line = lines.next().unwrap_or_default();
    ensure!(run.code == Some(0) && lines.next() == Some("10"), "{run:?}");
    for (what, bytes) in [("kernel", fs::read(kernel)?), ("line", line.into())] {
        let digest = hex(&Sha256::digest(&bytes));
        ensure!(text.contains(&digest), "no digest {digest} of the {what} in\n{text}");
    }
    ensure!(text.contains(&format!("kernel_cmdline: {line}\\0")), "no command line in\n{text}");
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The provider of OpenSSL makes a key that never leaves the TPM; OpenSSL itself verifies.
fn openssl(environment: &Environment, suite: &str, kernel: &Result<PathBuf, String>) -> Outcome {
    let script = "echo text > text
        T='-provider tpm2 -provider base'
        openssl genpkey -provider tpm2 -algorithm EC -pkeyopt group:P-256 -out key 2>/dev/null
        openssl pkeyutl $T -sign -inkey key -rawin -in text -digest sha256 -out signature
        openssl pkey $T -in key -pubout -out public
        openssl pkeyutl -verify -pubin -inkey public -rawin -in text -digest sha256 \\
            -sigfile signature
        echo other > text
        openssl pkeyutl -verify -pubin -inkey public -rawin -in text -digest sha256 \\
            -sigfile signature || true";
    let run = run(Vm::new(environment), environment, suite, kernel, "2", script)?;
    let wanted = "Signature Verified Successfully\nSignature Verification Failure\n";
    ensure!(String::from_utf8_lossy(&run.output) == wanted && run.code == Some(0), "{run:?}");
    Ok(())
}

/// State left by the first start: a digest of its PCRs and of a primary key, in the TPM itself.
const FIRST: &str = "tpm2_createprimary -Q -C o -c p.ctx; tpm2_readpublic -Q -c p.ctx -n name
    tpm2_pcrread -Q -o pcrs sha256:0,1,4,8,9
    cat name pcrs | sha256sum | head -c 64 > sum
    ";
/// Replaying IMA's list gives PCR 10. All programs that the replay runs are in the list before it
/// begins.
const IMA: &str = "echo 'measure func=BPRM_CHECK' > /sys/kernel/security/ima/policy
    /usr/bin/busybox true; openssl version >/dev/null
    pcr=$(printf %040d 0)
    while read number hash rest; do
        pcr=$(printf %s $pcr$hash | xxd -r -p | sha1sum | cut -c 1-40)
        count=$((count + 1))
    done < /sys/kernel/security/ima/ascii_runtime_measurements
    [ $count -gt 1 ]
    [ $pcr = $(tr A-F a-f < /sys/class/tpm/tpm0/pcr-sha1/10) ]
    echo ima-replays
    ";

/// After resets, seeds, NV and key are unchanged, PCRs are as at the first start, and the physical
/// presence request has been performed.
fn resets(environment: &Environment, suite: &str, kernel: &Result<PathBuf, String>) -> Outcome {
    let kernel = kernel.as_ref().map_err(|why| Stop::Skipped(why.clone()))?;
    let ppi = "P=/sys/class/tpm/tpm0/ppi\n";
    let first = format!(
        "{SET_UP}{FIRST}{ppi}tpm2_nvdefine -Q 0x1500001 -C o -s 64
        tpm2_nvwrite -Q 0x1500001 -C o -i sum
        tpm2_pcrextend 16:sha256=$(printf %064d 1)
        [ ! -e /sys/class/tpm/tpm0/pcr-sha1 ]
        echo 23 3 > $P/request; cat $P/request; echo first-done"
    );
    let second = format!(
        "{SET_UP}{FIRST}{ppi}tpm2_nvread 0x1500001 -C o -s 64 > old; cmp old sum
        tpm2_pcrread sha256:16 | grep -q '0x0*$'
        cat $P/response; {IMA} echo 5 > $P/request; echo second-done"
    );
    let third = format!(
        "{SET_UP}{FIRST}{ppi}! tpm2_nvread 0x1500001 -C o -s 64 2>/dev/null
        cat $P/response; echo third-done"
    );
    let mut archive = Archive::new();
    archive.file("init", 0o755, &fs::read(&environment.agent)?);
    for (name, script) in [("first", first), ("second", second), ("third", third)] {
        archive.file(name, 0o755, format!("#!/bin/sh\n{script}\n").as_bytes());
    }
    let (initrd, _folder) = initrd(environment, suite, archive)?;
    starts(environment, kernel, &initrd)
}

fn starts(environment: &Environment, kernel: &Path, initrd: &Path) -> Outcome {
    let vm = Vm::new(environment).args(["-m", MEMORY, "-c", "2", "--kernel"]).arg(kernel);
    let (mut console, _folder) = Console::start_vm(vm.args(["--initrd"]).arg(initrd))?;
    let digest = hex(&Sha256::digest(fs::read(initrd)?));
    console.wait_for(PROMPT)?;
    console.say("/first\n")?;
    console.wait_for("23 3\r\n")?;
    console.wait_for("first-done\r\n")?;
    console.say("tpm2_eventlog $(find /sys/kernel/security -name binary_b*)\n")?;
    console.wait_for(&digest)?;
    console.wait_for(PROMPT)?;
    console.say("reboot -f\n")?;
    console.wait_for("powers the guest off")?;
    console.wait_for(PROMPT)?;
    console.say("/second\n")?;
    console.wait_for("23 0: Success\r\n")?;
    console.wait_for("ima-replays\r\n")?;
    console.wait_for("second-done\r\n")?;
    console.say("reboot -f\n")?;
    console.wait_for("powers the guest off")?;
    console.wait_for(PROMPT)?;
    console.say("/third\n")?;
    console.wait_for("5 0: Success\r\n")?;
    console.wait_for("third-done\r\n")?;
    console.say("poweroff -f\n")?;
    let summary = console.end()?;
    ensure!(summary["end"] == "powered-off", "{summary}");
    ensure!(summary["counters"]["starts"] == 3, "{summary}");
    Ok(())
}

/// `--no-tpm`: neither a table nor registers.
fn none(environment: &Environment) -> Outcome {
    let vm = Vm::exec(environment, "ls /sys/firmware/acpi/tables /sys/class/tpm; dmesg");
    let run = vm.args(["--no-tpm"]).run()?;
    let text = String::from_utf8_lossy(&run.output);
    ensure!(text.contains("FACP") && !text.contains("TPM2") && !text.contains("tpm0"), "{run:?}");
    let vm = Vm::new(environment).args(["-m", "128M", "--no-tpm", "-a", "absent", "--kernel"]);
    let text = vm.arg(environment.guests.join("tpm")).run()?.text()?;
    ensure!(text.contains("test absent ok"), "{text}");
    Ok(())
}

/// A guest that is busy with its TPM still sees regular timer ticks, in counted instructions.
fn timer(environment: &Environment) -> Outcome {
    let vm = Vm::new(environment).args(["-m", "128M", "-a", "counted only=timer", "--kernel"]);
    let vm = vm.arg(environment.guests.join("tpm")).args(["--timeout", "85"]);
    let text = vm.args(["--", "-icount", "shift=0,sleep=off"]).run()?.text()?;
    ensure!(text.contains("test timer-while-a-key-is-made ok"), "{text}");
    Ok(())
}
