//! The page from which a guest computes the reference time without an exit.

/// Reference time runs at 10 MHz: units of 100 nanoseconds.
pub(crate) const UNITS_PER_SECOND: u64 = 10_000_000;

/// The first 24 bytes of the page (TLFS 12.6.3): sequence, reserved, scale, offset.
///
/// A guest computes `(tsc * scale >> 64) + offset`. `tsc_at_zero` is the guest's TSC when the
/// reference time was zero; `frequency` is the TSC's in Hz.
pub fn reference_tsc_page(frequency: u64, tsc_at_zero: u64) -> [u8; 24] {
    let scale = scale(frequency);
    let at_zero = (u128::from(tsc_at_zero) * u128::from(scale)) >> 64;
    let offset = (at_zero as u64).wrapping_neg();
    let mut page = [0; 24];
    // A sequence of zero would mean that the page is not valid.
    let sequence: u64 = 1;
    let bytes = [sequence, scale, offset].into_iter().flat_map(u64::to_le_bytes);
    for (to, from) in page.iter_mut().zip(bytes) {
        *to = from;
    }
    page
}

/// Reference units per TSC tick as a 0.64 fixed-point number.
pub(crate) fn scale(frequency: u64) -> u64 {
    // The format can not express a TSC at or below 10 MHz; no such CPU exists.
    let frequency = u128::from(frequency.max(UNITS_PER_SECOND + 1));
    ((u128::from(UNITS_PER_SECOND) << 64) / frequency) as u64
}
