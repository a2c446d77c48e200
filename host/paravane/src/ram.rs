//! The check that the paravisor's image fits into the VM's RAM.
//!
//! With too little RAM for its work, the paravisor itself reports how much it needs. With too
//! little even to load it, this program does.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use command_line::RunOptions;
use object::{Object, ObjectSegment};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// With less RAM, the image and its first stack do not fit.
const SPEECHLESS: u64 = 3 * MIB;
/// RAM that the paravisor needs in addition to its image and its CPUs' parts, including the minimum
/// that it leaves to the guest. Its `discover.rs` counts the same, and a VM test compares the two.
const LEAST: u64 = 24 * MIB + 640 * KIB + 94 * 4 * KIB;
/// RAM that the paravisor takes for each CPU.
const PER_CPU: u64 = 64 * KIB;

/// Refuses a VM in which the paravisor can not even start.
///
/// # Errors
/// States how much RAM there is, and how much is needed for this number of CPUs.
pub fn check(options: &RunOptions, image: &Path, cpus: u32) -> Result<()> {
    let found = of_qemu(&options.qemu).unwrap_or(options.memory);
    if found >= SPEECHLESS {
        return Ok(());
    }
    let wanted = LEAST + PER_CPU * u64::from(cpus) + span(image).unwrap_or_default();
    let wanted = wanted.div_ceil(MIB);
    let found = match found % MIB {
        0 => format!("{} MiB", found / MIB),
        _ => format!("{} KiB", found / KIB),
    };
    bail!("the VM has {found} of RAM; the paravisor and a guest need {wanted} MiB")
}

/// Size of the image in memory in bytes, in whole pages.
fn span(image: &Path) -> Option<u64> {
    let bytes = fs::read(image).ok()?;
    let object = object::File::parse(bytes.as_slice()).ok()?;
    let ends = || object.segments().map(|part| (part.address(), part.address() + part.size()));
    let start = ends().map(|(start, _)| start).min()?;
    let end = ends().map(|(_, end)| end).max()?;
    Some((end - start).next_multiple_of(4 * KIB))
}

/// The RAM size in a `-m` among the arguments for QEMU, parsed as QEMU does: `SIZE` or `size=SIZE`,
/// in MiB without a letter.
fn of_qemu(arguments: &[OsString]) -> Option<u64> {
    let mut pairs = arguments.iter().zip(arguments.iter().skip(1));
    let (_, value) = pairs.rfind(|(name, _)| *name == "-m" || *name == "--m")?;
    let first = value.to_str()?.split(',').next()?;
    let size = first.strip_prefix("size=").unwrap_or(first);
    let digits = size.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match size.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        "b" => 0,
        "k" => 10,
        "" | "m" => 20,
        "g" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use command_line::{Action, Arguments};

    use super::*;

    fn refusal(words: &[&str], cpus: u32) -> Option<String> {
        let start = ["paravane", "run", "-k", "kernel"];
        match Arguments::try_parse_from(start.iter().chain(words)).unwrap().action {
            Action::Run(options) => check(&options, Path::new("/none"), cpus).err(),
            other => panic!("{other:?}"),
        }
        .map(|error| error.to_string())
    }

    #[test]
    fn only_a_vm_that_can_not_load_the_paravisor_is_refused() {
        for words in [&["-m", "3M"][..], &[], &["-m", "1M", "--", "-m", "64"]] {
            assert_eq!(refusal(words, 1), None, "{words:?}");
        }
        let needs = |mib| format!("the paravisor and a guest need {mib} MiB");
        let line = refusal(&["-m", "2M"], 1).unwrap();
        assert_eq!(line, format!("the VM has 2 MiB of RAM; {}", needs(26)));
        let line = refusal(&["-m", "2M", "--", "-m", "2500k"], 64).unwrap();
        assert_eq!(line, format!("the VM has 2500 KiB of RAM; {}", needs(29)));
    }

    #[test]
    fn qemus_own_size_is_read_as_qemu_reads_it() {
        let read = |text: &str| {
            let words: Vec<OsString> = text.split(' ').map(OsString::from).collect();
            of_qemu(&words)
        };
        assert_eq!(read("-m 2"), Some(2 * MIB));
        assert_eq!(read("-m 1G -m size=2048k,slots=2"), Some(2 * MIB));
        assert_eq!(read("--m 3M -smp 4"), Some(3 * MIB));
        for text in ["-smp 2", "-m", "-m slots=2", "-m 2.5G", "-m 99999999999999G", ""] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
