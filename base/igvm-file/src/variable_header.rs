//! The list of variable headers: type, length, body, padding.

use core::mem::size_of;

use igvm_defs::{IGVM_VHS_VARIABLE_HEADER, IGVM_VHT_OPTIONAL_BIT, IgvmVariableHeaderType};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::error::{Error, Fault};

/// Alignment of headers.
const ALIGNMENT: usize = 8;

/// One header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawHeader<'a> {
    /// Where it stands in the file.
    pub offset: usize,
    /// Its type.
    pub header_type: IgvmVariableHeaderType,
    /// Its body.
    pub body: &'a [u8],
}

impl RawHeader<'_> {
    /// An error at this header.
    pub(crate) fn error(&self, fault: Fault) -> Error {
        Error { offset: self.offset, fault }
    }

    /// The error for a type that is not supported.
    pub(crate) fn unsupported(&self) -> Error {
        self.error(Fault::Unsupported(self.header_type.0))
    }

    /// The header may be skipped by a loader that does not know its type.
    pub(crate) fn is_optional(&self) -> bool {
        self.header_type.0 & IGVM_VHT_OPTIONAL_BIT != 0
    }

    /// The body, if it has the length of its type.
    pub(crate) fn read<T: FromBytes + KnownLayout + Immutable>(&self) -> Result<T, Error> {
        let length = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        T::read_from_bytes(self.body).map_err(|_| self.error(Fault::HeaderLength(length)))
    }
}

/// Goes through the headers. Ends after the first error.
#[derive(Clone, Debug)]
pub(crate) struct RawHeaders<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> RawHeaders<'a> {
    /// The headers in a section that starts at `offset` of the file.
    pub(crate) fn new(section: &'a [u8], offset: usize) -> Self {
        Self { rest: section, offset }
    }

    fn take(&mut self) -> Result<RawHeader<'a>, Error> {
        let cut = Error { offset: self.offset, fault: Fault::Cut };
        let (head, rest) =
            IGVM_VHS_VARIABLE_HEADER::read_from_prefix(self.rest).map_err(|_| cut)?;
        let length = head.length as usize;
        let body = rest.get(..length).ok_or(cut)?;
        let padded = length.checked_next_multiple_of(ALIGNMENT).ok_or(cut)?;
        let header = RawHeader { offset: self.offset, header_type: head.typ, body };
        self.rest = rest.get(padded..).ok_or(cut)?;
        self.offset += size_of::<IGVM_VHS_VARIABLE_HEADER>() + padded;
        Ok(header)
    }
}

impl<'a> Iterator for RawHeaders<'a> {
    type Item = Result<RawHeader<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let header = self.take();
        if header.is_err() {
            self.rest = &[];
        }
        Some(header)
    }
}
