//! Frame of an ACPI system description table (ACPI 6.5, 5.2.6).

use alloc::vec::Vec;

/// The maker of the tables.
pub(crate) const OEM: &[u8; 6] = b"PARAVN";
const OEM_TABLE: &[u8; 8] = b"PARAVANE";
const CREATOR: &[u8; 4] = b"PRVN";
const HEADER: usize = 36;

/// A table with its header and checksum around `body`.
pub(crate) fn table(signature: &[u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let length = (HEADER + body.len()) as u32;
    let mut table = Vec::with_capacity(HEADER + body.len());
    table.extend_from_slice(signature);
    table.extend_from_slice(&length.to_le_bytes());
    table.extend_from_slice(&[revision, 0]);
    table.extend_from_slice(OEM);
    table.extend_from_slice(OEM_TABLE);
    table.extend_from_slice(&1_u32.to_le_bytes());
    table.extend_from_slice(CREATOR);
    table.extend_from_slice(&1_u32.to_le_bytes());
    table.extend_from_slice(body);
    set_checksum(&mut table, 9);
    table
}

/// Sets the byte at `at` so that all bytes sum to zero.
pub(crate) fn set_checksum(bytes: &mut [u8], at: usize) {
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(checksum) = bytes.get_mut(at) {
        *checksum = checksum.wrapping_sub(sum);
    }
}
