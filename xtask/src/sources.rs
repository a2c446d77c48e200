//! A temporary apt source for any suite, derived from this machine's sources: this tree names no
//! mirror.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

/// One apt source: its address, suites and options.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    suite: String,
    /// Options of the one-line form, without brackets.
    options: String,
}

/// The sources of `suite` in apt's one-line form, derived from this machine's sources for `own`:
/// the suite itself first, then its security updates.
pub fn derive(own: &str, suite: &str) -> Result<Vec<String>> {
    let mut text = read("/etc/apt/sources.list".as_ref(), one_line);
    let folder = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    let mut files: Vec<_> = folder.map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => text.extend(read(&file, one_line)),
            Some("sources") => text.extend(read(&file, deb822)),
            _ => {}
        }
    }
    let lines = replace(&text, own, suite);
    if lines.is_empty() {
        bail!("the machine's apt sources do not name {own}");
    }
    Ok(lines)
}

fn read(path: &Path, parse: fn(&str) -> Vec<Source>) -> Vec<Source> {
    fs::read_to_string(path).map(|text| parse(&text)).unwrap_or_default()
}

/// Parses the form `deb [options] uri suite component…`.
fn one_line(text: &str) -> Vec<Source> {
    let parse = |line: &str| {
        let rest = line.trim().strip_prefix("deb")?;
        let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        let options = options.trim().to_owned();
        words.any(|word| word == "main").then(|| Source {
            uri: uri.into(),
            suite: suite.into(),
            options,
        })
    };
    text.lines().filter_map(parse).collect()
}

/// Parses the form of paragraphs with fields.
fn deb822(text: &str) -> Vec<Source> {
    let text: String =
        text.lines().filter(|line| !line.starts_with('#')).fold(String::new(), |mut text, line| {
            // A line that starts with a blank continues the previous one.
            if !line.starts_with([' ', '\t']) || line.trim().is_empty() {
                text.push('\n');
            }
            text.push_str(line.trim_end());
            text
        });
    text.split("\n\n").flat_map(paragraph).collect()
}

fn paragraph(text: &str) -> Vec<Source> {
    let field = |name: &str| {
        let matching = text.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        matching.unwrap_or_default()
    };
    let has = |name: &str, word: &str| field(name).split_whitespace().any(|found| found == word);
    let disabled = ["no", "false", "0"].contains(&field("Enabled"));
    if disabled || !has("Types", "deb") || !has("Components", "main") {
        return vec![];
    }
    let key = field("Signed-By");
    // A key embedded in the file has no one-line form; the machine's other keys may suffice.
    let options = if key.starts_with('/') {
        format!("signed-by={}", key.replace(' ', ","))
    } else {
        String::new()
    };
    let mut sources = vec![];
    for uri in field("URIs").split_whitespace() {
        for suite in field("Suites").split_whitespace() {
            sources.push(Source {
                uri: uri.to_owned(),
                suite: suite.to_owned(),
                options: options.clone(),
            });
        }
    }
    sources
}

/// The lines for `suite`. Only the suite and its security updates are kept: fewer sources means
/// fewer that can be missing.
fn replace(sources: &[Source], own: &str, suite: &str) -> Vec<String> {
    let mut lines = vec![];
    for suffix in ["", "-security"] {
        for source in sources.iter().filter(|source| source.suite == format!("{own}{suffix}")) {
            let options = if source.options.is_empty() {
                String::new()
            } else {
                format!("[{}] ", source.options)
            };
            let line = format!("deb {options}{} {suite}{suffix} main", source.uri);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_give_the_same_sources() {
        let lines = "# x\ndeb [signed-by=/k.gpg] http://m.example/debian old main contrib\n\
                     deb-src http://m.example/debian old main\ndeb http://o.example x contrib\n";
        let paragraphs = "Types: deb deb-src\n# comment\nURIs: http://m.example/debian\n\
                          Suites: old\nComponents: main\n contrib\nSigned-By: /k.gpg\n\n\
                          Types: deb\nEnabled: no\nURIs: http://o.example\nSuites: old\n\
                          Components: main\n";
        assert_eq!(one_line(lines), deb822(paragraphs));
        assert_eq!(one_line(lines).len(), 1);
    }

    #[test]
    fn suites_are_replaced_and_others_left_out() {
        let text = "deb http://m.example/d old main\ndeb http://m.example/d old-updates main\n\
                    deb http://m.example/s old-security main\ndeb http://x.example tool main\n";
        assert_eq!(
            replace(&one_line(text), "old", "new"),
            ["deb http://m.example/d new main", "deb http://m.example/s new-security main"]
        );
    }
}
