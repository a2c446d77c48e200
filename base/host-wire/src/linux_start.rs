//! The layout of an IGVM file that starts Linux directly.
//!
//! The builder of the file and the measured stub in it share this layout. All addresses are
//! guest-physical. The stub starts in 32-bit mode without paging. All memory is private in that
//! mode, so the place of the C-bit does not matter.

/// The address at which the stub is linked and entered.
pub const STUB: u64 = 0x80_0000;
/// The end of the stub's memory with code, data, stack and heap.
pub const STUB_END: u64 = 0xa0_0000;
/// The page with the addresses of the files: an [`Info`] in little-endian form.
pub const INFO: u64 = 0x7f_0000;
/// The CPUID page.
pub const CPUID: u64 = 0x7f_1000;
/// The secrets page.
pub const SECRETS: u64 = 0x7f_2000;
/// The parameter page with the memory map.
pub const MEMORY_MAP: u64 = 0x7f_3000;
/// The parameter page with the number of VPs.
pub const VP_COUNT: u64 = 0x7f_4000;
/// The page by which Linux finds its CPUID page and secrets page; the stub writes it.
pub const CC_BLOB: u64 = 0x7f_5000;
/// The first VP's save area.
pub const VMSA: u64 = 0x7f_6000;
/// The end of these pages.
pub const PAGES_END: u64 = 0x7f_7000;
/// The address of the first file.
pub const FILES: u64 = 96 << 20;

/// The set of the stub's reasons in the GHCB protocol's termination: one that neither the protocol
/// nor Linux uses.
pub const REASON_SET: u8 = 8;

/// Why the stub ends the VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// The stub does not fit into its memory: our own mistake.
    OwnMemory = 1,
    /// The page with the addresses of the files is wrong.
    Info = 2,
    /// The host's memory map is wrong.
    MemoryMap = 3,
    /// A page could not be accepted, or had been accepted already, because the host has exchanged it.
    Accept = 4,
    /// The number of VPs is wrong.
    VpCount = 5,
    /// The machine can not be described.
    Tables = 6,
    /// The kernel can not be loaded.
    Kernel = 7,
    /// A mistake of our own.
    Panic = 8,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::OwnMemory,
        Self::Info,
        Self::MemoryMap,
        Self::Accept,
        Self::VpCount,
        Self::Tables,
        Self::Kernel,
        Self::Panic,
    ];

    /// The reason for the user.
    pub const fn words(self) -> &'static str {
        match self {
            Self::OwnMemory => "the stub does not fit into its memory, a bug of ours",
            Self::Info => "the stub finds no files, or a command line that is too long",
            Self::MemoryMap => "the VM has too little RAM, or the host's memory map is wrong",
            Self::Accept => "the host has exchanged a page, or gives none",
            Self::VpCount => "the host gives a wrong number of VPs",
            Self::Tables => "the stub can not describe the machine to Linux",
            Self::Kernel => "the kernel, its initrd or its command line can not be loaded",
            Self::Panic => "the stub crashed, a bug of ours",
        }
    }
}

/// A file in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Its first byte, at the start of a page.
    pub start: u64,
    /// Its bytes.
    pub length: u64,
}

impl File {
    /// The end of its last page.
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.length).saturating_add(0xfff) & !0xfff
    }
}

/// The files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// The kernel, a bzImage.
    pub kernel: File,
    /// The initial RAM disk; empty without one.
    pub initrd: File,
    /// The command line, without a zero behind it.
    pub command_line: File,
}

/// Bytes of an [`Info`].
pub const INFO_SIZE: usize = 6 * 8;

impl Info {
    /// The bytes of its page.
    pub fn to_bytes(self) -> [u8; INFO_SIZE] {
        let Self { kernel, initrd, command_line } = self;
        let mut bytes = [0; INFO_SIZE];
        let words = [kernel, initrd, command_line].map(|file| [file.start, file.length]);
        for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words.as_flattened()) {
            *to = word.to_le_bytes();
        }
        bytes
    }

    /// Reads it from the bytes of its page.
    pub fn from_bytes(bytes: &[u8; INFO_SIZE]) -> Self {
        let mut words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut file = || {
            let [start, length] = [words.next(), words.next()].map(Option::unwrap_or_default);
            File { start, length }
        };
        Self { kernel: file(), initrd: file(), command_line: file() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_words_and_numbers_of_their_own() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            let others = || Reason::ALL.iter().skip(index + 1);
            assert!(others().all(|other| *other as u8 != *reason as u8));
            assert!(others().all(|other| other.words() != reason.words()));
        }
    }

    /// A file without bytes has no pages, and one whose end is no address ends at the last one.
    #[test]
    fn a_file_ends_where_its_last_page_does() {
        for (start, length, end) in [
            (FILES, 0, FILES),
            (FILES, 1, FILES + 0x1000),
            (FILES, 0x1000, FILES + 0x1000),
            (FILES, 0x1001, FILES + 0x2000),
            (u64::MAX, u64::MAX, !0xfff),
        ] {
            assert_eq!(File { start, length }.end(), end, "{length:#x} bytes at {start:#x}");
        }
    }

    #[test]
    fn no_page_is_for_two_things() {
        let pages = [INFO, CPUID, SECRETS, MEMORY_MAP, VP_COUNT, CC_BLOB, VMSA];
        for (index, page) in pages.iter().enumerate() {
            assert!(page.is_multiple_of(0x1000), "{page:#x}");
            assert!(!pages[..index].contains(page), "{page:#x} twice");
            assert!((INFO..PAGES_END).contains(page), "{page:#x}");
        }
        // An erratum: CPUs report a false RMP violation where a save area begins a large page.
        const { assert!(!VMSA.is_multiple_of(2 << 20)) };
        let ends = [PAGES_END, STUB, STUB_END, FILES];
        assert!(ends.is_sorted(), "{ends:#x?}");
    }

    #[test]
    fn the_page_tells_what_the_builder_wrote() {
        let file = |start, length| File { start, length };
        let info = Info {
            kernel: file(FILES, 8_000_001),
            initrd: file(FILES + (8 << 20), 3),
            command_line: file(FILES + (9 << 20), 17),
        };
        assert_eq!(Info::from_bytes(&info.to_bytes()), info);
        assert_eq!(info.kernel.end(), FILES + 8_003_584);
    }
}
