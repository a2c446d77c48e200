//! A file that starts the paravisor at VMPL0, with a guest that need not know of SEV-SNP.

use anyhow::{Context, Result, ensure};
use host_wire::linux_start::{self as layout, File};
use host_wire::paravisor_image::{self as image, COUNT};
use snp::features::SevFeatures;

use crate::builder::{Builder, PAGE};
use crate::linux::{finish, load_program};

/// The contents of the file.
#[derive(Clone, Copy, Debug)]
pub struct Paravisor<'a> {
    /// The paravisor, an ELF file.
    pub image: &'a [u8],
    /// The files, in the order of their names in `host_wire::paravisor_image`; a missing one is
    /// empty.
    pub files: [&'a [u8]; COUNT],
    /// The guest policy.
    pub policy: u64,
    /// The RAM of the VM, at whose end the files lie; without it they lie at 96 MiB.
    pub memory: Option<u64>,
}

/// Builds the file. All that it has is measured.
///
/// # Errors
/// The image is no ELF file, or a part is too large.
pub fn build(paravisor: &Paravisor<'_>) -> Result<Vec<u8>> {
    let mut builder = Builder::new(paravisor.policy);
    let length: u64 =
        paravisor.files.iter().map(|file| file.len().next_multiple_of(PAGE) as u64).sum();
    let mut next = match paravisor.memory {
        None => image::FIRST_FILE,
        Some(memory) => memory
            .checked_sub(length)
            .filter(|start| *start >= image::OWN_END)
            .with_context(|| format!("kernel and initrd of {} MiB need more RAM", length >> 20))?,
    };
    let places = paravisor.files.map(|bytes| {
        let file = File { start: next, length: bytes.len() as u64 };
        next = file.end();
        file
    });
    ensure!(next <= 3 << 30, "kernel and initrd need {} MiB, which is too much", next >> 20);
    builder.load(layout::INFO, &image::to_bytes(&places));
    let entry = load_program(&mut builder, paravisor.image)?;
    for (place, bytes) in places.iter().zip(paravisor.files) {
        builder.load(place.start, bytes);
    }
    let features = SevFeatures::new().with_snp_active(true).with_restricted_injection(true);
    finish(builder, entry, features.into_bits())
}
