//! Attestation (Part 3, section 18).

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::Tpm;
use crate::call::{Call, Env};
use crate::codec::{Put, built};
use crate::constants::{GENERATED, alg, rh, st};
use crate::crypto;
use crate::object::Object;
use crate::rc::{Rc, Result};
use crate::secret::same;
use crate::signature::select;
use crate::structures::{MAX_DATA, MAX_DIGEST, PcrSelection, Scheme, Ticket};

/// Reads the qualifying data and the scheme, with which most of these commands begin.
fn qualifying(call: &mut Call) -> Result<(Vec<u8>, Scheme)> {
    Ok((call.sized(MAX_DATA)?, call.read(Scheme::signing)?))
}

/// The signing key and its scheme; without a key the scheme is NULL.
type Signer = (Option<Arc<Object>>, Scheme);

impl Tpm {
    /// The key in handle `index`, counted from zero; `given` is the scheme from parameter
    /// `parameter`.
    fn signer(&self, call: &Call, index: usize, given: Scheme, parameter: u8) -> Result<Signer> {
        let key = self.signing_key(call.handle(index), index + 1)?;
        let scheme = match &key {
            Some(key) => select(key, given).map_err(|rc| rc.param(parameter))?,
            None => Scheme { hash: alg::NULL, ..Scheme::NULL },
        };
        Ok((key, scheme))
    }

    /// Builds a TPMS_ATTEST around `attested`, signs it, and adds both to the response.
    fn attest(
        &mut self,
        env: Env<'_>,
        call: &mut Call,
        (key, scheme): Signer,
        kind: u16,
        (extra, attested): (&[u8], &[u8]),
    ) -> Result<()> {
        let signer = key.as_ref().map(|key| key.qualified_name.clone());
        let signer = signer.unwrap_or_else(|| rh::NULL.to_be_bytes().into());
        let attest = built(|out| {
            out.put_u32(GENERATED).put_u16(kind).put_sized(&signer).put_sized(extra);
            self.put_shown_clock(key.as_deref(), &signer, out);
            out.put(attested);
        });
        call.out.put_sized(&attest);
        let Some(key) = key else {
            call.out.put_u16(alg::NULL);
            return Ok(());
        };
        let digest = crypto::hash(scheme.hash, &[&attest]);
        let signature = self.sign(env, &key, scheme, &digest)?;
        signature.put(&mut call.out);
        Ok(())
    }

    /// Writes the clock and the firmware version. The counts and the version are obfuscated unless
    /// the key is in the endorsement or the platform hierarchy (Part 1, section 36.7).
    fn put_shown_clock(&self, key: Option<&Object>, signer: &[u8], out: &mut Vec<u8>) {
        let clear = key.is_some_and(|key| matches!(key.hierarchy, rh::ENDORSEMENT | rh::PLATFORM));
        let (mut resets, mut restarts, mut firmware) =
            (self.store.global().reset_count, self.v.reset.restart_count, FIRMWARE);
        if !clear {
            let mask =
                crypto::kdfa(alg::SHA256, self.proof(rh::OWNER), "OBFUSCATE", signer, &[], 16);
            let mut words = mask
                .chunks_exact(4)
                .map(|word| word.iter().fold(0u32, |all, &byte| all << 8 | u32::from(byte)));
            let mut next = || words.next().unwrap_or(0);
            firmware = firmware.wrapping_add(u64::from(next()) << 32 | u64::from(next()));
            resets = resets.wrapping_add(next());
            restarts = restarts.wrapping_add(next());
        }
        out.put_u64(self.v.clock.clock).put_u32(resets).put_u32(restarts);
        out.put_u8(self.v.clock.safe.into()).put_u64(firmware);
    }
}

/// firmwareVersion: TPM_PT_FIRMWARE_VERSION_1 and 2 in one number.
const FIRMWARE: u64 = 1 << 32;

/// TPM2_Certify.
pub(crate) fn certify(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let (extra, given) = qualifying(call)?;
    call.end()?;
    let object = tpm.object(call.handle(0)).map_err(|rc| rc.handle(1))?;
    let signer = tpm.signer(call, 1, given, 2)?;
    let attested = built(|out| {
        out.put_sized(&object.name).put_sized(&object.qualified_name);
    });
    tpm.attest(env, call, signer, st::ATTEST_CERTIFY, (&extra, &attested))
}

/// TPM2_CertifyCreation.
pub(crate) fn certify_creation(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let extra = call.sized(MAX_DATA)?;
    let creation = call.sized(MAX_DIGEST)?;
    let given = call.read(Scheme::signing)?;
    let ticket = call.read(|r| Ticket::parse(r, &[st::CREATION]))?;
    call.end()?;
    let object = tpm.object(call.handle(1)).map_err(|rc| rc.handle(2))?;
    let signer = tpm.signer(call, 0, given, 3)?;
    let expected = tpm.creation_ticket(ticket.hierarchy, &object.name, &creation);
    if !same(&expected.digest, &ticket.digest) {
        return Err(Rc::TICKET.param(4));
    }
    let attested = built(|out| {
        out.put_sized(&object.name).put_sized(&creation);
    });
    tpm.attest(env, call, signer, st::ATTEST_CREATION, (&extra, &attested))
}

/// TPM2_Quote.
pub(crate) fn quote(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let (extra, given) = qualifying(call)?;
    let pcrs = call.read(PcrSelection::parse)?;
    call.end()?;
    let signer = tpm.signer(call, 0, given, 2)?;
    let hash = match (&signer.0, signer.1.hash) {
        (None, _) => alg::SHA256,
        (Some(_), hash) => hash,
    };
    let pcrs = pcrs.implemented(&tpm.v.pcrs.allocated);
    let digest = tpm.v.pcrs.digest(hash, &pcrs);
    let attested = built(|out| {
        pcrs.put(out);
        out.put_sized(&digest);
    });
    tpm.attest(env, call, signer, st::ATTEST_QUOTE, (&extra, &attested))
}

/// TPM2_GetTime.
pub(crate) fn get_time(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let (extra, given) = qualifying(call)?;
    call.end()?;
    let signer = tpm.signer(call, 1, given, 2)?;
    let mut attested = tpm.time_info();
    attested.put_u64(FIRMWARE);
    tpm.attest(env, call, signer, st::ATTEST_TIME, (&extra, &attested))
}

/// TPM2_GetSessionAuditDigest.
pub(crate) fn session_audit(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let (extra, given) = qualifying(call)?;
    call.end()?;
    let signer = tpm.signer(call, 1, given, 2)?;
    let handle = call.handle(2);
    let session = tpm.session(handle).ok_or(Rc::HANDLE.handle(3))?;
    let digest = session.audit.clone().ok_or(Rc::TYPE.handle(3))?;
    let exclusive = tpm.v.exclusive == handle;
    let attested = built(|out| {
        out.put_u8(exclusive.into()).put_sized(&digest);
    });
    tpm.attest(env, call, signer, st::ATTEST_SESSION_AUDIT, (&extra, &attested))
}

/// TPM2_GetCommandAuditDigest.
pub(crate) fn command_audit(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let (extra, given) = qualifying(call)?;
    call.end()?;
    let signer = tpm.signer(call, 1, given, 2)?;
    let global = tpm.store.global();
    let digest_alg = global.audit_alg;
    let commands = built(|out| {
        global.audited.iter().for_each(|&code| {
            out.put_u32(code);
        });
    });
    let attested = built(|out| {
        out.put_u64(global.audit_counter).put_u16(digest_alg);
        out.put_sized(&tpm.v.reset.audit_digest);
        out.put_sized(&crypto::hash(digest_alg, &[&commands]));
    });
    let signed = signer.0.is_some();
    tpm.attest(env, call, signer, st::ATTEST_COMMAND_AUDIT, (&extra, &attested))?;
    // A signed report starts a new digest.
    if signed {
        tpm.v.reset.audit_digest = Vec::new();
    }
    Ok(())
}

/// TPM2_NV_Certify.
pub(crate) fn nv_certify(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let (extra, given) = qualifying(call)?;
    let size = call.read(|r| r.u16())?;
    let offset = call.read(|r| r.u16())?;
    call.end()?;
    let signer = tpm.signer(call, 0, given, 2)?;
    let index = crate::nv_commands::readable(tpm, call)?;
    let name = index.public.name();
    if size == 0 && offset == 0 {
        let hash = if signer.0.is_some() { signer.1.hash } else { alg::SHA256 };
        let digest = crypto::hash(hash, &[&index.data]);
        let attested = built(|out| {
            out.put_sized(&name).put_sized(&digest);
        });
        return tpm.attest(env, call, signer, st::ATTEST_NV_DIGEST, (&extra, &attested));
    }
    let (from, count) = (usize::from(offset), usize::from(size));
    let data = index.data.get(from..from + count).ok_or(Rc::NV_RANGE)?;
    if count > crate::nv_index::MAX_NV_BUFFER {
        return Err(Rc::VALUE.param(3));
    }
    let attested = built(|out| {
        out.put_sized(&name).put_u16(offset).put_sized(data);
    });
    tpm.attest(env, call, signer, st::ATTEST_NV, (&extra, &attested))
}
