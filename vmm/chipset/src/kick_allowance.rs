//! The rate of kicks that a VP bears while it is in the guest.

use crate::sync::{AtomicU64, Ordering};

/// Kicks that may come together after a time without any: an honest guest sends such bursts.
pub(crate) const BURST: u64 = 16;

/// The rate of kicks that a VP bears, as a generic cell rate (ITU-T I.371, annex A).
#[derive(Debug, Default)]
pub(crate) struct KickAllowance {
    /// The TSC at which all kicks so far are paid for.
    paid: AtomicU64,
}

impl KickAllowance {
    /// Takes a kick when the TSC is `now`, if the VP can bear it; each is paid for in `cost` ticks.
    pub(crate) fn take(&self, now: u64, cost: u64) -> bool {
        let limit = now.saturating_add(BURST.saturating_mul(cost));
        let pay = |paid: u64| (paid <= limit).then(|| paid.max(now).saturating_add(cost));
        self.paid.fetch_update(Ordering::AcqRel, Ordering::Relaxed, pay).is_ok()
    }
}
