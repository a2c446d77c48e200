//! The paravisor's clock: the host's TSC, told in nanoseconds.

use device::Instant;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Converts between TSC ticks and [`Instant`]s by fixed-point factors, without a division.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The TSC when the clock started.
    start: u64,
    frequency: u64,
    /// Nanoseconds per tick, 32.32.
    nanos_per_tick: u64,
    /// Ticks per nanosecond, 32.32.
    ticks_per_nano: u64,
}

impl Clock {
    /// A clock that starts when the TSC is `start`; `frequency` is the TSC's in Hz.
    pub fn new(start: u64, frequency: u64) -> Self {
        let hertz = u128::from(frequency.max(1));
        Self {
            start,
            frequency,
            nanos_per_tick: ((NANOS_PER_SECOND << 32) / hertz) as u64,
            ticks_per_nano: ((hertz << 32) / NANOS_PER_SECOND) as u64,
        }
    }

    /// TSC ticks per second.
    pub const fn frequency(&self) -> u64 {
        self.frequency
    }

    /// The time when the host's TSC is `tsc`.
    #[inline]
    pub fn at(&self, tsc: u64) -> Instant {
        let ticks = tsc.saturating_sub(self.start);
        Instant::from_nanos(scale(ticks, self.nanos_per_tick))
    }

    /// The host's TSC at `instant`, rounded up, so that a timer set for it is never early.
    #[inline]
    pub fn tsc_at(&self, instant: Instant) -> u64 {
        let ticks = scale(instant.as_nanos(), self.ticks_per_nano);
        // Both conversions round down: two ticks make sure that `at` reaches the instant again.
        self.start.saturating_add(ticks).saturating_add(2 + (self.ticks_per_nano >> 32))
    }
}

/// `value` times the 32.32 fixed-point `factor`, saturated.
#[inline]
fn scale(value: u64, factor: u64) -> u64 {
    let product = (u128::from(value) * u128::from(factor)) >> 32;
    if product > u128::from(u64::MAX) { u64::MAX } else { product as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_come_when_its_tick_has() {
        for frequency in [1_000_000_000, 2_593_961_000, 3_700_000_001, 800_000_000] {
            let clock = Clock::new(77, frequency);
            for nanos in [0, 1, 999, 1_000_000, 1_000_000_007, 3_600_000_000_000] {
                let instant = Instant::from_nanos(nanos);
                let reached = clock.at(clock.tsc_at(instant));
                // 32 bits behind the point lose less than a microsecond in an hour.
                assert!(reached.as_nanos() + 1_000 >= nanos, "{frequency} {nanos} {reached:?}");
                assert!(reached.as_nanos() < nanos + 2_000, "{frequency} {nanos} {reached:?}");
            }
        }
    }
}
