//! Instructions that reach the host are allowed in `hardware/` and `kernel/` only: platforms call
//! into those.

use std::fs;
use std::path::Path;

use anyhow::Result;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::Findings;
use super::image::{Function, Image};
use crate::place;

/// The rooms that may contain them.
const ROOMS: [&str; 2] = ["kernel", "hardware"];

/// Checks every instruction of an image, whose own folder may contain its entry code in assembly.
pub fn check(image: &Image, folder: &str) -> Result<Findings> {
    let root = place::root();
    let mut assembly = assembly_text(&root)?;
    collect(&root.join(folder), "s", &mut assembly)?;
    let crates = crate_names(&root)?;
    let mut findings = vec![];
    for function in &image.functions {
        // Code without line information is assembly: its label or naked function shows where it
        // belongs.
        let is_ours = || {
            assembly.contains(&format!("{}:", function.name))
                || crates.iter().any(|name| function.name.starts_with(&format!("{name}::")))
        };
        for instruction in function.instructions().filter(reaches_host) {
            let files = image.files(instruction.ip());
            let fine = match own_file(&files, &root) {
                Some(file) => ROOMS.iter().any(|room| Path::new(file).starts_with(room)),
                None => files.is_empty() && is_ours(),
            };
            if !fine {
                findings.push(describe(function, &instruction, &files));
            }
        }
    }
    Ok(findings)
}

fn describe(function: &Function, instruction: &Instruction, files: &[String]) -> String {
    let mnemonic = format!("{:?}", instruction.mnemonic()).to_lowercase();
    let place = files.first().map_or("no known file", String::as_str);
    format!("{mnemonic} at {:#x} in {} ({place})", instruction.ip(), function.name)
}

/// The innermost file of this workspace: a wrapper of the core library is attributed to its caller.
fn own_file<'a>(files: &'a [String], root: &Path) -> Option<&'a str> {
    files.iter().find_map(|file| Path::new(file).strip_prefix(root).ok()?.to_str())
}

/// Names of the crates of the two rooms, as they appear in symbols.
fn crate_names(root: &Path) -> Result<Vec<String>> {
    let mut names = vec!["kernel".to_owned()];
    for entry in fs::read_dir(root.join("hardware"))? {
        let manifest = fs::read_to_string(entry?.path().join("Cargo.toml"))?;
        let name = manifest.lines().find_map(|line| line.strip_prefix("name = "));
        names.extend(name.map(|name| name.trim_matches('"').replace('-', "_")));
    }
    Ok(names)
}

/// All assembly of the two rooms: files, and text within Rust files.
fn assembly_text(root: &Path) -> Result<String> {
    let mut text = String::new();
    for room in ROOMS {
        for kind in ["s", "rs"] {
            collect(&root.join(room), kind, &mut text)?;
        }
    }
    Ok(text)
}

/// Appends the files of a kind below a folder.
fn collect(folder: &Path, kind: &str, text: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, kind, text)?;
        } else if path.extension().is_some_and(|found| found == kind) {
            text.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

fn reaches_host(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    let by_name = matches!(
        instruction.mnemonic(),
        In | Insb
            | Insw
            | Insd
            | Out
            | Outsb
            | Outsw
            | Outsd
            | Cpuid
            | Rdmsr
            | Wrmsr
            | Hlt
            | Mwait
            | Monitor
            | Vmrun
            | Vmload
            | Vmsave
            | Vmmcall
            | Vmcall
            | Vmgexit
            | Stgi
            | Clgi
            | Skinit
            | Invlpga
            | Invlpgb
            | Tlbsync
            | Invlpg
            | Wbinvd
            | Invd
            | Xsetbv
            | Rdtsc
            | Rdtscp
            | Rdpmc
            | Sti
            | Cli
            | Lgdt
            | Lidt
            | Ltr
            | Lldt
            | Swapgs
            | Iretq
            | Sysretq
            | Sysret
            | Pvalidate
            | Rmpadjust
            | Rmpquery
            | Rmpupdate
            | Psmash
    );
    let is_control = |kind, register: Register| {
        kind == OpKind::Register && (register.is_cr() || register.is_dr())
    };
    by_name
        || instruction.mnemonic() == Mov
            && (is_control(instruction.op0_kind(), instruction.op0_register())
                || is_control(instruction.op1_kind(), instruction.op1_register()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_that_reach_the_host_are_known() {
        for (code, reaches) in [
            (&[0xec][..], true),
            (&[0x0f, 0xa2], true),
            (&[0x0f, 0x01, 0xd8], true),
            (&[0x0f, 0x22, 0xd8], true),
            (&[0x0f, 0x31], true),
            (&[0xf4], true),
            // VMGEXIT, PVALIDATE, RMPADJUST, RMPQUERY.
            (&[0xf3, 0x0f, 0x01, 0xd9], true),
            (&[0xf2, 0x0f, 0x01, 0xff], true),
            (&[0xf3, 0x0f, 0x01, 0xfe], true),
            (&[0xf3, 0x0f, 0x01, 0xfd], true),
            // RMPUPDATE, PSMASH, INVLPGB, VMLOAD.
            (&[0xf2, 0x0f, 0x01, 0xfe], true),
            (&[0xf3, 0x0f, 0x01, 0xff], true),
            (&[0x0f, 0x01, 0xfe], true),
            (&[0x0f, 0x01, 0xda], true),
            (&[0x89, 0xd8], false),
            (&[0xf3, 0x90], false),
        ] {
            let code = code.to_vec();
            let function = Function { name: String::new(), address: 0, code };
            let first = function.instructions().next();
            assert_eq!(first.is_some_and(|first| reaches_host(&first)), reaches);
        }
    }

    #[test]
    fn the_innermost_file_of_ours_decides() {
        let files =
            ["/rustc/x/core/arch.rs".to_owned(), "/r/vmm/a.rs".into(), "/r/kernel/b.rs".into()];
        assert_eq!(own_file(&files, Path::new("/r")), Some("vmm/a.rs"));
        assert_eq!(own_file(&files, Path::new("/other")), None);
    }
}
