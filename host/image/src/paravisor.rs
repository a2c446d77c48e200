//! A file that starts the paravisor at VMPL0, with a guest that need not know of SEV-SNP.

use anyhow::{Context, Result};
use host_wire::linux_start as layout;
use host_wire::paravisor_image::{COUNT, FileDigest, MOST_CONFIG, Measured};
use sha2::{Digest, Sha256};
use snp::features::SevFeatures;

use crate::builder::Builder;
use crate::linux::{finish, load_program};

/// The contents of the file, and what the host must hand in beside it.
#[derive(Clone, Copy, Debug)]
pub struct Paravisor<'a> {
    /// The paravisor, an ELF file.
    pub image: &'a [u8],
    /// The configuration: see `host_wire::config`.
    pub config: &'a [u8],
    /// The files that the host hands in by fw_cfg, in the order of their names in
    /// `host_wire::paravisor_image`; a missing one is empty. Their digests are measured.
    pub files: [&'a [u8]; COUNT],
    /// The guest policy.
    pub policy: u64,
    /// SEV_FEATURES of our level, beside those that it needs.
    pub features: u64,
}

/// Builds the file. All that it has is measured.
///
/// # Errors
/// The image is no ELF file, or the configuration is too long.
pub fn build(paravisor: &Paravisor<'_>) -> Result<Vec<u8>> {
    let mut builder = Builder::new(paravisor.policy);
    let files = paravisor.files.map(|bytes| FileDigest {
        length: bytes.len() as u64,
        sha256: Sha256::digest(bytes).into(),
    });
    let page = Measured { files, config: paravisor.config }.to_page().with_context(|| {
        format!("a configuration of more than {MOST_CONFIG} bytes has no room in the image")
    })?;
    builder.load(layout::INFO, &page);
    let entry = load_program(&mut builder, paravisor.image)?;
    let features = SevFeatures::from_bits(paravisor.features);
    let features = features.with_snp_active(true).with_restricted_injection(true);
    finish(builder, entry, features.into_bits())
}
