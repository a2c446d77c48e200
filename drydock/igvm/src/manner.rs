//! How a file is measured, as far as loaders differ.

use alloc::vec::Vec;

use snp::digest::{LaunchDigest, LowerPermissions, Page as Measured, PageType};
use snp::report::DIGEST_SIZE;

use crate::directive::{Directive, Page, PageKind, PageSize, ParameterArea};
use crate::file::Igvm;

/// The bytes of a page.
const PAGE: usize = 4096;

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
    const SPECIFICATION: Self = Self { has_zero_pages: false, has_areas_last: false };
    const ALL: [Self; 4] = [
        Self::QEMU,
        Self::SPECIFICATION,
        Self { has_zero_pages: true, has_areas_last: false },
        Self { has_zero_pages: false, has_areas_last: true },
    ];
}

/// The digests of a file by every manner.
struct Digests {
    digests: [LaunchDigest; Manner::ALL.len()],
    /// The digest of a page of zeros, of which a small file can have many.
    zero: [u8; DIGEST_SIZE],
}

impl Digests {
    /// Adds a page where `has` says so.
    #[inline(never)]
    fn add(&mut self, page: Measured<'_>, gpa: u64, has: fn(Manner) -> bool) {
        self.add_contents(page.page_type(), page.contents(), gpa, has);
    }

    // Inlined, it would stand in each place that adds a page.
    #[inline(never)]
    fn add_contents(
        &mut self,
        page_type: PageType,
        contents: [u8; DIGEST_SIZE],
        gpa: u64,
        has: fn(Manner) -> bool,
    ) {
        for (digest, manner) in self.digests.iter_mut().zip(Manner::ALL) {
            if has(manner) {
                digest.add_contents(page_type, contents, gpa, LowerPermissions::default());
            }
        }
    }

    fn add_page(&mut self, page: &Page<'_>) {
        let bytes = page.data.map(|data| data.as_chunks::<PAGE>().0);
        for index in 0..page.size.bytes() / PageSize::Size4K.bytes() {
            let gpa = page.gpa + index * PageSize::Size4K.bytes();
            match (page.kind, bytes.and_then(|pages| pages.get(index as usize))) {
                (PageKind::Normal, Some(bytes)) => self.add(Measured::Normal(bytes), gpa, |_| true),
                (PageKind::Normal, None) => {
                    self.add(Measured::Zero, gpa, |manner| manner.has_zero_pages);
                    let has = |manner: Manner| !manner.has_zero_pages;
                    self.add_contents(PageType::NORMAL, self.zero, gpa, has);
                }
                (PageKind::Unmeasured, _) => self.add(Measured::Unmeasured, gpa, |_| true),
                (PageKind::Secrets, _) => self.add(Measured::Secrets, gpa, |_| true),
                (PageKind::Cpuid, _) => self.add(Measured::Cpuid, gpa, |_| true),
                (PageKind::Shared, _) => {}
            }
        }
    }
}

impl Igvm<'_> {
    /// The manner by which the file gets the digest of its ID block; [`Manner::QEMU`] for one without
    /// an ID block, or with one that fits none. `area_at` tells where the save area of an address is
    /// measured.
    pub fn manner(&self, area_at: impl Fn(u64) -> u64) -> Manner {
        let expected = self.directives().find_map(|directive| {
            let Directive::Identity(identity) = directive else { return None };
            Some(identity.block(self.policy()).launch_digest)
        });
        let Some(expected) = expected else { return Manner::QEMU };
        let Digests { digests, .. } = self.measure(area_at);
        let mut found = digests.iter().zip(Manner::ALL);
        found.find(|(digest, _)| digest.0 == expected).map_or(Manner::QEMU, |(_, manner)| manner)
    }

    fn measure(&self, area_at: impl Fn(u64) -> u64) -> Digests {
        let zero = Measured::Normal(&[0; PAGE]).contents();
        let mut digests = Digests { digests: [LaunchDigest::EMPTY; Manner::ALL.len()], zero };
        let (mut sizes, mut areas) = (Vec::new(), Vec::new());
        for directive in self.directives() {
            match directive {
                Directive::Page(page) => digests.add_page(&page),
                Directive::ParameterArea(ParameterArea { index, size, .. }) => {
                    sizes.push((index, size));
                }
                Directive::ParameterInsert { gpa, area } => {
                    let size = sizes.iter().find(|(index, _)| *index == area);
                    for at in (0..size.map_or(0, |(_, size)| *size)).step_by(PAGE) {
                        digests.add(Measured::Unmeasured, gpa + at, |_| true);
                    }
                }
                Directive::VpContext(context) => {
                    let (gpa, page) = (area_at(context.gpa), Measured::Vmsa(context.vmsa));
                    let contents = page.contents();
                    areas.push((gpa, contents));
                    let in_place = |manner: Manner| !manner.has_areas_last;
                    digests.add_contents(PageType::VMSA, contents, gpa, in_place);
                }
                Directive::Parameter { .. }
                | Directive::RequiredMemory { .. }
                | Directive::ErrorRange { .. }
                | Directive::Identity(_) => {}
            }
        }
        for (gpa, contents) in areas {
            let is_last = |manner: Manner| manner.has_areas_last;
            digests.add_contents(PageType::VMSA, contents, gpa, is_last);
        }
        digests
    }
}
