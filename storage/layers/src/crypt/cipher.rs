//! AES-256-XTS (IEEE 1619-2018; SP 800-38E).

use core::fmt;

use aes::Aes256;
use aes::cipher::KeyInit;
use xts_mode::{Xts128, get_tweak_default};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of each of the two keys.
const HALF: usize = 32;

/// The key of a disk: 64 bytes, cleared on drop, never shown.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct XtsKey {
    /// Key1 of the standard, which encrypts the data.
    data: [u8; HALF],
    /// Key2 of the standard, which encrypts the tweak.
    tweak: [u8; HALF],
}

/// Why bytes are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XtsKeyError {
    /// There are this many bytes instead of 64.
    Length(usize),
    /// Both halves are equal, which weakens the mode (FIPS 140-3 IG, C.I).
    EqualHalves,
}

impl XtsKey {
    /// Bytes of a key.
    pub const SIZE: usize = 2 * HALF;

    /// A key of these bytes: Key1, then Key2.
    ///
    /// # Errors
    /// [`XtsKeyError`] says why they are none.
    pub fn new(bytes: &[u8]) -> Result<Self, XtsKeyError> {
        let length = XtsKeyError::Length(bytes.len());
        let (data, tweak) = bytes.split_first_chunk().ok_or(length)?;
        let key = Self { data: *data, tweak: tweak.try_into().map_err(|_| length)? };
        if key.data == key.tweak { Err(XtsKeyError::EqualHalves) } else { Ok(key) }
    }
}

impl fmt::Debug for XtsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("XtsKey(..)")
    }
}

/// Encrypts and decrypts blocks of a disk. The library clears its round keys on drop.
pub(super) struct Cipher {
    xts: Xts128<Aes256>,
    /// Bytes of a data unit (IEEE 1619, 4.2), which is a block of the disk.
    block_bytes: usize,
}

impl Cipher {
    pub(super) fn new(key: &XtsKey, block_bytes: u32) -> Self {
        let [data, tweak] = [&key.data, &key.tweak].map(|key| Aes256::new(key.into()));
        let xts = Xts128::new(data, tweak);
        Self { xts, block_bytes: block_bytes as usize }
    }

    /// Encrypts the blocks from `first` on in place. The tweak is the number of the block.
    pub(super) fn encrypt(&self, first: u64, blocks: &mut [u8]) {
        self.xts.encrypt_area(blocks, self.block_bytes, first.into(), get_tweak_default);
    }

    /// Decrypts the blocks from `first` on in place.
    pub(super) fn decrypt(&self, first: u64, blocks: &mut [u8]) {
        self.xts.decrypt_area(blocks, self.block_bytes, first.into(), get_tweak_default);
    }
}
