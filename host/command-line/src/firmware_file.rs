//! A file for the firmware of Drydock's guest.

use std::path::PathBuf;

use host_wire::guest_files::{MOST_LENGTH, is_name};

/// The value of `--fw-cfg`, in the form that QEMU's option `-fw_cfg` has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareFile {
    /// Its name in the guest.
    pub name: String,
    /// Its content.
    pub content: FirmwareContent,
}

/// Where the bytes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirmwareContent {
    /// A file of the user's.
    File(PathBuf),
    /// The command line.
    Text(String),
}

/// Parses `name=NAME,file=FILE` or `name=NAME,string=TEXT`. What follows the second sign of equality
/// is taken as it is, with commas.
pub fn parse(text: &str) -> Result<FirmwareFile, String> {
    let form = || "give name=NAME,file=FILE or name=NAME,string=TEXT".to_owned();
    let (name, rest) = text.split_once(',').ok_or_else(form)?;
    // QEMU lets the key of a name be missing.
    let name = name.strip_prefix("name=").unwrap_or(name);
    if !is_name(name) {
        return Err(format!("a name has 1 to {MOST_LENGTH} printable ASCII characters"));
    }
    let content = match rest.split_once('=') {
        Some(("file", path)) if !path.is_empty() => FirmwareContent::File(path.into()),
        Some(("string", text)) => FirmwareContent::Text(text.to_owned()),
        _ => return Err(form()),
    };
    Ok(FirmwareFile { name: name.to_owned(), content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_content_are_taken_as_they_are() {
        for (text, name, content) in [
            ("name=opt/a,file=/x/y", "opt/a", FirmwareContent::File("/x/y".into())),
            ("opt/a,file=one,two=3", "opt/a", FirmwareContent::File("one,two=3".into())),
            ("name=opt/a,string=", "opt/a", FirmwareContent::Text(String::new())),
            ("name=opt/a,string=a=b,c", "opt/a", FirmwareContent::Text("a=b,c".into())),
        ] {
            assert_eq!(parse(text), Ok(FirmwareFile { name: name.into(), content }), "{text}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let long = format!("name={},file=x", "n".repeat(56));
        for text in
            ["", "name=a", "name=a,file", "name=a,file=", "name=a,size=3", "name=,file=x", &long]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
