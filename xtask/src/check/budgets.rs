//! Checks the images against `budgets.toml`. The tests check the budgets of a running VM.

use std::collections::{BTreeMap, HashSet};
use std::fs;

use anyhow::{Context, Result};
use iced_x86::FlowControl;
use toml::{Table, Value};

use super::Findings;
use super::image::{Function, Image};
use super::lengths::{code_lines, rust_files};
use super::licences::image_graph;
use super::metadata::Metadata;
use crate::place;

/// Parts of the names of functions that panic.
const PANICS: [&str; 9] = [
    "core::panicking::",
    "unwrap_failed",
    "expect_failed",
    "slice_index_fail",
    "slice_start_index_len_fail",
    "slice_end_index_len_fail",
    "slice_index_order_fail",
    "len_mismatch_fail",
    "slice_error_fail",
];

/// The crates of the TPM's engine and of the cryptography below it.
const ENGINE: [&str; 15] = [
    "aes",
    "cipher",
    "crypto_bigint",
    "ecdsa",
    "elliptic_curve",
    "p256",
    "p384",
    "postcard",
    "primefield",
    "primeorder",
    "sha1",
    "sha2",
    "tpm",
    "tpm_crypto",
    "tpm_modular",
];

/// The content of `budgets.toml`.
#[derive(Debug)]
pub struct Budgets(Table);

impl Budgets {
    /// Reads the file.
    pub fn read() -> Result<Self> {
        let text =
            fs::read_to_string(place::root().join("budgets.toml")).context("budgets.toml")?;
        Ok(Self(text.parse().context("budgets.toml")?))
    }

    /// All budgets, each named `section.key`.
    pub fn all(&self) -> Vec<(String, f64)> {
        let mut all = vec![];
        for (section, values) in &self.0 {
            for key in values.as_table().into_iter().flatten().map(|(key, _)| key) {
                all.extend(
                    self.get(section, key).ok().map(|value| (format!("{section}.{key}"), value)),
                );
            }
        }
        all
    }

    /// A budget by section and key. A missing budget is an error, so that a typo cannot lift it.
    pub fn get(&self, section: &str, key: &str) -> Result<f64> {
        let value = self.0.get(section).and_then(|section| section.get(key));
        let number = match value {
            Some(Value::Integer(number)) => Some(*number as f64),
            Some(Value::Float(number)) => Some(*number),
            _ => None,
        };
        number.with_context(|| format!("budgets.toml has no number {section}.{key}"))
    }
}

/// Checks the budgets that need no running VM.
pub fn check(image: &Image, metadata: &Metadata) -> Result<Findings> {
    let budgets = Budgets::read()?;
    let lines = image_lines(metadata)?;
    let (callers, confined) = panic_sites(image, metadata);
    let sites: usize = callers.values().sum();
    let confined_sites: usize = confined.values().sum();
    let of_engine = image.functions.iter().filter(|function| is_engine(&function.name));
    let engine: usize = of_engine.map(|function| function.code.len()).sum();
    let per_thousand = sites as f64 * 1000.0 / lines as f64;
    println!(
        "       image: {} bytes loaded, {engine} of the TPM's engine; {sites} panic sites in {lines} \
         lines, {per_thousand:.1} per thousand; {confined_sites} in the TPM and in libraries",
        image.loaded
    );
    let is_there = |name: &&&str| image.functions.iter().any(|one| is_of(&one.name, name));
    let missing = ENGINE.iter().filter(|name| !is_there(name));
    let mut findings: Vec<String> = missing
        .map(|name| format!("no function of {name} in the image: is it another's?"))
        .collect();
    let mut hold = |key: &str, value: f64| -> Result<()> {
        let most = budgets.get("image", key)?;
        if value > most {
            findings.push(format!("{key} is {value:.1}; the budget is {most}"));
        }
        Ok(())
    };
    hold("loaded-bytes", image.loaded as f64)?;
    hold("tpm-engine-bytes", engine as f64)?;
    hold("panic-sites-per-thousand-lines", per_thousand)?;
    hold("panic-sites-of-tpm-and-libraries", confined_sites as f64)?;
    if findings.iter().any(|finding| finding.contains("panic")) {
        let mut callers: Vec<_> = callers.into_iter().chain(confined).collect();
        callers.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        findings.extend(callers.iter().map(|(name, count)| format!("{count:4} in {name}")));
    }
    Ok(findings)
}

/// Checks the size of an image against the budget in its own section.
pub fn check_size(image: &Image, name: &str) -> Result<Findings> {
    let most = Budgets::read()?.get(name, "loaded-bytes")?;
    println!("       {name}: {} bytes loaded", image.loaded);
    if image.loaded as f64 <= most {
        return Ok(vec![]);
    }
    Ok(vec![format!("loaded-bytes of {name} is {}; the budget is {most}", image.loaded)])
}

/// Lines of code of the workspace's crates in the image, except the TPM's.
fn image_lines(metadata: &Metadata) -> Result<usize> {
    let graph = image_graph()?;
    let mut lines = 0;
    let counted = |name: &String| graph.contains(name) && !is_tpm(name);
    for package in metadata.packages.iter().filter(|package| counted(&package.name)) {
        for file in rust_files(&place::root().join(&package.folder).join("src"))? {
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            if file.file_name().is_some_and(|name| name != "tests.rs") {
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                lines += code_lines(code);
            }
        }
    }
    Ok(lines)
}

/// The engine's crates. They run in the service only, where a panic ends the TPM but not the VM.
/// `tpm-commands` is not among them: VP 0 builds the paravisor's own commands with it.
fn is_tpm(package: &str) -> bool {
    matches!(package, "tpm" | "tpm-crypto" | "tpm-modular")
}

/// Whether a function belongs to the engine, or to a library for one of the engine's types, by its
/// demangled name.
fn is_engine(function: &str) -> bool {
    ENGINE.iter().any(|name| is_of(function, name))
}

/// Whether a path in a function's name begins with a crate.
fn is_of(function: &str, name: &str) -> bool {
    function.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = function.get(..at).and_then(|before| before.chars().next_back());
        !before.is_some_and(|before| before == ':' || before == '_' || before.is_alphanumeric())
    })
}

/// Whether a function belongs to a workspace crate other than the TPM's, by its demangled name.
fn is_core(function: &str, metadata: &Metadata) -> bool {
    let path = function.trim_start_matches(['<', '&', '_']);
    let own = |name: &str| {
        let name = name.replace('-', "_");
        path.strip_prefix(&name).is_some_and(|rest| rest.starts_with("::"))
    };
    metadata.packages.iter().any(|package| !is_tpm(&package.name) && own(&package.name))
}

/// Number of call sites of panicking functions, by caller: first in the workspace's crates, then in
/// the TPM and in libraries.
fn panic_sites<'a>(
    image: &'a Image,
    metadata: &Metadata,
) -> (BTreeMap<&'a str, usize>, BTreeMap<&'a str, usize>) {
    let panics = |name: &str| PANICS.iter().any(|part| name.contains(part));
    let named = |function: &&Function| panics(&function.name);
    let targets: HashSet<u64> =
        image.functions.iter().filter(named).map(|function| function.address).collect();
    let mut sites = BTreeMap::<&str, usize>::new();
    // Calls between the panicking functions themselves do not count.
    for caller in image.functions.iter().filter(|function| !panics(&function.name)) {
        let calls = caller.instructions().filter(|instruction| {
            let flow = instruction.flow_control();
            (flow == FlowControl::Call || flow == FlowControl::UnconditionalBranch)
                && targets.contains(&instruction.near_branch_target())
        });
        match calls.count() {
            0 => {}
            count => *sites.entry(caller.name.as_str()).or_default() += count,
        }
    }
    sites.into_iter().partition(|(name, _)| is_core(name, metadata))
}
