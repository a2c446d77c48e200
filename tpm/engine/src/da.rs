//! Dictionary-attack protection (Part 1, section 19.8).

use crate::Tpm;
use crate::call::{Call, Env};
use crate::constants::rh;
use crate::rc::{Rc, Result};
use crate::state::Healing;

impl Tpm {
    /// Whether the TPM is in lockout mode.
    pub(crate) fn is_locked_out(&self) -> bool {
        let lockout = &self.store.global().lockout;
        lockout.recovery_time != 0 && lockout.failed_tries >= lockout.max_tries
    }

    /// LOCKOUT if the authorization of a protected entity may not be tried now.
    pub(crate) fn check_lockout(&self, entity: u32) -> Result<()> {
        let lockout = &self.store.global().lockout;
        let locked =
            if entity == rh::LOCKOUT { !lockout.auth_enabled } else { self.is_locked_out() };
        if locked { Err(Rc::LOCKOUT) } else { Ok(()) }
    }

    /// Counts a failure. The caller commits.
    pub(crate) fn count_failure(&mut self, entity: u32) {
        let time = self.v.clock.time;
        if entity == rh::LOCKOUT {
            self.store.global_mut().lockout.auth_enabled = false;
            self.v.healing.lockout_since = time;
            return;
        }
        let lockout = &mut self.store.global_mut().lockout;
        if lockout.recovery_time != 0 {
            self.v.healing.tries_since = time;
            lockout.failed_tries = lockout.failed_tries.saturating_add(1);
        }
    }

    /// Decrements the failure count, or enables lockoutAuth again, as time has passed.
    pub(crate) fn heal(&mut self) {
        let time = self.v.clock.time;
        let lockout = &self.store.global().lockout;
        let (recovery, tries) = (u64::from(lockout.recovery_time) * 1000, lockout.failed_tries);
        let lockout_recovery = u64::from(lockout.lockout_recovery) * 1000;
        let enable = !lockout.auth_enabled
            && lockout_recovery != 0
            && time.saturating_sub(self.v.healing.lockout_since) >= lockout_recovery;
        if enable {
            self.store.global_mut().lockout.auth_enabled = true;
        }
        if tries > 0 && recovery != 0 {
            let periods = time.saturating_sub(self.v.healing.tries_since) / recovery;
            if periods > 0 {
                self.v.healing.tries_since += periods * recovery;
                let left = u64::from(tries).saturating_sub(periods);
                self.store.global_mut().lockout.failed_tries = left as u32;
            }
        }
    }

    /// Restarts the periods at Startup, and enables lockoutAuth again if lockoutRecovery is zero.
    pub(crate) fn start_healing(&mut self) {
        self.v.healing = Healing::default();
        let lockout = &self.store.global().lockout;
        if !lockout.auth_enabled && lockout.lockout_recovery == 0 {
            self.store.global_mut().lockout.auth_enabled = true;
        }
    }
}

/// TPM2_DictionaryAttackLockReset.
pub(crate) fn lock_reset(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    tpm.store.global_mut().lockout.failed_tries = 0;
    Ok(())
}

/// TPM2_DictionaryAttackParameters.
pub(crate) fn parameters(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let max_tries = call.read(|r| r.u32())?;
    let recovery_time = call.read(|r| r.u32())?;
    let lockout_recovery = call.read(|r| r.u32())?;
    call.end()?;
    let time = tpm.v.clock.time;
    tpm.v.healing.tries_since = time;
    let lockout = &mut tpm.store.global_mut().lockout;
    lockout.max_tries = max_tries;
    lockout.recovery_time = recovery_time;
    lockout.lockout_recovery = lockout_recovery;
    if recovery_time == 0 {
        lockout.failed_tries = 0;
    }
    Ok(())
}
