//! Stores with any content, for tests or fuzz targets.

use crate::body;
use crate::disk::{Disk, DiskError};
use crate::header::{Header, ID};
use crate::key::Key;
use crate::seal::SALT;

/// Writes any bytes as the authentic records of a store with this key, to a blank disk.
///
/// # Errors
/// The disk's errors; `OutOfRange` for more than [`crate::MAX_PLAIN`] bytes.
pub fn write_store(disk: &mut impl Disk, key: &Key, plain: &[u8]) -> Result<(), DiskError> {
    let length = u32::try_from(plain.len()).map_err(|_| DiskError::OutOfRange)?;
    if plain.len() > crate::MAX_PLAIN {
        return Err(DiskError::OutOfRange);
    }
    for (sequence, length) in [(2, 0), (3, length)] {
        let header = Header { id: [1; ID], sequence, length, salt: [sequence as u8; SALT] };
        let sealed = header.seal(key).ok_or(DiskError::OutOfRange)?;
        body::write(disk, &sealed, plain.get(..length as usize).unwrap_or_default())?;
        disk.write(header.slot().header_sector(), &sealed.bytes)?;
    }
    disk.flush()
}
