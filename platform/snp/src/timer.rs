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
    /// The deadline of the platform's own.
    ours: AtomicU64,
}

/// What a timer that has fired means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fired {
    /// The machine's deadline has come.
    pub(crate) is_due: bool,
    /// What the timer is to be set to for a deadline that has not come.
    pub(crate) next: Option<u64>,
}

impl Timer {
    const fn new() -> Self {
        Self {
            armed: AtomicU64::new(NEVER),
            wanted: AtomicU64::new(NEVER),
            ours: AtomicU64::new(NEVER),
        }
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
        self.ours.fetch_min(at, Ordering::Relaxed);
        self.armed.fetch_min(at, Ordering::Relaxed) > at
    }

    /// The timer has fired.
    pub(crate) fn fired(&self, now: u64) -> Fired {
        let is_ahead = |deadline: &u64| *deadline != NEVER && *deadline > now;
        let [wanted, ours] = [&self.wanted, &self.ours].map(|at| at.load(Ordering::Relaxed));
        for (deadline, at) in [(&self.wanted, wanted), (&self.ours, ours)] {
            if at <= now {
                deadline.store(NEVER, Ordering::Relaxed);
            }
        }
        let next = [wanted, ours].into_iter().filter(is_ahead).min();
        self.armed.store(next.unwrap_or(NEVER), Ordering::Relaxed);
        Fired { is_due: wanted != NEVER && wanted <= now, next }
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

    fn due(next: Option<u64>) -> Fired {
        Fired { is_due: true, next }
    }

    fn early(next: Option<u64>) -> Fired {
        Fired { is_due: false, next }
    }

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
        assert_eq!(timer.fired(101), early(Some(250)));
        assert_eq!(timer.want(Some(300)), None);
        // The host fires when it likes.
        assert_eq!(timer.fired(150), early(Some(300)));
        assert_eq!(timer.fired(300), due(None));
        assert_eq!(timer.want(Some(400)), Some(400));
    }

    #[test]
    fn a_time_of_ours_leaves_the_machines_deadline_as_it_is() {
        let timer = Timer::new();
        assert!(timer.also_at(50), "nothing else is set");
        assert_eq!(timer.want(Some(100)), None);
        assert!(!timer.also_at(60) && timer.also_at(40));
        assert_eq!(timer.fired(41), early(Some(100)));
        assert!(!timer.also_at(100));
        assert_eq!(timer.fired(100), due(None));
    }

    #[test]
    fn a_time_of_ours_outlasts_an_earlier_deadline() {
        let timer = Timer::new();
        timer.want(Some(100));
        assert!(!timer.also_at(150), "it fires before");
        assert_eq!(timer.fired(101), due(Some(150)));
        assert_eq!(timer.want(Some(400)), None, "it fires before");
        assert_eq!(timer.fired(151), early(Some(400)));
        assert_eq!(timer.fired(400), due(None));
        // The host fires when it likes.
        assert!(timer.also_at(500));
        assert_eq!(timer.fired(450), early(Some(500)));
        timer.want(Some(600));
        assert_eq!(timer.fired(700), due(None));
    }

    #[test]
    fn a_timer_that_nobody_waits_for_is_left_alone() {
        let timer = Timer::new();
        timer.want(Some(100));
        timer.want(None);
        assert_eq!(timer.fired(100), early(None));
        assert_eq!(timer.fired(u64::MAX), early(None));
        assert_eq!(timer.want(Some(500)), Some(500));
    }
}
