//! How a file is measured, as far as loaders differ.

use snp::digest::{LaunchDigest, LowerPermissions, Page as Measured};
use snp::report::DIGEST_SIZE;

use crate::directive::Directive;
use crate::file::Igvm;
use crate::measured::{Manners, ZERO_PAGE, is_missing};
use crate::memory::Memory;

/// How a loader measures a file.
///
/// The IGVM specification says that a page without contents is a normal one, and nothing about the
/// place of save areas in the digest. QEMU and KVM do both in a way of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// A page without contents is one of PAGE_TYPE ZERO, and not NORMAL.
    pub has_zero_pages: bool,
    /// Save areas come behind all pages, and not at their place in the file.
    pub has_areas_last: bool,
}

impl Manner {
    /// QEMU's and KVM's way.
    pub const QEMU: Self = Self { has_zero_pages: true, has_areas_last: true };
    /// The way of the IGVM specification and its crate.
    pub(crate) const SPECIFICATION: Self = Self { has_zero_pages: false, has_areas_last: false };
    const ALL: [Self; 4] = [
        Self::QEMU,
        Self::SPECIFICATION,
        Self { has_zero_pages: true, has_areas_last: false },
        Self { has_zero_pages: false, has_areas_last: true },
    ];
}

impl Igvm<'_> {
    /// The manner by which the file gets the digest of its ID block in a VM with this memory;
    /// [`Manner::QEMU`] for one without an ID block, or with one that fits none.
    pub fn manner(&self, memory: &Memory) -> Manner {
        let expected = self.directives().find_map(|directive| {
            let Directive::Identity(identity) = directive else { return None };
            Some(identity.block(self.policy()).launch_digest)
        });
        let Some(expected) = expected else { return Manner::QEMU };
        let mut found = self.digests(memory).into_iter().zip(Manner::ALL);
        found.find(|(digest, _)| digest.0 == expected).map_or(Manner::QEMU, |(_, manner)| manner)
    }

    /// The digests by every manner.
    fn digests(&self, memory: &Memory) -> [LaunchDigest; Manner::ALL.len()] {
        let zero = Measured::Normal(&ZERO_PAGE).contents();
        let mut found = Digests { digests: [LaunchDigest::EMPTY; Manner::ALL.len()], zero };
        self.measured_by_all(memory, &mut |gpa, page, manners| found.add(gpa, page, manners));
        found.digests
    }
}

/// The digests of a file by every manner.
struct Digests {
    digests: [LaunchDigest; Manner::ALL.len()],
    /// The digest of a page of zeros, of which a small file can have many.
    zero: [u8; DIGEST_SIZE],
}

impl Digests {
    // Inlined, the hash would stand in each place that visits a page.
    #[inline(never)]
    fn add(&mut self, gpa: u64, page: Measured<'_>, manners: Manners) {
        let contents = match page {
            Measured::Normal(bytes) if is_missing(bytes) => self.zero,
            _ => page.contents(),
        };
        for (digest, manner) in self.digests.iter_mut().zip(Manner::ALL) {
            if manners(manner) {
                let none = LowerPermissions::default();
                digest.add_contents(page.page_type(), contents, gpa, none);
            }
        }
    }
}
