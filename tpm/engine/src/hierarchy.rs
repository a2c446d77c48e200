//! The commands of hierarchies, physical presence, command audit (Part 3, sections 21, 24, 26).

use alloc::vec::Vec;

use crate::Tpm;
use crate::call::{Call, Env, find};
use crate::codec::Reader;
use crate::constants::{alg, cc, nv, rh};
use crate::crypto;
use crate::rc::{Rc, Result};
use crate::secret::Secret;
use crate::state::{Lockout, Policy, Seed};
use crate::structures::{MAX_DIGEST, hash_or_null};
use crate::table::flag;

/// The longest authorization value of a hierarchy: as long as the largest digest.
const MAX_AUTH: usize = MAX_DIGEST;

impl Tpm {
    /// Flushes all transient objects of a hierarchy, and evicts the persistent ones if `evict` is
    /// set.
    fn drop_hierarchy(&mut self, hierarchy: u32, evict: bool) {
        self.flush_hierarchy(hierarchy);
        if !evict {
            return;
        }
        let handles: Vec<u32> = self
            .store
            .objects()
            .filter(|(_, object)| object.hierarchy == hierarchy)
            .map(|(handle, _)| handle)
            .collect();
        handles.into_iter().for_each(|handle| self.store.set_object(handle, None));
    }

    fn new_seed(&mut self, env: Env<'_>) -> Result<Seed> {
        let seed = self.random_bytes(&mut *env, 64)?;
        Ok(Seed { seed, proof: self.random_bytes(env, 64)? })
    }
}

/// TPM2_HierarchyControl.
pub(crate) fn control(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let enable = call.read(|r| match r.u32()? {
        h @ (rh::OWNER | rh::PLATFORM | rh::ENDORSEMENT | rh::PLATFORM_NV) => Ok(h),
        _ => Err(Rc::VALUE),
    })?;
    let state = call.read(|r| r.yes_no())?;
    call.end()?;
    let auth = call.handle(0);
    let allowed = match enable {
        // Only the platform may enable a disabled hierarchy, or change its own enables.
        rh::OWNER | rh::ENDORSEMENT => {
            auth == rh::PLATFORM || auth == enable && (!state || tpm.is_enabled(enable))
        }
        _ => auth == rh::PLATFORM,
    };
    if !allowed {
        return Err(Rc::AUTH_TYPE);
    }
    if tpm.is_enabled(enable) == state {
        return Ok(());
    }
    let clear = &mut tpm.v.clear;
    match enable {
        rh::OWNER => clear.sh_enable = state,
        rh::ENDORSEMENT => clear.eh_enable = state,
        rh::PLATFORM => clear.ph_enable = state,
        _ => clear.ph_enable_nv = state,
    }
    if !state {
        tpm.flush_hierarchy(enable);
    }
    Ok(())
}

/// TPM2_SetPrimaryPolicy.
pub(crate) fn set_policy(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let digest = call.sized(MAX_DIGEST)?;
    let alg = call.read(hash_or_null)?;
    call.end()?;
    let policy = Policy { alg, digest };
    if !policy.fits() {
        return Err(Rc::SIZE.param(1));
    }
    match call.handle(0) {
        rh::OWNER => tpm.store.global_mut().owner_policy = policy,
        rh::ENDORSEMENT => tpm.store.global_mut().endorsement_policy = policy,
        rh::LOCKOUT => tpm.store.global_mut().lockout_policy = policy,
        _ => tpm.v.clear.platform_policy = policy,
    }
    Ok(())
}

/// TPM2_HierarchyChangeAuth.
pub(crate) fn change_auth(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let auth = Secret::auth(call.sized(MAX_AUTH)?);
    call.end()?;
    match call.handle(0) {
        rh::OWNER => tpm.store.global_mut().owner_auth = auth,
        rh::ENDORSEMENT => tpm.store.global_mut().endorsement_auth = auth,
        rh::LOCKOUT => tpm.store.global_mut().lockout_auth = auth,
        _ => tpm.v.clear.platform_auth = auth,
    }
    Ok(())
}

/// TPM2_ChangePPS.
pub(crate) fn change_pps(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let seed = tpm.new_seed(env)?;
    tpm.drop_hierarchy(rh::PLATFORM, true);
    let global = tpm.store.global_mut();
    global.platform = seed;
    global.pcr_policy = Policy::default();
    tpm.v.clear.platform_policy = Policy::default();
    tpm.v.reset.pcr_counter = tpm.v.reset.pcr_counter.wrapping_add(1);
    Ok(())
}

/// TPM2_ChangeEPS.
pub(crate) fn change_eps(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let seed = tpm.new_seed(env)?;
    tpm.drop_hierarchy(rh::ENDORSEMENT, true);
    let global = tpm.store.global_mut();
    global.endorsement = seed;
    global.endorsement_auth = Secret::default();
    global.endorsement_policy = Policy::default();
    tpm.v.clear.eh_enable = true;
    tpm.v.reset.pcr_counter = tpm.v.reset.pcr_counter.wrapping_add(1);
    Ok(())
}

/// TPM2_Clear.
pub(crate) fn clear(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    if tpm.store.global().disable_clear {
        return Err(Rc(0x120));
    }
    let owner = tpm.new_seed(&mut *env)?;
    let endorsement_proof = tpm.random_bytes(env, 64)?;
    tpm.drop_hierarchy(rh::OWNER, true);
    tpm.drop_hierarchy(rh::ENDORSEMENT, true);
    let of_owner = tpm.store.handles_of(|index| !index.is(nv::PLATFORM_CREATE));
    for handle in of_owner {
        tpm.note_counter(handle);
        tpm.store.set_index(handle, None);
    }
    let global = tpm.store.global_mut();
    global.owner = owner;
    global.endorsement.proof = endorsement_proof;
    global.owner_auth = Secret::default();
    global.endorsement_auth = Secret::default();
    global.lockout_auth = Secret::default();
    global.owner_policy = Policy::default();
    global.endorsement_policy = Policy::default();
    global.lockout_policy = Policy::default();
    global.lockout = Lockout::default();
    global.clock = 0;
    global.clock_safe = true;
    global.reset_count = 0;
    tpm.v.clear.sh_enable = true;
    tpm.v.clear.eh_enable = true;
    tpm.v.reset.restart_count = 0;
    tpm.v.clock.clock = 0;
    tpm.v.clock.safe = true;
    tpm.v.reset.pcr_counter = tpm.v.reset.pcr_counter.wrapping_add(1);
    Ok(())
}

/// TPM2_ClearControl.
pub(crate) fn clear_control(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let disable = call.read(|r| r.yes_no())?;
    call.end()?;
    if !disable && call.handle(0) == rh::LOCKOUT {
        return Err(Rc::AUTH_FAIL);
    }
    tpm.store.global_mut().disable_clear = disable;
    Ok(())
}

/// TPML_CC, with at most as many codes as fit into a capability buffer.
fn codes(r: &mut Reader<'_>) -> Result<Vec<u32>> {
    let count = r.u32()?;
    if count > 254 {
        return Err(Rc::SIZE);
    }
    (0..count).map(|_| r.u32()).collect()
}

fn insert(list: &mut Vec<u32>, code: u32) {
    if let Err(place) = list.binary_search(&code) {
        list.insert(place, code);
    }
}

/// TPM2_PP_Commands: ignores commands that cannot require physical presence, as Part 3 says.
pub(crate) fn pp_commands(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let set = call.read(codes)?;
    let clear = call.read(codes)?;
    call.end()?;
    let can = |code: &&u32| find(call.table, **code).is_some_and(|command| command.is(flag::PP));
    let list = &mut tpm.store.global_mut().pp_commands;
    set.iter().filter(can).for_each(|&code| insert(list, code));
    list.retain(|code| *code == cc::PP_COMMANDS || !clear.contains(code));
    Ok(())
}

/// TPM2_SetCommandCodeAuditStatus.
pub(crate) fn audit_status(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let alg = call.read(hash_or_null)?;
    let set = call.read(codes)?;
    let clear = call.read(codes)?;
    call.end()?;
    if alg != alg::NULL && alg != tpm.store.global().audit_alg {
        if !set.is_empty() || !clear.is_empty() {
            return Err(Rc::VALUE.param(1));
        }
        tpm.store.global_mut().audit_alg = alg;
        tpm.v.reset.audit_digest = Vec::new();
        return Ok(());
    }
    const SHUTDOWN: u32 = 0x145;
    let list = &mut tpm.store.global_mut().audited;
    let can = |code: &&u32| find(call.table, **code).is_some() && **code != SHUTDOWN;
    set.iter().filter(can).for_each(|&code| insert(list, code));
    let always = cc::SET_AUDIT_STATUS;
    list.retain(|code| *code == always || !clear.contains(code));
    Ok(())
}

impl Tpm {
    /// The HMAC of a ticket: over `parts`, keyed with a hierarchy's proof.
    pub(crate) fn ticket_hmac(&self, hierarchy: u32, tag: u16, parts: &[&[u8]]) -> Vec<u8> {
        let tag = tag.to_be_bytes();
        let mut all: Vec<&[u8]> = Vec::from([&tag[..]]);
        all.extend(parts);
        crypto::hmac(alg::SHA512, self.proof(hierarchy), &all)
    }
}
