//! The clock of the TPM (Part 1, section 36).

use serde::{Deserialize, Serialize};

use crate::rc::{Rc, Result};

/// The most that the clock in NV lags behind, in milliseconds. A power of two.
pub(crate) const UPDATE_INTERVAL: u64 = 1 << 16;

/// The nominal rate: rates are in 1/UNIT.
const UNIT: u64 = 1 << 16;

/// The running time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Clock {
    /// The environment's time at the last update.
    latest: u64,
    /// Milliseconds since _TPM_Init.
    pub(crate) time: u64,
    /// Milliseconds that the TPM has been powered since manufacture or Clear.
    pub(crate) clock: u64,
    pub(crate) safe: bool,
    /// Rate in 1/65536.
    rate: u64,
    remainder: u64,
}

impl Clock {
    pub(crate) const fn new(now_ms: u64) -> Self {
        Self { latest: now_ms, time: 0, clock: 0, safe: true, rate: UNIT, remainder: 0 }
    }

    /// Advances to the environment's `now`. If that went back, no time has passed.
    pub(crate) fn advance(&mut self, now_ms: u64) {
        let elapsed = now_ms.saturating_sub(self.latest);
        self.latest = now_ms;
        let scaled = elapsed.saturating_mul(self.rate).saturating_add(self.remainder);
        self.remainder = scaled % UNIT;
        self.time = self.time.saturating_add(scaled / UNIT);
        self.clock = self.clock.saturating_add(scaled / UNIT);
    }

    /// Continues with another time base, after a restore into another machine.
    pub(crate) const fn rebase(&mut self, now_ms: u64) {
        self.latest = now_ms;
    }

    /// Changes the rate by `step` parts of 1/1024; VALUE, and no change, where it would differ by
    /// more than 10 % from the nominal one (Part 3, section 29.3).
    pub(crate) fn adjust(&mut self, step: i32) -> Result<()> {
        let rate = self.rate.saturating_add_signed(i64::from(step) * 64);
        if rate.abs_diff(UNIT) > UNIT / 10 {
            return Err(Rc::VALUE);
        }
        self.rate = rate;
        Ok(())
    }
}
