//! The exchange of secrets with the holder of a key (Part 1, annexes B.10, C.6).

use alloc::vec::Vec;

use tpm_crypto::rsa::EncryptionScheme;

use crate::Tpm;
use crate::call::Env;
use crate::codec::{Put, Reader, built};
use crate::constants::alg;
use crate::crypto;
use crate::keys;
use crate::object::Object;
use crate::public::Public;
use crate::rc::{Rc, Result};
use crate::secret::Secret;
use crate::structures::MAX_ECC;

/// The label with its NUL, for OAEP.
fn oaep_label(label: &str) -> Vec<u8> {
    let mut bytes = Vec::from(label.as_bytes());
    bytes.push(0);
    bytes
}

/// Recovers the secret that was sent to `key`.
pub(crate) fn decrypt(
    tpm: &mut Tpm,
    env: Env<'_>,
    key: &Object,
    label: &str,
    sent: &[u8],
) -> Result<Secret> {
    let name_alg = key.public.name_alg;
    match key.public.kind() {
        alg::RSA => {
            let private = keys::rsa_private(key)?;
            let hash = crypto::algorithm(name_alg);
            let label = oaep_label(label);
            let scheme = EncryptionScheme::Oaep { hash, label: &label };
            let random = tpm.drbg(env)?;
            Ok(private.decrypt(scheme, sent, random)?.to_vec().into())
        }
        alg::ECC => {
            let mut reader = Reader::new(sent);
            let (x, y) = (reader.sized(MAX_ECC)?, reader.sized(MAX_ECC)?);
            if !reader.is_empty() {
                return Err(Rc::SIZE);
            }
            let private = keys::ecc_private(key)?;
            let ephemeral = tpm_crypto::ecc::EccPoint::new(private.curve(), &x, &y)?;
            let z = private.ecdh(&ephemeral)?;
            let size = crypto::digest_size(name_alg);
            let own = private.curve().pad(&key.public.unique.x)?;
            Ok(crypto::kdfe(name_alg, z.x(), label, ephemeral.x(), &own, size))
        }
        _ => Err(Rc::KEY),
    }
}

/// Makes a fresh secret for the holder of `key`; returns the secret and the bytes to send.
pub(crate) fn encrypt(
    tpm: &mut Tpm,
    env: Env<'_>,
    key: &Public,
    label: &str,
) -> Result<(Secret, Vec<u8>)> {
    let size = crypto::digest_size(key.name_alg);
    match key.kind() {
        alg::RSA => {
            let secret = tpm.random_bytes(&mut *env, size)?;
            let hash = crypto::algorithm(key.name_alg);
            let label = oaep_label(label);
            let scheme = EncryptionScheme::Oaep { hash, label: &label };
            let sent = keys::rsa_public(key)?.encrypt(scheme, &secret, tpm.drbg(env)?)?;
            Ok((secret, sent.to_vec()))
        }
        alg::ECC => {
            let other = keys::ecc_public(key)?;
            let ephemeral =
                tpm_crypto::ecc::EccPrivateKey::generate(other.curve(), tpm.drbg(env)?)?;
            let public = ephemeral.public_key()?;
            let z = ephemeral.ecdh(&other)?;
            let secret = crypto::kdfe(key.name_alg, z.x(), label, public.x(), other.x(), size);
            let sent = built(|out| {
                out.put_sized(public.x()).put_sized(public.y());
            });
            Ok((secret, sent))
        }
        _ => Err(Rc::KEY),
    }
}
