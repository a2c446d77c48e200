//! The reasons to refuse a file.

use core::fmt::{self, Display, Formatter};

/// A fault with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// Offset in the file of the header with the fault.
    pub offset: usize,
    /// The fault.
    pub fault: Fault,
}

/// The fault in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The file does not start with the magic value.
    NotIgvm,
    /// The file ends before the size that its header states, or in the middle of a structure.
    Cut,
    /// The file has more bytes than its header states.
    TrailingBytes,
    /// The format version is neither 1 nor 2.
    FormatVersion(u32),
    /// The file is for another architecture.
    Architecture(u32),
    /// The file is for another page size.
    PageSize(u32),
    /// The variable headers are not aligned, or overlap the fixed header.
    HeaderOffset(u32),
    /// The checksum of the headers is wrong.
    Checksum,
    /// Padding or a reserved field is not zero.
    Reserved,
    /// A header has another length than its type.
    HeaderLength(u32),
    /// The header's type is unknown or not supported.
    Unsupported(u32),
    /// A header stands behind headers of a later section.
    SectionOrder(u32),
    /// A platform's compatibility mask does not have exactly one bit of its own.
    PlatformMask(u32),
    /// A compatibility mask has bits of no platform.
    UnknownMask(u32),
    /// No platform of the file is SEV-SNP.
    NoSnpPlatform,
    /// The file has SEV-SNP as platform twice.
    SecondSnpPlatform,
    /// The version of the SEV-SNP platform is unknown.
    PlatformVersion(u16),
    /// The file has no policy for SEV-SNP.
    NoPolicy,
    /// The file has a second policy for SEV-SNP.
    SecondPolicy,
    /// An address or a size is not aligned.
    Misaligned(u64),
    /// A range ends beyond the 52-bit address space.
    AddressTooHigh(u64),
    /// Two directives load the same page.
    Overlap(u64),
    /// Data lies outside the file or in its headers.
    DataOffset(u32),
    /// The type of page data is unknown or not supported.
    PageType(u16),
    /// The page is to be shared with the host.
    SharedPage,
    /// A parameter area has no bytes, or too many.
    AreaSize(u64),
    /// The file has too many parameter areas.
    TooManyAreas,
    /// The parameter area was declared before.
    AreaTwice(u32),
    /// The parameter area was not declared.
    UnknownArea(u32),
    /// The parameter area is already part of the VM.
    AreaInserted(u32),
    /// The parameter does not fit into its area.
    ParameterOffset(u32),
    /// The file has a second context for the VP.
    SecondContext(u16),
    /// The file has a second ID block.
    SecondIdBlock,
    /// A flag of the ID block is neither 0 nor 1.
    AuthorKeyFlag(u8),
}

impl core::error::Error for Error {}

impl Display for Error {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "IGVM file, byte {:#x}: {}", self.offset, self.fault)
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotIgvm => write!(f, "no IGVM file; name a file that starts with \"IGVM\""),
            Self::Cut => write!(f, "the file is cut off here; copy it again"),
            Self::TrailingBytes => write!(f, "bytes behind the end; copy the file again"),
            Self::FormatVersion(version) => {
                write!(f, "format version {version}; rebuild the file with version 1 or 2")
            }
            Self::Architecture(number) => {
                write!(f, "architecture {number}; use a file for x86-64 (0)")
            }
            Self::PageSize(size) => write!(f, "page size {size}; rebuild the file with 4096"),
            Self::HeaderOffset(offset) => write!(
                f,
                "variable headers at {offset:#x}, which is unaligned or inside the fixed header; \
                 rebuild the file"
            ),
            Self::Checksum => write!(f, "wrong checksum of the headers; copy the file again"),
            Self::Reserved => write!(f, "a reserved field is not zero; rebuild the file"),
            Self::HeaderLength(length) => {
                write!(f, "length {length} does not belong to the header's type; rebuild the file")
            }
            Self::Unsupported(number) => {
                write!(f, "header type {number:#x} is not supported; rebuild the file without it")
            }
            Self::SectionOrder(number) => write!(
                f,
                "header type {number:#x} stands behind a later section; rebuild the file with \
                 platforms first, then initialization, then directives"
            ),
            Self::NoPolicy => write!(f, "no guest policy for SEV-SNP; rebuild the file with one"),
            Self::SecondPolicy => {
                write!(f, "a second guest policy for SEV-SNP; rebuild the file with one")
            }
            _ => self.fmt_platform(f),
        }
    }
}

impl Fault {
    fn fmt_platform(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlatformMask(mask) => write!(
                f,
                "compatibility mask {mask:#x} of a platform needs one bit of its own; rebuild the \
                 file"
            ),
            Self::UnknownMask(mask) => write!(
                f,
                "compatibility mask {mask:#x} names a platform that the file does not declare; \
                 rebuild the file"
            ),
            Self::NoSnpPlatform => {
                write!(f, "the file is not for SEV-SNP; rebuild it with that platform")
            }
            Self::SecondSnpPlatform => {
                write!(f, "SEV-SNP is declared twice; rebuild the file with it once")
            }
            Self::PlatformVersion(version) => {
                write!(f, "version {version} of SEV-SNP; rebuild the file with version 1")
            }
            _ => self.fmt_directive(f),
        }
    }

    fn fmt_directive(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misaligned(value) => {
                write!(f, "{value:#x} is not aligned to its page size; rebuild the file")
            }
            Self::AddressTooHigh(gpa) => {
                write!(f, "the range at {gpa:#x} ends beyond 52 address bits; load it lower")
            }
            Self::Overlap(gpa) => {
                write!(f, "page {gpa:#x} is loaded twice; rebuild the file without the overlap")
            }
            Self::DataOffset(offset) => {
                write!(f, "data at {offset:#x} is not in the file's data section; rebuild the file")
            }
            Self::PageType(number) => {
                write!(f, "page data type {number} is not supported; rebuild the file without it")
            }
            Self::SharedPage => {
                write!(f, "shared pages are not supported; rebuild the file without them")
            }
            Self::SecondContext(index) => {
                write!(f, "a second context of VP {index}; rebuild the file with one")
            }
            Self::SecondIdBlock => write!(f, "a second ID block; rebuild the file with one"),
            Self::AuthorKeyFlag(flag) => {
                write!(f, "author key flag {flag}; rebuild the file with 0 or 1")
            }
            _ => self.fmt_parameter(f),
        }
    }

    fn fmt_parameter(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::AreaSize(size) => write!(
                f,
                "parameter area of {size:#x} bytes; use one page at least and {:#x} bytes at most",
                crate::MAX_PARAMETER_AREA_SIZE
            ),
            Self::TooManyAreas => write!(
                f,
                "too many parameter areas; use {} at most",
                crate::check::MAX_PARAMETER_AREAS
            ),
            Self::AreaTwice(index) => {
                write!(f, "parameter area {index} is declared twice; number the areas apart")
            }
            Self::UnknownArea(index) => {
                write!(f, "parameter area {index} is not declared; declare it before its use")
            }
            Self::AreaInserted(index) => {
                write!(f, "parameter area {index} is inserted already; use it before that only")
            }
            Self::ParameterOffset(offset) => {
                write!(f, "the parameter at {offset:#x} exceeds its area; enlarge the area")
            }
            _ => write!(f, "{self:?}"),
        }
    }
}
