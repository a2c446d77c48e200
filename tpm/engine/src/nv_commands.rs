//! The NV commands (Part 3, section 31).

use alloc::vec;
use alloc::vec::Vec;

use crate::Tpm;
use crate::call::{Call, Env};
use crate::codec::Put;
use crate::constants::{nv, rh};
use crate::crypto;
use crate::nv_index::{Index, MAX_NV_BUFFER, NvPublic};
use crate::rc::{Rc, Result};
use crate::secret::Secret;
use crate::startup::ORDERLY_COUNTS;
use crate::store::{MAX_INDICES, NV_SPACE};
use crate::structures::MAX_DIGEST;

/// The attributes that allow somebody to write, and to read.
const WRITERS: u32 = nv::PP_WRITE | nv::OWNER_WRITE | nv::AUTH_WRITE | nv::POLICY_WRITE;
const READERS: u32 = nv::PP_READ | nv::OWNER_READ | nv::AUTH_READ | nv::POLICY_READ;

impl Tpm {
    fn index_of(&self, handle: u32, number: usize) -> Result<&Index> {
        self.store.index(handle).ok_or(Rc::HANDLE.handle(number))
    }

    /// Remembers the count of a counter that is deleted: new counters start above it.
    pub(crate) fn note_counter(&mut self, handle: u32) {
        let Some(index) = self.store.index(handle) else { return };
        let counts = index.kind() == nv::COUNTER && index.is(nv::WRITTEN);
        let count =
            if index.is(nv::ORDERLY) { index.number() | ORDERLY_COUNTS } else { index.number() };
        if counts && count > self.store.global().max_counter {
            self.store.global_mut().max_counter = count;
        }
    }

    /// Checks that the authorizing handle may write the index (Part 3, section 31.1).
    fn check_write(&self, call: &Call) -> Result<&Index> {
        let (auth, handle) = (call.handle(0), call.handle(1));
        let index = self.index_of(handle, 2)?;
        self.check_access(
            call,
            auth,
            index,
            [nv::PP_WRITE, nv::OWNER_WRITE, nv::AUTH_WRITE, nv::POLICY_WRITE],
        )?;
        if index.is(nv::WRITE_LOCKED) { Err(Rc::NV_LOCKED) } else { Ok(index) }
    }

    /// Checks that the authorizing handle may read the index, and that the index is written.
    pub(crate) fn check_read(&self, call: &Call) -> Result<&Index> {
        let (auth, handle) = (call.handle(0), call.handle(1));
        let index = self.index_of(handle, 2)?;
        self.check_access(
            call,
            auth,
            index,
            [nv::PP_READ, nv::OWNER_READ, nv::AUTH_READ, nv::POLICY_READ],
        )?;
        if index.is(nv::READ_LOCKED) {
            return Err(Rc::NV_LOCKED);
        }
        if index.is(nv::WRITTEN) { Ok(index) } else { Err(Rc::NV_UNINITIALIZED) }
    }

    /// Checks the attribute for the kind of authorization. `allowed` are the attributes for the
    /// platform, the owner, the index's value and its policy.
    fn check_access(&self, call: &Call, auth: u32, index: &Index, allowed: [u32; 4]) -> Result<()> {
        let [platform, owner, value, policy] = allowed;
        let fits = match auth {
            rh::PLATFORM => index.is(platform),
            rh::OWNER => index.is(owner),
            _ if auth != index.public.handle => false,
            _ => {
                let by_policy = call
                    .sessions
                    .first()
                    .is_some_and(|session| rh::kind(session.handle) == rh::HT_POLICY);
                index.is(if by_policy { policy } else { value })
            }
        };
        if fits { Ok(()) } else { Err(Rc::NV_AUTHORIZATION) }
    }

    /// Replaces the data of an index and sets WRITTEN.
    fn set_data(&mut self, handle: u32, data: Vec<u8>, durable: bool) {
        let first = self.store.index(handle).is_some_and(|index| !index.is(nv::WRITTEN));
        if let Some(index) = self.store.index_mut(handle, durable || first) {
            index.data = data.into();
            index.public.attributes |= nv::WRITTEN;
        }
    }
}

/// Refuses contradictory attributes and sizes (Part 3, section 31.3).
fn check_definition(public: &NvPublic, platform: bool) -> Result<()> {
    let has = |bits: u32| public.attributes & bits != 0;
    let in_param = |rc: Rc| Err(rc.param(2));
    let kind = nv::kind(public.attributes);
    let known = [nv::ORDINARY, nv::COUNTER, nv::BITS, nv::EXTEND, nv::PIN_FAIL, nv::PIN_PASS];
    if !known.contains(&kind) || has(nv::WRITTEN | nv::READ_LOCKED | nv::WRITE_LOCKED) {
        return in_param(Rc::ATTRIBUTES);
    }
    let policy = public.auth_policy.len();
    if policy != 0 && policy != crypto::digest_size(public.name_alg) {
        return in_param(Rc::SIZE);
    }
    let size_fits = match kind {
        // One command has to write all of it.
        nv::ORDINARY if has(nv::WRITE_ALL) => usize::from(public.size) <= MAX_NV_BUFFER,
        nv::ORDINARY => true,
        nv::EXTEND => usize::from(public.size) == crypto::digest_size(public.name_alg),
        _ => public.size == 8,
    };
    if !size_fits {
        return in_param(Rc::SIZE);
    }
    // A wrong PLATFORMCREATE is reported for the authorizing handle.
    if has(nv::PLATFORM_CREATE) != platform {
        return Err(Rc::ATTRIBUTES.handle(1));
    }
    let wrong = !has(WRITERS)
        || !has(READERS)
        || (has(nv::POLICY_DELETE) && !platform)
        || (kind == nv::COUNTER && has(nv::CLEAR_STCLEAR))
        || (has(nv::WRITE_ALL) && kind != nv::ORDINARY)
        || (has(nv::CLEAR_STCLEAR) && has(nv::WRITE_DEFINE))
        || (kind == nv::PIN_FAIL && !has(nv::NO_DA))
        || (matches!(kind, nv::PIN_FAIL | nv::PIN_PASS)
            && has(nv::AUTH_WRITE | nv::GLOBAL_LOCK | nv::WRITE_DEFINE));
    if wrong { in_param(Rc::ATTRIBUTES) } else { Ok(()) }
}

/// TPM2_NV_DefineSpace.
pub(crate) fn define(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let auth = Secret::auth(call.sized(MAX_DIGEST)?);
    let public = call.read(|r| r.sized_structure(NvPublic::parse))?;
    call.end()?;
    let platform = call.handle(0) == rh::PLATFORM;
    check_definition(&public, platform)?;
    if auth.len() > crypto::digest_size(public.name_alg) {
        return Err(Rc::SIZE.param(1));
    }
    if platform && !tpm.v.clear.ph_enable_nv {
        return Err(Rc::HIERARCHY.handle(1));
    }
    if tpm.store.index(public.handle).is_some() {
        return Err(Rc::NV_DEFINED);
    }
    let data = vec![0xff; public.size.into()].into();
    let index = Index { public, auth, data };
    let fits =
        tpm.store.indices().count() < MAX_INDICES && tpm.store.used() + index.space() <= NV_SPACE;
    if !fits {
        return Err(Rc::NV_SPACE);
    }
    tpm.store.set_index(index.public.handle, Some(index));
    Ok(())
}

/// TPM2_NV_UndefineSpace.
pub(crate) fn undefine(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let handle = call.handle(1);
    let index = tpm.index_of(handle, 2)?;
    if index.is(nv::POLICY_DELETE) {
        return Err(Rc::ATTRIBUTES.handle(2));
    }
    if index.is(nv::PLATFORM_CREATE) && call.handle(0) == rh::OWNER {
        return Err(Rc::NV_AUTHORIZATION);
    }
    tpm.note_counter(handle);
    tpm.store.set_index(handle, None);
    Ok(())
}

/// TPM2_NV_UndefineSpaceSpecial.
pub(crate) fn undefine_special(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let handle = call.handle(0);
    if !tpm.index_of(handle, 1)?.is(nv::POLICY_DELETE) {
        return Err(Rc::ATTRIBUTES.handle(1));
    }
    tpm.note_counter(handle);
    tpm.store.set_index(handle, None);
    Ok(())
}

/// TPM2_NV_ReadPublic.
pub(crate) fn read_public(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let index = tpm.index_of(call.handle(0), 1)?;
    let public = crate::codec::built(|out| index.public.put(out));
    call.out.put_sized(&public).put_sized(&index.public.name());
    Ok(())
}

/// TPM2_NV_Write.
pub(crate) fn write(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let data = call.sized(MAX_NV_BUFFER)?;
    let offset = usize::from(call.read(|r| r.u16())?);
    call.end()?;
    let index = tpm.check_write(call)?;
    let size = usize::from(index.public.size);
    if matches!(index.kind(), nv::COUNTER | nv::BITS | nv::EXTEND) {
        return Err(Rc::ATTRIBUTES.handle(2));
    }
    if offset > size {
        return Err(Rc::VALUE.param(2));
    }
    let whole = index.is(nv::WRITE_ALL) || index.kind() != nv::ORDINARY;
    if offset + data.len() > size || (whole && data.len() != size) {
        return Err(Rc::NV_RANGE);
    }
    // A partial write must not reveal the data that Startup cleared.
    let mut all = if index.is(nv::WRITTEN) { index.data.to_vec() } else { vec![0xff; size] };
    if let Some(place) = all.get_mut(offset..offset + data.len()) {
        place.copy_from_slice(&data);
    }
    let durable = !index.is(nv::ORDERLY);
    tpm.set_data(call.handle(1), all, durable);
    Ok(())
}

/// TPM2_NV_Increment.
pub(crate) fn increment(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let index = tpm.check_write(call)?;
    if index.kind() != nv::COUNTER {
        return Err(Rc::ATTRIBUTES.handle(2));
    }
    let count = if index.is(nv::WRITTEN) { index.number() } else { tpm.highest_counter() };
    let count = count.saturating_add(1);
    let durable = !index.is(nv::ORDERLY) || count & ORDERLY_COUNTS == 0;
    tpm.set_data(call.handle(1), count.to_be_bytes().into(), durable);
    Ok(())
}

impl Tpm {
    /// The highest count that any counter has ever had.
    fn highest_counter(&self) -> u64 {
        let counters = self
            .store
            .indices()
            .filter(|(_, index)| index.kind() == nv::COUNTER && index.is(nv::WRITTEN));
        let highest = counters.map(|(_, index)| index.number()).max().unwrap_or(0);
        highest.max(self.store.global().max_counter)
    }
}

/// TPM2_NV_Extend.
pub(crate) fn extend(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let data = call.sized(MAX_NV_BUFFER)?;
    call.end()?;
    let index = tpm.check_write(call)?;
    if index.kind() != nv::EXTEND {
        return Err(Rc::ATTRIBUTES.handle(2));
    }
    let zero = vec![0; usize::from(index.public.size)];
    let old = if index.is(nv::WRITTEN) { &index.data[..] } else { &zero };
    let new = crypto::hash(index.public.name_alg, &[old, &data]);
    let durable = !index.is(nv::ORDERLY);
    tpm.set_data(call.handle(1), new, durable);
    Ok(())
}

/// TPM2_NV_SetBits.
pub(crate) fn set_bits(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let bits = call.read(|r| r.u64())?;
    call.end()?;
    let index = tpm.check_write(call)?;
    if index.kind() != nv::BITS {
        return Err(Rc::ATTRIBUTES.handle(2));
    }
    let old = if index.is(nv::WRITTEN) { index.number() } else { 0 };
    let durable = !index.is(nv::ORDERLY);
    tpm.set_data(call.handle(1), (old | bits).to_be_bytes().into(), durable);
    Ok(())
}

/// TPM2_NV_WriteLock.
pub(crate) fn write_lock(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let index = match tpm.check_write(call) {
        // The index is locked already.
        Err(Rc::NV_LOCKED) => return Ok(()),
        other => other?,
    };
    if index.public.attributes & (nv::WRITE_DEFINE | nv::WRITE_STCLEAR) == 0 {
        return Err(Rc::ATTRIBUTES.handle(2));
    }
    if let Some(index) = tpm.store.index_mut(call.handle(1), true) {
        index.public.attributes |= nv::WRITE_LOCKED;
    }
    Ok(())
}

/// TPM2_NV_GlobalWriteLock.
pub(crate) fn global_write_lock(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let concerned = |index: &Index| index.is(nv::GLOBAL_LOCK) && !index.is(nv::WRITE_LOCKED);
    for handle in tpm.store.handles_of(concerned) {
        if let Some(index) = tpm.store.index_mut(handle, true) {
            index.public.attributes |= nv::WRITE_LOCKED;
        }
    }
    Ok(())
}

/// TPM2_NV_Read.
pub(crate) fn read(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let size = usize::from(call.read(|r| r.u16())?);
    let offset = usize::from(call.read(|r| r.u16())?);
    call.end()?;
    let index = tpm.check_read(call)?;
    if size > MAX_NV_BUFFER {
        return Err(Rc::VALUE.param(1));
    }
    if offset > usize::from(index.public.size) {
        return Err(Rc::VALUE.param(2));
    }
    let data = index.data.get(offset..offset + size).ok_or(Rc::NV_RANGE)?;
    call.out.put_sized(data);
    Ok(())
}

/// TPM2_NV_ReadLock.
pub(crate) fn read_lock(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let index = match tpm.check_read(call) {
        Err(Rc::NV_LOCKED) => return Ok(()),
        Err(Rc::NV_UNINITIALIZED) => tpm.index_of(call.handle(1), 2)?,
        other => other?,
    };
    if !index.is(nv::READ_STCLEAR) {
        return Err(Rc::ATTRIBUTES.handle(2));
    }
    if let Some(index) = tpm.store.index_mut(call.handle(1), true) {
        index.public.attributes |= nv::READ_LOCKED;
    }
    Ok(())
}

/// TPM2_NV_ChangeAuth.
pub(crate) fn change_auth(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let auth = Secret::auth(call.sized(MAX_DIGEST)?);
    call.end()?;
    let index = tpm.index_of(call.handle(0), 1)?;
    if auth.len() > crypto::digest_size(index.public.name_alg) {
        return Err(Rc::SIZE.param(1));
    }
    if let Some(index) = tpm.store.index_mut(call.handle(0), true) {
        index.auth = auth;
    }
    Ok(())
}

/// The index for NV_Certify, if the authorizing handle may read it.
pub(crate) fn readable<'a>(tpm: &'a Tpm, call: &Call) -> Result<&'a Index> {
    let (auth, handle) = (call.handle(1), call.handle(2));
    let index = tpm.index_of(handle, 3)?;
    let by_policy = call.sessions.get(1).is_some_and(|s| rh::kind(s.handle) == rh::HT_POLICY);
    let fits = match auth {
        rh::PLATFORM => index.is(nv::PP_READ),
        rh::OWNER => index.is(nv::OWNER_READ),
        _ if auth != handle => false,
        _ => index.is(if by_policy { nv::POLICY_READ } else { nv::AUTH_READ }),
    };
    if !fits {
        return Err(Rc::NV_AUTHORIZATION);
    }
    if index.is(nv::READ_LOCKED) {
        return Err(Rc::NV_LOCKED);
    }
    if index.is(nv::WRITTEN) { Ok(index) } else { Err(Rc::NV_UNINITIALIZED) }
}
