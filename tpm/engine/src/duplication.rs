//! Duplication (Part 3, section 13; Part 1, section 23).

use alloc::vec::Vec;

use crate::Tpm;
use crate::call::{Call, Env};
use crate::codec::{Put, Reader};
use crate::constants::{alg, attr, rh};
use crate::crypto::{self, Way};
use crate::load::check_binding;
use crate::object::Object;
use crate::protection::{MAX_PRIVATE, Protector, parse_sensitive};
use crate::public::Public;
use crate::rc::{Rc, Result};
use crate::secret::{Secret, same};
use crate::structures::{MAX_DATA, MAX_DIGEST, MAX_NAME, MAX_RSA, Symmetric};
use crate::{secret_share, template};

/// The label of seeds for duplication.
const LABEL: &str = "DUPLICATE";

/// Applies the inner wrapper: integrity digest and sensitive area, encrypted.
fn wrap_inner(alg: u16, plain: &[u8], name: &[u8], key: &[u8]) -> Result<Secret> {
    let mut bytes = Vec::new();
    bytes.put_sized(&crypto::hash(alg, &[plain, name])).put(plain);
    crypto::cfb(key, &[], &mut bytes, Way::Encrypt)?;
    Ok(bytes.into())
}

fn unwrap_inner(alg: u16, bytes: &[u8], name: &[u8], key: &[u8]) -> Result<Secret> {
    let mut plain = Vec::from(bytes);
    crypto::cfb(key, &[], &mut plain, Way::Decrypt)?;
    let plain = Secret::from(plain);
    let mut reader = Reader::new(&plain);
    let digest = reader.sized(MAX_DIGEST).map_err(|_| Rc::INTEGRITY)?;
    if !same(&digest, &crypto::hash(alg, &[reader.rest(), name])) {
        return Err(Rc::INTEGRITY);
    }
    Ok(Vec::from(reader.rest()).into())
}

fn protector<'a>(parent: &Object, seed: &'a [u8]) -> Protector<'a> {
    Protector { alg: parent.public.name_alg, symmetric: parent.public.symmetric(), seed }
}

/// TPM2_Duplicate.
pub(crate) fn duplicate(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let given_key: Secret = call.sized(32)?.into();
    let symmetric = call.read(Symmetric::object_or_null)?;
    call.end()?;
    let object = tpm.object(call.handle(0)).map_err(|_| Rc::TYPE.handle(1))?;
    let parent_handle = call.handle(1);
    if object.public.is(attr::FIXED_PARENT) {
        return Err(Rc::ATTRIBUTES.handle(1));
    }
    if object.public.name_alg == alg::NULL {
        return Err(Rc::TYPE.handle(1));
    }
    let parent = if parent_handle == rh::NULL {
        None
    } else {
        let parent = tpm.object(parent_handle).map_err(|_| Rc::TYPE.handle(2))?;
        if !parent.public.is_storage_parent() {
            return Err(Rc::TYPE.handle(2));
        }
        Some(parent)
    };
    if object.public.is(attr::ENCRYPTED_DUPLICATION) {
        if symmetric.is_null() {
            return Err(Rc::SYMMETRIC.param(2));
        }
        if parent.is_none() {
            return Err(Rc::HIERARCHY.handle(2));
        }
    }
    if !given_key.is_empty() && given_key.len() != symmetric.key_size() {
        return Err(Rc::SIZE.param(1));
    }
    let mut out_key = Secret::default();
    let mut blob = object.secret()?.padded(&object.public);
    if !symmetric.is_null() {
        let key = if given_key.is_empty() {
            out_key = tpm.random_bytes(&mut *env, symmetric.key_size())?;
            &out_key
        } else {
            &given_key
        };
        blob = wrap_inner(object.public.name_alg, &blob, &object.name, key)?;
    }
    let mut sent = Vec::new();
    if let Some(parent) = parent {
        let (seed, secret) =
            secret_share::encrypt(tpm, env, &parent.public, LABEL).map_err(|rc| rc.handle(2))?;
        blob = protector(&parent, &seed).wrap(&blob, &object.name, None)?.into();
        sent = secret;
    }
    call.out.put_sized(&out_key).put_sized(&blob).put_sized(&sent);
    Ok(())
}

/// TPM2_Rewrap.
pub(crate) fn rewrap(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let duplicate = call.sized(MAX_PRIVATE)?;
    let name = call.sized(MAX_NAME)?;
    let secret = call.sized(MAX_RSA)?;
    call.end()?;
    let (old, new) = (call.handle(0), call.handle(1));
    if (old == rh::NULL) != secret.is_empty() {
        return Err(Rc::HANDLE.handle(1));
    }
    let mut blob: Secret = duplicate.into();
    if old != rh::NULL {
        let parent = tpm.storage_parent(old, 1)?;
        let seed = secret_share::decrypt(tpm, &mut *env, &parent, LABEL, &secret)
            .map_err(|rc| rc.param(3))?;
        blob = protector(&parent, &seed).unwrap(&blob, &name, false).map_err(|rc| rc.param(1))?;
    }
    let mut sent = Vec::new();
    if new != rh::NULL {
        let parent = tpm.object(new).map_err(|_| Rc::TYPE.handle(2))?;
        if !parent.public.is_storage_parent() {
            return Err(Rc::TYPE.handle(2));
        }
        let (seed, secret) =
            secret_share::encrypt(tpm, env, &parent.public, LABEL).map_err(|rc| rc.handle(2))?;
        blob = protector(&parent, &seed).wrap(&blob, &name, None)?.into();
        sent = secret;
    }
    call.out.put_sized(&blob).put_sized(&sent);
    Ok(())
}

/// TPM2_Import.
pub(crate) fn import(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let key: Secret = call.sized(MAX_DATA)?.into();
    let public = call.read(|r| r.sized_structure(Public::parse))?;
    let duplicate = call.sized(MAX_PRIVATE)?;
    let secret = call.sized(MAX_RSA)?;
    let symmetric = call.read(Symmetric::object_or_null)?;
    call.end()?;
    if public.attributes & (attr::FIXED_TPM | attr::FIXED_PARENT) != 0 {
        return Err(Rc::ATTRIBUTES.param(2));
    }
    let parent = tpm.storage_parent(call.handle(0), 1)?;
    if key.len() != symmetric.key_size() {
        return Err(Rc::SIZE.param(1));
    }
    if public.is(attr::ENCRYPTED_DUPLICATION) && (symmetric.is_null() || secret.is_empty()) {
        return Err(Rc::ATTRIBUTES.param(if symmetric.is_null() { 1 } else { 4 }));
    }
    if public.name_alg == alg::NULL {
        return Err(Rc::HASH.param(2));
    }
    let name = public.name();
    let mut blob: Secret = duplicate.into();
    if !secret.is_empty() {
        let seed = secret_share::decrypt(tpm, &mut *env, &parent, LABEL, &secret)
            .map_err(|rc| rc.param(4))?;
        blob = protector(&parent, &seed).unwrap(&blob, &name, false).map_err(|rc| rc.param(3))?;
    }
    if !symmetric.is_null() {
        blob = unwrap_inner(public.name_alg, &blob, &name, &key).map_err(|rc| rc.param(3))?;
    }
    let sensitive = parse_sensitive(&blob, &public).map_err(|rc| rc.param(3))?;
    template::check(&public, Some(&parent), false).map_err(|rc| rc.param(2))?;
    check_binding(&public, &sensitive).map_err(|rc| rc.param(3))?;
    let private = tpm.private(env, &parent, &public, &sensitive)?;
    call.out.put_sized(&private);
    Ok(())
}
