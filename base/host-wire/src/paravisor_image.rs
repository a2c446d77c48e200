//! The layout of an IGVM file that starts the paravisor at VMPL0.
//!
//! The builder of the file and the paravisor in it share this layout. All addresses are
//! guest-physical. The entry code, the image's place, the CPUID page, the secrets page and the pages
//! of the loader's parameters are those of [`crate::linux_start`].

use crate::linux_start::{FILES, File};

/// The end of the paravisor's own range, which starts at [`crate::linux_start::INFO`].
pub const OWN_END: u64 = 0x100_0000;
/// The address of the first file.
pub const FIRST_FILE: u64 = FILES;

/// The files, in the order of their names in [`NAMES`].
pub const COUNT: usize = 5;
/// The names of the files.
pub const NAMES: [&str; COUNT] = [
    crate::file::CONFIG,
    crate::file::KERNEL,
    crate::file::KERNEL_NAME,
    crate::file::INITRD,
    crate::file::COMMAND_LINE,
];

/// Bytes of the page with the places of the files.
pub const INFO_SIZE: usize = COUNT * 16;

/// The bytes of that page: start and length of each file; a file that is missing has no length.
pub fn to_bytes(files: &[File; COUNT]) -> [u8; INFO_SIZE] {
    let mut bytes = [0; INFO_SIZE];
    let words = files.map(|file| [file.start, file.length]);
    for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words.as_flattened()) {
        *to = word.to_le_bytes();
    }
    bytes
}

/// Reads the places from the bytes of the page.
pub fn from_bytes(bytes: &[u8; INFO_SIZE]) -> [File; COUNT] {
    let mut words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    core::array::from_fn(|_| {
        let [start, length] = [words.next(), words.next()].map(Option::unwrap_or_default);
        File { start, length }
    })
}

/// The set of the paravisor's reasons in the GHCB protocol's termination: one that neither the
/// protocol, Linux nor our stub uses.
pub const REASON_SET: u8 = 9;

/// Why the paravisor ends the VM before it has a console, or after a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// A bug of ours.
    Crash = 1,
    /// The CPU does not say that SEV-SNP is on, with restricted injection.
    NoSnp = 2,
    /// The firmware's CPUID page is invalid.
    Cpuid = 3,
    /// The host's memory map is wrong, or leaves too little RAM.
    MemoryMap = 4,
    /// The number of VPs is wrong.
    VpCount = 5,
    /// A page could not be accepted, or had been accepted already: the host has exchanged it.
    Accept = 6,
    /// A page could not be shared with the host, or the host refuses the GHCB.
    Share = 7,
    /// The host has no doorbell page, or no further privilege level.
    Levels = 8,
    /// The machine ended with a status; the host had no other way to be told.
    Ended = 9,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 9] = [
        Self::Crash,
        Self::NoSnp,
        Self::Cpuid,
        Self::MemoryMap,
        Self::VpCount,
        Self::Accept,
        Self::Share,
        Self::Levels,
        Self::Ended,
    ];

    /// The reason for the user.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Crash => "the paravisor crashed, a bug of ours",
            Self::NoSnp => "the CPU offers no SEV-SNP with restricted injection",
            Self::Cpuid => "the firmware gave the paravisor no valid CPUID page",
            Self::MemoryMap => "the VM has too little RAM, or the host's memory map is wrong",
            Self::VpCount => "the host gives a number of VPs that the paravisor can not start",
            Self::Accept => "the host has exchanged a page, or gives none",
            Self::Share => "the host does not share pages with the paravisor",
            Self::Levels => {
                "the host offers no further privilege level, no AP creation, or no restricted injection"
            }
            Self::Ended => "the paravisor ended the VM; its last line says why",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tells_what_the_builder_wrote() {
        let files = core::array::from_fn(|index| File {
            start: FIRST_FILE + (index as u64) * 0x1000,
            length: index as u64 * 7,
        });
        assert_eq!(from_bytes(&to_bytes(&files)), files);
    }

    #[test]
    fn reasons_have_words_and_numbers_of_their_own() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            let others = || Reason::ALL.iter().skip(index + 1);
            assert!(others().all(|other| *other as u8 != *reason as u8));
            assert!(others().all(|other| other.words() != reason.words()));
        }
    }
}
