//! The big-endian wire format (Part 2, section 4.2).

use alloc::vec::Vec;

use crate::rc::{Rc, Result};

/// Reads structures from untrusted bytes; every read is bounded.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(Rc::INSUFFICIENT)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(Rc::INSUFFICIENT)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// TPMI_YES_NO.
    pub(crate) fn yes_no(&mut self) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Rc::VALUE),
        }
    }

    /// A TPM2B of at most `max` bytes; SIZE if it is longer.
    pub(crate) fn sized(&mut self, max: usize) -> Result<Vec<u8>> {
        let size = usize::from(self.u16()?);
        if size > max {
            return Err(Rc::SIZE);
        }
        self.take(size).map(Vec::from)
    }

    /// A TPM2B that holds exactly one structure. SIZE if it is empty, or if the structure has
    /// another size than the TPM2B claims; INSUFFICIENT only if bytes of the structure are missing.
    pub(crate) fn sized_structure<T>(
        &mut self,
        parse: impl FnOnce(&mut Reader<'_>) -> Result<T>,
    ) -> Result<T> {
        let size = usize::from(self.u16()?);
        if size == 0 {
            return Err(Rc::SIZE);
        }
        let before = self.rest.len();
        let value = parse(self)?;
        if before - self.rest.len() == size { Ok(value) } else { Err(Rc::SIZE) }
    }
}

/// Appends structures to a buffer; this cannot fail.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]) -> &mut Self;

    fn put_u8(&mut self, value: u8) -> &mut Self {
        self.put(&[value])
    }

    fn put_u16(&mut self, value: u16) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    fn put_u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    fn put_u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    /// A TPM2B. All buffers in this engine are far smaller than 64 KiB.
    fn put_sized(&mut self, bytes: &[u8]) -> &mut Self {
        self.put_u16(bytes.len() as u16).put(bytes)
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.extend_from_slice(bytes);
        self
    }
}

/// The bytes that `write` appends to an empty buffer.
pub(crate) fn built(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}
