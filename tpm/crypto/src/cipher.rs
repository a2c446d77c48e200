//! AES in the modes of the TPM (Part 1, annex on TPM2_EncryptDecrypt2; SP 800-38A).
//!
//! The modes are implemented here, on top of the library's block cipher: the TPM returns the vector
//! after every call, also after a partial block, and sharing the code of three key sizes keeps the
//! image small.

use core::fmt;

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit, consts::U16};
use aes::{Aes128, Aes192, Aes256};

use crate::Error;

/// Bytes of an AES block, and of a vector.
pub const BLOCK: usize = 16;

type Block = Array<u8, U16>;

/// A mode of operation by its TPM_ALG_ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Mode {
    /// TPM_ALG_CTR: the vector is the counter, as one big-endian number.
    Ctr = 0x0040,
    /// TPM_ALG_OFB.
    Ofb = 0x0041,
    /// TPM_ALG_CBC: whole blocks only.
    Cbc = 0x0042,
    /// TPM_ALG_CFB, with the feedback of a whole block.
    Cfb = 0x0043,
    /// TPM_ALG_ECB: whole blocks only, without a vector.
    Ecb = 0x0044,
}

impl Mode {
    /// The mode with this TPM_ALG_ID.
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            0x0040 => Some(Self::Ctr),
            0x0041 => Some(Self::Ofb),
            0x0042 => Some(Self::Cbc),
            0x0043 => Some(Self::Cfb),
            0x0044 => Some(Self::Ecb),
            _ => None,
        }
    }

    /// Its TPM_ALG_ID.
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// Whether data must be whole blocks.
    pub const fn whole_blocks(self) -> bool {
        matches!(self, Self::Cbc | Self::Ecb)
    }
}

/// Whether to encrypt or to decrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Plain to cipher text.
    Encrypt,
    /// Cipher to plain text.
    Decrypt,
}

/// An expanded AES key, cleared on drop.
#[derive(Clone)]
pub struct AesKey(Schedule);

#[derive(Clone)]
enum Schedule {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

impl AesKey {
    /// Expands a key of 16, 24 or 32 bytes.
    ///
    /// # Errors
    /// [`Error::Size`] for any other length.
    pub fn new(key: &[u8]) -> Result<Self, Error> {
        let size = |_| Error::Size;
        Ok(Self(match key.len() {
            16 => Schedule::Aes128(Aes128::new_from_slice(key).map_err(size)?),
            24 => Schedule::Aes192(Aes192::new_from_slice(key).map_err(size)?),
            _ => Schedule::Aes256(Aes256::new_from_slice(key).map_err(size)?),
        }))
    }

    /// Encrypts or decrypts `data` in place. `vector` is set for the next call of the same stream:
    /// to the last cipher text block (CBC; CFB, where a partial block is padded with zeros), the
    /// last key stream block (OFB) or the next counter (CTR). ECB leaves it as it is.
    ///
    /// # Errors
    /// [`Error::Size`] if the mode needs whole blocks and `data` has others; nothing changes.
    pub fn apply(
        &self,
        mode: Mode,
        direction: Direction,
        vector: &mut [u8; BLOCK],
        data: &mut [u8],
    ) -> Result<(), Error> {
        if mode.whole_blocks() && !data.len().is_multiple_of(BLOCK) {
            return Err(Error::Size);
        }
        for chunk in data.chunks_mut(BLOCK) {
            match (mode, direction) {
                (Mode::Ctr, _) => self.ctr(vector, chunk),
                (Mode::Ofb, _) => self.ofb(vector, chunk),
                (Mode::Cfb, _) => self.cfb(direction, vector, chunk),
                (Mode::Cbc, Direction::Encrypt) => self.cbc_encrypt(vector, chunk),
                (Mode::Cbc, Direction::Decrypt) => self.cbc_decrypt(vector, chunk),
                (Mode::Ecb, _) => self.ecb(direction, chunk),
            }
        }
        Ok(())
    }

    /// Encrypts one block.
    fn encrypt(&self, block: [u8; BLOCK]) -> [u8; BLOCK] {
        let mut block = Block::from(block);
        match &self.0 {
            Schedule::Aes128(key) => key.encrypt_block(&mut block),
            Schedule::Aes192(key) => key.encrypt_block(&mut block),
            Schedule::Aes256(key) => key.encrypt_block(&mut block),
        }
        block.into()
    }

    /// Decrypts one block.
    fn decrypt(&self, block: [u8; BLOCK]) -> [u8; BLOCK] {
        let mut block = Block::from(block);
        match &self.0 {
            Schedule::Aes128(key) => key.decrypt_block(&mut block),
            Schedule::Aes192(key) => key.decrypt_block(&mut block),
            Schedule::Aes256(key) => key.decrypt_block(&mut block),
        }
        block.into()
    }

    fn ctr(&self, vector: &mut [u8; BLOCK], chunk: &mut [u8]) {
        xor(chunk, &self.encrypt(*vector));
        *vector = u128::from_be_bytes(*vector).wrapping_add(1).to_be_bytes();
    }

    fn ofb(&self, vector: &mut [u8; BLOCK], chunk: &mut [u8]) {
        *vector = self.encrypt(*vector);
        xor(chunk, vector);
    }

    fn cfb(&self, direction: Direction, vector: &mut [u8; BLOCK], chunk: &mut [u8]) {
        let stream = self.encrypt(*vector);
        if direction == Direction::Decrypt {
            *vector = padded(chunk);
        }
        xor(chunk, &stream);
        if direction == Direction::Encrypt {
            *vector = padded(chunk);
        }
    }

    fn cbc_encrypt(&self, vector: &mut [u8; BLOCK], chunk: &mut [u8]) {
        xor(vector, chunk);
        *vector = self.encrypt(*vector);
        chunk.copy_from_slice(vector);
    }

    fn cbc_decrypt(&self, vector: &mut [u8; BLOCK], chunk: &mut [u8]) {
        let cipher_text = padded(chunk);
        chunk.copy_from_slice(&self.decrypt(cipher_text));
        xor(chunk, vector);
        *vector = cipher_text;
    }

    fn ecb(&self, direction: Direction, chunk: &mut [u8]) {
        let block = padded(chunk);
        chunk.copy_from_slice(&match direction {
            Direction::Encrypt => self.encrypt(block),
            Direction::Decrypt => self.decrypt(block),
        });
    }
}

/// AES-CFB, as it protects parameters and objects (Part 1, 21.3 and 22).
///
/// # Errors
/// [`Error::Size`] if the key has no length of an AES key.
pub fn cfb(
    direction: Direction,
    key: &[u8],
    vector: &[u8; BLOCK],
    data: &mut [u8],
) -> Result<(), Error> {
    let mut vector = *vector;
    AesKey::new(key)?.apply(Mode::Cfb, direction, &mut vector, data)
}

impl fmt::Debug for AesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = match self.0 {
            Schedule::Aes128(_) => 128,
            Schedule::Aes192(_) => 192,
            Schedule::Aes256(_) => 256,
        };
        write!(f, "AesKey({bits} bits)")
    }
}

fn xor(data: &mut [u8], with: &[u8]) {
    for (to, from) in data.iter_mut().zip(with) {
        *to ^= *from;
    }
}

/// The chunk as a block, padded with zeros.
fn padded(chunk: &[u8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    for (to, from) in block.iter_mut().zip(chunk) {
        *to = *from;
    }
    block
}
