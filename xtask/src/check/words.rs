//! Names of platforms that must not appear in the machine's sources.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Findings;
use super::lengths::rust_files;

/// Platforms and their parts, which no file of the machine may name.
const NAMES: [&str; 6] = ["qemu", "kvm", "amd-v", "svm", "vmcb", "snp"];
/// The machine's folder.
const ROOM: &str = "vmm";
/// An exception, since it describes a vendor's CPU: the CPUID and MSRs that the guest sees, its
/// instructions.
const VENDORS: &str = "vmm/x86";
/// Exceptions: interfaces that guests know by such a name, and titles of specifications.
const INTERFACES: [&str; 4] = ["kvm clock", "kvm's clock", "kvm_clock", "kvmclock"];

/// Checks all Rust files of the machine below `root`.
pub fn check(root: &Path) -> Result<Findings> {
    let mut findings = vec![];
    for path in rust_files(&root.join(ROOM))? {
        let place = path.strip_prefix(root).unwrap_or(&path);
        if place.starts_with(VENDORS) {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        for (number, name) in names(&text) {
            findings.push(format!("{}:{number} names {name}", place.display()));
        }
    }
    Ok(findings)
}

/// Lines that name a platform, with the name.
fn names(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = vec![];
    for (number, line) in (1..).zip(text.lines()) {
        let mut line = line.to_lowercase();
        for interface in INTERFACES {
            line = line.replace(interface, "");
        }
        // Types of the clock are written as one word.
        let line = line.replace("kvmclock", "");
        let named = NAMES.iter().filter(|name| is_word(&line, name));
        found.extend(named.map(|name| (number, *name)));
    }
    found
}

/// Whether `line` contains `word` as a whole word.
fn is_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|text| text.chars().next());
        ![before, after].into_iter().flatten().any(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_found_and_interfaces_of_the_guest_are_not() {
        for (text, found) in [
            ("// QEMU's software CPU", true),
            ("let vmcb = 1;", true),
            ("/// on AMD-V", true),
            ("use hyperv::kvm_clock::KvmClock;", false),
            ("/// KVM's clock", false),
            ("/// as KVM does", true),
            ("let snps = 1;", false),
        ] {
            assert_eq!(!names(text).is_empty(), found, "{text}");
        }
    }
}
