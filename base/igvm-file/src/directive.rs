//! The directives that build an SEV-SNP VM.

use alloc::boxed::Box;

use igvm_defs::{
    IGVM_VHS_ERROR_RANGE, IGVM_VHS_PAGE_DATA, IGVM_VHS_PARAMETER, IGVM_VHS_PARAMETER_AREA,
    IGVM_VHS_PARAMETER_INSERT, IGVM_VHS_REQUIRED_MEMORY, IGVM_VHS_VBS_MEASUREMENT,
    IGVM_VHS_VP_CONTEXT, IgvmPageDataType, IgvmVariableHeaderType,
};

use crate::error::{Error, Fault};
use crate::fixed_header::Sections;
use crate::id_block::{self, Identity};
use crate::variable_header::RawHeader;

/// Bytes of the largest parameter area.
pub const MAX_PARAMETER_AREA_SIZE: u64 = 16 << 20;

/// The first address that a GPA can not have.
pub(crate) const ADDRESS_LIMIT: u64 = 1 << 52;

/// The size of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSize {
    /// 4 KiB.
    Size4K,
    /// 2 MiB.
    Size2M,
}

impl PageSize {
    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Size4K => 4 << 10,
            Self::Size2M => 2 << 20,
        }
    }
}

/// The kind of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    /// Contents that are measured.
    Normal,
    /// Contents that are not measured.
    Unmeasured,
    /// The secrets page.
    Secrets,
    /// The CPUID page.
    Cpuid,
    /// Contents in memory that the host sees, too; not measured.
    Shared,
}

/// A page to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page<'a> {
    /// Where to load it.
    pub gpa: u64,
    /// Its size.
    pub size: PageSize,
    /// Its kind.
    pub kind: PageKind,
    /// Its contents, [`PageSize::bytes`] long; without them the page is zero.
    pub data: Option<&'a [u8]>,
}

/// A buffer for parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterArea<'a> {
    /// Its number.
    pub index: u32,
    /// Its size, a multiple of 4096, at most [`MAX_PARAMETER_AREA_SIZE`].
    pub size: u64,
    /// Its contents before parameters are written; without them it is zero.
    pub data: Option<&'a [u8]>,
}

/// A parameter that the loader writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// The number of VPs, 32 bits.
    VpCount,
    /// [`IgvmEnvironmentInfo`](igvm_defs::IgvmEnvironmentInfo), 32 bits.
    EnvironmentInfo,
    /// A list of [`IGVM_VHS_MEMORY_MAP_ENTRY`](igvm_defs::IGVM_VHS_MEMORY_MAP_ENTRY).
    MemoryMap,
    /// The ACPI table of APICs.
    Madt,
    /// A command line that ends with a zero byte.
    CommandLine,
    /// [`IGVM_VHS_MMIO_RANGES`](igvm_defs::IGVM_VHS_MMIO_RANGES).
    MmioRanges,
    /// A [device tree](crate::device_tree()).
    DeviceTree,
}

impl ParameterKind {
    /// The fewest bytes that the parameter takes.
    pub(crate) const fn minimum(self) -> u64 {
        match self {
            Self::VpCount | Self::EnvironmentInfo => 4,
            Self::MemoryMap => 24,
            Self::Madt => 44,
            Self::CommandLine => 1,
            Self::MmioRanges => 32,
            // Its header, the list of reserved memory, and the last token.
            Self::DeviceTree => 60,
        }
    }
}

/// The initial registers of a VP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VpContext<'a> {
    /// Where to load the save area.
    pub gpa: u64,
    /// The number of the VP.
    pub vp_index: u16,
    /// The save area, a [`Vmsa`](snp::vmsa::Vmsa).
    pub vmsa: &'a [u8; 4096],
}

/// A directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directive<'a> {
    /// Loads a page.
    Page(Page<'a>),
    /// Makes a parameter area.
    ParameterArea(ParameterArea<'a>),
    /// Writes a parameter into an area.
    Parameter {
        /// The parameter.
        kind: ParameterKind,
        /// The number of the area.
        area: u32,
        /// Where in the area.
        offset: u32,
    },
    /// Loads a parameter area as unmeasured pages.
    ParameterInsert {
        /// Where to load it.
        gpa: u64,
        /// The number of the area.
        area: u32,
    },
    /// Memory that must be RAM.
    RequiredMemory {
        /// Start of the range.
        gpa: u64,
        /// Size of the range.
        size: u64,
    },
    /// Memory that the host sees from the start, for the guest's errors.
    ErrorRange {
        /// Start of the range.
        gpa: u64,
        /// Size of the range.
        size: u64,
    },
    /// Loads the save area of a VP.
    VpContext(VpContext<'a>),
    /// The ID block for the end of the launch.
    Identity(Box<Identity>),
}

/// Reads the directive in a header. Gives none if it is for other platforms only.
pub(crate) fn read<'a>(
    header: &RawHeader<'a>,
    sections: &Sections<'a>,
    masks: Masks,
) -> Result<Option<Directive<'a>>, Error> {
    use IgvmVariableHeaderType as Type;
    match header.header_type {
        Type::IGVM_VHT_PAGE_DATA => page(header, sections, masks),
        Type::IGVM_VHT_PARAMETER_AREA => parameter_area(header, sections).map(Some),
        Type::IGVM_VHT_PARAMETER_INSERT => parameter_insert(header, masks),
        Type::IGVM_VHT_VP_COUNT_PARAMETER => parameter(header, ParameterKind::VpCount),
        Type::IGVM_VHT_ENVIRONMENT_INFO_PARAMETER => {
            parameter(header, ParameterKind::EnvironmentInfo)
        }
        Type::IGVM_VHT_MEMORY_MAP => parameter(header, ParameterKind::MemoryMap),
        Type::IGVM_VHT_MADT => parameter(header, ParameterKind::Madt),
        Type::IGVM_VHT_COMMAND_LINE => parameter(header, ParameterKind::CommandLine),
        Type::IGVM_VHT_MMIO_RANGES => parameter(header, ParameterKind::MmioRanges),
        Type::IGVM_VHT_DEVICE_TREE => parameter(header, ParameterKind::DeviceTree),
        Type::IGVM_VHT_REQUIRED_MEMORY => required_memory(header, masks),
        Type::IGVM_VHT_VP_CONTEXT => vp_context(header, sections, masks),
        Type::IGVM_VHT_SNP_ID_BLOCK => {
            let identity = id_block::read(header, masks)?;
            Ok(identity.map(|identity| Directive::Identity(Box::new(identity))))
        }
        Type::IGVM_VHT_ERROR_RANGE => error_range(header, masks),
        Type::IGVM_VHT_VBS_MEASUREMENT => {
            let measurement: IGVM_VHS_VBS_MEASUREMENT = header.read()?;
            masks.refuse_for_snp(header, measurement.compatibility_mask).map(|()| None)
        }
        _ => Err(header.unsupported()),
    }
}

/// The compatibility masks of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Masks {
    /// The bit of SEV-SNP.
    pub snp: u32,
    /// The bits of all platforms.
    pub all: u32,
}

impl Masks {
    /// Whether a header with this mask is for SEV-SNP.
    pub(crate) fn include_snp(self, header: &RawHeader<'_>, mask: u32) -> Result<bool, Error> {
        if mask == 0 || mask & !self.all != 0 {
            return Err(header.error(Fault::UnknownMask(mask)));
        }
        Ok(mask & self.snp != 0)
    }

    /// Accepts a header of a type that only other platforms may use.
    pub(crate) fn refuse_for_snp(self, header: &RawHeader<'_>, mask: u32) -> Result<(), Error> {
        if self.include_snp(header, mask)? { Err(header.unsupported()) } else { Ok(()) }
    }
}

/// Accepts an aligned range inside the address space.
fn check_range(header: &RawHeader<'_>, gpa: u64, size: u64, alignment: u64) -> Result<(), Error> {
    for value in [gpa, size] {
        if !value.is_multiple_of(alignment) {
            return Err(header.error(Fault::Misaligned(value)));
        }
    }
    match gpa.checked_add(size) {
        Some(end) if end <= ADDRESS_LIMIT => Ok(()),
        _ => Err(header.error(Fault::AddressTooHigh(gpa))),
    }
}

fn require_zero(header: &RawHeader<'_>, value: u32) -> Result<(), Error> {
    if value == 0 { Ok(()) } else { Err(header.error(Fault::Reserved)) }
}

fn page<'a>(
    header: &RawHeader<'a>,
    sections: &Sections<'a>,
    masks: Masks,
) -> Result<Option<Directive<'a>>, Error> {
    let body: IGVM_VHS_PAGE_DATA = header.read()?;
    if !masks.include_snp(header, body.compatibility_mask)? {
        return Ok(None);
    }
    require_zero(header, u32::from(body.reserved) | body.flags.reserved())?;
    if body.flags.shared() && body.data_type != IgvmPageDataType::NORMAL {
        return Err(header.error(Fault::SharedPage));
    }
    let kind = match body.data_type {
        IgvmPageDataType::NORMAL if body.flags.shared() => PageKind::Shared,
        IgvmPageDataType::NORMAL if body.flags.unmeasured() => PageKind::Unmeasured,
        IgvmPageDataType::NORMAL => PageKind::Normal,
        IgvmPageDataType::SECRETS => PageKind::Secrets,
        IgvmPageDataType::CPUID_DATA | IgvmPageDataType::CPUID_XF => PageKind::Cpuid,
        other => return Err(header.error(Fault::PageType(other.0))),
    };
    let size = if body.flags.is_2mb_page() { PageSize::Size2M } else { PageSize::Size4K };
    check_range(header, body.gpa, size.bytes(), size.bytes())?;
    let data = optional_data(header, sections, body.file_offset, size.bytes())?;
    Ok(Some(Directive::Page(Page { gpa: body.gpa, size, kind, data })))
}

/// Data of the file, or none at offset 0.
fn optional_data<'a>(
    header: &RawHeader<'a>,
    sections: &Sections<'a>,
    offset: u32,
    size: u64,
) -> Result<Option<&'a [u8]>, Error> {
    if offset == 0 {
        return Ok(None);
    }
    let size = usize::try_from(size).map_err(|_| header.error(Fault::DataOffset(offset)))?;
    sections.data(offset, size).map(Some).map_err(|fault| header.error(fault))
}

fn parameter_area<'a>(
    header: &RawHeader<'a>,
    sections: &Sections<'a>,
) -> Result<Directive<'a>, Error> {
    let body: IGVM_VHS_PARAMETER_AREA = header.read()?;
    let size = body.number_of_bytes;
    if size == 0 || size > MAX_PARAMETER_AREA_SIZE {
        return Err(header.error(Fault::AreaSize(size)));
    }
    check_range(header, 0, size, PageSize::Size4K.bytes())?;
    let data = optional_data(header, sections, body.file_offset, size)?;
    Ok(Directive::ParameterArea(ParameterArea { index: body.parameter_area_index, size, data }))
}

fn parameter<'a>(
    header: &RawHeader<'a>,
    kind: ParameterKind,
) -> Result<Option<Directive<'a>>, Error> {
    let body: IGVM_VHS_PARAMETER = header.read()?;
    let (area, offset) = (body.parameter_area_index, body.byte_offset);
    Ok(Some(Directive::Parameter { kind, area, offset }))
}

fn parameter_insert<'a>(
    header: &RawHeader<'a>,
    masks: Masks,
) -> Result<Option<Directive<'a>>, Error> {
    let body: IGVM_VHS_PARAMETER_INSERT = header.read()?;
    if !masks.include_snp(header, body.compatibility_mask)? {
        return Ok(None);
    }
    let page = PageSize::Size4K.bytes();
    check_range(header, body.gpa, page, page)?;
    let (gpa, area) = (body.gpa, body.parameter_area_index);
    Ok(Some(Directive::ParameterInsert { gpa, area }))
}

fn required_memory<'a>(
    header: &RawHeader<'a>,
    masks: Masks,
) -> Result<Option<Directive<'a>>, Error> {
    let body: IGVM_VHS_REQUIRED_MEMORY = header.read()?;
    if !masks.include_snp(header, body.compatibility_mask)? {
        return Ok(None);
    }
    require_zero(header, body.reserved | body.flags.reserved())?;
    let size = u64::from(body.number_of_bytes);
    check_range(header, body.gpa, size, PageSize::Size4K.bytes())?;
    Ok(Some(Directive::RequiredMemory { gpa: body.gpa, size }))
}

fn error_range<'a>(header: &RawHeader<'a>, masks: Masks) -> Result<Option<Directive<'a>>, Error> {
    let body: IGVM_VHS_ERROR_RANGE = header.read()?;
    if !masks.include_snp(header, body.compatibility_mask)? {
        return Ok(None);
    }
    let size = u64::from(body.size_bytes);
    check_range(header, body.gpa, size, PageSize::Size4K.bytes())?;
    Ok(Some(Directive::ErrorRange { gpa: body.gpa, size }))
}

fn vp_context<'a>(
    header: &RawHeader<'a>,
    sections: &Sections<'a>,
    masks: Masks,
) -> Result<Option<Directive<'a>>, Error> {
    let body: IGVM_VHS_VP_CONTEXT = header.read()?;
    if !masks.include_snp(header, body.compatibility_mask)? {
        return Ok(None);
    }
    require_zero(header, u32::from(body.reserved))?;
    let page = PageSize::Size4K.bytes();
    let gpa = body.gpa.get();
    check_range(header, gpa, page, page)?;
    let fault = |fault| header.error(fault);
    let data = sections.data(body.file_offset, 4096).map_err(fault)?;
    let vmsa = data.try_into().map_err(|_| fault(Fault::DataOffset(body.file_offset)))?;
    Ok(Some(Directive::VpContext(VpContext { gpa, vp_index: body.vp_index, vmsa })))
}
