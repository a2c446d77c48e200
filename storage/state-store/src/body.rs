//! The chunks that hold a slot's records on the disk.
//!
//! Each is encrypted, and authenticated together with the slot's header.

use alloc::vec;
use alloc::vec::Vec;

use zeroize::Zeroizing;

use crate::disk::{Disk, DiskError};
use crate::header::Sealed;
use crate::layout::{CHUNK, CHUNK_PLAIN, TAG, sealed_size};

/// The number under which the sealer knows a chunk; the header has number 0.
const fn number(chunk: u32) -> u32 {
    chunk + 1
}

/// Writes the records of a header's slot.
pub(crate) fn write(disk: &mut impl Disk, under: &Sealed, plain: &[u8]) -> Result<(), DiskError> {
    let mut buffer = Zeroizing::new(vec![0; CHUNK]);
    for (chunk, part) in (0..).zip(plain.chunks(CHUNK_PLAIN)) {
        let sealed = buffer.get_mut(..sealed_size(part.len())).ok_or(DiskError::OutOfRange)?;
        let (text, tag) = sealed.split_last_chunk_mut::<TAG>().ok_or(DiskError::OutOfRange)?;
        text.fill(0);
        for (to, from) in text.iter_mut().zip(part) {
            *to = *from;
        }
        let made = under.sealer.seal(number(chunk), &under.bytes, text);
        *tag = made.ok_or(DiskError::OutOfRange)?;
        disk.write(under.header.slot().chunk_sector(chunk), sealed)?;
    }
    Ok(())
}

/// Reads the records of a header's slot; `None` if they are not the ones sealed with that header.
pub(crate) fn read(
    disk: &mut impl Disk,
    under: &Sealed,
) -> Result<Option<Zeroizing<Vec<u8>>>, DiskError> {
    let length = under.header.length as usize;
    // Allocated at full size: a growing vector would leave copies of secrets behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(length));
    let mut buffer = Zeroizing::new(vec![0; CHUNK]);
    for chunk in 0..length.div_ceil(CHUNK_PLAIN) as u32 {
        let wanted = (length - plain.len()).min(CHUNK_PLAIN);
        let sealed = buffer.get_mut(..sealed_size(wanted)).ok_or(DiskError::OutOfRange)?;
        disk.read(under.header.slot().chunk_sector(chunk), sealed)?;
        let (text, tag) = sealed.split_last_chunk_mut::<TAG>().ok_or(DiskError::OutOfRange)?;
        if !under.sealer.open(number(chunk), &under.bytes, text, tag) {
            return Ok(None);
        }
        plain.extend(text.iter().take(wanted));
    }
    Ok(Some(plain))
}
