//! The commands of the clock (Part 3, section 29).

use alloc::vec::Vec;

use crate::Tpm;
use crate::call::{Call, Env};
use crate::clock::UPDATE_INTERVAL;
use crate::codec::{Put, built};
use crate::rc::{Rc, Result};

/// TPM2_ReadClock.
pub(crate) fn read_clock(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    call.out.put_u64(tpm.v.clock.time);
    tpm.put_clock_info(&mut call.out);
    Ok(())
}

/// TPM2_ClockSet.
pub(crate) fn clock_set(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let new = call.read(|r| r.u64())?;
    call.end()?;
    if new > 0xffff_0000_0000_0000 || new < tpm.v.clock.clock {
        return Err(Rc::VALUE.param(1));
    }
    tpm.v.clock.clock = new;
    tpm.v.clock.safe = true;
    let global = tpm.store.global_mut();
    global.clock = new;
    global.clock_safe = true;
    Ok(())
}

/// TPM2_ClockRateAdjust.
pub(crate) fn clock_rate(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let step = call.read(|r| match r.u8()? as i8 {
        step @ -3..=3 => Ok(step),
        _ => Err(Rc::VALUE),
    })?;
    call.end()?;
    // Fine, medium and coarse steps.
    let size = match step.unsigned_abs() {
        0 => 0,
        1 => 1,
        2 => 4,
        _ => 16,
    };
    tpm.v.clock.adjust(size * i32::from(step.signum())).map_err(|rc| rc.param(1))
}

impl Tpm {
    /// TPMS_CLOCK_INFO.
    pub(crate) fn put_clock_info(&self, out: &mut Vec<u8>) {
        out.put_u64(self.v.clock.clock).put_u32(self.store.global().reset_count);
        out.put_u32(self.v.reset.restart_count).put_u8(self.v.clock.safe.into());
    }

    /// TPMS_TIME_INFO.
    pub(crate) fn time_info(&self) -> Vec<u8> {
        built(|out| {
            out.put_u64(self.v.clock.time);
            self.put_clock_info(out);
        })
    }

    /// Advances time, and with it the clock in NV and the lockout counters.
    pub(crate) fn advance_time(&mut self, now_ms: u64) {
        self.v.clock.advance(now_ms);
        if !self.v.started {
            return;
        }
        let recorded = self.store.global().clock;
        if self.v.clock.clock >= recorded.saturating_add(UPDATE_INTERVAL) {
            self.v.clock.safe = true;
            let clock = self.v.clock.clock;
            let global = self.store.global_mut();
            global.clock = clock;
            global.clock_safe = true;
        }
        self.heal();
    }
}
