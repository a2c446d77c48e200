//! A prediction of the launch digest that the firmware computes for a file.

use anyhow::{Context, Result, bail};
use igvm::{IgvmDirectiveHeader, IgvmFile, IsolationType};
use igvm_defs::{IgvmPageDataType, PAGE_SIZE_4K};
use snp::digest::{LaunchDigest, Page};
use snp::vmsa::DEFAULT_VMSA_GPA;
use zerocopy::IntoBytes;

/// One page of the file, as it was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its guest-physical address.
    pub gpa: u64,
    /// Its kind, by the name of its PAGE_TYPE.
    pub kind: &'static str,
    /// The digest after it.
    pub digest: [u8; 48],
}

/// A page that has not been measured yet.
struct Measured {
    gpa: u64,
    kind: &'static str,
    bytes: Option<Box<[u8; 4096]>>,
}

impl Measured {
    fn as_page(&self) -> Page<'_> {
        match (self.kind, self.bytes.as_deref()) {
            ("NORMAL", Some(bytes)) => Page::Normal(bytes),
            ("VMSA", Some(bytes)) => Page::Vmsa(bytes),
            ("UNMEASURED", _) => Page::Unmeasured,
            ("SECRETS", _) => Page::Secrets,
            ("CPUID", _) => Page::Cpuid,
            _ => Page::Zero,
        }
    }
}

/// Measures the file page by page. Save areas come last, because KVM launches them last. A save area
/// beyond the guest's RAM of `ram` bytes is measured at the address that KVM gives it.
///
/// # Errors
/// The file can not be launched with SEV-SNP.
pub fn measure(file: &[u8], ram: u64) -> Result<Vec<Row>> {
    let file = IgvmFile::new_from_binary(file, Some(IsolationType::Snp))
        .context("the file is no IGVM file for SEV-SNP")?;
    let (mut pages, mut areas) = (Vec::new(), Vec::new());
    for directive in file.directives() {
        match directive {
            IgvmDirectiveHeader::PageData { gpa, data_type, data, .. } => {
                pages.extend(page_data(*gpa, *data_type, data)?);
            }
            IgvmDirectiveHeader::ParameterInsert(insert) => {
                let bytes = area_bytes(&file, insert.parameter_area_index);
                let pages_in_area = (0..bytes.div_ceil(PAGE_SIZE_4K)).map(|page| {
                    let gpa = insert.gpa + page * PAGE_SIZE_4K;
                    Measured { gpa, kind: "UNMEASURED", bytes: None }
                });
                pages.extend(pages_in_area);
            }
            IgvmDirectiveHeader::SnpVpContext { gpa, vmsa, .. } => {
                let gpa = if *gpa < ram { *gpa } else { DEFAULT_VMSA_GPA };
                areas.push(Measured { gpa, kind: "VMSA", bytes: Some(whole(vmsa.as_bytes())?) });
            }
            _ => {}
        }
    }
    let mut digest = LaunchDigest::EMPTY;
    let rows = pages.iter().chain(&areas).map(|page| {
        digest.add(page.as_page(), page.gpa);
        Row { gpa: page.gpa, kind: page.kind, digest: digest.0 }
    });
    Ok(rows.collect())
}

fn page_data(gpa: u64, data_type: IgvmPageDataType, data: &[u8]) -> Result<Vec<Measured>> {
    let kind = match data_type {
        IgvmPageDataType::NORMAL => "NORMAL",
        IgvmPageDataType::SECRETS => "SECRETS",
        IgvmPageDataType::CPUID_DATA => "CPUID",
        other => bail!("a page of type {other:?}"),
    };
    if data.is_empty() {
        let kind = if kind == "NORMAL" { "ZERO" } else { kind };
        return Ok(vec![Measured { gpa, kind, bytes: None }]);
    }
    let pages = data.chunks(PAGE_SIZE_4K as usize).zip(0..);
    let measured = pages.map(|(bytes, page)| {
        Ok(Measured { gpa: gpa + page * PAGE_SIZE_4K, kind, bytes: Some(whole(bytes)?) })
    });
    measured.collect()
}

fn area_bytes(file: &IgvmFile, index: u32) -> u64 {
    let area =
        file.directives().iter().find_map(|directive| match directive {
            IgvmDirectiveHeader::ParameterArea {
                number_of_bytes, parameter_area_index, ..
            } if *parameter_area_index == index => Some(*number_of_bytes),
            _ => None,
        });
    area.unwrap_or(0)
}

/// A page with these bytes, followed by zeroes.
fn whole(bytes: &[u8]) -> Result<Box<[u8; 4096]>> {
    let mut page = Box::new([0; 4096]);
    page.get_mut(..bytes.len()).context("more than a page")?.copy_from_slice(bytes);
    Ok(page)
}
