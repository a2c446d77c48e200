//! Encryption of a slot's content under a key used for it alone.
//!
//! Each write of a header draws a salt of 32 random bytes. The content's key is derived from the
//! store's key and this salt, so it encrypts one content only. Nonces are plain numbers that occur
//! once under that key: 0 for the header, which has no text, and 1 on for the chunks. No counter
//! has to be remembered: after a write that the disk lost, with an old copy of the file, or with
//! two machines that continue from one copy, every content still gets a salt of its own.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::key::Key;
use crate::layout::TAG;

/// Bytes of a salt.
pub(crate) const SALT: usize = 32;

/// The label of the derivation: purpose and version.
const LABEL: &[u8] = b"paravane state 1";
/// Bits of the derived key.
const KEY_BITS: u32 = 256;

/// Encrypts and decrypts one content.
pub(crate) struct Sealer(Aes256Gcm);

impl Sealer {
    /// Derives the content's key: SP 800-108r1, 4.1 (counter mode, one block) with HMAC-SHA-256.
    pub(crate) fn new(key: &Key, salt: &[u8; SALT]) -> Self {
        // HMAC accepts keys of any length, so `new_from_slice` does not fail.
        let mut derived = Zeroizing::new([0; Key::SIZE]);
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.bytes()) {
            for part in [&1_u32.to_be_bytes(), LABEL, &[0], salt, &KEY_BITS.to_be_bytes()] {
                mac.update(part);
            }
            derived.copy_from_slice(&mac.finalize().into_bytes());
        }
        Self(Aes256Gcm::new((&*derived).into()))
    }

    /// Encrypts `text` in place and returns its tag; `None` if the text is too long.
    pub(crate) fn seal(&self, number: u32, header: &[u8], text: &mut [u8]) -> Option<[u8; TAG]> {
        self.0.encrypt_inout_detached(&nonce(number), header, text.into()).ok().map(Into::into)
    }

    /// Decrypts `text` in place; false if `text` or `header` differs from what was sealed.
    #[must_use]
    pub(crate) fn open(
        &self,
        number: u32,
        header: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG],
    ) -> bool {
        let opened = self.0.decrypt_inout_detached(&nonce(number), header, text.into(), tag.into());
        opened.is_ok()
    }
}

fn nonce(number: u32) -> Nonce<aes_gcm::aead::consts::U12> {
    let mut nonce = Nonce::default();
    for (to, from) in nonce.iter_mut().rev().zip(number.to_le_bytes()) {
        *to = from;
    }
    nonce
}
