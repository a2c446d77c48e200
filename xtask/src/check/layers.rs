//! Folders are layers: each may use only the layers listed for it. Dependencies of tests are not
//! restricted.

use std::collections::HashMap;

use super::Findings;
use super::metadata::Metadata;

/// Each room, and the rooms that it may use. Peers are rooms of one layer without edges between.
const ROOMS: [(&str, &[&str]); 16] = [
    ("base", &["base"]),
    // A device knows no other device: the VMM connects them.
    ("devices", &["base"]),
    ("tpm", &["base", "tpm"]),
    ("hyperv", &["base", "hyperv"]),
    ("storage", &["base", "storage"]),
    ("vmm", &["base", "devices", "tpm", "hyperv", "storage", "vmm"]),
    // The emulated confidential platform. Of the VMM it uses what a host offers its guests, and the
    // page walk.
    ("drydock", &["base", "devices", "hyperv", "vmm", "drydock"]),
    ("kernel", &["base"]),
    // AMD-V itself, and the PC that a stock QEMU provides: each serves more than one platform.
    ("hardware", &["base", "kernel", "hardware"]),
    ("platform", &["base", "vmm", "kernel", "hardware", "drydock"]),
    // Images of several platforms share how the machine is started.
    ("images", &["base", "devices", "vmm", "kernel", "hardware", "drydock", "platform", "images"]),
    // `paravane vtpm` serves the TPM engine to this machine's tools, and a new state is made here,
    // with a TPM in a store; host programs use no other part of the image.
    ("host", &["base", "host", "tpm", "storage"]),
    ("xtask", &["base", "host", "tests"]),
    ("tests", &["base", "hardware", "host", "tests"]),
    ("fuzz", &["base", "devices", "tpm", "hyperv", "storage", "vmm", "drydock", "fuzz"]),
    ("benches", &["base", "devices", "tpm", "hyperv", "storage", "vmm", "host"]),
];

/// Checks every edge of the workspace.
pub fn check(metadata: &Metadata) -> Findings {
    let room = |package: &super::metadata::Package| {
        let first = package.folder.components().next();
        first.map(|part| part.as_os_str().to_string_lossy().into_owned()).unwrap_or_default()
    };
    let rooms: HashMap<&str, String> =
        metadata.packages.iter().map(|package| (package.name.as_str(), room(package))).collect();
    let mut findings = vec![];
    for package in &metadata.packages {
        let from = room(package);
        for need in &package.needs {
            let Some(to) = rooms.get(need.as_str()) else { continue };
            if !allowed(&from, to) {
                let name = &package.name;
                findings.push(format!("{name} ({from}) must not use {need} ({to})"));
            }
        }
    }
    findings
}

fn allowed(from: &str, to: &str) -> bool {
    ROOMS.iter().any(|(room, others)| *room == from && others.contains(&to))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::metadata::Package;
    use super::*;

    fn package(name: &str, folder: &str, needs: &[&str]) -> Package {
        let needs = needs.iter().map(|need| (*need).to_owned()).collect();
        Package { name: name.into(), folder: PathBuf::from(folder), crate_roots: vec![], needs }
    }

    #[test]
    fn an_edge_upwards_or_between_peers_is_found() {
        let cases = [
            ("devices/a", "base/x", true),
            ("devices/a", "devices/x", false),
            ("devices/a", "vmm/x", false),
            ("vmm/a", "platform/x", false),
            ("vmm/x86/a", "vmm/x", true),
            ("platform/a", "kernel", true),
            ("platform/a", "hardware/x", true),
            ("platform/a", "platform/x", false),
            ("hardware/a", "platform/x", false),
            ("hardware/a", "vmm/x", false),
            ("vmm/a", "hardware/x", false),
            ("kernel", "hardware/x", false),
            ("kernel", "vmm/x", false),
            ("images/a", "platform/x", true),
            ("host/a", "vmm/x", false),
            ("host/a", "tpm/x", true),
            ("xtask", "tpm/x", false),
            ("nowhere/a", "base/x", false),
        ];
        for (from, to, fine) in cases {
            let packages = vec![package("a", from, &["x", "other"]), package("x", to, &[])];
            let metadata = Metadata { packages, foreign: vec![] };
            assert_eq!(check(&metadata).is_empty(), fine, "{from} to {to}");
        }
    }
}
