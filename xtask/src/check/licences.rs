//! Licences of all dependencies, with the crates banned from the image. Both lists are in
//! `deny.toml`.

use std::fs;

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

use super::Findings;
use super::metadata::Metadata;
use crate::build::{cargo, output};
use crate::place;

/// Checks the dependency graph.
pub fn check(metadata: &Metadata) -> Result<Findings> {
    let text = fs::read_to_string(place::root().join("deny.toml")).context("deny.toml")?;
    let lists: Table = text.parse().context("deny.toml")?;
    let allowed = strings(&lists, "licenses", "allow")?;
    let banned = strings(&lists, "bans", "deny")?;
    let mut findings = vec![];
    for package in &metadata.foreign {
        if !permits(&package.licence, &allowed) {
            findings.push(format!("{} has the licence `{}`", package.name, package.licence));
        }
    }
    for name in image_graph()? {
        if banned.contains(&name) {
            findings.push(format!("{name} is in the image"));
        }
    }
    Ok(findings)
}

/// Names of all packages in the image.
pub fn image_graph() -> Result<Vec<String>> {
    let text = output(cargo().args([
        "tree",
        "--package",
        "paravisor",
        "--target",
        place::BARE_METAL,
        "--edges",
        "normal",
        "--prefix",
        "none",
    ]))?;
    let names = text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned);
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    Ok(names)
}

fn strings(lists: &Table, section: &str, key: &str) -> Result<Vec<String>> {
    let list = lists.get(section).and_then(|section| section.get(key)).and_then(Value::as_array);
    let Some(list) = list else { bail!("deny.toml has no {section}.{key}") };
    Ok(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Whether the allowed licences satisfy an SPDX expression.
fn permits(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    either(&mut rest, allowed) && rest.is_empty()
}

fn either(words: &mut &[&str], allowed: &[String]) -> bool {
    let mut fine = both(words, allowed);
    while let Some((&"OR", rest)) = words.split_first() {
        *words = rest;
        // Both sides must be parsed, so no short circuit.
        fine |= both(words, allowed);
    }
    fine
}

fn both(words: &mut &[&str], allowed: &[String]) -> bool {
    let mut fine = one(words, allowed);
    while let Some((&"AND", rest)) = words.split_first() {
        *words = rest;
        fine &= one(words, allowed);
    }
    fine
}

fn one(words: &mut &[&str], allowed: &[String]) -> bool {
    let Some((first, rest)) = words.split_first() else { return false };
    *words = rest;
    if *first == "(" {
        let fine = either(words, allowed);
        let closed = words.first() == Some(&")");
        *words = words.get(1..).unwrap_or_default();
        return fine && closed;
    }
    if let [with, _, rest @ ..] = *words
        && *with == "WITH"
    {
        // An exception only ever permits more.
        *words = rest;
    }
    allowed.iter().any(|licence| licence == first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_satisfied_or_not() {
        let allowed = ["MIT".to_owned(), "Unicode-3.0".to_owned()];
        for (expression, fine) in [
            ("MIT", true),
            ("MIT OR GPL-3.0", true),
            ("GPL-3.0/MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("(GPL-3.0 OR Apache-2.0) AND Unicode-3.0", false),
            ("Apache-2.0 WITH LLVM-exception OR MIT", true),
            ("", false),
            ("(MIT", false),
            ("MIT MIT", false),
        ] {
            assert_eq!(permits(expression, &allowed), fine, "{expression}");
        }
    }
}
