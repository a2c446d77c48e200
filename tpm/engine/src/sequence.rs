//! Unfinished sequences of hashes, HMACs, events (Part 3, section 17).

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use tpm_crypto::hash::{Hasher, SavedHasher};
use tpm_crypto::hmac::Hmac;

use crate::constants::BANKS;
use crate::crypto;
use crate::rc::{Rc, Result};
use crate::secret::Secret;

/// An unfinished hash as plain bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Mid {
    pub(crate) alg: u16,
    bytes: Secret,
}

impl Mid {
    pub(crate) fn new(alg: u16) -> Self {
        Self::save(&Hasher::new(crypto::algorithm(alg)).save())
    }

    fn save(saved: &SavedHasher) -> Self {
        Self { alg: saved.algorithm().id(), bytes: saved.as_bytes().to_vec().into() }
    }

    fn saved(&self) -> Result<SavedHasher> {
        Ok(SavedHasher::new(crypto::algorithm(self.alg), &self.bytes)?)
    }

    pub(crate) fn update(&mut self, data: &[u8]) -> Result<()> {
        let mut hasher = Hasher::restore(&self.saved()?)?;
        hasher.update(data);
        *self = Self::save(&hasher.save());
        Ok(())
    }

    pub(crate) fn finish(&self) -> Result<Vec<u8>> {
        Ok(Hasher::restore(&self.saved()?)?.finish().as_bytes().to_vec())
    }
}

/// The kind of a sequence, with its unfinished hashes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum SequenceKind {
    Hash(Mid),
    /// One hash for each bank.
    Event(Vec<Mid>),
    /// The inner and the outer hash.
    Hmac([Mid; 2]),
}

/// A sequence object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sequence {
    pub(crate) auth: Secret,
    pub(crate) kind: SequenceKind,
    /// Up to four first bytes: there is no ticket if they are TPM_GENERATED_VALUE.
    pub(crate) first: Vec<u8>,
}

impl Sequence {
    pub(crate) fn hash(alg: u16, auth: Secret) -> Self {
        Self { auth, kind: SequenceKind::Hash(Mid::new(alg)), first: Vec::new() }
    }

    pub(crate) fn event(auth: Secret) -> Self {
        let mids = BANKS.iter().map(|&alg| Mid::new(alg)).collect();
        Self { auth, kind: SequenceKind::Event(mids), first: Vec::new() }
    }

    pub(crate) fn hmac(alg: u16, key: &[u8], auth: Secret) -> Self {
        let [inner, outer] = Hmac::new(crypto::algorithm(alg), key).save();
        let kind = SequenceKind::Hmac([Mid::save(&inner), Mid::save(&outer)]);
        Self { auth, kind, first: Vec::new() }
    }

    pub(crate) fn update(&mut self, data: &[u8]) -> Result<()> {
        let missing = 4usize.saturating_sub(self.first.len());
        self.first.extend(data.iter().take(missing));
        match &mut self.kind {
            SequenceKind::Hash(mid) => mid.update(data),
            SequenceKind::Event(mids) => mids.iter_mut().try_for_each(|mid| mid.update(data)),
            SequenceKind::Hmac([inner, outer]) => {
                let mut hmac = Hmac::restore(&[inner.saved()?, outer.saved()?])?;
                hmac.update(data);
                let [a, b] = hmac.save();
                (*inner, *outer) = (Mid::save(&a), Mid::save(&b));
                Ok(())
            }
        }
    }

    /// The digest of a hash or HMAC sequence.
    pub(crate) fn finish(&self) -> Result<(u16, Vec<u8>)> {
        match &self.kind {
            SequenceKind::Hash(mid) => Ok((mid.alg, mid.finish()?)),
            SequenceKind::Hmac([inner, outer]) => {
                let hmac = Hmac::restore(&[inner.saved()?, outer.saved()?])?;
                Ok((inner.alg, hmac.finish().as_bytes().to_vec()))
            }
            SequenceKind::Event(_) => Err(Rc::MODE),
        }
    }

    /// The digests of an event sequence.
    pub(crate) fn finish_event(&self) -> Result<Vec<(u16, Vec<u8>)>> {
        match &self.kind {
            SequenceKind::Event(mids) => {
                mids.iter().map(|mid| Ok((mid.alg, mid.finish()?))).collect()
            }
            _ => Err(Rc::MODE),
        }
    }
}
