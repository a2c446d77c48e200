//! The rendezvous of all VPs at a restart or the end of the machine.
//!
//! The first request decides the reason. Every VP then parks; VP 0 waits for all of them, does the
//! work alone, and opens the next round.

use crate::mailbox::{Away, Mailbox};
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// The reason for a rendezvous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Rendezvous {
    /// The guest requested a reset, by any of the usual ways.
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

impl Rendezvous {
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

/// The state of a rendezvous.
#[derive(Debug, Default)]
pub struct Lifecycle {
    wanted: AtomicU32,
    parked: AtomicU32,
    round: AtomicU32,
    /// VP 0 has arrived, too.
    leader_is_here: AtomicBool,
    /// In the low half, the number of sleeping VPs that no interrupt can wake; in the high half,
    /// the number of times that such a VP was woken.
    unwakeable: AtomicU64,
}

/// One more sleeping VP that no interrupt can wake, in [`Lifecycle::unwakeable`].
const ONE_UNWAKEABLE: u64 = 1;
/// One such VP less, and one wake-up more.
const ONE_WOKEN: u64 = (1 << 32) - ONE_UNWAKEABLE;

impl Lifecycle {
    /// Requests a rendezvous. True for the first request: its caller tells the other VPs.
    #[must_use]
    pub fn ask(&self, why: Rendezvous) -> bool {
        self.wanted.compare_exchange(0, why as u32, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The reason for the rendezvous, if there is one.
    pub fn wanted(&self) -> Option<Rendezvous> {
        Rendezvous::of_number(self.wanted.load(Ordering::Acquire))
    }

    /// Parks a VP other than VP 0 until the next round; `wait` is called over and over, with
    /// whether VP 0 has arrived.
    pub fn park(&self, mut wait: impl FnMut(bool)) {
        let round = self.round.load(Ordering::Acquire);
        self.parked.fetch_add(1, Ordering::AcqRel);
        while self.round.load(Ordering::Acquire) == round {
            wait(self.leader_is_here.load(Ordering::Relaxed));
        }
    }

    /// Waits, as VP 0, until `others` VPs are parked.
    pub fn wait_for(&self, others: u32, mut wait: impl FnMut()) {
        self.leader_is_here.store(true, Ordering::Relaxed);
        while self.parked.load(Ordering::Acquire) < others {
            wait();
        }
    }

    /// Sleeps on the CPU of the VP whose mailbox is `own`, by `idle`, until that CPU is
    /// interrupted. Returns at once if mail waits. `is_unwakeable` says that no interrupt can
    /// wake the VP.
    ///
    /// `ends` is called before `idle` if the guest has halted for good: no interrupt can wake any
    /// VP, and no order is on its way to any. A VP that is woken counts as woken before it reads
    /// its mail. So if no VP was woken since all slept, no mail was read since, and an empty
    /// mailbox was empty all the time.
    pub fn sleep(
        &self,
        own: &Mailbox,
        all: &[Mailbox],
        is_unwakeable: bool,
        ends: impl FnOnce(),
        idle: impl FnOnce(),
    ) {
        if !own.leave(Away::Asleep) {
            return;
        }
        if is_unwakeable {
            let state =
                self.unwakeable.fetch_add(ONE_UNWAKEABLE, Ordering::SeqCst) + ONE_UNWAKEABLE;
            let all_sleep = state as u32 as usize == all.len();
            if all_sleep
                && !all.iter().any(Mailbox::is_pending)
                && self.unwakeable.load(Ordering::SeqCst) == state
            {
                ends();
            }
        }
        idle();
        if is_unwakeable {
            self.unwakeable.fetch_add(ONE_WOKEN, Ordering::SeqCst);
        }
        own.come_back();
    }

    /// Opens the next round, as VP 0.
    pub fn open(&self) {
        self.wanted.store(0, Ordering::Release);
        self.parked.store(0, Ordering::Release);
        self.leader_is_here.store(false, Ordering::Relaxed);
        self.advance_round();
    }

    /// Lets the parked VPs go on.
    pub(crate) fn advance_round(&self) {
        self.round.fetch_add(1, Ordering::AcqRel);
    }
}
