//! Resolves the addresses of a crash record by the unstripped image.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::path::Path;

use addr2line::Loader;
use anyhow::{Context, Result, anyhow};
use object::Object;

use crate::files::beside_us;
use crate::plain::check_readable;
use command_line::SymbolizeOptions;

/// `paravane symbolize`.
pub fn file(options: &SymbolizeOptions) -> Result<()> {
    let text = if options.file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
        text
    } else {
        fs::read_to_string(&options.file).with_context(|| options.file.display().to_string())?
    };
    let lines: Vec<&str> = text.lines().map(record_part).collect();
    let image = beside_us(options.image.as_deref(), "paravisor");
    let text = record(&lines, &image);
    std::io::stdout().write_all(text.as_bytes()).context("standard output")
}

/// A line without the prefix of the report port or of this program.
fn record_part(line: &str) -> &str {
    line.trim().trim_start_matches("paravane:").trim_start().trim_start_matches("panic ")
}

/// The record with the function and line of each frame. If the image can not be used, the frames
/// stay as they are and the reason follows.
pub fn record(lines: &[impl AsRef<str>], image: &Path) -> String {
    let symbols = lines
        .iter()
        .find_map(|line| build_id_of(line.as_ref()))
        .context("the record names no build")
        .and_then(|id| open(image, id));
    let mut text = String::new();
    let mut frame = 0;
    for line in lines.iter().map(AsRef::as_ref) {
        let Some(address) = address_of(line) else {
            let _ = writeln!(text, "{line}");
            continue;
        };
        let _ = write!(text, "{frame:4}: {address:#x}");
        if let Ok(loader) = &symbols {
            // All but the first are return addresses, which follow the call.
            describe(&mut text, loader, if frame == 0 { address } else { address - 1 });
        } else {
            text.push('\n');
        }
        frame += 1;
    }
    if let Err(error) = symbols {
        let _ = writeln!(text, "(no names: {error:#})");
    }
    text
}

fn build_id_of(line: &str) -> Option<&str> {
    line.strip_prefix("build-id ")?.split_whitespace().next()
}

fn address_of(line: &str) -> Option<u64> {
    let address = u64::from_str_radix(line.strip_prefix("frame 0x")?, 16).ok()?;
    (address != 0).then_some(address)
}

fn open(image: &Path, build_id: &str) -> Result<Loader> {
    let name = || image.display().to_string();
    check_readable(image)?;
    let bytes = fs::read(image).with_context(name)?;
    let object = object::File::parse(bytes.as_slice()).with_context(name)?;
    let id = object.build_id().with_context(name)?.unwrap_or_default();
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    if id != build_id {
        return Err(anyhow!("{} is from build {id}", image.display()));
    }
    Loader::new(image).map_err(|error| anyhow!("{}: {error}", image.display()))
}

fn describe(text: &mut String, loader: &Loader, address: u64) {
    let mut described = false;
    if let Ok(mut frames) = loader.find_frames(address) {
        while let Ok(Some(frame)) = frames.next() {
            let function = frame.function.as_ref().and_then(|name| name.demangle().ok());
            // Line tables name only functions into which others are inlined; the symbol table names
            // the rest.
            let function = function.or_else(|| symbol(loader, address));
            let function = function.as_deref().unwrap_or("?");
            let lead = if described { "      inlined into" } else { "" };
            let _ = write!(text, "{lead} {function}");
            if let Some(place) = frame.location {
                let file = place.file.unwrap_or("?");
                let _ = write!(text, " at {file}:{}", place.line.unwrap_or_default());
            }
            text.push('\n');
            described = true;
        }
    }
    if !described {
        let _ = writeln!(text, " {}", symbol(loader, address).as_deref().unwrap_or("?"));
    }
}

/// The name of the function at `address` by the symbol table.
fn symbol(loader: &Loader, address: u64) -> Option<Cow<'_, str>> {
    let name = loader.find_symbol(address)?;
    Some(addr2line::demangle_auto(Cow::Borrowed(name), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_told_from_what_surrounds_it() {
        for line in ["panic frame 0x101234", "paravane: frame 0x101234", "  frame 0x101234"] {
            assert_eq!(address_of(record_part(line)), Some(0x10_1234));
        }
        assert_eq!(address_of("frame 0xzz"), None);
        assert_eq!(address_of("frame 0x0"), None);
        assert_eq!(build_id_of("build-id 00ff load-offset 0x1000"), Some("00ff"));
    }

    #[test]
    fn a_record_without_its_image_is_still_shown() {
        let text =
            record(&["boom", "build-id 00ff load-offset 0x0", "frame 0x1"], "/none".as_ref());
        assert!(text.starts_with("boom\n") && text.contains("0: 0x1\n"), "{text}");
        assert!(text.contains("(no names: /none"), "{text}");
    }

    #[test]
    fn frames_of_this_very_program_have_names() {
        // Any ELF file will do, with or without a build ID.
        let path = std::env::current_exe().unwrap();
        let bytes = fs::read(&path).unwrap();
        let object = object::File::parse(bytes.as_slice()).unwrap();
        let id: String = object
            .build_id()
            .unwrap()
            .unwrap_or_default()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let line = format!("build-id {id} load-offset 0x0");
        let text = record(&[line, format!("frame {:#x}", object.entry())], &path);
        assert!(text.contains("_start"), "{text}");
    }
}
