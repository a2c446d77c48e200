//! Startup, shutdown, H-CRTM events (Part 1, section 12).

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::call::{Call, Env};
use crate::clock::UPDATE_INTERVAL;
use crate::constants::nv;
use crate::nv_index::Index;
use crate::pcr::Pcrs;
use crate::rc::{Rc, Result};
use crate::secret::Secret;
use crate::sequence::Sequence;
use crate::session::SessionSlot;
use crate::state::{Commits, Orderly, Preserved, StateClear};
use crate::{Environment, Tpm};

/// The outcome of a startup, which depends on the shutdown before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Reset,
    Restart,
    Resume,
}

/// MAX_ORDERLY_COUNT: how far an orderly counter in NV may lag behind (Part 1, section 37.2.2.2).
pub(crate) const ORDERLY_COUNTS: u64 = 255;

/// TPM2_Startup.
pub(crate) fn startup(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let state = call.read(startup_type)?;
    call.end()?;
    if tpm.v.started {
        return Err(Rc::INITIALIZE);
    }
    if call.locality != 0 && call.locality != 3 {
        return Err(Rc::LOCALITY);
    }
    let orderly = tpm.store.global().orderly;
    let preserved = tpm.store.global_mut().preserved.take();
    let outcome = match (state, orderly, preserved) {
        (true, Orderly::State, Some(kept)) => {
            tpm.resume(*kept, call.locality)?;
            Outcome::Resume
        }
        (true, ..) => return Err(Rc::VALUE.param(1)),
        (false, Orderly::State, Some(kept)) => {
            tpm.v.reset = kept.reset;
            tpm.v.sessions = saved_only(kept.sessions).into();
            tpm.v.reset.restart_count = tpm.v.reset.restart_count.saturating_add(1);
            Outcome::Restart
        }
        _ => {
            tpm.reset(&mut *env)?;
            Outcome::Reset
        }
    };
    if outcome != Outcome::Resume {
        tpm.start_clear(call.locality);
    }
    if outcome != Outcome::Resume {
        tpm.start_indices(outcome == Outcome::Reset, orderly != Orderly::None);
    }
    tpm.start_clock(orderly != Orderly::None);
    tpm.start_healing();
    tpm.store.global_mut().orderly = Orderly::None;
    tpm.v.started = true;
    Ok(())
}

/// TPM2_Shutdown.
pub(crate) fn shutdown(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let state = call.read(startup_type)?;
    call.end()?;
    // Preserved PCRs have no meaning under another allocation.
    if state && tpm.v.pcrs.allocated != tpm.store.global().pcr_allocated {
        return Err(Rc::TYPE.param(1));
    }
    let preserved = state.then(|| {
        Box::new(Preserved {
            clear: tpm.v.clear.clone(),
            reset: tpm.v.reset.clone(),
            pcrs: tpm.v.pcrs.clone(),
            sessions: saved_only(tpm.v.sessions.to_vec()),
            drtm_before_startup: tpm.v.drtm_before_startup,
            locality_at_startup: tpm.v.locality_at_startup,
        })
    });
    for handle in tpm.store.handles_of(|index| index.is(nv::ORDERLY)) {
        tpm.store.index_mut(handle, true);
    }
    let (clock, safe) = (tpm.v.clock.clock, tpm.v.clock.safe);
    let global = tpm.store.global_mut();
    global.clock = clock;
    global.clock_safe = safe;
    global.orderly = if state { Orderly::State } else { Orderly::Clear };
    global.preserved = preserved;
    Ok(())
}

/// Reads TPM_SU: whether it is STATE.
fn startup_type(r: &mut crate::codec::Reader<'_>) -> Result<bool> {
    match r.u16()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Rc::VALUE),
    }
}

/// The sessions that are saved outside; those in memory are lost.
fn saved_only(sessions: Vec<SessionSlot>) -> Vec<SessionSlot> {
    let keep = |slot| match slot {
        SessionSlot::Loaded(_) => SessionSlot::Free,
        other => other,
    };
    sessions.into_iter().map(keep).collect()
}

impl Tpm {
    fn resume(&mut self, kept: Preserved, locality: u8) -> Result<()> {
        // PCR 0 records the H-CRTM and the locality of the previous startup, so both have to be the
        // same (Part 3, section 9.3).
        if kept.drtm_before_startup != self.v.drtm_before_startup
            || kept.locality_at_startup != locality
        {
            return Err(Rc::LOCALITY);
        }
        if kept.pcrs.allocated != self.v.pcrs.allocated {
            return Err(Rc::VALUE.param(1));
        }
        self.v.locality_at_startup = locality;
        self.v.pcrs.resume(&kept.pcrs);
        self.v.clear = kept.clear;
        self.v.clear.ph_enable = true;
        self.v.reset = kept.reset;
        self.v.sessions = saved_only(kept.sessions).into();
        self.v.reset.restart_count = self.v.reset.restart_count.saturating_add(1);
        Ok(())
    }

    /// TPM Reset: replaces the state that lives until the next reset.
    fn reset(&mut self, env: &mut dyn Environment) -> Result<()> {
        let seed = self.random_bytes(&mut *env, 64)?;
        let proof = self.random_bytes(&mut *env, 64)?;
        let nonce = self.random_bytes(&mut *env, 32)?;
        let reset = &mut self.v.reset;
        reset.commits = Commits { nonce, ..Default::default() };
        reset.null.seed = seed;
        reset.null.proof = proof;
        (reset.clear_count, reset.restart_count, reset.pcr_counter) = (0, 0, 0);
        (reset.context_counter, reset.object_context) = (0, 0);
        reset.audit_digest = Vec::new();
        let global = self.store.global_mut();
        global.reset_count = global.reset_count.wrapping_add(1);
        global.total_reset_count = global.total_reset_count.saturating_add(1);
        Ok(())
    }

    /// TPM Reset and TPM Restart: enables the hierarchies and resets the PCRs.
    fn start_clear(&mut self, locality: u8) {
        self.v.clear = StateClear::default().into();
        self.v.reset.clear_count = self.v.reset.clear_count.wrapping_add(1);
        self.v.locality_at_startup = locality;
        if !self.v.drtm_before_startup {
            let allocated = self.store.global().pcr_allocated;
            self.v.pcrs = Pcrs::new(allocated);
            self.v.pcrs.set_last(0, locality);
        }
    }

    /// Indices at Startup(CLEAR): a TPM Reset or a TPM Restart (Part 3, section 9.3).
    fn start_indices(&mut self, reset: bool, orderly: bool) {
        let concerned = |index: &Index| {
            let counts_on = orderly && index.kind() == nv::COUNTER;
            index.public.attributes & START_CLEARS != 0
                || (reset && index.is(nv::ORDERLY) && !counts_on)
        };
        for handle in self.store.handles_of(concerned) {
            let Some(index) = self.store.index_mut(handle, true) else { continue };
            let forgets = index.is(nv::CLEAR_STCLEAR) || (reset && index.is(nv::ORDERLY));
            if index.kind() != nv::COUNTER && forgets {
                index.public.attributes &= !nv::WRITTEN;
            } else if !orderly && index.is(nv::ORDERLY | nv::WRITTEN) {
                let count = index.number() | ORDERLY_COUNTS;
                index.data = count.to_be_bytes().to_vec().into();
            }
            index.public.attributes &= !nv::READ_LOCKED;
            // Otherwise an index without data would stay locked forever.
            if !index.is(nv::WRITE_DEFINE | nv::WRITTEN) {
                index.public.attributes &= !nv::WRITE_LOCKED;
            }
        }
    }

    fn start_clock(&mut self, orderly: bool) {
        let global = self.store.global();
        let recorded = global.clock;
        self.v.clock.safe = orderly && global.clock_safe;
        self.v.clock.clock = if orderly { recorded } else { recorded | (UPDATE_INTERVAL - 1) };
        let (clock, safe) = (self.v.clock.clock, self.v.clock.safe);
        let global = self.store.global_mut();
        global.clock = clock;
        global.clock_safe = safe;
    }

    /// _TPM_Hash_Start: begins an H-CRTM event before Startup, or a dynamic root of trust after it.
    pub fn hash_start(&mut self) {
        self.v.event = Some(Arc::new(Sequence::event(Secret::default())));
        if self.v.started {
            self.v.pcrs.start_drtm();
        }
    }

    /// _TPM_Hash_Data.
    pub fn hash_data(&mut self, data: &[u8]) {
        if let Some(event) = &mut self.v.event
            && Arc::make_mut(event).update(data).is_err()
        {
            self.v.failed = true;
        }
    }

    /// _TPM_Hash_End.
    pub fn hash_end(&mut self) {
        let Some(event) = self.v.event.take() else { return };
        let before = !self.v.started;
        match event.finish_event() {
            Ok(digests) => self.v.pcrs.end_event(before, &digests),
            Err(_) => self.v.failed = true,
        }
        self.v.drtm_before_startup |= before;
        if !before {
            self.v.reset.pcr_counter = self.v.reset.pcr_counter.wrapping_add(1);
        }
    }
}

/// The attributes that make Startup(CLEAR) change an index.
const START_CLEARS: u32 = nv::READ_LOCKED | nv::WRITE_LOCKED | nv::CLEAR_STCLEAR;
