//! The localities of the TPM that a guest reaches.
//!
//! Locality 4 belongs to hardware: from there PCRs 17 to 22 are reset and extended for a dynamic
//! root of trust (TCG PC Client Platform TPM Profile 1.05, PCR attributes). Localities 1 to 3
//! belong to the software that such a launch has started. This machine has no dynamic launch, as
//! SKINIT is not offered: no software in it may use these localities, and a guest has locality 0
//! alone.

use tpm_crb::registers::PAGE;

/// Whether a guest may use a locality.
const fn is_guests(locality: u16) -> bool {
    locality == 0
}

/// The number of the `length` bytes at `offset` from the first locality's page that a guest
/// reaches: none if they begin in another locality's page, and none behind the end of the page.
pub(super) fn within_reach(offset: u16, length: usize) -> usize {
    if is_guests(offset / PAGE) { length.min(usize::from(PAGE - offset % PAGE)) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_reaches_only_bytes_in_the_page_of_locality_0() {
        let cases = [
            (0, 4, 4),
            (PAGE - 8, 8, 8),
            (PAGE - 1, 8, 1),
            (PAGE, 1, 0),
            (3 * PAGE + 8, 4, 0),
            (4 * PAGE + 8, 4, 0),
            (u16::MAX, 8, 0),
            (0, 0, 0),
        ];
        for (offset, length, reached) in cases {
            assert_eq!(within_reach(offset, length), reached, "{length} bytes at {offset:#x}");
        }
    }
}
