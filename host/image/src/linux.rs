//! A file that starts Linux directly, as an enlightened guest.

use anyhow::{Result, ensure};
use host_wire::linux_start::{self as layout, File, Info};
use igvm::IgvmDirectiveHeader;

use crate::builder::Builder;
use crate::vmsa::protected_mode;

/// What the file is made from.
#[derive(Clone, Copy, Debug)]
pub struct Linux<'a> {
    /// The stub, an ELF file.
    pub stub: &'a [u8],
    /// The kernel, a bzImage.
    pub kernel: &'a [u8],
    /// The initial RAM disk, or nothing.
    pub initrd: &'a [u8],
    /// The command line.
    pub command_line: &'a [u8],
    /// The guest policy.
    pub policy: u64,
}

/// Builds the file.
///
/// # Errors
/// The stub is none, or a part is too large.
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
    builder.cpuid(layout::CPUID);
    builder.secrets(layout::SECRETS);
    builder.parameter(layout::MEMORY_MAP, IgvmDirectiveHeader::MemoryMap);
    builder.parameter(layout::VP_COUNT, IgvmDirectiveHeader::VpCount);
    // Linux finds its pages by one that the stub fills.
    builder.load(layout::CC_BLOB, &[0; 4096]);
    let entry = builder.load_elf(linux.stub)?;
    for (file, bytes) in files {
        builder.load(file.start, bytes);
    }
    builder.vp(layout::VMSA, 0, &protected_mode(entry))?;
    builder.finish()
}
