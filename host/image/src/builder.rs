//! A builder of IGVM files for SEV-SNP.

use anyhow::{Context, Result, ensure};
use igvm::snp_defs::SevVmsa;
use igvm::{
    IgvmDirectiveHeader, IgvmFile, IgvmInitializationHeader, IgvmPlatformHeader, IgvmRevision,
};
use igvm_defs::{
    IGVM_VHS_PARAMETER, IGVM_VHS_PARAMETER_INSERT, IGVM_VHS_SUPPORTED_PLATFORM, IgvmPageDataFlags,
    IgvmPageDataType, IgvmPlatformType,
};
use object::{Object, ObjectSegment};
use snp::vmsa::Vmsa;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;
/// The compatibility mask of SEV-SNP in our files.
const SNP: u32 = 1;

/// A file under construction.
#[derive(Debug)]
pub struct Builder {
    policy: u64,
    directives: Vec<IgvmDirectiveHeader>,
    areas: u32,
}

impl Builder {
    /// An empty file for VMs with this guest policy (SNP firmware ABI 56860, section 4.3).
    pub const fn new(policy: u64) -> Self {
        Self { policy, directives: Vec::new(), areas: 0 }
    }

    /// Adds a page; one without data is filled with zeroes by the loader.
    pub(crate) fn page(&mut self, gpa: u64, data_type: IgvmPageDataType, data: Vec<u8>) {
        self.directives.push(IgvmDirectiveHeader::PageData {
            gpa,
            compatibility_mask: SNP,
            flags: IgvmPageDataFlags::new(),
            data_type,
            data,
        });
    }

    /// Loads `bytes` as measured pages from `gpa` on; the last page is filled with zeroes.
    ///
    /// A page of zeroes has its data in the file, too. Without data it would be shorter, but loaders
    /// do not agree how it is measured: by QEMU as PAGE_TYPE_ZERO, by the igvm crate as
    /// PAGE_TYPE_NORMAL.
    pub fn load(&mut self, gpa: u64, bytes: &[u8]) {
        for (at, page) in (gpa..).step_by(PAGE).zip(bytes.chunks(PAGE)) {
            let mut page = page.to_vec();
            page.resize(PAGE, 0);
            self.page(at, IgvmPageDataType::NORMAL, page);
        }
    }

    /// Loads the segments of an ELF file at their physical addresses, and returns its entry.
    ///
    /// # Errors
    /// The file is no ELF file, or a segment does not start at a page boundary.
    pub fn load_elf(&mut self, file: &[u8]) -> Result<u64> {
        let elf = object::File::parse(file).context("an ELF file")?;
        for segment in elf.segments() {
            let data = segment.data().context("a segment of an ELF file")?;
            ensure!(
                segment.address().is_multiple_of(PAGE as u64),
                "a segment of the ELF file does not start at a page boundary"
            );
            let mut bytes = data.to_vec();
            bytes.resize(usize::try_from(segment.size())?.max(data.len()), 0);
            self.load(segment.address(), &bytes);
        }
        Ok(elf.entry())
    }

    /// Loads the CPUID page.
    pub fn cpuid(&mut self, gpa: u64) {
        self.page(gpa, IgvmPageDataType::CPUID_DATA, Vec::new());
    }

    /// Loads the secrets page.
    pub fn secrets(&mut self, gpa: u64) {
        self.page(gpa, IgvmPageDataType::SECRETS, Vec::new());
    }

    /// Loads a page at `gpa` into which the loader writes a parameter.
    pub fn parameter(
        &mut self,
        gpa: u64,
        parameter: impl FnOnce(IGVM_VHS_PARAMETER) -> IgvmDirectiveHeader,
    ) {
        let index = self.areas;
        self.areas += 1;
        let insert =
            IGVM_VHS_PARAMETER_INSERT { gpa, compatibility_mask: SNP, parameter_area_index: index };
        self.directives.extend([
            IgvmDirectiveHeader::ParameterArea {
                number_of_bytes: PAGE as u64,
                parameter_area_index: index,
                initial_data: Vec::new(),
            },
            parameter(IGVM_VHS_PARAMETER { parameter_area_index: index, byte_offset: 0 }),
            IgvmDirectiveHeader::ParameterInsert(insert),
        ]);
    }

    /// Starts a VP with these registers.
    ///
    /// # Errors
    /// The registers have another layout than those of an IGVM file.
    pub fn vp(&mut self, gpa: u64, vp_index: u16, vmsa: &Vmsa) -> Result<()> {
        let (vmsa, _) = SevVmsa::read_from_prefix(vmsa.as_bytes())
            .map_err(|_| anyhow::anyhow!("a save area of another layout"))?;
        self.directives.push(IgvmDirectiveHeader::SnpVpContext {
            gpa,
            compatibility_mask: SNP,
            vp_index,
            vmsa: Box::new(vmsa),
        });
        Ok(())
    }

    /// Returns the file.
    ///
    /// # Errors
    /// The parts contradict each other.
    pub fn finish(self) -> Result<Vec<u8>> {
        let platform = IgvmPlatformHeader::SupportedPlatform(IGVM_VHS_SUPPORTED_PLATFORM {
            compatibility_mask: SNP,
            highest_vtl: 0,
            platform_type: IgvmPlatformType::SEV_SNP,
            platform_version: 1,
            shared_gpa_boundary: 0,
        });
        let policy =
            IgvmInitializationHeader::GuestPolicy { policy: self.policy, compatibility_mask: SNP };
        let file = IgvmFile::new(IgvmRevision::V1, vec![platform], vec![policy], self.directives)
            .context("an IGVM file")?;
        let mut bytes = Vec::new();
        file.serialize(&mut bytes).context("an IGVM file")?;
        Ok(bytes)
    }
}
