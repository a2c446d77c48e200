//! Clocks and the timer.

use device_model::HostTsc;

/// Clocks and the timer.
pub trait Time {
    /// The time-stamp counter of this CPU.
    fn tsc(&self) -> HostTsc;
    /// TSC ticks per second.
    fn tsc_frequency(&self) -> u64;
    /// Has this CPU interrupted when the TSC reaches `deadline`, or not at all.
    fn set_timer(&self, deadline: Option<HostTsc>);
    /// Seconds since 1970 by the host's real-time clock.
    fn wall_clock(&self) -> u64;
}
