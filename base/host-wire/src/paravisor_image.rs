//! The layout of an IGVM file that starts the paravisor at VMPL0.
//!
//! The builder of the file and the paravisor in it share this layout. All addresses are
//! guest-physical. The entry code, the image's place, the CPUID page, the secrets page and the pages
//! of the loader's parameters are those of [`crate::linux_start`].
//!
//! The page at [`crate::linux_start::INFO`] is measured. It holds the configuration, with the
//! lengths and digests of the files that the host hands in by fw_cfg ([`Measured`]).

use crate::Status;

/// The end of the paravisor's own range, which starts at [`crate::linux_start::INFO`].
pub const OWN_END: u64 = 0x100_0000;

/// The number of files.
pub const COUNT: usize = 4;
/// The names of the files that the host hands in, in the order of their digests.
pub const NAMES: [&str; COUNT] =
    [crate::file::KERNEL, crate::file::KERNEL_NAME, crate::file::INITRD, crate::file::COMMAND_LINE];

/// Bytes of a SHA-256 digest.
pub const DIGEST_SIZE: usize = 32;
/// Bytes of a [`FileDigest`]: the length in eight bytes, little-endian, then the digest.
const FILE_SIZE: usize = 8 + DIGEST_SIZE;
/// The place of the configuration's length, in four bytes, little-endian. Its text follows.
const CONFIG_LENGTH: usize = COUNT * FILE_SIZE;
const CONFIG: usize = CONFIG_LENGTH + 4;
/// Bytes of the measured page.
pub const PAGE_SIZE: usize = 4096;
/// The longest configuration that the page has room for, in bytes.
pub const MOST_CONFIG: usize = PAGE_SIZE - CONFIG;

/// What a file of the host's must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileDigest {
    /// Its bytes; zero without such a file.
    pub length: u64,
    /// Their SHA-256 digest.
    pub sha256: [u8; DIGEST_SIZE],
}

/// The content of the measured page at [`crate::linux_start::INFO`]: all that the paravisor starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured<'a> {
    /// The files, in the order of [`NAMES`].
    pub files: [FileDigest; COUNT],
    /// The configuration: see [`crate::config`].
    pub config: &'a [u8],
}

impl<'a> Measured<'a> {
    /// The bytes of the page; none if the configuration is longer than [`MOST_CONFIG`].
    pub fn to_page(&self) -> Option<[u8; PAGE_SIZE]> {
        let Self { files, config } = self;
        let mut page = [0; PAGE_SIZE];
        for (to, file) in page.as_chunks_mut::<FILE_SIZE>().0.iter_mut().zip(files) {
            let (length, digest) = to.split_at_mut(8);
            length.copy_from_slice(&file.length.to_le_bytes());
            digest.copy_from_slice(&file.sha256);
        }
        let length = u32::try_from(config.len()).ok()?;
        page.get_mut(CONFIG_LENGTH..CONFIG)?.copy_from_slice(&length.to_le_bytes());
        page.get_mut(CONFIG..)?.get_mut(..config.len())?.copy_from_slice(config);
        Some(page)
    }

    /// Reads the page; none if its configuration would end behind it.
    pub fn from_page(page: &'a [u8; PAGE_SIZE]) -> Option<Self> {
        let mut entries = page.as_chunks::<FILE_SIZE>().0.iter();
        let files = core::array::from_fn(|_| {
            let (length, digest) = entries.next()?.split_first_chunk()?;
            let sha256 = digest.try_into().ok()?;
            Some(FileDigest { length: u64::from_le_bytes(*length), sha256 })
        });
        let (length, text) = page.get(CONFIG_LENGTH..)?.split_first_chunk()?;
        let config = text.get(..u32::from_le_bytes(*length) as usize)?;
        Some(Self { files: files.map(Option::unwrap_or_default), config })
    }
}

/// The set of the paravisor's reasons in the GHCB protocol's termination: one that neither the
/// protocol, Linux nor our stub uses.
pub const REASON_SET: u8 = 9;

/// The set in which the paravisor's reason is the [`Status`] that its machine ends with.
pub const STATUS_SET: u8 = 10;

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
    /// The measured page is wrong: the image's builder made a mistake.
    Measured = 9,
    /// The policy of the launch lets the host in, or the firmware gives no report that tells it.
    Policy = 10,
    /// The firmware tells no parameters of Secure TSC, with which the VM was launched.
    Time = 11,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Crash,
        Self::NoSnp,
        Self::Cpuid,
        Self::MemoryMap,
        Self::VpCount,
        Self::Accept,
        Self::Share,
        Self::Levels,
        Self::Measured,
        Self::Policy,
        Self::Time,
    ];

    /// The status that stands for the reason.
    pub const fn status(self) -> Status {
        match self {
            Self::Crash => Status::ParavisorCrashed,
            Self::Measured => Status::BadConfig,
            Self::NoSnp
            | Self::Cpuid
            | Self::MemoryMap
            | Self::VpCount
            | Self::Accept
            | Self::Share
            | Self::Levels
            | Self::Policy
            | Self::Time => Status::UnusableVm,
        }
    }

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
            Self::Policy => "the launch's policy lets the host in, or the firmware gives no report",
            Self::Time => "the firmware tells no parameters of Secure TSC",
            Self::Measured => "the page that the image's builder has measured is wrong",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> [FileDigest; COUNT] {
        let file = |index| FileDigest { length: index as u64 * 7, sha256: [index as u8; 32] };
        core::array::from_fn(file)
    }

    #[test]
    fn the_page_tells_what_the_builder_wrote() {
        for length in [0, 12, MOST_CONFIG] {
            let config = std::vec![b'c'; length];
            let measured = Measured { files: files(), config: &config };
            let page = measured.to_page().unwrap();
            assert_eq!(Measured::from_page(&page), Some(measured));
        }
    }

    #[test]
    fn a_configuration_that_does_not_fit_is_refused_on_both_sides() {
        let config = [b'c'; MOST_CONFIG + 1];
        assert_eq!(Measured { files: files(), config: &config }.to_page(), None);
        let mut page = Measured { files: files(), config: &config[1..] }.to_page().unwrap();
        for length in [MOST_CONFIG as u32 + 1, u32::MAX] {
            page[CONFIG_LENGTH..CONFIG].copy_from_slice(&length.to_le_bytes());
            assert_eq!(Measured::from_page(&page), None);
        }
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
