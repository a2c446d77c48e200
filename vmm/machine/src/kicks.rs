//! How often a VP may be kicked out of the guest.
//!
//! A kick costs its target an exit, whatever the target does with what was posted; so a VP that
//! sends interrupts without end would take another's time. Who kicks faster than the target can
//! bear waits instead, and loses its own. A VP that sleeps loses nothing, and is kicked at once.
//! Vectors do not kick a VP at all that shuts interrupts out for longer: it exits when it opens.

use core::sync::atomic::{AtomicU64, Ordering};

use platform_api::{GuestVp, Platform};

use crate::mailbox::Away;
use crate::vp::{INTERRUPT_FLAG, VirtualProcessor};

/// A kick may come each so many times the length of an exit with its entry. On QEMU's software CPU,
/// whose translations a kick throws away, that leaves the target 84 to 87 % of its progress.
pub(crate) const SPACING: u64 = 40;
/// Kicks that a guest with interrupts off bears in a row before vectors no longer kick it.
const FRUITLESS_KICKS: u8 = 2;
/// Kicks that may come together after a time without any: what an honest guest does in bursts.
const BURST: u64 = 16;

/// What a VP can bear, as a generic cell rate (ITU-T I.371, annex A).
#[derive(Debug, Default)]
pub(crate) struct KickAllowance {
    /// The TSC at which all kicks so far are paid for.
    paid: AtomicU64,
}

impl KickAllowance {
    /// Takes a kick when the TSC is `now`, if it can be borne; each is paid for in `cost` ticks.
    pub(crate) fn take(&self, now: u64, cost: u64) -> bool {
        let limit = now.saturating_add(BURST.saturating_mul(cost));
        let pay = |paid: u64| (paid <= limit).then(|| paid.max(now).saturating_add(cost));
        self.paid.fetch_update(Ordering::AcqRel, Ordering::Relaxed, pay).is_ok()
    }
}

impl<P: Platform> VirtualProcessor<P> {
    /// After a kick: closes a guest that was kicked more than once while it shuts interrupts out.
    ///
    /// Nothing that is posted to it can be taken before it opens, and each kick would cost it an
    /// exit; asking for one exit when it opens costs less.
    pub(crate) fn note_kick(&mut self) {
        if self.cpu.rflags() & INTERRUPT_FLAG != 0 || !self.mailbox().is_pending() {
            self.fruitless_kicks = 0;
        } else if self.fruitless_kicks < FRUITLESS_KICKS {
            self.fruitless_kicks += 1;
        } else {
            self.departure = Away::ClosedGuest;
        }
    }

    /// Vectors kick again.
    pub(crate) fn open(&mut self) {
        self.fruitless_kicks = 0;
        if self.departure == Away::ClosedGuest {
            self.departure = Away::Guest;
            self.mailbox().open();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_borne_and_then_one_kick_at_a_time() {
        let allowance = KickAllowance::default();
        let burst = (0..100).filter(|_| allowance.take(1_000_000, 10)).count() as u64;
        assert_eq!(burst, BURST + 1);
        assert!(!allowance.take(1_000_009, 10));
        assert!(allowance.take(1_000_010, 10));
        assert!(!allowance.take(1_000_010, 10));
        let later = (0..100).filter(|_| allowance.take(2_000_000, 10)).count() as u64;
        assert_eq!(later, BURST + 1, "no more is saved up than one burst");
    }

    #[test]
    fn an_endless_storm_gets_its_share_only() {
        let allowance = KickAllowance::default();
        let kicks = (0..100_000).filter(|now| allowance.take(*now, 50)).count() as u64;
        assert!((2_000..=2_000 + BURST + 1).contains(&kicks), "{kicks}");
    }

    #[test]
    fn the_end_of_time_is_no_end() {
        let allowance = KickAllowance::default();
        assert!(allowance.take(u64::MAX, u64::MAX) && allowance.take(u64::MAX, 0));
    }
}
