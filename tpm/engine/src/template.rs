//! The rules for public areas (Part 3, section 12.1; Part 1, section 27).

use crate::constants::{alg, attr};
use crate::crypto;
use crate::object::Object;
use crate::public::{Parameters, Public};
use crate::rc::{Rc, Result};
use crate::structures::{Scheme, Symmetric};

/// TPM_RC_KEY_SIZE.
const KEY_SIZE: Rc = Rc(0x87);

/// Checks attributes and schemes. Primary and external objects have no `parent`.
pub(crate) fn check(public: &Public, parent: Option<&Object>, external: bool) -> Result<()> {
    let policy = public.auth_policy.len();
    if policy != 0 && policy != crypto::digest_size(public.name_alg) {
        return Err(Rc::SIZE);
    }
    let (decrypt, sign) = (public.is(attr::DECRYPT), public.is(attr::SIGN));
    if public.is(attr::RESTRICTED) && decrypt == sign {
        return Err(Rc::ATTRIBUTES);
    }
    if !external {
        check_hierarchy(public, parent)?;
    }
    if public.is(attr::X509_SIGN) && (!sign || public.kind() == alg::SYMCIPHER) {
        return Err(Rc::ATTRIBUTES);
    }
    check_parameters(public)?;
    parent.map_or(Ok(()), |parent| check_protection(public, parent))
}

/// Checks that the schemes fit the key's use. A parent may have any mode, although it protects its
/// children with CFB (Part 1, Protected Storage): tpm2-tools create parents without a mode, and
/// other TPMs accept them.
fn check_parameters(public: &Public) -> Result<()> {
    match public.parameters {
        Parameters::KeyedHash(scheme) => keyed_hash(public, scheme),
        Parameters::SymCipher(_) if !public.is(attr::DECRYPT) && !public.is(attr::SIGN) => {
            Err(Rc::ATTRIBUTES)
        }
        Parameters::SymCipher(_) => Ok(()),
        Parameters::Rsa { symmetric, scheme, exponent, .. } => {
            if exponent != 0 && exponent != tpm_crypto::rsa::DEFAULT_EXPONENT {
                return Err(Rc::RANGE);
            }
            asymmetric(public, symmetric, scheme)
        }
        Parameters::Ecc { symmetric, scheme, kdf, .. } => {
            if !kdf.is_null() {
                return Err(Rc::KDF);
            }
            asymmetric(public, symmetric, scheme)
        }
    }
}

/// Checks fixedTPM, fixedParent and encryptedDuplication (Part 2, section 8.3.3).
fn check_hierarchy(public: &Public, parent: Option<&Object>) -> Result<()> {
    let fixed_tpm = public.is(attr::FIXED_TPM);
    let encrypted = public.is(attr::ENCRYPTED_DUPLICATION);
    let under_fixed = parent.is_none_or(|parent| parent.public.is(attr::FIXED_TPM));
    if under_fixed && fixed_tpm != public.is(attr::FIXED_PARENT) {
        return Err(Rc::ATTRIBUTES);
    }
    if fixed_tpm && (encrypted || !under_fixed) {
        return Err(Rc::ATTRIBUTES);
    }
    let differs =
        parent.is_some_and(|parent| parent.public.is(attr::ENCRYPTED_DUPLICATION) != encrypted);
    if !under_fixed && differs { Err(Rc::ATTRIBUTES) } else { Ok(()) }
}

/// Checks that a storage parent with fixedParent has the algorithms of its own parent (Part 1,
/// Protected Storage Hierarchy).
fn check_protection(public: &Public, parent: &Object) -> Result<()> {
    if !public.is_storage_parent() || !public.is(attr::FIXED_PARENT) {
        return Ok(());
    }
    if public.name_alg != parent.public.name_alg {
        return Err(Rc::HASH);
    }
    let same = public.symmetric() == parent.public.symmetric();
    if same { Ok(()) } else { Err(Rc::SYMMETRIC) }
}

fn keyed_hash(public: &Public, scheme: Scheme) -> Result<()> {
    let (decrypt, sign) = (public.is(attr::DECRYPT), public.is(attr::SIGN));
    let fits = match scheme.alg {
        alg::HMAC => sign && !decrypt,
        alg::XOR => decrypt && !sign && scheme.extra == alg::KDF1_SP800_108,
        _ => sign == decrypt && !public.is(attr::RESTRICTED),
    };
    if fits { Ok(()) } else { Err(Rc::SCHEME) }
}

fn asymmetric(public: &Public, symmetric: Symmetric, scheme: Scheme) -> Result<()> {
    let (decrypt, sign) = (public.is(attr::DECRYPT), public.is(attr::SIGN));
    if !decrypt && !sign {
        return Err(Rc::ATTRIBUTES);
    }
    if public.is_parent() {
        if symmetric.is_null() {
            return Err(Rc::SYMMETRIC);
        }
        return if scheme.is_null() { Ok(()) } else { Err(Rc::SCHEME) };
    }
    if !symmetric.is_null() {
        return Err(Rc::SYMMETRIC);
    }
    let fits = match (decrypt, sign) {
        (true, true) => scheme.is_null(),
        (false, true) if public.is(attr::RESTRICTED) => scheme.is_signing(),
        (false, true) => scheme.is_null() || scheme.is_signing(),
        _ => scheme.is_null() || !scheme.is_signing(),
    };
    if fits { Ok(()) } else { Err(Rc::SCHEME) }
}

/// Checks where the sensitive data comes from (Part 3, section 12.1.2).
pub(crate) fn check_creation(public: &Public, data: &[u8]) -> Result<()> {
    if public.name_alg == alg::NULL {
        return Err(Rc::HASH);
    }
    let origin = public.is(attr::SENSITIVE_DATA_ORIGIN);
    match public.parameters {
        Parameters::KeyedHash(scheme) => {
            let sealed = !public.is(attr::SIGN) && !public.is(attr::DECRYPT);
            if origin != data.is_empty() || (sealed && origin) {
                return Err(Rc::ATTRIBUTES);
            }
            let long = scheme.alg == alg::HMAC && data.len() > crypto::block_size(scheme.hash);
            if long { Err(Rc::SIZE) } else { Ok(()) }
        }
        Parameters::SymCipher(symmetric) => {
            // The TPM generates the key of a fixed parent.
            let stays = public.is(attr::FIXED_TPM) || public.is(attr::FIXED_PARENT);
            let given_parent = public.is(attr::RESTRICTED) && stays && !origin;
            if given_parent || origin != data.is_empty() {
                return Err(Rc::ATTRIBUTES);
            }
            let fits = data.is_empty() || data.len() == symmetric.key_size();
            if fits { Ok(()) } else { Err(KEY_SIZE) }
        }
        _ if !origin || !data.is_empty() => Err(Rc::ATTRIBUTES),
        _ => Ok(()),
    }
}
