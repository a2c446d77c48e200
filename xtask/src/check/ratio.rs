//! The ratio of test lines to code lines of each pure crate.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Findings;
use super::lengths::rust_files;
use super::metadata::{Metadata, Package};
use crate::place;

/// Rooms of crates that run under plain `cargo test`.
const ROOMS: [&str; 7] = ["base", "devices", "tpm", "hyperv", "storage", "vmm", "drydock"];
/// Crates with nothing to test: they hold traits and the types that these pass.
const TRAITS: [&str; 1] = ["platform-api"];
/// Minimum lines of test per hundred lines of code.
const LEAST: usize = 50;
/// Lines of test per hundred lines of code that a crate should reach.
const GOAL: usize = 80;

/// Lines that are neither blank nor a comment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    code: usize,
    test: usize,
}

impl Lines {
    fn percent(self) -> usize {
        (self.test * 100).checked_div(self.code).unwrap_or_default()
    }
}

/// Checks every pure crate, and prints the ratios.
pub fn check(metadata: &Metadata) -> Result<Findings> {
    let is_pure = |package: &&Package| {
        ROOMS.iter().any(|room| package.folder.starts_with(room))
            && !TRAITS.contains(&package.name.as_str())
    };
    let (mut findings, mut said) = (vec![], vec![]);
    for package in metadata.packages.iter().filter(is_pure) {
        let lines = count(&place::root().join(&package.folder))?;
        let (name, percent) = (&package.name, lines.percent());
        said.push(format!("{name} {}.{:02}", percent / 100, percent % 100));
        if percent < LEAST {
            let Lines { code, test } = lines;
            findings.push(format!("{name} has {test} lines of test to {code} lines of code"));
        }
    }
    println!("       test to code, at least 0.{LEAST}, goal 0.{GOAL}: {}", said.join(", "));
    Ok(findings)
}

fn count(folder: &Path) -> Result<Lines> {
    let mut sum = Lines::default();
    for path in rust_files(folder)? {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let inside = path.strip_prefix(folder).unwrap_or(&path);
        let is_test = inside.components().any(|part| part.as_os_str() == "tests")
            || inside.ends_with("tests.rs");
        let lines = count_text(&text, is_test);
        sum = Lines { code: sum.code + lines.code, test: sum.test + lines.test };
    }
    Ok(sum)
}

/// Counts one file. Everything after `#[cfg(test)]` and a module's opening brace is test, because
/// that module comes last by convention.
fn count_text(text: &str, is_test: bool) -> Lines {
    let mut lines = Lines::default();
    let (mut in_test, mut announced) = (is_test, false);
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        in_test |= announced && line.starts_with("mod ") && line.ends_with('{');
        announced = line == "#[cfg(test)]" || announced && line.starts_with("#[");
        *if in_test { &mut lines.test } else { &mut lines.code } += 1;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_module_is_test_and_its_declaration_is_not() {
        let text = "//! a\nfn b() {}\n\n#[cfg(test)]\nmod tests {\n    // c\n    fn d() {}\n}\n";
        assert_eq!(count_text(text, false), Lines { code: 2, test: 3 });
        assert_eq!(count_text("#[cfg(test)]\nmod tests;\nmod x {\n}\n", false).test, 0);
        assert_eq!(count_text("fn a() {}\n", true), Lines { code: 0, test: 1 });
        assert_eq!(Lines { code: 200, test: 99 }.percent(), 49);
    }
}
