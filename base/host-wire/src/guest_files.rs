//! Files that the user hands to the firmware of Drydock's guest.
//!
//! One file has their names, a line for each; the files themselves are numbered in that order.

/// The names in the guest, a line for each; may be missing.
pub const NAMES: &str = "opt/org.paravane/guest-files";
/// The names by which the host hands in the files. QEMU has room for few files.
pub const CONTENTS: [&str; 8] = [
    "opt/org.paravane/guest-file-0",
    "opt/org.paravane/guest-file-1",
    "opt/org.paravane/guest-file-2",
    "opt/org.paravane/guest-file-3",
    "opt/org.paravane/guest-file-4",
    "opt/org.paravane/guest-file-5",
    "opt/org.paravane/guest-file-6",
    "opt/org.paravane/guest-file-7",
];
/// The longest name of a file in the guest, in bytes (QEMU, docs/specs/fw_cfg: a zero follows it).
pub const MOST_LENGTH: usize = 55;

/// Whether a file in the guest can have this name.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MOST_LENGTH
        && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_a_name_that_qemu_takes_as_it_is() {
        for (number, name) in CONTENTS.iter().enumerate() {
            assert_eq!(*name, std::format!("opt/org.paravane/guest-file-{number}"));
        }
        assert!(is_name(NAMES) && CONTENTS.into_iter().all(is_name));
    }

    #[test]
    fn a_name_is_one_line_that_a_zero_can_follow() {
        for (name, is) in [
            ("etc/e820", true),
            (&"n".repeat(55)[..], true),
            (&"n".repeat(56)[..], false),
            ("", false),
            ("two\nlines", false),
            ("zero\0", false),
            ("größe", false),
        ] {
            assert_eq!(is_name(name), is, "{name:?}");
        }
    }
}
