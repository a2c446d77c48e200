//! Asymmetric primitives (Part 3, section 14).

use tpm_crypto::ecc::{Curve, EccPoint, EccPrivateKey};
use tpm_crypto::rsa::EncryptionScheme;

use crate::Tpm;
use crate::call::{Call, Env};
use crate::codec::{Put, Reader, built};
use crate::constants::{alg, attr};
use crate::crypto;
use crate::keys;
use crate::object::Object;
use crate::rc::{Rc, Result};
use crate::structures::{MAX_DATA, MAX_ECC, MAX_RSA, Scheme, curve};

/// TPMS_ECC_POINT.
pub(crate) fn point(r: &mut Reader<'_>) -> Result<(alloc::vec::Vec<u8>, alloc::vec::Vec<u8>)> {
    Ok((r.sized(MAX_ECC)?, r.sized(MAX_ECC)?))
}

/// TPM2B_ECC_POINT.
pub(crate) fn put_point(point: &EccPoint, out: &mut alloc::vec::Vec<u8>) {
    out.put_sized(&built(|out| {
        out.put_sized(point.x()).put_sized(point.y());
    }));
}

/// The padding scheme for RSA_Encrypt and RSA_Decrypt: the key's own, or `given` if it has none.
fn rsa_scheme(key: &Object, given: Scheme) -> Result<Scheme> {
    let own = key.public.scheme();
    let scheme = if own.is_null() {
        given
    } else if given.is_null() || given == own {
        own
    } else {
        return Err(Rc::SCHEME);
    };
    match scheme.alg {
        alg::NULL | alg::RSAES | alg::OAEP => Ok(scheme),
        _ => Err(Rc::SCHEME),
    }
}

fn padding(scheme: Scheme, label: &[u8]) -> EncryptionScheme<'_> {
    match scheme.alg {
        alg::RSAES => EncryptionScheme::Rsaes,
        alg::OAEP => EncryptionScheme::Oaep { hash: crypto::algorithm(scheme.hash), label },
        _ => EncryptionScheme::Null,
    }
}

/// Checks that a label that is not empty ends with NUL.
fn check_label(label: &[u8]) -> Result<()> {
    if label.last().is_none_or(|&last| last == 0) { Ok(()) } else { Err(Rc::VALUE.param(3)) }
}

/// TPM2_RSA_Encrypt.
pub(crate) fn rsa_encrypt(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let message = call.sized(MAX_RSA)?;
    let given = call.read(Scheme::rsa_decrypt)?;
    let label = call.sized(MAX_DATA)?;
    call.end()?;
    let key = tpm.object(call.handle(0)).map_err(|_| Rc::KEY.handle(1))?;
    if key.public.kind() != alg::RSA {
        return Err(Rc::KEY.handle(1));
    }
    if !key.public.is(attr::DECRYPT) {
        return Err(Rc::ATTRIBUTES.handle(1));
    }
    check_label(&label)?;
    let scheme = rsa_scheme(&key, given).map_err(|rc| rc.param(2))?;
    let public = keys::rsa_public(&key.public)?;
    let sent = public
        .encrypt(padding(scheme, &label), &message, tpm.drbg(env)?)
        .map_err(|error| Rc::from(error).param(1))?;
    call.out.put_sized(&sent);
    Ok(())
}

/// TPM2_RSA_Decrypt.
pub(crate) fn rsa_decrypt(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let cipher_text = call.sized(MAX_RSA)?;
    let given = call.read(Scheme::rsa_decrypt)?;
    let label = call.sized(MAX_DATA)?;
    call.end()?;
    let key = tpm.object(call.handle(0)).map_err(|_| Rc::KEY.handle(1))?;
    if key.public.kind() != alg::RSA {
        return Err(Rc::KEY.handle(1));
    }
    if key.public.is(attr::RESTRICTED) || !key.public.is(attr::DECRYPT) {
        return Err(Rc::ATTRIBUTES.handle(1));
    }
    check_label(&label)?;
    let scheme = rsa_scheme(&key, given).map_err(|rc| rc.param(2))?;
    let private = keys::rsa_private(&key)?;
    let message = private
        .decrypt(padding(scheme, &label), &cipher_text, tpm.drbg(env)?)
        .map_err(|error| Rc::from(error).param(1))?;
    call.out.put_sized(&message);
    Ok(())
}

impl Tpm {
    /// The ECC key in handle 1.
    fn ecc_key(&self, call: &Call) -> Result<alloc::sync::Arc<Object>> {
        let key = self.object(call.handle(0)).map_err(|_| Rc::KEY.handle(1))?;
        if key.public.kind() == alg::ECC { Ok(key) } else { Err(Rc::KEY.handle(1)) }
    }

    /// The same, if the key may be used for a key exchange.
    fn exchange_key(&self, call: &Call) -> Result<alloc::sync::Arc<Object>> {
        let key = self.ecc_key(call)?;
        if key.public.is(attr::RESTRICTED) || !key.public.is(attr::DECRYPT) {
            return Err(Rc::ATTRIBUTES.handle(1));
        }
        Ok(key)
    }
}

/// TPM2_ECDH_KeyGen.
pub(crate) fn ecdh_keygen(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    // Signing keys are accepted, too: only the public point is used.
    let key = tpm.ecc_key(call)?;
    let other = keys::ecc_public(&key.public)?;
    let ephemeral = EccPrivateKey::generate(other.curve(), tpm.drbg(env)?)?;
    put_point(&ephemeral.ecdh(&other)?, &mut call.out);
    put_point(&ephemeral.public_key()?, &mut call.out);
    Ok(())
}

/// TPM2_ECDH_ZGen.
pub(crate) fn ecdh_zgen(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let (x, y) = call.read(|r| r.sized_structure(point))?;
    call.end()?;
    let key = tpm.exchange_key(call)?;
    let scheme = key.public.scheme();
    if !scheme.is_null() && scheme.alg != alg::ECDH {
        return Err(Rc::SCHEME.handle(1));
    }
    let private = keys::ecc_private(&key)?;
    let other = EccPoint::new(private.curve(), &x, &y).map_err(|_| Rc::ECC_POINT.param(1))?;
    put_point(&private.ecdh(&other)?, &mut call.out);
    Ok(())
}

/// TPM2_ZGen_2Phase, for ECDH.
pub(crate) fn zgen_two_phase(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let (static_x, static_y) = call.read(|r| r.sized_structure(point))?;
    let (ephemeral_x, ephemeral_y) = call.read(|r| r.sized_structure(point))?;
    let scheme = call.read(|r| match r.u16()? {
        alg::ECDH => Ok(alg::ECDH),
        _ => Err(Rc::SCHEME),
    })?;
    let counter = call.read(|r| r.u16())?;
    call.end()?;
    let key = tpm.exchange_key(call)?;
    let own = key.public.scheme();
    if !own.is_null() && own.alg != scheme {
        return Err(Rc::SCHEME.param(3));
    }
    let private = keys::ecc_private(&key)?;
    let curve = private.curve();
    let theirs = EccPoint::new(curve, &static_x, &static_y).map_err(|_| Rc::ECC_POINT.param(1))?;
    let fresh =
        EccPoint::new(curve, &ephemeral_x, &ephemeral_y).map_err(|_| Rc::ECC_POINT.param(2))?;
    let scalar = tpm.commit_scalar(curve, &[], counter).map_err(|rc| rc.param(4))?;
    let ephemeral = EccPrivateKey::new(curve, &scalar)?;
    put_point(&private.ecdh(&theirs)?, &mut call.out);
    put_point(&ephemeral.ecdh(&fresh)?, &mut call.out);
    tpm.end_commit(counter);
    Ok(())
}

/// TPM2_ECC_Parameters.
pub(crate) fn ecc_parameters(_: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let id = call.read(curve)?;
    call.end()?;
    let curve = Curve::from_id(id).ok_or(Rc::CURVE.param(1))?;
    let p = curve.parameters();
    let out = &mut call.out;
    // The Algorithm Registry assigns the curve a KDF, but no signing scheme.
    let hash = if id == crate::constants::curve::P384 { alg::SHA384 } else { alg::SHA256 };
    out.put_u16(id).put_u16(curve.bits()).put_u16(alg::KDF1_SP800_56A).put_u16(hash);
    out.put_u16(alg::NULL);
    for number in [p.p, p.a, p.b, p.gx, p.gy, p.n, p.h] {
        out.put_sized(number);
    }
    Ok(())
}
