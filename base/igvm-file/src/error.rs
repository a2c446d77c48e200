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

impl core::error::Error for Error {}

impl Display for Error {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "IGVM file, byte {:#x}: {}", self.offset, self.fault)
    }
}

/// Defines the faults, each with its sentence: the problem, then the remedy.
macro_rules! faults {
    ($(
        $(#[$doc:meta])*
        $name:ident $(($value:ident: $type:ty))? = $problem:literal, $remedy:literal;
    )+) => {
        /// The fault in a file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $($(#[$doc])* $name $(($type))?,)+
        }

        impl Display for Fault {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name $(($value))? => {
                        write!(f, concat!($problem, "; ", $remedy) $(, $value)?)
                    })+
                }
            }
        }
    };
}

faults! {
    /// The file does not start with the magic value.
    NotIgvm = "no IGVM file", "name a file that starts with \"IGVM\"";
    /// The file ends before the size that its header states, or in the middle of a structure.
    Cut = "the file is cut off here", "copy it again";
    /// The file has more bytes than its header states.
    TrailingBytes = "bytes behind the end", "copy the file again";
    /// The format version is neither 1 nor 2.
    FormatVersion(version: u32) = "format version {}", "rebuild the file with version 1 or 2";
    /// The file is for another architecture.
    Architecture(number: u32) = "architecture {}", "use a file for x86-64 (0)";
    /// The file is for another page size.
    PageSize(size: u32) = "page size {}", "rebuild the file with 4096";
    /// The variable headers are not aligned, or overlap the fixed header.
    HeaderOffset(offset: u32) =
        "variable headers at {:#x}, which is unaligned or inside the fixed header",
        "rebuild the file";
    /// The checksum of the headers is wrong.
    Checksum = "wrong checksum of the headers", "copy the file again";
    /// Padding or a reserved field is not zero.
    Reserved = "a reserved field is not zero", "rebuild the file";
    /// A header has another length than its type.
    HeaderLength(length: u32) =
        "length {} does not belong to the header's type", "rebuild the file";
    /// The header's type is unknown or not supported.
    Unsupported(number: u32) =
        "header type {:#x} is not supported", "rebuild the file without it";
    /// A header stands behind headers of a later section.
    SectionOrder(number: u32) =
        "header type {:#x} stands behind a later section",
        "rebuild the file with platforms first, then initialization, then directives";
    /// A platform's compatibility mask does not have exactly one bit of its own.
    PlatformMask(mask: u32) =
        "compatibility mask {:#x} of a platform needs one bit of its own", "rebuild the file";
    /// A compatibility mask has bits of no platform.
    UnknownMask(mask: u32) =
        "compatibility mask {:#x} names a platform that the file does not declare",
        "rebuild the file";
    /// No platform of the file is SEV-SNP.
    NoSnpPlatform = "the file is not for SEV-SNP", "rebuild it with that platform";
    /// The file has SEV-SNP as platform twice.
    SecondSnpPlatform = "SEV-SNP is declared twice", "rebuild the file with it once";
    /// The version of the SEV-SNP platform is unknown.
    PlatformVersion(version: u16) = "version {} of SEV-SNP", "rebuild the file with version 1";
    /// The file has a second policy for SEV-SNP.
    SecondPolicy = "a second guest policy for SEV-SNP", "rebuild the file with one";
    /// An address or a size is not aligned.
    Misaligned(value: u64) = "{:#x} is not aligned to its page size", "rebuild the file";
    /// A range ends beyond the 52-bit address space.
    AddressTooHigh(gpa: u64) = "the range at {:#x} ends beyond 52 address bits", "load it lower";
    /// Two directives load the same page.
    Overlap(gpa: u64) = "page {:#x} is loaded twice", "rebuild the file without the overlap";
    /// Data lies outside the file or in its headers.
    DataOffset(offset: u32) =
        "data at {:#x} is not in the file's data section", "rebuild the file";
    /// The type of page data is unknown or not supported.
    PageType(number: u16) =
        "page data type {} is not supported", "rebuild the file without it";
    /// The page is to be shared with the host, and holds what the firmware writes.
    SharedPage = "a page for secrets or CPUID can not be shared", "rebuild the file without it";
    /// A parameter area has no bytes, or too many.
    AreaSize(size: u64) =
        "parameter area of {:#x} bytes", "use one page at least and 16 MiB at most";
    /// The file has more than 64 parameter areas.
    TooManyAreas = "too many parameter areas", "use 64 at most";
    /// The parameter area was declared before.
    AreaTwice(index: u32) = "parameter area {} is declared twice", "number the areas apart";
    /// The parameter area was not declared.
    UnknownArea(index: u32) = "parameter area {} is not declared", "declare it before its use";
    /// The parameter area is already part of the VM.
    AreaInserted(index: u32) =
        "parameter area {} is inserted already", "use it before that only";
    /// The parameter does not fit into its area.
    ParameterOffset(offset: u32) =
        "the parameter at {:#x} exceeds its area", "enlarge the area";
    /// The file has a second context for the VP.
    SecondContext(index: u16) = "a second context of VP {}", "rebuild the file with one";
    /// The file has a second ID block.
    SecondIdBlock = "a second ID block", "rebuild the file with one";
    /// A flag of the ID block is neither 0 nor 1.
    AuthorKeyFlag(flag: u8) = "author key flag {}", "rebuild the file with 0 or 1";
}
