//! Ephemeral ECC keys (Part 1, annex C.2; Part 3, section 19).

use alloc::vec::Vec;

use tpm_crypto::ecc::{Curve, EccPoint, EccPrivateKey};

use crate::Tpm;
use crate::asymmetric::{point, put_point};
use crate::call::{Call, Env};
use crate::codec::Put;
use crate::constants::{alg, attr};
use crate::crypto;
use crate::keys;
use crate::rc::{Rc, Result};
use crate::secret::Secret;
use crate::structures::{MAX_ECC, MAX_SYM_DATA, curve};

impl Tpm {
    /// The scalar for a count and a key's name (annex C.2.3).
    fn scalar_of(&self, curve: Curve, name: &[u8], count: u64) -> Result<Secret> {
        let count = count.to_be_bytes();
        let size = curve.extra_size();
        let nonce = &self.v.reset.commits.nonce;
        let bytes = crypto::kdfa(alg::SHA512, nonce, "ECDAA Commit", name, &count, size);
        Ok(EccPrivateKey::from_extra_bits(curve, &bytes)?.scalar().to_vec().into())
    }

    /// The scalar for an outstanding counter; VALUE if it is not outstanding.
    pub(crate) fn commit_scalar(
        &mut self,
        curve: Curve,
        name: &[u8],
        counter: u16,
    ) -> Result<Secret> {
        let count = self.full_count(counter);
        let pending = self.v.reset.commits.place(count).is_some_and(|(word, bit)| *word & bit != 0);
        if !pending {
            return Err(Rc::VALUE);
        }
        self.scalar_of(curve, name, count)
    }

    /// The full count for a counter, which holds its low 16 bits; it is below the next count.
    fn full_count(&self, counter: u16) -> u64 {
        let next = self.v.reset.commits.counter;
        let count = next & !0xffff | u64::from(counter);
        if count >= next { count.wrapping_sub(0x1_0000) } else { count }
    }

    /// Marks the key of a counter as used.
    pub(crate) fn end_commit(&mut self, counter: u16) {
        let count = self.full_count(counter);
        if let Some((word, bit)) = self.v.reset.commits.place(count) {
            *word &= !bit;
        }
    }

    /// Marks the next count as outstanding and returns its low bits.
    fn begin_commit(&mut self) -> u16 {
        let count = self.v.reset.commits.counter;
        if let Some((word, bit)) = self.v.reset.commits.place(count) {
            *word |= bit;
        }
        self.v.reset.commits.counter = count.wrapping_add(1);
        count as u16
    }
}

/// Reads a point; nothing if both coordinates are empty.
fn point_or_none(r: &mut crate::codec::Reader<'_>) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let (x, y) = r.sized_structure(point)?;
    Ok(if x.is_empty() && y.is_empty() { None } else { Some((x, y)) })
}

/// TPM2_Commit.
pub(crate) fn commit(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let first = call.read(point_or_none)?;
    let s2 = call.sized(MAX_SYM_DATA)?;
    let y2 = call.sized(MAX_ECC)?;
    call.end()?;
    let key = tpm.signing_key(call.handle(0), 1)?.ok_or(Rc::KEY.handle(1))?;
    if key.public.kind() != alg::ECC {
        return Err(Rc::KEY.handle(1));
    }
    if key.public.scheme().alg != alg::ECDAA || !key.public.is(attr::SIGN) {
        return Err(Rc::SCHEME.handle(1));
    }
    if s2.is_empty() != y2.is_empty() {
        return Err(Rc::SIZE.param(3));
    }
    let private = keys::ecc_private(&key)?;
    let curve = private.curve();
    let on_curve = |number: u8| move |_| Rc::ECC_POINT.param(number);
    let first =
        first.map(|(x, y)| EccPoint::new(curve, &x, &y).map_err(on_curve(1))).transpose()?;
    let second = if s2.is_empty() {
        None
    } else {
        let x = crypto::hash(key.public.name_alg, &[&s2]);
        Some(EccPoint::new(curve, &x, &y2).map_err(on_curve(3))?)
    };
    let scalar = tpm.scalar_of(curve, &key.name, tpm.v.reset.commits.counter)?;
    let (k, l) = match &second {
        Some(p2) => (Some(p2.multiply(private.scalar())?), Some(p2.multiply(&scalar)?)),
        None => (None, None),
    };
    let e = match (&first, &second) {
        (Some(p1), _) => Some(p1.multiply(&scalar)?),
        (None, None) => Some(EccPoint::generator(curve).multiply(&scalar)?),
        (None, Some(_)) => None,
    };
    for result in [k, l, e] {
        match result {
            Some(point) => put_point(&point, &mut call.out),
            None => {
                call.out.put_u16(4).put_u32(0);
            }
        }
    }
    let counter = tpm.begin_commit();
    call.out.put_u16(counter);
    Ok(())
}

/// TPM2_EC_Ephemeral.
pub(crate) fn ec_ephemeral(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let id = call.read(curve)?;
    call.end()?;
    let curve = Curve::from_id(id).ok_or(Rc::CURVE.param(1))?;
    let scalar = tpm.scalar_of(curve, &[], tpm.v.reset.commits.counter)?;
    put_point(&EccPrivateKey::new(curve, &scalar)?.public_key()?, &mut call.out);
    let counter = tpm.begin_commit();
    call.out.put_u16(counter);
    Ok(())
}
