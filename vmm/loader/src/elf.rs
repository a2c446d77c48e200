//! ELF files of both classes (System V gABI, chapters 4 and 5), as far as kernels need them.

use crate::Loading;
use crate::bytes::{u16_at, u32_at, u64_at};
use crate::error::LoadError;
use crate::io::Source;
use alloc::vec;
use alloc::vec::Vec;

const MAGIC: &[u8] = b"\x7FELF";
const CLASS: usize = 4;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const MOST_SEGMENTS: u16 = 128;
/// All notes together: they are kept until the kernel is measured.
const LONGEST_NOTES: u64 = 64 << 10;

/// One program header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    kind: u32,
    offset: u64,
    virtual_address: u64,
    physical_address: u64,
    file_size: u64,
    memory_size: u64,
}

/// A parsed file.
pub(crate) struct Elf {
    pub(crate) entry: u64,
    pub(crate) segments: Vec<Segment>,
}

/// Whether the file is ELF for a little-endian CPU.
pub(crate) fn is_elf(head: &[u8]) -> bool {
    head.starts_with(MAGIC) && head.get(5) == Some(&LITTLE_ENDIAN)
}

/// Whether the file is ELF of the 64-bit class.
pub(crate) fn is_64(head: &[u8]) -> bool {
    is_elf(head) && head.get(CLASS) == Some(&CLASS_64)
}

impl Elf {
    /// Reads the header in `head` and the program headers.
    pub(crate) fn parse(kernel: &mut dyn Source, head: &[u8]) -> Result<Self, LoadError> {
        let long = is_64(head);
        let cut = LoadError::Truncated { needed: 64, length: kernel.len() };
        let (entry, table, size, count) = file_header(head, long).ok_or(cut)?;
        if size != if long { 56 } else { 32 } {
            return Err(LoadError::BadElf { field: "e_phentsize" });
        }
        if count > MOST_SEGMENTS {
            return Err(LoadError::TooManySegments { count: count.into() });
        }
        let bytes = read(kernel, table, u64::from(size) * u64::from(count))?;
        let segments =
            bytes.chunks_exact(size.into()).filter_map(|bytes| Segment::parse(bytes, long));
        Ok(Self { entry, segments: segments.collect() })
    }

    /// Puts all loadable segments at their physical addresses.
    pub(crate) fn place(&self, loading: &mut Loading<'_>) -> Result<(), LoadError> {
        for segment in self.segments.iter().filter(|segment| segment.kind == PT_LOAD) {
            if segment.file_size > segment.memory_size {
                return Err(LoadError::BadElf { field: "p_filesz" });
            }
            let gpa = segment.physical_address;
            loading.layout.claim(gpa, segment.memory_size)?;
            loading.place_kernel(segment.offset, gpa, segment.file_size)?;
            let rest = segment.memory_size - segment.file_size;
            if rest > 0 {
                loading.memory.zero(gpa + segment.file_size, rest)?;
            }
        }
        Ok(())
    }

    /// The entry's physical address: some kernels give a virtual one.
    pub(crate) fn physical_entry(&self) -> u64 {
        let entry = self.entry;
        self.segments
            .iter()
            .filter(|segment| segment.kind == PT_LOAD)
            .find_map(|segment| {
                let offset = entry.checked_sub(segment.virtual_address)?;
                let inside = offset < segment.memory_size;
                inside.then(|| segment.physical_address.wrapping_add(offset))
            })
            .unwrap_or(entry)
    }

    /// The content of the first note of this type with this owner; without one, of the first of
    /// this type, of any owner.
    pub(crate) fn note(
        &self,
        kernel: &mut dyn Source,
        owner: &[u8],
        kind: u32,
    ) -> Result<Option<Vec<u8>>, LoadError> {
        let (mut length, mut other) = (0_u64, None);
        for segment in self.segments.iter().filter(|segment| segment.kind == PT_NOTE) {
            length = length.saturating_add(segment.file_size);
            if length > LONGEST_NOTES {
                return Err(LoadError::NotesTooLong { length, limit: LONGEST_NOTES });
            }
            let bytes = read(kernel, segment.offset, segment.file_size)?;
            if let Some(content) = find_note(&bytes, kind, |name| name == owner) {
                return Ok(Some(content.to_vec()));
            }
            other = other.or_else(|| find_note(&bytes, kind, |_| true).map(<[u8]>::to_vec));
        }
        Ok(other)
    }
}

/// Entry, offset, entry size and count of the program headers.
fn file_header(head: &[u8], long: bool) -> Option<(u64, u64, u16, u16)> {
    Some(if long {
        (u64_at(head, 24)?, u64_at(head, 32)?, u16_at(head, 54)?, u16_at(head, 56)?)
    } else {
        let entry = u32_at(head, 24)?.into();
        (entry, u32_at(head, 28)?.into(), u16_at(head, 42)?, u16_at(head, 44)?)
    })
}

impl Segment {
    fn parse(bytes: &[u8], long: bool) -> Option<Self> {
        let word = |offset| u32_at(bytes, offset).map(u64::from);
        Some(if long {
            Self {
                kind: u32_at(bytes, 0)?,
                offset: u64_at(bytes, 8)?,
                virtual_address: u64_at(bytes, 16)?,
                physical_address: u64_at(bytes, 24)?,
                file_size: u64_at(bytes, 32)?,
                memory_size: u64_at(bytes, 40)?,
            }
        } else {
            Self {
                kind: u32_at(bytes, 0)?,
                offset: word(4)?,
                virtual_address: word(8)?,
                physical_address: word(12)?,
                file_size: word(16)?,
                memory_size: word(20)?,
            }
        })
    }
}

fn read(kernel: &mut dyn Source, offset: u64, length: u64) -> Result<Vec<u8>, LoadError> {
    let end = offset.checked_add(length).ok_or(LoadError::Overflow)?;
    if end > kernel.len() {
        return Err(LoadError::Truncated { needed: end, length: kernel.len() });
    }
    let mut bytes = vec![0; length as usize];
    kernel.read(offset, &mut bytes)?;
    Ok(bytes)
}

/// Walks notes: sizes of name and content, type, then both padded to 4 bytes.
fn find_note(notes: &[u8], kind: u32, is_owner: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
    let mut rest = notes;
    // Each round takes 12 bytes at least.
    while rest.len() >= 12 {
        let name_size = u32_at(rest, 0)? as usize;
        let content_size = u32_at(rest, 4)? as usize;
        let found_kind = u32_at(rest, 8)?;
        let content_at = name_size.checked_next_multiple_of(4)?.checked_add(12)?;
        let found_name = rest.get(12..)?.get(..name_size)?;
        let content = rest.get(content_at..)?.get(..content_size)?;
        if found_kind == kind && is_owner(found_name) {
            return Some(content);
        }
        let next = content_size.checked_next_multiple_of(4)?.checked_add(content_at)?;
        rest = rest.get(next..)?;
    }
    None
}
