//! Our own test guests: each prints a line `test NAME ok` or `test NAME FAILED: REASON` per case,
//! then `done P passed F failed`, and powers off.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use igvm::{IgvmDirectiveHeader, IgvmFile, IgvmRevision};
use igvm_defs::{
    IGVM_VHS_PARAMETER, IGVM_VHS_PARAMETER_INSERT, IgvmPageDataFlags, IgvmPageDataType,
};

use crate::machine::{Run, Vm};
use crate::{Environment, Outcome, Stop, Test, Totals, ensure, id_block, test};

/// How long a guest may take.
const LIMIT: &str = "120";
/// The text that `wall` writes to the host's ports.
const ESCAPED: &str = "BROKEN OUT";
/// Accesses to video memory, which must cause no exits.
const VIDEO: u64 = 10_000;

/// A guest with a number of VPs; with or without the Hyper-V interface.
const RUNS: [(&str, u32, bool); 21] = [
    ("wall", 1, true),
    ("wall", 2, true),
    ("wall", 4, false),
    ("leftovers", 1, true),
    ("leftovers", 2, true),
    ("interrupts", 1, true),
    ("interrupts", 2, true),
    ("interrupts", 4, true),
    ("interrupts", 8, true),
    ("interrupts", 2, false),
    ("liveness", 2, true),
    ("tpm", 1, true),
    ("tpm", 2, true),
    ("tpm", 4, false),
    ("modes", 1, true),
    ("modes", 1, false),
    ("policy", 1, true),
    ("policy", 4, true),
    ("policy", 1, false),
    ("policy", 4, false),
    ("bios", 1, true),
];

/// Guests at VMPL0 of an SEV-SNP VM, with the SEV features of their first VP: SNPActive, with
/// restricted injection where the guest wants a doorbell page; and how many VPs they have.
const SNP_RUNS: [(&str, &str, &str); 6] = [
    ("snp-memory", "0x1", "1"),
    ("snp-levels", "0x1", "1"),
    ("snp-doorbell", "0x9", "1"),
    ("snp-platform", "0x1", "1"),
    ("snp-delivery", "0x1", "1"),
    ("snp-processors", "0x1", "2"),
];

/// The tests of this part; `cases` gets the guests' own cases.
pub fn tests(cases: &Arc<Mutex<Totals>>, long: bool) -> Vec<Test> {
    // Shares of time cannot be measured on a machine that others use: only the long tier does.
    let runs = RUNS.into_iter().filter(|(name, ..)| long || *name != "liveness");
    let guests = runs.map(|(name, cpus, hyperv)| {
        let cases = Arc::clone(cases);
        let plain = if hyperv { "" } else { "_without_hyperv" };
        let body = move |environment: &Environment| {
            let run = start(environment, name, cpus, hyperv, "")?;
            count(&run, &cases)
        };
        let test = test(format!("guest::{name}_with_{cpus}_vps{plain}"), body);
        Test { alone: name == "liveness", ..test }
    });
    let wall_cases = Arc::clone(cases);
    // The state disk's registers must be out of reach, like those of every other host device.
    let state = test("guest::wall_with_a_state_disk", move |environment| {
        let folder = tempfile::tempdir()?;
        let vm = Vm::new(environment).args(["--timeout", LIMIT, "-m", "128M", "--state"]);
        let vm = vm.arg(folder.path().join("state")).args(["--kernel"]);
        let run = vm.arg(environment.guests.join("wall")).run_within(Duration::from_secs(150))?;
        count(&run, &wall_cases)
    });
    let video = test("guest::video_memory_makes_no_exits", |environment| {
        let faults = |accesses: u64| -> Result<u64, Stop> {
            let run = start(environment, "leftovers", 1, true, &format!("video={accesses}"))?;
            ensure!(run.code == Some(0), "{run:?}");
            Ok(run.summary["exits"]["nested-page-fault"].as_u64().unwrap_or_default())
        };
        let (none, many) = (faults(0)?, faults(VIDEO)?);
        ensure!(none == many, "{none} page faults without accesses, {many} with {VIDEO}");
        Ok(())
    });
    let snp = SNP_RUNS.into_iter().map(|(name, features, cpus)| {
        let cases = Arc::clone(cases);
        test(format!("guest::{name}_in_drydock"), move |environment| {
            let folder = tempfile::tempdir()?;
            let file = build_for_drydock(environment, folder.path(), name, features)?;
            count(&run_in_drydock(environment, &file, cpus)?, &cases)
        })
    });
    let far_cases = Arc::clone(cases);
    let far = test("guest::snp-far_in_drydock", move |environment| {
        let folder = tempfile::tempdir()?;
        let file = build_for_drydock(environment, folder.path(), "snp-far", "0x1")?;
        add_directives(&file)?;
        count(&run_in_drydock(environment, &file, "1")?, &far_cases)
    });
    let block_cases = Arc::clone(cases);
    let block = test("guest::snp-platform_with_an_id_block_in_drydock", move |environment| {
        let folder = tempfile::tempdir()?;
        let file = build_for_drydock(environment, folder.path(), "snp-platform", "0x1")?;
        id_block::add(&file)?;
        count(&run_in_drydock(environment, &file, "1")?, &block_cases)
    });
    guests.chain([video, state]).chain(snp).chain([far, block]).collect()
}

fn run_in_drydock(environment: &Environment, file: &Path, cpus: &str) -> Result<Run, Stop> {
    let vm = Vm::in_drydock(environment).args(["--timeout", LIMIT, "-m", "128M", "-c", cpus]);
    let vm = vm.arg(file);
    Ok(vm.run_within(Duration::from_secs(150))?)
}

/// Builds the IGVM file of a guest.
fn build_for_drydock(
    environment: &Environment,
    folder: &Path,
    name: &str,
    features: &str,
) -> Result<PathBuf, Stop> {
    let file = folder.join(name);
    let mut build = Command::new(&environment.paravane);
    build.args(["image", "build", "--features", features, "--elf"]);
    let output = build.arg(environment.guests.join(name)).arg(&file).output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(file)
}

/// Adds to a file what other builders' files have: a requirement of 4 MiB at 512 GiB, and at 1 MiB a
/// page that is shared from the start, a range for errors, the places of devices, and a device tree.
fn add_directives(path: &Path) -> anyhow::Result<()> {
    const SHARED: u64 = 1 << 20;
    let file = IgvmFile::new_from_binary(&fs::read(path)?, None)?;
    let mut directives = file.directives().to_vec();
    directives.push(IgvmDirectiveHeader::PageData {
        gpa: SHARED,
        compatibility_mask: 1,
        flags: IgvmPageDataFlags::new().with_shared(true),
        data_type: IgvmPageDataType::NORMAL,
        data: vec![0x5a; 4096],
    });
    directives.push(IgvmDirectiveHeader::ErrorRange {
        gpa: SHARED + 0x1000,
        compatibility_mask: 1,
        size_bytes: 0x1000,
    });
    directives.push(IgvmDirectiveHeader::ParameterArea {
        number_of_bytes: 0x1000,
        parameter_area_index: 7,
        initial_data: vec![],
    });
    let place = IGVM_VHS_PARAMETER { parameter_area_index: 7, byte_offset: 0x20 };
    directives.push(IgvmDirectiveHeader::MmioRanges(place));
    let place = IGVM_VHS_PARAMETER { byte_offset: 0x100, ..place };
    directives.push(IgvmDirectiveHeader::DeviceTree(place));
    directives.push(IgvmDirectiveHeader::ParameterInsert(IGVM_VHS_PARAMETER_INSERT {
        gpa: SHARED + 0x2000,
        compatibility_mask: 1,
        parameter_area_index: 7,
    }));
    directives.push(IgvmDirectiveHeader::RequiredMemory {
        gpa: 1 << 39,
        compatibility_mask: 1,
        number_of_bytes: 4 << 20,
        vtl2_protectable: false,
    });
    let (platforms, first) = (file.platforms().to_vec(), file.initializations().to_vec());
    let mut bytes = vec![];
    IgvmFile::new(IgvmRevision::V1, platforms, first, directives)?.serialize(&mut bytes)?;
    Ok(fs::write(path, bytes)?)
}

fn start(
    environment: &Environment,
    name: &str,
    cpus: u32,
    hyperv: bool,
    words: &str,
) -> anyhow::Result<Run> {
    let text = format!("{words} {}", if hyperv { "" } else { "hyperv=off" });
    // With a thread for each CPU, VPs race; with one thread, a VP may pause for long between two
    // instructions. Each mode finds faults that the other misses.
    let vm = if hyperv { Vm::with_threads(environment) } else { Vm::new(environment) };
    let vm = vm.args(["--timeout", LIMIT, "-m", "128M", "-a", text.trim()]);
    let vm = vm.args(["-c", &cpus.to_string(), "--kernel"]).arg(environment.guests.join(name));
    let vm = if hyperv { vm } else { vm.args(["--no-hyperv"]) };
    vm.run_within(Duration::from_secs(150))
}

/// Counts the cases that the guest reports; fails with the lines of the failed ones.
pub fn count(run: &Run, cases: &Mutex<Totals>) -> Outcome {
    let text = String::from_utf8_lossy(&run.output);
    let (mut passed, mut failures) = (0, vec![]);
    for line in text.lines().filter_map(|line| line.trim_end().strip_prefix("test ")) {
        if line.ends_with(" ok") {
            passed += 1;
        } else {
            failures.push(line.to_owned());
        }
    }
    let mut totals = cases.lock().unwrap_or_else(PoisonError::into_inner);
    totals.passed += passed;
    totals.failed += failures.len();
    drop(totals);
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    ensure!(run.code == Some(0), "code {:?} after {passed} cases\n{}", run.code, run.errors);
    let end = format!("done {passed} passed 0 failed");
    ensure!(text.lines().any(|line| line.trim_end() == end), "no `{end}` in\n{text}");
    ensure!(!run.errors.contains(ESCAPED), "the guest reached the host's port\n{}", run.errors);
    Ok(())
}
