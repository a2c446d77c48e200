//! Signatures (Part 2, section 11.3; Part 3, section 20).

use alloc::vec::Vec;

use tpm_crypto::ecc::{ecdaa_sign, ecdsa_sign, ecdsa_verify};
use tpm_crypto::rsa::SignatureScheme;

use crate::Tpm;
use crate::call::{Call, Env};
use crate::codec::{Put, Reader};
use crate::constants::{alg, attr, rh, st};
use crate::crypto;
use crate::keys;
use crate::object::{Object, Slot};
use crate::rc::{Rc, Result};
use crate::secret::same;
use crate::structures::{MAX_DIGEST, MAX_ECC, MAX_RSA, Scheme, Ticket, hash};

/// TPMT_SIGNATURE: an RSA signature or an HMAC in `first`, or the two parts of an ECC signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    alg: u16,
    pub(crate) hash: u16,
    first: Vec<u8>,
    second: Vec<u8>,
}

impl Signature {
    /// The NULL signature.
    const NULL: Self =
        Self { alg: alg::NULL, hash: alg::NULL, first: Vec::new(), second: Vec::new() };

    pub(crate) fn parse(r: &mut Reader<'_>) -> Result<Self> {
        let alg = r.u16()?;
        let mut signature = Self { alg, ..Self::NULL };
        match alg {
            alg::RSASSA | alg::RSAPSS => {
                signature.hash = hash(r)?;
                signature.first = r.sized(MAX_RSA)?;
            }
            alg::ECDSA | alg::ECDAA => {
                signature.hash = hash(r)?;
                signature.first = r.sized(MAX_ECC)?;
                signature.second = r.sized(MAX_ECC)?;
            }
            alg::HMAC => {
                signature.hash = hash(r)?;
                signature.first = r.take(crypto::digest_size(signature.hash))?.into();
            }
            _ => return Err(Rc::SCHEME),
        }
        Ok(signature)
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u16(self.alg);
        match self.alg {
            alg::NULL => {}
            alg::HMAC => {
                out.put_u16(self.hash).put(&self.first);
            }
            alg::ECDSA | alg::ECDAA => {
                out.put_u16(self.hash).put_sized(&self.first).put_sized(&self.second);
            }
            _ => {
                out.put_u16(self.hash).put_sized(&self.first);
            }
        }
    }

    /// Checks that it is a signature of `digest` by `key`.
    pub(crate) fn verify(&self, key: &Object, digest: &[u8]) -> Result<()> {
        let public = &key.public;
        let own = public.scheme();
        if !own.is_null() && own.alg != self.alg && public.kind() != alg::KEYEDHASH {
            return Err(Rc::SCHEME);
        }
        match (public.kind(), self.alg) {
            (alg::RSA, alg::RSASSA | alg::RSAPSS) => {
                let scheme = rsa_scheme(self.alg, self.hash);
                keys::rsa_public(public)?
                    .verify(scheme, digest, &self.first)
                    .map_err(|_| Rc::SIGNATURE)
            }
            (alg::ECC, alg::ECDSA) => {
                let point = keys::ecc_public(public)?;
                ecdsa_verify(&point, digest, &self.first, &self.second).map_err(|_| Rc::SIGNATURE)
            }
            (alg::KEYEDHASH, alg::HMAC) => {
                let secret = key.secret().map_err(|_| Rc::HANDLE)?;
                let hmac = crypto::hmac(self.hash, &secret.private, &[digest]);
                if same(&hmac, &self.first) { Ok(()) } else { Err(Rc::SIGNATURE) }
            }
            _ => Err(Rc::SCHEME),
        }
    }
}

fn rsa_scheme(alg: u16, hash: u16) -> SignatureScheme {
    let hash = crypto::algorithm(hash);
    if alg == alg::RSAPSS { SignatureScheme::Rsapss(hash) } else { SignatureScheme::Rsassa(hash) }
}

/// Selects the scheme of a signature: the key's own, or `given` if the key has none.
pub(crate) fn select(key: &Object, given: Scheme) -> Result<Scheme> {
    let own = key.public.scheme();
    let scheme = if own.is_null() || !own.is_signing() {
        given
    } else if given.is_null() {
        own
    } else if given.alg == own.alg && given.hash == own.hash {
        // The count of ECDAA is in the given scheme.
        given
    } else {
        return Err(Rc::SCHEME);
    };
    let fits = match key.public.kind() {
        alg::RSA => matches!(scheme.alg, alg::RSASSA | alg::RSAPSS),
        alg::ECC => matches!(scheme.alg, alg::ECDSA | alg::ECDAA),
        alg::KEYEDHASH => scheme.alg == alg::HMAC,
        _ => false,
    };
    if fits { Ok(scheme) } else { Err(Rc::SCHEME) }
}

impl Tpm {
    /// Signs a digest.
    pub(crate) fn sign(
        &mut self,
        env: Env<'_>,
        key: &Object,
        scheme: Scheme,
        digest: &[u8],
    ) -> Result<Signature> {
        let mut signature = Signature { alg: scheme.alg, hash: scheme.hash, ..Signature::NULL };
        match scheme.alg {
            alg::NULL => {}
            alg::HMAC => {
                signature.first = crypto::hmac(scheme.hash, &key.secret()?.private, &[digest]);
            }
            alg::ECDSA => {
                let made = ecdsa_sign(&keys::ecc_private(key)?, digest, self.drbg(env)?)?;
                (signature.first, signature.second) = (made.r.to_vec(), made.s.to_vec());
            }
            alg::ECDAA => {
                let private = keys::ecc_private(key)?;
                let commit = self.commit_scalar(private.curve(), &key.name, scheme.extra)?;
                let hash = crypto::algorithm(scheme.hash);
                let made = ecdaa_sign(&private, &commit, hash, digest, self.drbg(env)?)?;
                self.end_commit(scheme.extra);
                (signature.first, signature.second) = (made.r.to_vec(), made.s.to_vec());
            }
            _ => {
                let private = keys::rsa_private(key)?;
                let scheme = rsa_scheme(scheme.alg, scheme.hash);
                signature.first = private.sign(scheme, digest, self.drbg(env)?)?.to_vec();
            }
        }
        Ok(signature)
    }

    /// The signing key in a handle; none for TPM_RH_NULL.
    pub(crate) fn signing_key(
        &self,
        handle: u32,
        number: usize,
    ) -> Result<Option<alloc::sync::Arc<Object>>> {
        if handle == rh::NULL {
            return Ok(None);
        }
        if let Some(Slot::Sequence(_)) = self.slot_if_transient(handle) {
            return Err(Rc::KEY.handle(number));
        }
        let key = self.object(handle).map_err(|rc| rc.handle(number))?;
        let fits = key.public.is(attr::SIGN) && key.public.kind() != alg::SYMCIPHER;
        if fits { Ok(Some(key)) } else { Err(Rc::KEY.handle(number)) }
    }

    /// The HMAC of a ticket for a digest of data that does not start with TPM_GENERATED_VALUE.
    pub(crate) fn hash_ticket(&self, hierarchy: u32, alg: u16, digest: &[u8]) -> Vec<u8> {
        self.ticket_hmac(hierarchy, st::HASHCHECK, &[&alg.to_be_bytes(), digest])
    }
}

/// TPM2_Sign.
pub(crate) fn sign(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let digest = call.sized(MAX_DIGEST)?;
    let given = call.read(Scheme::signing)?;
    let ticket = call.read(|r| Ticket::parse(r, &[st::HASHCHECK]))?;
    call.end()?;
    let key = tpm.signing_key(call.handle(0), 1)?.ok_or(Rc::KEY.handle(1))?;
    if key.public.is(attr::X509_SIGN) {
        return Err(Rc::ATTRIBUTES.handle(1));
    }
    let scheme = select(&key, given).map_err(|rc| rc.param(2))?;
    // A restricted key needs a ticket; a ticket that is given has to be right in any case.
    if key.public.is(attr::RESTRICTED) || !ticket.digest.is_empty() {
        let expected = tpm.hash_ticket(ticket.hierarchy, scheme.hash, &digest);
        if ticket.digest.is_empty() || !same(&expected, &ticket.digest) {
            return Err(Rc::TICKET.param(3));
        }
    }
    if digest.len() != crypto::digest_size(scheme.hash) {
        return Err(Rc::SIZE.param(1));
    }
    let signature = tpm.sign(env, &key, scheme, &digest)?;
    signature.put(&mut call.out);
    Ok(())
}

/// TPM2_VerifySignature.
pub(crate) fn verify(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let digest = call.sized(MAX_DIGEST)?;
    let signature = call.read(Signature::parse)?;
    call.end()?;
    let key = tpm.object(call.handle(0)).map_err(|_| Rc::HANDLE.handle(1))?;
    if !key.public.is(attr::SIGN) {
        return Err(Rc::ATTRIBUTES.handle(1));
    }
    signature.verify(&key, &digest).map_err(|rc| rc.param(2))?;
    let ticket = if key.hierarchy == rh::NULL || key.public.name_alg == alg::NULL {
        Ticket::null(st::VERIFIED)
    } else {
        let hmac = tpm.ticket_hmac(key.hierarchy, st::VERIFIED, &[&digest, &key.name]);
        Ticket { tag: st::VERIFIED, hierarchy: key.hierarchy, digest: hmac }
    };
    ticket.put(&mut call.out);
    Ok(())
}
