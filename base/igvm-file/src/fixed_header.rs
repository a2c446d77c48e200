//! The fixed header at the start of a file.

use core::mem::{offset_of, size_of};

use igvm_defs::{
    IGVM_FIXED_HEADER, IGVM_FIXED_HEADER_V2, IGVM_FORMAT_VERSION_1, IGVM_FORMAT_VERSION_2,
    IGVM_MAGIC_VALUE, IgvmArchitecture, PAGE_SIZE_4K,
};
use zerocopy::FromBytes;

use crate::error::{Error, Fault};

/// A file in its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sections<'a> {
    /// The whole file.
    pub file: &'a [u8],
    /// The variable headers.
    pub headers: &'a [u8],
    /// Where the variable headers start.
    pub headers_start: usize,
}

impl<'a> Sections<'a> {
    /// Where the data section starts.
    pub(crate) fn data_start(&self) -> usize {
        self.headers_start + self.headers.len()
    }

    /// Bytes of the data section at an offset in the file.
    pub(crate) fn data(&self, offset: u32, length: usize) -> Result<&'a [u8], Fault> {
        let start = offset as usize;
        if start < self.data_start() {
            return Err(Fault::DataOffset(offset));
        }
        let rest = self.file.get(start..).ok_or(Fault::DataOffset(offset))?;
        rest.get(..length).ok_or(Fault::DataOffset(offset))
    }
}

/// Reads the fixed header, checks sizes and checksum, and splits the file.
pub(crate) fn split(file: &[u8]) -> Result<Sections<'_>, Error> {
    let at_start = |fault| Error { offset: 0, fault };
    let cut = Error { offset: file.len(), fault: Fault::Cut };
    let (fixed, _) = IGVM_FIXED_HEADER::read_from_prefix(file).map_err(|_| cut)?;
    if fixed.magic != IGVM_MAGIC_VALUE {
        return Err(at_start(Fault::NotIgvm));
    }
    let fixed_size = check_version(file, fixed.format_version)?;
    if file.len() < fixed.total_file_size as usize {
        return Err(cut);
    }
    if file.len() > fixed.total_file_size as usize {
        let offset = fixed.total_file_size as usize;
        return Err(Error { offset, fault: Fault::TrailingBytes });
    }
    let start = fixed.variable_header_offset as usize;
    if start < fixed_size || !start.is_multiple_of(8) {
        return Err(at_start(Fault::HeaderOffset(fixed.variable_header_offset)));
    }
    let rest = file.get(start..).ok_or(cut)?;
    let headers = rest.get(..fixed.variable_header_size as usize).ok_or(cut)?;
    let fixed_bytes = file.get(..fixed_size).ok_or(cut)?;
    if checksum(fixed_bytes, headers) != fixed.checksum {
        return Err(at_start(Fault::Checksum));
    }
    Ok(Sections { file, headers, headers_start: start })
}

/// Checks version, architecture and page size. Gives the size of the fixed header.
fn check_version(file: &[u8], version: u32) -> Result<usize, Error> {
    let at_start = |fault| Error { offset: 0, fault };
    match version {
        IGVM_FORMAT_VERSION_1 => Ok(size_of::<IGVM_FIXED_HEADER>()),
        IGVM_FORMAT_VERSION_2 => {
            let cut = Error { offset: file.len(), fault: Fault::Cut };
            let (fixed, _) = IGVM_FIXED_HEADER_V2::read_from_prefix(file).map_err(|_| cut)?;
            if fixed.architecture != IgvmArchitecture::X64 {
                return Err(at_start(Fault::Architecture(fixed.architecture.0)));
            }
            if u64::from(fixed.page_size) != PAGE_SIZE_4K {
                return Err(at_start(Fault::PageSize(fixed.page_size)));
            }
            Ok(size_of::<IGVM_FIXED_HEADER_V2>())
        }
        _ => Err(at_start(Fault::FormatVersion(version))),
    }
}

/// The CRC-32 of both headers, with zero in place of the checksum itself.
pub(crate) fn checksum(fixed: &[u8], headers: &[u8]) -> u32 {
    const FIELD: usize = offset_of!(IGVM_FIXED_HEADER, checksum);
    let (before, rest) = fixed.split_at(FIELD.min(fixed.len()));
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(before);
    hasher.update(&[0; size_of::<u32>()]);
    hasher.update(rest.get(size_of::<u32>()..).unwrap_or_default());
    hasher.update(headers);
    hasher.finalize()
}
