//! The commands of symmetric cryptography (Part 3, sections 15, 17).

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::Tpm;
use crate::call::{Call, Env};
use crate::codec::Put;
use crate::constants::{GENERATED, alg, attr, rh, st};
use crate::crypto::{self, Way};
use crate::object::{Object, Slot};
use crate::rc::{Rc, Result};
use crate::secret::Secret;
use crate::sequence::{Sequence, SequenceKind};
use crate::structures::{
    MAX_BUFFER, MAX_DIGEST, Ticket, hash, hash_or_null, hierarchy, mode_or_null,
};

/// TPM2_Hash.
pub(crate) fn hash_data(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let data = call.sized(MAX_BUFFER)?;
    let alg = call.read(hash)?;
    let hierarchy = call.read(hierarchy)?;
    call.end()?;
    let digest = crypto::hash(alg, &[&data]);
    call.out.put_sized(&digest);
    let ticket = tpm.hash_check(hierarchy, alg, &digest, &data);
    ticket.put(&mut call.out);
    Ok(())
}

impl Tpm {
    /// TPMT_TK_HASHCHECK: the NULL ticket for data that could pass as an attestation.
    fn hash_check(&self, hierarchy: u32, alg: u16, digest: &[u8], first: &[u8]) -> Ticket {
        if hierarchy == rh::NULL || first.starts_with(&GENERATED.to_be_bytes()) {
            return Ticket::null(st::HASHCHECK);
        }
        let hmac = self.hash_ticket(hierarchy, alg, digest);
        Ticket { tag: st::HASHCHECK, hierarchy, digest: hmac }
    }

    /// An HMAC key, and the hash to use with it.
    fn hmac_object(&self, handle: u32, given: u16) -> Result<(Arc<Object>, u16)> {
        let key = self.object(handle).map_err(|_| Rc::TYPE.handle(1))?;
        if key.public.kind() != alg::KEYEDHASH {
            return Err(Rc::TYPE.handle(1));
        }
        if key.public.is(attr::RESTRICTED) {
            return Err(Rc::ATTRIBUTES.handle(1));
        }
        if !key.public.is(attr::SIGN) {
            return Err(Rc::KEY.handle(1));
        }
        let own = key.public.scheme();
        let alg = match (own.alg, given) {
            (alg::HMAC, alg::NULL) => own.hash,
            (alg::HMAC, given) if given == own.hash => given,
            (alg::NULL, given) if given != alg::NULL => given,
            _ => return Err(Rc::VALUE.param(2)),
        };
        Ok((key, alg))
    }
}

/// TPM2_HMAC.
pub(crate) fn hmac(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let data = call.sized(MAX_BUFFER)?;
    let given = call.read(hash_or_null)?;
    call.end()?;
    let (key, alg) = tpm.hmac_object(call.handle(0), given)?;
    call.out.put_sized(&crypto::hmac(alg, &key.secret()?.private, &[&data]));
    Ok(())
}

/// TPM2_HMAC_Start.
pub(crate) fn hmac_start(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let auth = Secret::auth(call.sized(MAX_DIGEST)?);
    let given = call.read(hash_or_null)?;
    call.end()?;
    let (key, alg) = tpm.hmac_object(call.handle(0), given)?;
    let sequence = Sequence::hmac(alg, &key.secret()?.private, auth);
    call.out_handle = Some(tpm.add_slot(Slot::Sequence(Arc::new(sequence)))?);
    Ok(())
}

/// TPM2_HashSequenceStart.
pub(crate) fn hash_start(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let auth = Secret::auth(call.sized(MAX_DIGEST)?);
    let alg = call.read(hash_or_null)?;
    call.end()?;
    let sequence = if alg == alg::NULL { Sequence::event(auth) } else { Sequence::hash(alg, auth) };
    call.out_handle = Some(tpm.add_slot(Slot::Sequence(Arc::new(sequence)))?);
    Ok(())
}

/// TPM2_SequenceUpdate.
pub(crate) fn update(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let data = call.sized(MAX_BUFFER)?;
    call.end()?;
    let handle = call.handle(0);
    let mut sequence = tpm.sequence(handle).map_err(|rc| rc.handle(1))?;
    sequence.update(&data)?;
    if let Some(place) = tpm.v.objects.get_mut((handle & 0x00ff_ffff) as usize) {
        *place = Some(Slot::Sequence(Arc::new(sequence)));
    }
    Ok(())
}

/// TPM2_SequenceComplete.
pub(crate) fn complete(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let data = call.sized(MAX_BUFFER)?;
    let hierarchy = call.read(hierarchy)?;
    call.end()?;
    let handle = call.handle(0);
    let mut sequence = tpm.sequence(handle).map_err(|rc| rc.handle(1))?;
    if matches!(sequence.kind, SequenceKind::Event(_)) {
        return Err(Rc::MODE.handle(1));
    }
    sequence.update(&data)?;
    let (alg, digest) = sequence.finish()?;
    let ticket = match sequence.kind {
        SequenceKind::Hash(_) => tpm.hash_check(hierarchy, alg, &digest, &sequence.first),
        _ => Ticket::null(st::HASHCHECK),
    };
    call.out.put_sized(&digest);
    ticket.put(&mut call.out);
    tpm.flush_object(handle);
    Ok(())
}

/// The common part of EncryptDecrypt and EncryptDecrypt2.
fn crypt(
    tpm: &Tpm,
    call: &mut Call,
    (data, decrypt, given, vector): (Vec<u8>, bool, u16, Vec<u8>),
    mode_parameter: u8,
) -> Result<()> {
    let key = tpm.object(call.handle(0)).map_err(|_| Rc::KEY.handle(1))?;
    if key.public.kind() != alg::SYMCIPHER {
        return Err(Rc::KEY.handle(1));
    }
    let use_of = if decrypt { attr::DECRYPT } else { attr::SIGN };
    if key.public.is(attr::RESTRICTED) || !key.public.is(use_of) {
        return Err(Rc::ATTRIBUTES.handle(1));
    }
    let own = key.public.symmetric().mode;
    let mode = match (own, given) {
        (alg::NULL, alg::NULL) => return Err(Rc::MODE.param(mode_parameter)),
        (alg::NULL, given) => given,
        (own, given) if given == alg::NULL || given == own => own,
        _ => return Err(Rc::MODE.param(mode_parameter)),
    };
    let wanted = if mode == alg::ECB { 0 } else { 16 };
    if vector.len() != wanted {
        return Err(Rc::SIZE.param(mode_parameter + 1));
    }
    if matches!(mode, alg::CBC | alg::ECB) && !data.len().is_multiple_of(16) {
        return Err(Rc::SIZE.param(if mode_parameter == 2 { 4 } else { 1 }));
    }
    let mut data = data;
    let mut chain = [0; 16];
    chain.iter_mut().zip(&vector).for_each(|(to, from)| *to = *from);
    let way = if decrypt { Way::Decrypt } else { Way::Encrypt };
    crypto::apply(&key.secret()?.private, mode, &mut chain, &mut data, way)?;
    call.out.put_sized(&data);
    call.out.put_sized(if mode == alg::ECB { &[] } else { &chain });
    Ok(())
}

/// TPM2_EncryptDecrypt.
pub(crate) fn encrypt_decrypt(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let decrypt = call.read(|r| r.yes_no())?;
    let mode = call.read(mode_or_null)?;
    let vector = call.sized(16)?;
    let data = call.sized(MAX_BUFFER)?;
    call.end()?;
    crypt(tpm, call, (data, decrypt, mode, vector), 2)
}

/// TPM2_EncryptDecrypt2.
pub(crate) fn encrypt_decrypt2(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let data = call.sized(MAX_BUFFER)?;
    let decrypt = call.read(|r| r.yes_no())?;
    let mode = call.read(mode_or_null)?;
    let vector = call.sized(16)?;
    call.end()?;
    crypt(tpm, call, (data, decrypt, mode, vector), 3)
}
