//! `unsafe` is licensed per crate; all other crates forbid it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Findings;
use super::lengths::rust_files;
use super::metadata::{Metadata, Package};
use crate::place;

/// Folders whose crates may contain `unsafe`; test guests run on bare metal too.
const LICENSED: [&str; 6] =
    ["base/guest-memory", "kernel", "hardware", "platform", "images", "tests/guests"];
const FORBID: &str = "#![forbid(unsafe_code)]";

/// Checks every crate without the licence.
pub fn check(metadata: &Metadata) -> Result<Findings> {
    let mut findings = vec![];
    let unlicensed =
        |package: &&Package| !LICENSED.iter().any(|folder| package.folder.starts_with(folder));
    for package in metadata.packages.iter().filter(unlicensed) {
        for root in &package.crate_roots {
            let text = read(root)?;
            if !text.lines().any(|line| line == FORBID) {
                findings.push(format!("{} lacks {FORBID}", root.display()));
            }
        }
        // Tests and build scripts are separate crates, each with its own attribute.
        for file in rust_files(&place::root().join(&package.folder))? {
            for line in lines_with_unsafe(&read(&file)?) {
                findings.push(format!("{}:{line} is unsafe", file.display()));
            }
        }
    }
    Ok(findings)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// Numbers of lines where the keyword opens a block or an item.
fn lines_with_unsafe(text: &str) -> Vec<usize> {
    let opens = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        ["{", "fn ", "impl ", "extern ", "trait "].iter().any(|next| {
            let pattern = format!("{} {next}", "unsafe");
            code.match_indices(&pattern).any(|(at, _)| {
                // Skip the end of another word and quoted text.
                let before = code.get(..at).unwrap_or_default();
                !before.ends_with(|c: char| c.is_alphanumeric() || c == '_')
                    && before.matches('"').count() % 2 == 0
            })
        })
    };
    (1..).zip(text.lines()).filter(|(_, line)| opens(line)).map(|(number, _)| number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyword_is_found_where_it_opens_something() {
        let keyword = "unsafe";
        for (text, found) in [
            (format!("let x = {keyword} {{ f() }};"), true),
            (format!("pub {keyword} fn f() {{}}"), true),
            (format!("{keyword} impl Send for T {{}}"), true),
            (format!("// {keyword} {{"), false),
            (format!("let un{keyword} {{"), false),
            (format!("say(\"{keyword} {{}}\")"), false),
            (FORBID.to_owned(), false),
        ] {
            assert_eq!(!lines_with_unsafe(&text).is_empty(), found, "{text}");
        }
    }
}
