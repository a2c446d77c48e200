//! A file as a whole.

use igvm_defs::{
    IGVM_SEV_SNP_PLATFORM_VERSION, IGVM_VHS_CCA_POLICY, IGVM_VHS_GUEST_POLICY,
    IGVM_VHS_PAGE_TABLE_RELOCATION, IGVM_VHS_RELOCATABLE_REGION, IGVM_VHS_SUPPORTED_PLATFORM,
    IGVM_VHT_RANGE_DIRECTIVE, IGVM_VHT_RANGE_INIT, IGVM_VHT_RANGE_PLATFORM, IgvmPlatformType,
    IgvmVariableHeaderType,
};
use snp::report::Policy;

use crate::check::Checker;
use crate::directive::{self, Directive, Masks};
use crate::error::{Error, Fault};
use crate::fixed_header::{self, Sections};
use crate::variable_header::{RawHeader, RawHeaders};

/// The policy of a file without one: SMT is allowed, and bit 17 is always set (SNP firmware ABI 56860,
/// section 4.3). QEMU has the same default.
pub const DEFAULT_POLICY: Policy = Policy::from_bits(0x3_0000);

/// A description of the file's content, and its signature (IGVM specification,
/// IGVM_VHT_CORIM_DOCUMENT and IGVM_VHT_CORIM_SIGNATURE): mask, place, size and a reserved word.
const CORIM_DOCUMENT: IgvmVariableHeaderType = IgvmVariableHeaderType(0x104);
const CORIM_SIGNATURE: IgvmVariableHeaderType = IgvmVariableHeaderType(0x105);

/// A file that was checked, seen by SEV-SNP.
#[derive(Clone, Copy, Debug)]
pub struct Igvm<'a> {
    sections: Sections<'a>,
    masks: Masks,
    policy: Policy,
    shared_gpa_boundary: u64,
}

/// The sections of variable headers, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Platform,
    Initialization,
    Directive,
}

impl Section {
    fn of(header: &RawHeader<'_>) -> Result<Self, Error> {
        let number = header.header_type.0;
        if IGVM_VHT_RANGE_PLATFORM.contains(&number) {
            Ok(Self::Platform)
        } else if IGVM_VHT_RANGE_INIT.contains(&number) {
            Ok(Self::Initialization)
        } else if IGVM_VHT_RANGE_DIRECTIVE.contains(&number) {
            Ok(Self::Directive)
        } else {
            Err(header.unsupported())
        }
    }
}

/// The parts of a file that precede the directives.
#[derive(Default)]
struct Preamble {
    /// The bits of all platforms.
    all_masks: u32,
    snp: Option<IGVM_VHS_SUPPORTED_PLATFORM>,
    policy: Option<Policy>,
}

impl<'a> Igvm<'a> {
    /// Checks a file.
    pub fn parse(file: &'a [u8]) -> Result<Self, Error> {
        let sections = fixed_header::split(file)?;
        let mut preamble = Preamble::default();
        let mut checker = Checker::default();
        let mut section = Section::Platform;
        for header in raw_headers(&sections) {
            let header = header?;
            if header.is_optional() {
                continue;
            }
            let of = Section::of(&header)?;
            if of < section {
                return Err(header.error(Fault::SectionOrder(header.header_type.0)));
            }
            section = of;
            match section {
                Section::Platform => preamble.add_platform(&header)?,
                Section::Initialization => preamble.add_initialization(&header)?,
                Section::Directive => {
                    let masks = preamble.masks(header.offset)?;
                    if let Some(directive) = directive::read(&header, &sections, masks)? {
                        checker.add(&directive, header.offset)?;
                    }
                }
            }
        }
        checker.finish()?;
        preamble.finish(sections)
    }

    /// The policy of the VM.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// GPAs from here on are shared with the host. Zero for a VM that uses the C-bit.
    pub fn shared_gpa_boundary(&self) -> u64 {
        self.shared_gpa_boundary
    }

    /// The directives for SEV-SNP, in the order of the file.
    pub fn directives(&self) -> Directives<'a> {
        Directives {
            headers: raw_headers(&self.sections),
            sections: self.sections,
            masks: self.masks,
        }
    }
}

fn raw_headers<'a>(sections: &Sections<'a>) -> RawHeaders<'a> {
    RawHeaders::new(sections.headers, sections.headers_start)
}

impl Preamble {
    fn add_platform(&mut self, header: &RawHeader<'_>) -> Result<(), Error> {
        if header.header_type != IgvmVariableHeaderType::IGVM_VHT_SUPPORTED_PLATFORM {
            return Err(header.unsupported());
        }
        let platform: IGVM_VHS_SUPPORTED_PLATFORM = header.read()?;
        let mask = platform.compatibility_mask;
        if mask.count_ones() != 1 || self.all_masks & mask != 0 {
            return Err(header.error(Fault::PlatformMask(mask)));
        }
        self.all_masks |= mask;
        if platform.platform_type != IgvmPlatformType::SEV_SNP {
            return Ok(());
        }
        if platform.platform_version != IGVM_SEV_SNP_PLATFORM_VERSION {
            return Err(header.error(Fault::PlatformVersion(platform.platform_version)));
        }
        if self.snp.is_some() {
            return Err(header.error(Fault::SecondSnpPlatform));
        }
        self.snp = Some(platform);
        Ok(())
    }

    fn add_initialization(&mut self, header: &RawHeader<'_>) -> Result<(), Error> {
        use IgvmVariableHeaderType as Type;
        let masks = self.masks(header.offset)?;
        match header.header_type {
            Type::IGVM_VHT_GUEST_POLICY => self.add_policy(header, masks),
            // A loader may relocate a region, and need not.
            Type::IGVM_VHT_RELOCATABLE_REGION => {
                let region: IGVM_VHS_RELOCATABLE_REGION = header.read()?;
                masks.include_snp(header, region.compatibility_mask).map(|_| ())
            }
            Type::IGVM_VHT_PAGE_TABLE_RELOCATION_REGION => {
                let region: IGVM_VHS_PAGE_TABLE_RELOCATION = header.read()?;
                masks.include_snp(header, region.compatibility_mask).map(|_| ())
            }
            Type::IGVM_VHT_CCA_POLICY => {
                let policy: IGVM_VHS_CCA_POLICY = header.read()?;
                masks.refuse_for_snp(header, policy.compatibility_mask)
            }
            // They describe the file, and change nothing of the VM.
            Type::IGVM_VHT_VERSION_STRING => Ok(()),
            CORIM_DOCUMENT | CORIM_SIGNATURE => {
                let [mask, ..]: [u32; 4] = header.read()?;
                masks.include_snp(header, mask).map(|_| ())
            }
            _ => Err(header.unsupported()),
        }
    }

    fn add_policy(&mut self, header: &RawHeader<'_>, masks: Masks) -> Result<(), Error> {
        let policy: IGVM_VHS_GUEST_POLICY = header.read()?;
        if !masks.include_snp(header, policy.compatibility_mask)? {
            return Ok(());
        }
        if policy.reserved != 0 {
            return Err(header.error(Fault::Reserved));
        }
        if self.policy.is_some() {
            return Err(header.error(Fault::SecondPolicy));
        }
        self.policy = Some(Policy::from_bits(policy.policy));
        Ok(())
    }

    fn masks(&self, offset: usize) -> Result<Masks, Error> {
        let snp = self.snp.ok_or(Error { offset, fault: Fault::NoSnpPlatform })?;
        Ok(Masks { snp: snp.compatibility_mask, all: self.all_masks })
    }

    fn finish(self, sections: Sections<'_>) -> Result<Igvm<'_>, Error> {
        let offset = sections.headers_start;
        let masks = self.masks(offset)?;
        let policy = self.policy.unwrap_or(DEFAULT_POLICY);
        let shared_gpa_boundary = self.snp.map_or(0, |platform| platform.shared_gpa_boundary);
        Ok(Igvm { sections, masks, policy, shared_gpa_boundary })
    }
}

/// Goes through the directives of a file that was checked, so that no error is left to meet.
#[derive(Clone, Debug)]
pub struct Directives<'a> {
    headers: RawHeaders<'a>,
    sections: Sections<'a>,
    masks: Masks,
}

impl<'a> Iterator for Directives<'a> {
    type Item = Directive<'a>;

    fn next(&mut self) -> Option<Directive<'a>> {
        loop {
            let header = self.headers.next()?.ok()?;
            let is_directive =
                !header.is_optional() && matches!(Section::of(&header), Ok(Section::Directive));
            if !is_directive {
                continue;
            }
            let directive = directive::read(&header, &self.sections, self.masks).ok()?;
            if directive.is_some() {
                return directive;
            }
        }
    }
}
