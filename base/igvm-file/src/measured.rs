//! The pages of a file that the firmware measures.

use core::ptr;

use snp::digest::Page as Measured;

use crate::directive::{Directive, Page, PageKind, PageSize, ParameterArea};
use crate::file::Igvm;
use crate::manner::Manner;
use crate::memory::Memory;

/// The bytes of a page.
type Bytes = [u8; 4096];
/// The bytes of a page that has none in the file.
pub static ZERO_PAGE: Bytes = [0; 4096];

/// Whether these are the bytes of a page that has none in the file.
pub(crate) fn is_missing(bytes: &Bytes) -> bool {
    ptr::eq(bytes, &raw const ZERO_PAGE)
}

/// The manners of which something holds.
pub(crate) type Manners = fn(Manner) -> bool;

/// Takes a page at its address, measured so by some manners.
pub(crate) type Visit<'a, 'b> = &'b mut dyn FnMut(u64, Measured<'a>, Manners);

impl Manner {
    /// How the firmware measures a page of 4 KiB with these bytes in the file; none for a page that
    /// it does not hear of.
    pub fn page(self, kind: PageKind, bytes: Option<&Bytes>) -> Option<Measured<'_>> {
        match (kind, bytes) {
            (PageKind::Normal, Some(bytes)) => Some(Measured::Normal(bytes)),
            (PageKind::Normal, None) if self.has_zero_pages => Some(Measured::Zero),
            (PageKind::Normal, None) => Some(Measured::Normal(&ZERO_PAGE)),
            (PageKind::Unmeasured, _) => Some(Measured::Unmeasured),
            (PageKind::Secrets, _) => Some(Measured::Secrets),
            (PageKind::Cpuid, _) => Some(Measured::Cpuid),
            (PageKind::Shared, _) => None,
        }
    }
}

impl<'a> Igvm<'a> {
    /// The pages that the firmware measures, each with its address, in the order of a manner.
    pub fn measured(
        &self,
        manner: Manner,
        memory: &Memory,
        visit: &mut dyn FnMut(u64, Measured<'a>),
    ) {
        self.measured_by_all(memory, &mut |gpa, page, manners| {
            if manners(manner) {
                visit(gpa, page);
            }
        });
    }

    /// The same for all manners at once: the pages for each of them come in its order.
    pub(crate) fn measured_by_all(&self, memory: &Memory, visit: Visit<'a, '_>) {
        for directive in self.directives() {
            match directive {
                Directive::Page(page) => page.measured(visit),
                Directive::ParameterInsert { gpa, area } => {
                    for at in (0..self.area_size(area)).step_by(PageSize::Size4K.bytes() as usize) {
                        visit(gpa + at, Measured::Unmeasured, |_| true);
                    }
                }
                Directive::VpContext(context) => {
                    let gpa = memory.save_area_at(context.gpa);
                    visit(gpa, Measured::Vmsa(context.vmsa), |manner| !manner.has_areas_last);
                }
                // Parameters count with their area; the host sees an error range.
                Directive::ParameterArea(_)
                | Directive::Parameter { .. }
                | Directive::RequiredMemory { .. }
                | Directive::ErrorRange { .. }
                | Directive::Identity(_) => {}
            }
        }
        for directive in self.directives() {
            if let Directive::VpContext(context) = directive {
                let gpa = memory.save_area_at(context.gpa);
                visit(gpa, Measured::Vmsa(context.vmsa), |manner| manner.has_areas_last);
            }
        }
    }

    fn area_size(&self, number: u32) -> u64 {
        let size = self.directives().find_map(|directive| match directive {
            Directive::ParameterArea(ParameterArea { index, size, .. }) if index == number => {
                Some(size)
            }
            _ => None,
        });
        size.unwrap_or_default()
    }
}

impl<'a> Page<'a> {
    fn measured(&self, visit: Visit<'a, '_>) {
        let pages = self.data.map(|data| data.as_chunks().0);
        for index in 0..self.size.bytes() / PageSize::Size4K.bytes() {
            let gpa = self.gpa + index * PageSize::Size4K.bytes();
            let bytes = pages.and_then(|pages| pages.get(index as usize));
            let mut add = |manner: Manner, manners: Manners| {
                if let Some(page) = manner.page(self.kind, bytes) {
                    visit(gpa, page, manners);
                }
            };
            match (self.kind, bytes) {
                (PageKind::Normal, None) => {
                    add(Manner::QEMU, |manner| manner.has_zero_pages);
                    add(Manner::SPECIFICATION, |manner| !manner.has_zero_pages);
                }
                _ => add(Manner::QEMU, |_| true),
            }
        }
    }
}
