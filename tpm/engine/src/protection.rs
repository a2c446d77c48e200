//! Protects sensitive areas outside the TPM (Part 1, Protected Storage).

use alloc::vec::Vec;

use crate::Tpm;
use crate::call::Env;
use crate::codec::{Put, Reader, built};
use crate::crypto::{self, Way};
use crate::object::Object;
use crate::public::{Public, Sensitive};
use crate::rc::{Rc, Result};
use crate::secret::{Secret, same};
use crate::structures::{MAX_DIGEST, Symmetric};

/// The largest TPM2B_PRIVATE.
pub(crate) const MAX_PRIVATE: usize = 1024;

/// A seed with the algorithms of the parent that holds it.
pub(crate) struct Protector<'a> {
    pub(crate) alg: u16,
    pub(crate) symmetric: Symmetric,
    pub(crate) seed: &'a [u8],
}

impl Protector<'_> {
    /// The protector of a storage parent's children.
    pub(crate) fn of(parent: &Object) -> Result<Protector<'_>> {
        Ok(Protector {
            alg: parent.public.name_alg,
            symmetric: parent.public.symmetric(),
            seed: &parent.secret()?.seed,
        })
    }

    fn cipher_key(&self, name: &[u8]) -> Secret {
        crypto::kdfa(self.alg, self.seed, "STORAGE", name, &[], self.symmetric.key_size())
    }

    fn integrity(&self, bytes: &[u8], name: &[u8]) -> Vec<u8> {
        let size = crypto::digest_size(self.alg);
        let key = crypto::kdfa(self.alg, self.seed, "INTEGRITY", &[], &[], size);
        crypto::hmac(self.alg, &key, &[bytes, name])
    }

    /// Encrypts `plain` for the object with `name`, and prepends an HMAC. A given vector is
    /// included.
    pub(crate) fn wrap(&self, plain: &[u8], name: &[u8], vector: Option<&[u8]>) -> Result<Vec<u8>> {
        let mut encrypted = Vec::from(plain);
        let key = self.cipher_key(name);
        crypto::cfb(&key, vector.unwrap_or_default(), &mut encrypted, Way::Encrypt)?;
        let body = built(|out| {
            if let Some(vector) = vector {
                out.put_sized(vector);
            }
            out.put(&encrypted);
        });
        Ok(built(|out| {
            out.put_sized(&self.integrity(&body, name)).put(&body);
        }))
    }

    /// Reverses [`Self::wrap`]; INTEGRITY if it did not make these bytes for this name.
    pub(crate) fn unwrap(&self, bytes: &[u8], name: &[u8], with_vector: bool) -> Result<Secret> {
        let mut reader = Reader::new(bytes);
        let hmac = reader.sized(MAX_DIGEST)?;
        if !same(&hmac, &self.integrity(reader.rest(), name)) {
            return Err(Rc::INTEGRITY);
        }
        let vector = if with_vector { reader.sized(16)? } else { Vec::new() };
        let mut plain = Vec::from(reader.rest());
        crypto::cfb(&self.cipher_key(name), &vector, &mut plain, Way::Decrypt)?;
        Ok(plain.into())
    }
}

/// Reads a TPM2B_SENSITIVE; TYPE if it does not have the public area's type.
pub(crate) fn parse_sensitive(bytes: &[u8], public: &Public) -> Result<Sensitive> {
    let mut reader = Reader::new(bytes);
    let (sensitive, kind) = reader.sized_structure(Sensitive::parse)?;
    if kind != public.kind() { Err(Rc::TYPE) } else { Ok(sensitive) }
}

impl Tpm {
    /// The TPM2B_PRIVATE of an object under its parent.
    pub(crate) fn private(
        &mut self,
        env: Env<'_>,
        parent: &Object,
        public: &Public,
        sensitive: &Sensitive,
    ) -> Result<Vec<u8>> {
        let vector = self.random_bytes(env, 16)?;
        let plain = sensitive.padded(public);
        Protector::of(parent)?.wrap(&plain, &public.name(), Some(&vector))
    }
}

/// The sensitive area in a TPM2B_PRIVATE of `parent`.
pub(crate) fn open_private(parent: &Object, public: &Public, private: &[u8]) -> Result<Sensitive> {
    let plain = Protector::of(parent)?.unwrap(private, &public.name(), true)?;
    parse_sensitive(&plain, public)
}
