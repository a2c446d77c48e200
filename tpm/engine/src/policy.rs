//! The policy assertions that the TPM checks itself (Part 3, section 23).

use alloc::vec;
use alloc::vec::Vec;

use crate::Tpm;
use crate::call::{Call, Env, find};
use crate::codec::{Put, built};
use crate::crypto;
use crate::rc::{Rc, Result};
use crate::session::{BoundHash, Session, SessionKind};
use crate::structures::{MAX_DIGEST, MAX_NAME, PcrSelection};

/// TPM_RC_POLICY.
const POLICY: Rc = Rc(0x126);
/// TPM_CC_PolicyAuthValue; PolicyPassword extends with it, too.
const AUTH_VALUE: u32 = 0x16b;
/// TPM_CC_Duplicate.
const DUPLICATE: u32 = 0x14b;

impl Session {
    pub(crate) fn is_trial(&self) -> bool {
        self.kind == SessionKind::Trial
    }

    /// Extends policyDigest with a command code and `parts`.
    pub(crate) fn extend(&mut self, code: u32, parts: &[&[u8]]) {
        let code = code.to_be_bytes();
        let mut all: Vec<&[u8]> = Vec::from([&self.policy.digest[..], &code[..]]);
        all.extend(parts);
        self.policy.digest = crypto::hash(self.alg, &all);
    }

    /// PolicyUpdate of Part 3, section 23.2.3.
    pub(crate) fn update(&mut self, code: u32, name: &[u8], policy_ref: &[u8]) {
        self.extend(code, &[name]);
        self.policy.digest = crypto::hash(self.alg, &[&self.policy.digest, policy_ref]);
    }

    pub(crate) fn zero(&mut self) {
        self.policy.digest = vec![0; crypto::digest_size(self.alg)];
    }

    /// Sets the hash that the authorized command has to match. A session has one hash; the same one
    /// may be set again unless it is of names (Part 3, section 23.14).
    pub(crate) fn bind_hash(&mut self, hash: BoundHash) -> Result<()> {
        match (&self.policy.hash, &hash) {
            (BoundHash::None, _) => {}
            (BoundHash::Template(earlier), BoundHash::Template(now)) if earlier != now => {
                return Err(Rc::VALUE.param(1));
            }
            (BoundHash::Names(_), _) => return Err(Rc::CPHASH),
            (earlier, now) if earlier != now => return Err(Rc::CPHASH),
            _ => {}
        }
        self.policy.hash = hash;
        Ok(())
    }
}

impl Tpm {
    /// The policy session of handle `index`, counted from zero.
    pub(crate) fn policy_session(&mut self, call: &Call, index: usize) -> Result<&mut Session> {
        self.session_mut(call.handle(index)).ok_or(Rc::HANDLE.handle(index + 1))
    }
}

/// TPM2_PolicyOR.
pub(crate) fn or(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let list = call.read(|r| {
        let count = r.u32()?;
        if !(2..=8).contains(&count) {
            return Err(Rc::SIZE);
        }
        (0..count).map(|_| r.sized(MAX_DIGEST)).collect::<Result<Vec<_>>>()
    })?;
    call.end()?;
    let session = tpm.policy_session(call, 0)?;
    if !session.is_trial() && !list.contains(&session.policy.digest) {
        return Err(Rc::VALUE.param(1));
    }
    session.zero();
    let parts: Vec<&[u8]> = list.iter().map(|digest| &digest[..]).collect();
    session.extend(call.code, &parts);
    Ok(())
}

/// TPM2_PolicyPCR.
pub(crate) fn pcr(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let given = call.sized(MAX_DIGEST)?;
    let pcrs = call.read(PcrSelection::parse)?;
    call.end()?;
    let pcrs = pcrs.implemented(&tpm.v.pcrs.allocated);
    let counter = tpm.v.reset.pcr_counter;
    let alg = tpm.policy_session(call, 0)?.alg;
    let current = tpm.v.pcrs.digest(alg, &pcrs);
    let session = tpm.policy_session(call, 0)?;
    let mut digest = current;
    if session.is_trial() {
        if !given.is_empty() {
            digest = given;
        }
    } else {
        if session.policy.pcr_counter.is_some_and(|earlier| earlier != counter) {
            return Err(Rc::PCR_CHANGED);
        }
        if !given.is_empty() && given != digest {
            return Err(Rc::VALUE.param(1));
        }
        session.policy.pcr_counter = Some(counter);
    }
    let selection = built(|out| pcrs.put(out));
    session.extend(call.code, &[&selection, &digest]);
    Ok(())
}

/// TPM2_PolicyLocality.
pub(crate) fn locality(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let locality = call.read(|r| r.u8())?;
    call.end()?;
    let session = tpm.policy_session(call, 0)?;
    let earlier = session.policy.locality;
    let extended = |bits: u8| bits >= 32;
    let range = Err(Rc::RANGE.param(1));
    let new = match earlier {
        0 => locality,
        _ if extended(earlier) != extended(locality) => return range,
        _ if extended(earlier) => {
            if earlier != locality {
                return range;
            }
            locality
        }
        _ => earlier & locality,
    };
    if new == 0 {
        return range;
    }
    session.policy.locality = new;
    session.extend(call.code, &[&[locality]]);
    Ok(())
}

/// Evaluates a TPM_EO (Part 2, section 6.11).
pub(crate) fn compare(a: &[u8], b: &[u8], operation: u16) -> Result<bool> {
    use core::cmp::Ordering::{Equal, Greater, Less};
    let negative = |x: &[u8]| x.first().is_some_and(|byte| byte & 0x80 != 0);
    let signed = match (negative(a), negative(b)) {
        (true, false) => Less,
        (false, true) => Greater,
        _ => a.cmp(b),
    };
    let unsigned = a.cmp(b);
    let masked = |wanted: fn(u8, u8) -> bool| a.iter().zip(b).all(|(&x, &y)| wanted(x, y));
    Ok(match operation {
        0 => unsigned == Equal,
        1 => unsigned != Equal,
        2 => signed == Greater,
        3 => unsigned == Greater,
        4 => signed == Less,
        5 => unsigned == Less,
        6 => signed != Less,
        7 => unsigned != Less,
        8 => signed != Greater,
        9 => unsigned != Greater,
        10 => masked(|x, y| x & y == y),
        11 => masked(|x, y| x & y == 0),
        _ => return Err(Rc::VALUE),
    })
}

/// Reads operand, offset and operation of PolicyNV or PolicyCounterTimer, and encodes them for the
/// policy digest.
fn comparison(call: &mut Call) -> Result<(Vec<u8>, u16, u16, Vec<u8>)> {
    let operand = call.sized(MAX_DIGEST)?;
    let offset = call.read(|r| r.u16())?;
    let operation = call.read(|r| match r.u16()? {
        operation @ 0..=11 => Ok(operation),
        _ => Err(Rc::VALUE),
    })?;
    call.end()?;
    let arguments = built(|out| {
        out.put(&operand).put_u16(offset).put_u16(operation);
    });
    Ok((operand, offset, operation, arguments))
}

/// TPM2_PolicyNV.
pub(crate) fn nv(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let (operand, offset, operation, arguments) = comparison(call)?;
    let name = tpm.name_of(call.handle(1));
    if !tpm.policy_session(call, 2)?.is_trial() {
        let index = tpm.check_read(call)?;
        let offset = usize::from(offset);
        if offset > index.data.len() {
            return Err(Rc::VALUE.param(2));
        }
        let data = index.data.get(offset..offset + operand.len()).ok_or(Rc::SIZE.param(1))?;
        if !compare(data, &operand, operation)? {
            return Err(POLICY);
        }
    }
    let session = tpm.policy_session(call, 2)?;
    let arguments = crypto::hash(session.alg, &[&arguments]);
    session.extend(call.code, &[&arguments, &name]);
    Ok(())
}

/// TPM2_PolicyCounterTimer.
pub(crate) fn counter_timer(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let (operand, offset, operation, arguments) = comparison(call)?;
    let info = tpm.time_info();
    let session = tpm.policy_session(call, 0)?;
    if !session.is_trial() {
        let start = usize::from(offset);
        if start > info.len() {
            return Err(Rc::VALUE.param(2));
        }
        let data = info.get(start..start + operand.len()).ok_or(Rc::RANGE)?;
        if !compare(data, &operand, operation)? {
            return Err(POLICY);
        }
    }
    let arguments = crypto::hash(session.alg, &[&arguments]);
    session.extend(call.code, &[&arguments]);
    Ok(())
}

/// TPM2_PolicyCommandCode.
pub(crate) fn command_code(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let table = call.table;
    let code = call.read(|r| {
        let code = r.u32()?;
        if find(table, code).is_some() { Ok(code) } else { Err(Rc::POLICY_CC) }
    })?;
    call.end()?;
    let session = tpm.policy_session(call, 0)?;
    if session.policy.command.is_some_and(|earlier| earlier != code) {
        return Err(Rc::VALUE.param(1));
    }
    session.policy.command = Some(code);
    session.extend(call.code, &[&code.to_be_bytes()]);
    Ok(())
}

/// TPM2_PolicyPhysicalPresence.
pub(crate) fn presence(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let session = tpm.policy_session(call, 0)?;
    session.policy.presence = true;
    session.extend(call.code, &[]);
    Ok(())
}

/// The common part of PolicyCpHash, PolicyNameHash and PolicyTemplate.
fn bound_hash(tpm: &mut Tpm, call: &mut Call, kind: fn(Vec<u8>) -> BoundHash) -> Result<()> {
    let hash = call.sized(MAX_DIGEST)?;
    call.end()?;
    let session = tpm.policy_session(call, 0)?;
    if hash.len() != crypto::digest_size(session.alg) {
        return Err(Rc::SIZE.param(1));
    }
    session.bind_hash(kind(hash.clone()))?;
    session.extend(call.code, &[&hash]);
    Ok(())
}

/// TPM2_PolicyCpHash.
pub(crate) fn cp_hash(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    bound_hash(tpm, call, BoundHash::Parameters)
}

/// TPM2_PolicyNameHash.
pub(crate) fn name_hash(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    bound_hash(tpm, call, BoundHash::Names)
}

/// TPM2_PolicyTemplate.
pub(crate) fn template(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    bound_hash(tpm, call, BoundHash::Template)
}

/// TPM2_PolicyDuplicationSelect.
pub(crate) fn duplication_select(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let object = call.sized(MAX_NAME)?;
    let parent = call.sized(MAX_NAME)?;
    let include = call.read(|r| r.yes_no())?;
    call.end()?;
    let session = tpm.policy_session(call, 0)?;
    if session.policy.hash != BoundHash::None {
        return Err(Rc::CPHASH);
    }
    if session.policy.command.is_some() {
        return Err(Rc::COMMAND_CODE);
    }
    let names = crypto::hash(session.alg, &[&object, &parent]);
    session.bind_hash(BoundHash::Names(names))?;
    session.policy.command = Some(DUPLICATE);
    let included: &[u8] = if include { &object } else { &[] };
    session.extend(call.code, &[included, &parent, &[include.into()]]);
    Ok(())
}

/// TPM2_PolicyAuthValue.
pub(crate) fn auth_value(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let session = tpm.policy_session(call, 0)?;
    session.policy.auth_value = true;
    session.policy.password = false;
    session.extend(AUTH_VALUE, &[]);
    Ok(())
}

/// TPM2_PolicyPassword.
pub(crate) fn password(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let session = tpm.policy_session(call, 0)?;
    session.policy.password = true;
    session.policy.auth_value = false;
    session.extend(AUTH_VALUE, &[]);
    Ok(())
}

/// TPM2_PolicyGetDigest.
pub(crate) fn get_digest(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let digest = &tpm.policy_session(call, 0)?.policy.digest;
    call.out.put_sized(digest);
    Ok(())
}

/// TPM2_PolicyNvWritten.
pub(crate) fn nv_written(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let written = call.read(|r| r.yes_no())?;
    call.end()?;
    let session = tpm.policy_session(call, 0)?;
    if session.policy.nv_written.is_some_and(|earlier| earlier != written) {
        return Err(Rc::VALUE.param(1));
    }
    session.policy.nv_written = Some(written);
    session.extend(call.code, &[&[written.into()]]);
    Ok(())
}

/// TPM2_PolicyAuthorizeNV: the index holds the digest of an approved policy.
pub(crate) fn authorize_nv(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let name = tpm.name_of(call.handle(1));
    if !tpm.policy_session(call, 2)?.is_trial() {
        let data = tpm.check_read(call)?.data.to_vec();
        let mut reader = crate::codec::Reader::new(&data);
        let alg = crate::structures::hash(&mut reader)?;
        let digest = reader.take(crypto::digest_size(alg))?;
        let session = tpm.policy_session(call, 2)?;
        if alg != session.alg {
            return Err(Rc::HASH);
        }
        if digest != session.policy.digest {
            return Err(Rc::VALUE);
        }
    }
    let session = tpm.policy_session(call, 2)?;
    session.zero();
    session.extend(call.code, &[&name]);
    Ok(())
}
