//! The PCR commands (Part 3, section 22).

use alloc::vec::Vec;

use crate::Tpm;
use crate::call::{Call, Env};
use crate::codec::{Put, Reader};
use crate::constants::{BANKS, alg, rh};
use crate::crypto;
use crate::pcr::{self, COUNT};
use crate::rc::{Rc, Result};
use crate::secret::Secret;
use crate::state::Policy;
use crate::structures::{MAX_BUFFER, MAX_DIGEST, PcrSelection, hash, hash_or_null};

/// The most digests that PCR_Read returns.
const MAX_DIGESTS: usize = 8;

/// TPML_DIGEST_VALUES.
fn digest_values(r: &mut Reader<'_>) -> Result<Vec<(u16, Vec<u8>)>> {
    let count = r.u32()?;
    if count as usize > 4 {
        return Err(Rc::SIZE);
    }
    (0..count)
        .map(|_| {
            let alg = hash(r)?;
            Ok((alg, r.take(crypto::digest_size(alg))?.into()))
        })
        .collect()
}

impl Tpm {
    fn check_extend(&self, pcr: u32, locality: u8) -> Result<()> {
        let allowed = pcr::has(pcr::extend_localities(pcr).into(), locality.into());
        if allowed { Ok(()) } else { Err(Rc::LOCALITY) }
    }

    fn extend_all(&mut self, pcr: u32, digests: &[(u16, Vec<u8>)]) {
        for (alg, digest) in digests {
            self.v.pcrs.extend(*alg, pcr, digest);
        }
        self.pcr_changed(pcr);
    }

    /// Increments pcrUpdateCounter for a change of a PCR, except for PCRs that do not count.
    fn pcr_changed(&mut self, pcr: u32) {
        if !pcr::has(pcr::NO_INCREMENT, pcr) {
            self.v.reset.pcr_counter = self.v.reset.pcr_counter.wrapping_add(1);
        }
    }
}

/// TPM2_PCR_Extend.
pub(crate) fn extend(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let digests = call.read(digest_values)?;
    call.end()?;
    let pcr = call.handle(0);
    if pcr == rh::NULL {
        return Ok(());
    }
    tpm.check_extend(pcr, call.locality)?;
    tpm.extend_all(pcr, &digests);
    Ok(())
}

/// TPM2_PCR_Event.
pub(crate) fn event(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let data = call.sized(MAX_BUFFER)?;
    call.end()?;
    let pcr = call.handle(0);
    let digests: Vec<_> = BANKS.iter().map(|&alg| (alg, crypto::hash(alg, &[&data]))).collect();
    if pcr != rh::NULL {
        tpm.check_extend(pcr, call.locality)?;
        tpm.extend_all(pcr, &digests);
    }
    put_digest_values(&digests, &mut call.out);
    Ok(())
}

fn put_digest_values(digests: &[(u16, Vec<u8>)], out: &mut Vec<u8>) {
    out.put_u32(digests.len() as u32);
    for (alg, digest) in digests {
        out.put_u16(*alg).put(digest);
    }
}

/// TPM2_EventSequenceComplete.
pub(crate) fn event_complete(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let data = call.sized(MAX_BUFFER)?;
    call.end()?;
    let (pcr, handle) = (call.handle(0), call.handle(1));
    let mut sequence = tpm.sequence(handle).map_err(|rc| rc.handle(2))?;
    if !matches!(sequence.kind, crate::sequence::SequenceKind::Event(_)) {
        return Err(Rc::MODE.handle(2));
    }
    sequence.update(&data)?;
    let digests = sequence.finish_event()?;
    if pcr != rh::NULL {
        tpm.check_extend(pcr, call.locality)?;
        tpm.extend_all(pcr, &digests);
    }
    put_digest_values(&digests, &mut call.out);
    tpm.flush_object(handle);
    Ok(())
}

/// TPM2_PCR_Read: returns the first eight selected PCRs, and the selection of those returned.
pub(crate) fn read(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let mut selection = call.read(PcrSelection::parse)?;
    call.end()?;
    let mut digests: Vec<&[u8]> = Vec::new();
    for (alg, bits) in &mut selection.0 {
        let mut read = 0;
        for pcr in (0..COUNT).filter(|&pcr| pcr::has(*bits, pcr)) {
            if let Some(value) = tpm.v.pcrs.value(*alg, pcr).filter(|_| digests.len() < MAX_DIGESTS)
            {
                digests.push(value);
                read |= 1 << pcr;
            }
        }
        *bits = read;
    }
    call.out.put_u32(tpm.v.reset.pcr_counter);
    selection.put(&mut call.out);
    call.out.put_u32(digests.len() as u32);
    for digest in digests {
        call.out.put_sized(digest);
    }
    Ok(())
}

/// TPM2_PCR_Reset.
pub(crate) fn reset(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let pcr = call.handle(0);
    if !pcr::has(pcr::reset_localities(pcr).into(), call.locality.into()) {
        return Err(Rc::LOCALITY);
    }
    tpm.v.pcrs.fill(pcr, 0);
    tpm.pcr_changed(pcr);
    Ok(())
}

/// TPM2_PCR_Allocate: takes effect at the next reset.
pub(crate) fn allocate(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let selection = call.read(PcrSelection::parse)?;
    call.end()?;
    let mut allocated = tpm.store.global().pcr_allocated;
    for &(alg, bits) in &selection.0 {
        let place = BANKS.iter().zip(&mut allocated).find(|(bank, _)| **bank == alg);
        match place {
            Some((_, place)) => *place = bits,
            None if bits != 0 => return Err(Rc::VALUE.param(1)),
            None => {}
        }
    }
    let needed = BANKS.iter().zip(allocated);
    let size: u32 =
        needed.map(|(&bank, bits)| bits.count_ones() * crypto::digest_size(bank) as u32).sum();
    // Some bank needs PCR 0 for the H-CRTM, and some bank PCR 17 for a dynamic root of trust.
    if allocated.iter().all(|&bits| bits & 1 == 0) || allocated.iter().all(|b| b & 1 << 17 == 0) {
        return Err(Rc::PCR);
    }
    let all = BANKS.iter().map(|&bank| COUNT * crypto::digest_size(bank) as u32).sum();
    if allocated != tpm.store.global().pcr_allocated {
        tpm.store.global_mut().pcr_allocated = allocated;
    }
    call.out.put_u8(1).put_u32(COUNT).put_u32(size).put_u32(all);
    Ok(())
}

/// TPM2_PCR_SetAuthPolicy.
pub(crate) fn set_policy(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let digest = call.sized(MAX_DIGEST)?;
    let alg = call.read(hash_or_null)?;
    let pcr = call.read(|r| match r.u32()? {
        pcr if pcr < COUNT => Ok(pcr),
        _ => Err(Rc::VALUE),
    })?;
    call.end()?;
    let policy = Policy { alg, digest };
    if !policy.fits() {
        return Err(Rc::SIZE.param(1));
    }
    if !pcr::has(pcr::GROUP, pcr) {
        return Err(Rc::VALUE.param(3));
    }
    tpm.store.global_mut().pcr_policy = policy;
    Ok(())
}

/// TPM2_PCR_SetAuthValue.
pub(crate) fn set_auth(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let auth = Secret::auth(call.sized(MAX_DIGEST)?);
    call.end()?;
    if !pcr::has(pcr::GROUP, call.handle(0)) {
        return Err(Rc::VALUE.handle(1));
    }
    tpm.v.clear.pcr_auth = auth;
    Ok(())
}

impl Policy {
    /// Whether the digest has the size of the algorithm; it has to be empty for NULL.
    pub(crate) fn fits(&self) -> bool {
        self.digest.len() == crypto::digest_size(self.alg)
            && (self.alg != alg::NULL || self.digest.is_empty())
    }
}
