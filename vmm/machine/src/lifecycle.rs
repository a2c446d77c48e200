//! How all VPs gather when the machine restarts or ends, then go on together.
//!
//! The first who asks decides what for. Every VP then parks; VP 0 waits for all of them, does the
//! work alone, and opens the next round.

use core::sync::atomic::{AtomicU32, Ordering};

/// Why the VPs gather.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Gathering {
    /// The guest asked for a reset, by any of the usual ways.
    Reset = 1,
    /// The guest powered itself off.
    PowerOff = 2,
    /// The guest shut down by a triple fault.
    TripleFault = 3,
    /// Every VP has halted with interrupts off.
    Halt = 4,
    /// The guest has called a BIOS.
    BiosCall = 5,
}

impl Gathering {
    const fn of_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Reset),
            2 => Some(Self::PowerOff),
            3 => Some(Self::TripleFault),
            4 => Some(Self::Halt),
            5 => Some(Self::BiosCall),
            _ => None,
        }
    }
}

/// The state of a gathering.
#[derive(Debug, Default)]
pub struct Lifecycle {
    wanted: AtomicU32,
    parked: AtomicU32,
    round: AtomicU32,
    /// VPs that sleep and that no interrupt would wake.
    deaf: AtomicU32,
}

impl Lifecycle {
    /// Asks for a gathering. True for the first who asks: it tells the others.
    #[must_use]
    pub fn ask(&self, why: Gathering) -> bool {
        self.wanted.compare_exchange(0, why as u32, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Why the VPs gather, if they do.
    pub fn wanted(&self) -> Option<Gathering> {
        Gathering::of_number(self.wanted.load(Ordering::Acquire))
    }

    /// Parks a VP other than VP 0 until the next round; `wait` is called over and over.
    pub fn park(&self, wait: impl Fn()) {
        let round = self.round.load(Ordering::Acquire);
        self.parked.fetch_add(1, Ordering::AcqRel);
        while self.round.load(Ordering::Acquire) == round {
            wait();
        }
    }

    /// Waits, as VP 0, until `others` VPs are parked.
    pub fn wait_for(&self, others: u32, wait: impl Fn()) {
        while self.parked.load(Ordering::Acquire) < others {
            wait();
        }
    }

    /// A VP falls asleep so that no interrupt would wake it. Answers how many do so now.
    pub fn fall_deaf(&self) -> u32 {
        self.deaf.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Such a VP has been woken by an order.
    pub fn hear(&self) {
        self.deaf.fetch_sub(1, Ordering::SeqCst);
    }

    /// Opens the next round, as VP 0.
    pub fn open(&self) {
        self.wanted.store(0, Ordering::Release);
        self.parked.store(0, Ordering::Release);
        self.round.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stands_until_the_next_round() {
        let lifecycle = Lifecycle::default();
        assert_eq!(lifecycle.wanted(), None);
        assert!(lifecycle.ask(Gathering::Reset));
        assert!(!lifecycle.ask(Gathering::PowerOff));
        assert_eq!(lifecycle.wanted(), Some(Gathering::Reset));
        lifecycle.wait_for(0, || panic!("nobody to wait for"));
        lifecycle.open();
        assert_eq!(lifecycle.wanted(), None);
        assert!(lifecycle.ask(Gathering::PowerOff));
    }
}
