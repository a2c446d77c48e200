//! The checks that need more than one directive.

use alloc::vec::Vec;

use snp::vmsa::DEFAULT_VMSA_GPA;

use crate::directive::{ADDRESS_LIMIT, Directive, PageSize};
use crate::error::{Error, Fault};

/// How many parameter areas a file may have.
pub(crate) const MAX_PARAMETER_AREAS: usize = 64;

struct Area {
    index: u32,
    size: u64,
    inserted: bool,
}

/// A loaded range, with the header that loads it.
struct Loaded {
    start: u64,
    end: u64,
    offset: usize,
}

/// The directives so far. It grows by one entry for each header at most.
#[derive(Default)]
pub(crate) struct Checker {
    areas: Vec<Area>,
    loaded: Vec<Loaded>,
    /// The numbers of VPs with a context, with their headers.
    contexts: Vec<(u16, usize)>,
    has_identity: bool,
}

impl Checker {
    /// Takes the next directive, from the header at `offset`.
    pub(crate) fn add(&mut self, directive: &Directive<'_>, offset: usize) -> Result<(), Error> {
        let error = |fault| Error { offset, fault };
        match directive {
            Directive::Page(page) => self.load(page.gpa, page.size.bytes(), offset),
            Directive::ParameterArea(area) => {
                self.declare(area.index, area.size).map_err(error)?;
            }
            Directive::Parameter { kind, area, offset: place } => {
                let size = self.area(*area).map_err(error)?.size;
                if u64::from(*place) + kind.minimum() > size {
                    return Err(error(Fault::ParameterOffset(*place)));
                }
            }
            Directive::ParameterInsert { gpa, area } => {
                let area = self.area(*area).map_err(error)?;
                area.inserted = true;
                let size = area.size;
                if ADDRESS_LIMIT - size < *gpa {
                    return Err(error(Fault::AddressTooHigh(*gpa)));
                }
                self.load(*gpa, size, offset);
            }
            Directive::RequiredMemory { .. } => {}
            Directive::ErrorRange { gpa, size } => self.load(*gpa, *size, offset),
            Directive::VpContext(context) => {
                self.contexts.push((context.vp_index, offset));
                // A save area at this address is not part of the guest's memory.
                if context.gpa != DEFAULT_VMSA_GPA {
                    self.load(context.gpa, PageSize::Size4K.bytes(), offset);
                }
            }
            Directive::Identity(_) => {
                if self.has_identity {
                    return Err(error(Fault::SecondIdBlock));
                }
                self.has_identity = true;
            }
        }
        Ok(())
    }

    /// Checks all directives together.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.contexts.sort_unstable();
        for pair in self.contexts.windows(2) {
            if let [(first, _), (second, offset)] = pair
                && first == second
            {
                return Err(Error { offset: *offset, fault: Fault::SecondContext(*second) });
            }
        }
        self.loaded.sort_unstable_by_key(|range| (range.start, range.offset));
        for pair in self.loaded.windows(2) {
            if let [first, second] = pair
                && second.start < first.end
            {
                let offset = first.offset.max(second.offset);
                return Err(Error { offset, fault: Fault::Overlap(second.start) });
            }
        }
        Ok(())
    }

    /// Notes a range that does not exceed the address space.
    fn load(&mut self, gpa: u64, size: u64, offset: usize) {
        self.loaded.push(Loaded { start: gpa, end: gpa + size, offset });
    }

    fn declare(&mut self, index: u32, size: u64) -> Result<(), Fault> {
        if self.areas.iter().any(|area| area.index == index) {
            return Err(Fault::AreaTwice(index));
        }
        if self.areas.len() == MAX_PARAMETER_AREAS {
            return Err(Fault::TooManyAreas);
        }
        self.areas.push(Area { index, size, inserted: false });
        Ok(())
    }

    /// An area that is not inserted yet.
    fn area(&mut self, index: u32) -> Result<&mut Area, Fault> {
        let area = self.areas.iter_mut().find(|area| area.index == index);
        let area = area.ok_or(Fault::UnknownArea(index))?;
        if area.inserted { Err(Fault::AreaInserted(index)) } else { Ok(area) }
    }
}
