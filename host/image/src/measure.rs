//! A prediction of the launch digest that the firmware computes for a file.

use anyhow::{Context, Result};
use igvm_file::Igvm;
use snp::digest::{LaunchDigest, Page};

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

/// Measures the file page by page, in the order in which they are launched in a VM with `ram` bytes of
/// RAM: as QEMU and KVM do, or in the way by which the file gets the digest of its ID block. Pages that
/// are shared with the host have no row, because the firmware does not hear of them.
///
/// # Errors
/// The file can not be launched with SEV-SNP.
pub fn measure(file: &[u8], ram: u64) -> Result<Vec<Row>> {
    let file = Igvm::parse(file).context("the file is no IGVM file for SEV-SNP")?;
    let memory = file.memory(ram);
    let (mut digest, mut rows) = (LaunchDigest::EMPTY, Vec::new());
    file.measured(file.manner(&memory), &memory, &mut |gpa, page| {
        digest.add(page, gpa);
        rows.push(Row { gpa, kind: name(page), digest: digest.0 });
    });
    Ok(rows)
}

const fn name(page: Page<'_>) -> &'static str {
    match page {
        Page::Normal(_) => "NORMAL",
        Page::Vmsa(_) => "VMSA",
        Page::Zero => "ZERO",
        Page::Unmeasured => "UNMEASURED",
        Page::Secrets => "SECRETS",
        Page::Cpuid => "CPUID",
    }
}
