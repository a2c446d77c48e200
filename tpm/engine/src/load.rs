//! The commands on existing objects (Part 3, sections 12.2 to 12.8, 28.5).

use alloc::sync::Arc;
use alloc::vec::Vec;

use tpm_crypto::ecc::EccPrivateKey;
use tpm_crypto::rsa::RsaPrivateKey;

use crate::Tpm;
use crate::call::{Call, Env};
use crate::codec::Put;
use crate::constants::{alg, attr, rh};
use crate::crypto;
use crate::keys;
use crate::object::{Object, Slot};
use crate::protection::{MAX_PRIVATE, open_private};
use crate::public::{Parameters, Public, Sensitive};
use crate::rc::{Rc, Result};
use crate::secret::Secret;
use crate::store::MAX_PERSISTENT;
use crate::structures::{MAX_DIGEST, hierarchy};
use crate::template;

/// Checks that a public area's unique field is a valid key.
fn check_unique(public: &Public) -> Result<()> {
    match public.parameters {
        Parameters::Rsa { bits, .. } => {
            if public.unique.x.len() != usize::from(bits) / 8 {
                return Err(Rc::KEY);
            }
            keys::rsa_public(public).map(drop).map_err(|_| Rc::KEY)
        }
        Parameters::Ecc { .. } => keys::ecc_public(public).map(drop).map_err(|_| Rc::ECC_POINT),
        _ => {
            let fits = public.unique.x.len() == crypto::digest_size(public.name_alg)
                || public.name_alg == alg::NULL;
            if fits { Ok(()) } else { Err(Rc::SIZE) }
        }
    }
}

/// Checks that a public and a sensitive area belong together (Part 3, section 12.2.1).
pub(crate) fn check_binding(public: &Public, sensitive: &Sensitive) -> Result<()> {
    let size = crypto::digest_size(public.name_alg);
    if sensitive.auth.len() > size {
        return Err(Rc::SIZE);
    }
    match public.parameters {
        Parameters::Rsa { .. } => {
            RsaPrivateKey::from_prime(&keys::rsa_public(public)?, &sensitive.private)
                .map_err(|_| Rc::BINDING)?;
        }
        Parameters::Ecc { .. } => {
            let curve = keys::curve_of(public)?;
            let key = EccPrivateKey::new(curve, &sensitive.private).map_err(|_| Rc::BINDING)?;
            if key.public_key()? != keys::ecc_public(public)? {
                return Err(Rc::BINDING);
            }
        }
        Parameters::SymCipher(symmetric) if sensitive.private.len() != symmetric.key_size() => {
            return Err(Rc(0x87));
        }
        _ if public.name_alg != alg::NULL => {
            let unique = crypto::hash(public.name_alg, &[&sensitive.seed, &sensitive.private]);
            if unique != public.unique.x {
                return Err(Rc::BINDING);
            }
        }
        _ => {}
    }
    let seed_needed = public.is_storage_parent() || public.is_derivation_parent();
    let seed_fits = sensitive.seed.len() == size || sensitive.seed.is_empty() && !seed_needed;
    if seed_fits || !seed_needed { Ok(()) } else { Err(Rc::SIZE) }
}

/// TPM2_Load.
pub(crate) fn load(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let private = call.sized(MAX_PRIVATE)?;
    let public = call.read(|r| r.sized_structure(Public::parse))?;
    call.end()?;
    let parent = tpm.storage_parent(call.handle(0), 1)?;
    if private.is_empty() {
        return Err(Rc::SIZE.param(1));
    }
    if public.name_alg == alg::NULL {
        return Err(Rc::HASH.param(2));
    }
    tpm.check_object_memory()?;
    let sensitive = open_private(&parent, &public, &private).map_err(|rc| rc.param(1))?;
    template::check(&public, Some(&parent), false).map_err(|rc| rc.param(2))?;
    check_unique(&public).map_err(|rc| rc.param(2))?;
    check_binding(&public, &sensitive).map_err(|rc| rc.param(1))?;
    let mut object = Object::new(public, Some(sensitive), &parent.qualified_name, parent.hierarchy);
    object.st_clear |= parent.st_clear;
    call.out.put_sized(&object.name);
    call.out_handle = Some(tpm.add_slot(Slot::Object(Arc::new(object)))?);
    Ok(())
}

/// TPM2_LoadExternal.
pub(crate) fn load_external(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let private = call.read(|r| {
        let mut probe = r.clone();
        if probe.u16()? == 0 {
            *r = probe;
            return Ok(None);
        }
        r.sized_structure(Sensitive::parse).map(Some)
    })?;
    let public = call.read(|r| r.sized_structure(Public::parse))?;
    let hierarchy = call.read(hierarchy)?;
    call.end()?;
    if !tpm.is_enabled(hierarchy) {
        return Err(Rc::HIERARCHY.param(3));
    }
    tpm.check_object_memory()?;
    let sensitive = match private {
        Some((sensitive, kind)) => {
            if hierarchy != rh::NULL {
                return Err(Rc::HIERARCHY.param(3));
            }
            let fixed = attr::FIXED_TPM | attr::FIXED_PARENT | attr::RESTRICTED;
            if public.attributes & fixed != 0 {
                return Err(Rc::ATTRIBUTES.param(2));
            }
            if kind != public.kind() {
                return Err(Rc::TYPE.param(1));
            }
            Some(sensitive)
        }
        None => None,
    };
    template::check(&public, None, true).map_err(|rc| rc.param(2))?;
    check_unique(&public).map_err(|rc| rc.param(2))?;
    if let Some(sensitive) = &sensitive {
        check_binding(&public, sensitive).map_err(|rc| rc.param(1))?;
    }
    let mut object = Object::new(public, sensitive, &hierarchy.to_be_bytes(), hierarchy);
    object.external = true;
    call.out.put_sized(&object.name);
    call.out_handle = Some(tpm.add_slot(Slot::Object(Arc::new(object)))?);
    Ok(())
}

/// TPM2_ReadPublic.
pub(crate) fn read_public(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    if let Some(Slot::Sequence(_)) = tpm.slot_if_transient(call.handle(0)) {
        return Err(Rc(0x103));
    }
    let object = tpm.object(call.handle(0)).map_err(|rc| rc.handle(1))?;
    call.out.put_sized(&object.public.bytes()).put_sized(&object.name);
    call.out.put_sized(&object.qualified_name);
    Ok(())
}

/// TPM2_Unseal.
pub(crate) fn unseal(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let object = tpm.object(call.handle(0)).map_err(|_| Rc::TYPE.handle(1))?;
    if object.public.kind() != alg::KEYEDHASH {
        return Err(Rc::TYPE.handle(1));
    }
    if object.public.attributes & (attr::SIGN | attr::DECRYPT | attr::RESTRICTED) != 0 {
        return Err(Rc::ATTRIBUTES.handle(1));
    }
    call.out.put_sized(&object.secret()?.private);
    Ok(())
}

/// TPM2_ObjectChangeAuth.
pub(crate) fn change_auth(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let auth = Secret::auth(call.sized(MAX_DIGEST)?);
    call.end()?;
    let object = tpm.object(call.handle(0)).map_err(|_| Rc::TYPE.handle(1))?;
    let parent = tpm.object(call.handle(1)).map_err(|_| Rc::TYPE.handle(2))?;
    if auth.len() > crypto::digest_size(object.public.name_alg) {
        return Err(Rc::SIZE.param(1));
    }
    let expected =
        crate::object::qualified_name(object.public.name_alg, &parent.qualified_name, &object.name);
    if expected != object.qualified_name {
        return Err(Rc::TYPE.handle(2));
    }
    let sensitive = Sensitive { auth, ..object.secret()?.clone() };
    let private = tpm.private(env, &parent, &object.public, &sensitive)?;
    call.out.put_sized(&private);
    Ok(())
}

/// TPM2_EvictControl.
pub(crate) fn evict(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let persistent = call.read(|r| match r.u32()? {
        handle if rh::kind(handle) == rh::HT_PERSISTENT => Ok(handle),
        _ => Err(Rc::VALUE),
    })?;
    call.end()?;
    let (auth, handle) = (call.handle(0), call.handle(1));
    let object = tpm.object(handle).map_err(|_| Rc::TYPE.handle(2))?;
    let by_platform = auth == rh::PLATFORM;
    let of_platform = object.hierarchy == rh::PLATFORM;
    if rh::kind(handle) == rh::HT_PERSISTENT {
        if persistent != handle {
            return Err(Rc::HANDLE.handle(2));
        }
        // The platform may evict any object, the owner any but the platform's.
        if of_platform && !by_platform {
            return Err(Rc::HIERARCHY.handle(2));
        }
        tpm.store.set_object(handle, None);
        return Ok(());
    }
    let temporary = object.external || object.st_clear || object.hierarchy == rh::NULL;
    if temporary || object.sensitive.is_none() {
        return Err(Rc::ATTRIBUTES.handle(2));
    }
    if of_platform != by_platform {
        return Err(Rc::HIERARCHY.handle(2));
    }
    if (persistent >= rh::PLATFORM_PERSISTENT) != by_platform {
        return Err(Rc::RANGE.param(1));
    }
    if tpm.store.object(persistent).is_some() {
        return Err(Rc::NV_DEFINED);
    }
    if tpm.store.objects().count() >= MAX_PERSISTENT {
        return Err(Rc::NV_SPACE);
    }
    tpm.store.set_object(persistent, Some(object));
    Ok(())
}

/// TPM2_ActivateCredential.
pub(crate) fn activate(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let blob = call.sized(2 * MAX_DIGEST + 8)?;
    let secret = call.sized(crate::structures::MAX_RSA)?;
    call.end()?;
    let object = tpm.object(call.handle(0)).map_err(|_| Rc::TYPE.handle(1))?;
    let key = tpm.object(call.handle(1)).map_err(|_| Rc::TYPE.handle(2))?;
    if !key.public.is_storage_parent() || !matches!(key.public.kind(), alg::RSA | alg::ECC) {
        return Err(Rc::TYPE.handle(2));
    }
    let seed = crate::secret_share::decrypt(tpm, env, &key, "IDENTITY", &secret)
        .map_err(|rc| rc.param(2))?;
    let protector = crate::protection::Protector {
        alg: key.public.name_alg,
        symmetric: key.public.symmetric(),
        seed: &seed,
    };
    let plain = protector.unwrap(&blob, &object.name, false).map_err(|rc| rc.param(1))?;
    let mut reader = crate::codec::Reader::new(&plain);
    let credential = reader.sized(MAX_DIGEST).map_err(|rc| rc.param(1))?;
    call.out.put_sized(&credential);
    Ok(())
}

/// TPM2_MakeCredential.
pub(crate) fn make_credential(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let credential = call.sized(MAX_DIGEST)?;
    let name: Vec<u8> = call.sized(crate::structures::MAX_NAME)?;
    call.end()?;
    let key = tpm.object(call.handle(0)).map_err(|_| Rc::TYPE.handle(1))?;
    if !key.public.is_storage_parent() || !matches!(key.public.kind(), alg::RSA | alg::ECC) {
        return Err(Rc::TYPE.handle(1));
    }
    if credential.len() > crypto::digest_size(key.public.name_alg) {
        return Err(Rc::SIZE.param(1));
    }
    let (seed, sent) = crate::secret_share::encrypt(tpm, env, &key.public, "IDENTITY")?;
    let protector = crate::protection::Protector {
        alg: key.public.name_alg,
        symmetric: key.public.symmetric(),
        seed: &seed,
    };
    let plain = crate::codec::built(|out| {
        out.put_sized(&credential);
    });
    let blob = protector.wrap(&plain, &name, None)?;
    call.out.put_sized(&blob).put_sized(&sent);
    Ok(())
}
