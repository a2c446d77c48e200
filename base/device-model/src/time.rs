//! The clock that device models count in.

use serde::{Deserialize, Serialize};

/// A point in time: nanoseconds since the paravisor's clock started.
///
/// 64 bits last 584 years; arithmetic saturates, so that no value that a guest programs can wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Instant(u64);

impl Instant {
    /// The start of the clock.
    pub const START: Self = Self(0);

    /// The time `nanos` nanoseconds after the clock's start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This time plus `nanos` nanoseconds.
    pub const fn saturating_add(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Nanoseconds from `earlier` to this time; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The time-stamp counter of the CPUs that the paravisor runs on. It starts before the paravisor
/// does, and never runs backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostTsc(pub u64);

impl HostTsc {
    /// So late that it never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// This time plus `ticks`.
    #[inline]
    pub const fn saturating_add(self, ticks: u64) -> Self {
        Self(self.0.saturating_add(ticks))
    }

    /// Ticks from `earlier` to this time; zero if `earlier` is later.
    #[inline]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The time-stamp counter as the guest reads it on one VP. It is the guest's to set, so it wraps
/// and jumps; the host's counter is a plain number, and the two mix by a [`TscOffset`] alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GuestTsc(pub u64);

impl GuestTsc {
    /// Ticks from this time to `later`, as the timer compares them: zero if that has come.
    pub const fn until(self, later: Self) -> u64 {
        later.0.saturating_sub(self.0)
    }
}

/// The guest's time-stamp counter minus the host's, modulo 2 to the 64 (AMD64 APM vol. 2, section
/// 15.30.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TscOffset(pub u64);

impl TscOffset {
    /// The offset with which the guest reads `guest` while the host's counter is `host`.
    pub const fn between(guest: GuestTsc, host: HostTsc) -> Self {
        Self(guest.0.wrapping_sub(host.0))
    }

    /// The value that the guest reads while the host's counter is `host`.
    #[inline]
    pub const fn guest(self, host: HostTsc) -> GuestTsc {
        GuestTsc(host.0.wrapping_add(self.0))
    }

    /// When the guest reads `deadline`, by the host's counter, which is `now`. A deadline that the
    /// guest's counter would only reach by wrapping never comes.
    #[inline]
    pub const fn host_at(self, deadline: GuestTsc, now: HostTsc) -> HostTsc {
        now.saturating_add(self.guest(now).until(deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_deadline_never_wraps_into_the_past() {
        let cases = [
            // Offset, the host's counter, the guest's deadline, when that is for the host.
            (0, 100, 150, 150),
            (0, 100, 50, 100),
            (0u64.wrapping_sub(100), 1_000, 950, 1_050),
            (0u64.wrapping_sub(100), 1_000, u64::MAX, u64::MAX),
            (1 << 63, 1_000, u64::MAX, (1 << 63) - 1),
            (u64::MAX, 0, 5, 0),
        ];
        for (offset, now, deadline, expected) in cases {
            let at = TscOffset(offset).host_at(GuestTsc(deadline), HostTsc(now));
            assert_eq!(at, HostTsc(expected), "{offset:#x} {now} {deadline:#x}");
        }
        assert_eq!(TscOffset::between(GuestTsc(3), HostTsc(10)).guest(HostTsc(10)), GuestTsc(3));
    }

    #[test]
    fn time_saturates_where_it_would_wrap() {
        let late = Instant::from_nanos(u64::MAX - 5);
        assert_eq!(late.saturating_add(5).as_nanos(), u64::MAX);
        assert_eq!(late.saturating_add(6).as_nanos(), u64::MAX);
        assert_eq!(Instant::START.saturating_add(7).since(Instant::START), 7);
        assert_eq!(Instant::START.since(late), 0, "a later time is not before an earlier one");
        assert!(Instant::START < late);
    }

    #[test]
    fn a_deadline_that_has_come_is_now() {
        assert_eq!(GuestTsc(100).until(GuestTsc(160)), 60);
        assert_eq!(GuestTsc(160).until(GuestTsc(100)), 0);
        assert_eq!(GuestTsc(0).until(GuestTsc(u64::MAX)), u64::MAX);
    }
}
