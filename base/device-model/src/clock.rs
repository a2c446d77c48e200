//! The clock that all models share: the host's TSC in nanoseconds.

use crate::time::{HostTsc, Instant};

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Fraction bits of the two factors. They are enough that a year loses less than a nanosecond, and
/// few enough that frequencies from 0.6 to 15 GHz fit; others count as the nearest of these.
const NANOS_SHIFT: u32 = 63;
const TICKS_SHIFT: u32 = 60;
const SLOWEST: u64 = 600_000_000;
const FASTEST: u64 = 15_000_000_000;

/// Converts between TSC ticks and [`Instant`]s by fixed-point factors, without a division.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The TSC when the clock started.
    start: HostTsc,
    frequency: u64,
    /// Nanoseconds per tick, with [`NANOS_SHIFT`] fraction bits.
    nanos_per_tick: u64,
    /// Ticks per nanosecond, with [`TICKS_SHIFT`] fraction bits.
    ticks_per_nano: u64,
}

impl Clock {
    /// A clock that starts when the TSC is `start`; `frequency` is the TSC's in Hz.
    pub fn new(start: HostTsc, frequency: u64) -> Self {
        let hertz = u128::from(frequency.clamp(SLOWEST, FASTEST));
        Self {
            start,
            frequency,
            nanos_per_tick: ((NANOS_PER_SECOND << NANOS_SHIFT) / hertz) as u64,
            ticks_per_nano: ((hertz << TICKS_SHIFT) / NANOS_PER_SECOND) as u64,
        }
    }

    /// TSC ticks per second.
    pub const fn frequency(&self) -> u64 {
        self.frequency
    }

    /// TSC ticks in so many nanoseconds, rounded down.
    #[inline]
    pub fn ticks(&self, nanos: u64) -> u64 {
        scale(nanos, self.ticks_per_nano, TICKS_SHIFT)
    }

    /// The time when the host's TSC is `tsc`.
    #[inline]
    pub fn at(&self, tsc: HostTsc) -> Instant {
        let ticks = tsc.since(self.start);
        Instant::from_nanos(scale(ticks, self.nanos_per_tick, NANOS_SHIFT))
    }

    /// The host's TSC at `instant`, rounded up, so that a timer set for it is never early.
    #[inline]
    pub fn tsc_at(&self, instant: Instant) -> HostTsc {
        let ticks = scale(instant.as_nanos(), self.ticks_per_nano, TICKS_SHIFT);
        // Both conversions round down: two ticks make sure that `at` reaches the instant again.
        self.start.saturating_add(ticks).saturating_add(2 + (self.ticks_per_nano >> TICKS_SHIFT))
    }
}

/// `value` times `factor`, which has `shift` fraction bits; saturated.
#[inline]
fn scale(value: u64, factor: u64, shift: u32) -> u64 {
    let product = (u128::from(value) * u128::from(factor)) >> shift;
    if product > u128::from(u64::MAX) { u64::MAX } else { product as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_come_when_its_tick_has() {
        for frequency in [1_000_000_000, 2_593_961_000, 3_700_000_001, 800_000_000] {
            let clock = Clock::new(HostTsc(77), frequency);
            let year = 31_557_600_000_000_000;
            for nanos in [0, 1, 999, 1_000_000, 1_000_000_007, 3_600_000_000_000, 10 * year] {
                let instant = Instant::from_nanos(nanos);
                let reached = clock.at(clock.tsc_at(instant));
                assert!(reached >= instant, "{frequency} {nanos} {reached:?}");
                assert!(reached.as_nanos() <= nanos + 10, "{frequency} {nanos} {reached:?}");
            }
        }
    }
}
