//! The timer of each CPU, which is set by a call of the host.
//!
//! A guest moves its next deadline at nearly every tick, mostly further away. So the timer is set
//! only for an earlier deadline than the one that it stands at. When it fires too early for the
//! deadline that is wanted by then, it is set again.

use core::sync::atomic::{AtomicU64, Ordering};

use pc::MAX_VPS;

/// No deadline.
const NEVER: u64 = u64::MAX;

/// The timer of one CPU, which alone uses it. Times are of the TSC.
#[derive(Debug)]
pub(crate) struct Timer {
    /// When it will fire.
    armed: AtomicU64,
    /// The deadline of the machine's.
    wanted: AtomicU64,
}

/// What a timer that has fired means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fired {
    /// The machine's deadline has come.
    Due,
    /// It has not: the timer is to be set to this time.
    SetTo(u64),
    /// The machine waits for nothing any more.
    Unwanted,
}

impl Timer {
    const fn new() -> Self {
        Self { armed: AtomicU64::new(NEVER), wanted: AtomicU64::new(NEVER) }
    }

    /// Notes the machine's next deadline. Answers what the timer is to be set to, if it must be.
    pub(crate) fn want(&self, deadline: Option<u64>) -> Option<u64> {
        let wanted = deadline.unwrap_or(NEVER);
        self.wanted.store(wanted, Ordering::Relaxed);
        if wanted >= self.armed.load(Ordering::Relaxed) {
            return None;
        }
        self.armed.store(wanted, Ordering::Relaxed);
        Some(wanted)
    }

    /// Has the timer fire at `at`, too. Answers whether it must be set to that.
    pub(crate) fn also_at(&self, at: u64) -> bool {
        self.armed.fetch_min(at, Ordering::Relaxed) > at
    }

    /// The timer has fired.
    pub(crate) fn fired(&self, now: u64) -> Fired {
        let wanted = self.wanted.load(Ordering::Relaxed);
        let is_due = wanted <= now;
        self.armed.store(if is_due { NEVER } else { wanted }, Ordering::Relaxed);
        match wanted {
            NEVER => Fired::Unwanted,
            _ if is_due => Fired::Due,
            later => Fired::SetTo(later),
        }
    }
}

static TIMERS: [Timer; MAX_VPS] = [const { Timer::new() }; MAX_VPS];

/// That of the running CPU.
pub(crate) fn own() -> Option<&'static Timer> {
    TIMERS.get(kernel::cpu::index() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_is_set_for_earlier_deadlines_only() {
        let timer = Timer::new();
        assert_eq!(timer.want(None), None);
        assert_eq!(timer.want(Some(100)), Some(100));
        assert_eq!(timer.want(Some(100)), None);
        assert_eq!(timer.want(Some(200)), None);
        assert_eq!(timer.want(Some(90)), Some(90));
        assert_eq!(timer.want(None), None);
    }

    #[test]
    fn a_timer_that_fires_for_an_older_deadline_is_set_again() {
        let timer = Timer::new();
        timer.want(Some(100));
        timer.want(Some(250));
        assert_eq!(timer.fired(101), Fired::SetTo(250));
        assert_eq!(timer.want(Some(300)), None);
        // The host fires when it likes.
        assert_eq!(timer.fired(150), Fired::SetTo(300));
        assert_eq!(timer.fired(300), Fired::Due);
        assert_eq!(timer.want(Some(400)), Some(400));
    }

    #[test]
    fn a_time_of_ours_leaves_the_machines_deadline_as_it_is() {
        let timer = Timer::new();
        assert!(timer.also_at(50), "nothing else is set");
        assert_eq!(timer.want(Some(100)), None);
        assert!(!timer.also_at(60) && timer.also_at(40));
        assert_eq!(timer.fired(41), Fired::SetTo(100));
        assert!(!timer.also_at(100));
        assert_eq!(timer.fired(100), Fired::Due);
    }

    #[test]
    fn a_timer_that_nobody_waits_for_is_left_alone() {
        let timer = Timer::new();
        timer.want(Some(100));
        timer.want(None);
        assert_eq!(timer.fired(100), Fired::Unwanted);
        assert_eq!(timer.fired(u64::MAX), Fired::Unwanted);
        assert_eq!(timer.want(Some(500)), Some(500));
    }
}
