//! Limits on the length of files and functions.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Findings;

/// Most lines of code in a file; blank lines and comments do not count.
const FILE: usize = 500;
/// Most lines of a function, from its name to its closing brace.
const FUNCTION: usize = 70;
/// A longer function needs a comment with this prefix and a reason, in the line above it.
const REASON: &str = "// Long: ";

/// Checks all Rust files below `root`.
pub fn check(root: &Path) -> Result<Findings> {
    let mut findings = vec![];
    for path in rust_files(root)? {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let name = path.strip_prefix(root).unwrap_or(&path).display();
        let lines = code_lines(&text);
        if lines > FILE {
            findings.push(format!("{name} has {lines} lines of code; {FILE} are the most"));
        }
        for (line, length) in functions(&text).into_iter().filter(|(_, length)| *length > FUNCTION)
        {
            findings.push(format!(
                "{name}:{line} is a function of {length} lines; {FUNCTION} are \
                the most"
            ));
        }
    }
    Ok(findings)
}

/// All Rust files below a folder, except build results, hidden files and other workspaces.
pub fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Lines that are neither blank nor a comment.
pub fn code_lines(text: &str) -> usize {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

/// First line and length of each function. The text is formatted by rustfmt: the closing brace is
/// alone on its line, in the column where the function's first line starts.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = vec![];
    for (index, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let has_reason = index > 0
            && lines.get(index - 1).is_some_and(|above| above.trim_start().starts_with(REASON));
        if !is_function(line.trim_start()) || has_reason {
            continue;
        }
        let mut rest = lines.iter().skip(index);
        let ends = |line: &&str| {
            let body = line.get(indent..).unwrap_or_default();
            line.len() - line.trim_start().len() == indent
                && (body == "}"
                    || body.ends_with(" }")
                    || body.ends_with("{}")
                    || body.ends_with(';'))
        };
        if let Some(end) = rest.position(ends) {
            found.push((index + 1, end + 1));
        }
    }
    found
}

fn is_function(line: &str) -> bool {
    let mut rest = line;
    loop {
        if rest.starts_with("fn ") {
            return true;
        }
        let word = rest.split(' ').next().unwrap_or_default();
        let leads = word.starts_with("pub")
            || ["const", "async", "unsafe", "extern", "\"C\"", "\"sysv64\""].contains(&word);
        match rest.split_once(' ') {
            Some((_, next)) if leads => rest = next,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_from_name_to_brace() {
        let text = "fn a() {}\n    pub(crate) const unsafe fn b(\n        x: u8,\n    ) -> u8 {\n        \
                    if x {\n        }\n    }\nlet fn_c = 1;\n    fn d();\n// Long: a table.\nfn e() {\n}\n";
        assert_eq!(functions(text), [(1, 1), (2, 6), (9, 1)]);
    }

    #[test]
    fn comments_and_blank_lines_are_no_code() {
        assert_eq!(code_lines("//! a\n\n  // b\nlet x = 1; // c\n"), 1);
    }
}
