//! A file that starts Linux directly, as an enlightened guest.

use anyhow::{Result, ensure};
use host_wire::linux_start::{self as layout, File, Info};
use igvm::IgvmDirectiveHeader;
use snp::features::SevFeatures;

use crate::builder::Builder;
use crate::vmsa::{protected_mode, set_features};

/// The contents of the file.
#[derive(Clone, Copy, Debug)]
pub struct Linux<'a> {
    /// The stub, an ELF file.
    pub stub: &'a [u8],
    /// The kernel, a bzImage.
    pub kernel: &'a [u8],
    /// The initial RAM disk; may be empty.
    pub initrd: &'a [u8],
    /// The command line.
    pub command_line: &'a [u8],
    /// The guest policy.
    pub policy: u64,
    /// SEV_FEATURES of the first VP.
    pub features: u64,
}

/// Builds the file.
///
/// # Errors
/// The stub is no ELF file, or a part is too large.
pub fn build(linux: &Linux<'_>) -> Result<Vec<u8>> {
    let mut builder = Builder::new(linux.policy);
    let mut next = layout::FILES;
    let mut files = [linux.kernel, linux.initrd, linux.command_line].map(|bytes| {
        let file = File { start: next, length: bytes.len() as u64 };
        next = file.end();
        (file, bytes)
    });
    ensure!(next <= 3 << 30, "kernel and initrd need {} MiB, which is too much", next >> 20);
    for (file, _) in files.iter_mut().filter(|(file, _)| file.length == 0) {
        file.start = layout::FILES;
    }
    let [kernel, initrd, command_line] = files.map(|(file, _)| file);
    let info = Info { kernel, initrd, command_line };
    builder.load(layout::INFO, &info.to_bytes());
    let entry = load_program(&mut builder, linux.stub)?;
    for (file, bytes) in files {
        builder.load(file.start, bytes);
    }
    finish(builder, entry, linux.features)
}

/// Builds a file with one program: an ELF file that is entered in 32-bit mode without paging, and
/// finds the pages of `host_wire::linux_start`.
///
/// # Errors
/// The program is none.
pub fn build_program(program: &[u8], policy: u64, features: u64) -> Result<Vec<u8>> {
    let mut builder = Builder::new(policy);
    let entry = load_program(&mut builder, program)?;
    finish(builder, entry, features)
}

pub(crate) fn load_program(builder: &mut Builder, program: &[u8]) -> Result<u64> {
    builder.cpuid(layout::CPUID);
    builder.secrets(layout::SECRETS);
    builder.parameter(layout::MEMORY_MAP, IgvmDirectiveHeader::MemoryMap);
    builder.parameter(layout::VP_COUNT, IgvmDirectiveHeader::VpCount);
    // Linux finds its pages by one that the stub fills.
    builder.load(layout::CC_BLOB, &[0; 4096]);
    builder.load_elf(program)
}

pub(crate) fn finish(mut builder: Builder, entry: u64, features: u64) -> Result<Vec<u8>> {
    let mut vmsa = protected_mode(entry);
    set_features(&mut vmsa, SevFeatures::from_bits(features));
    builder.vp(layout::VMSA, 0, &vmsa)?;
    builder.finish()
}
