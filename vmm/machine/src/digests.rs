//! Digests of a file, made while its bytes are copied.

use alloc::vec::Vec;

use tpm_crypto::hash::{HashAlgorithm, Hasher};

/// The digests of the start of a file, one for each bank that a TPM can have.
pub(crate) struct Digests {
    hashers: Vec<Hasher>,
    length: u64,
}

impl Digests {
    /// Digests of no byte yet. Without banks the file is not measured.
    pub(crate) fn new(banks: &[HashAlgorithm]) -> Self {
        Self { hashers: hashers(banks), length: 0 }
    }

    /// Whether the file is measured.
    pub(crate) fn are_wanted(&self) -> bool {
        !self.hashers.is_empty()
    }

    /// How many bytes from the file's start on are hashed.
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// Hashes the bytes that follow.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.hashers.iter_mut().for_each(|hasher| hasher.update(bytes));
    }

    /// Hashers for `banks`, and the offset of the first byte that they still need.
    pub(crate) fn for_banks(&self, banks: &[HashAlgorithm]) -> (Vec<Hasher>, u64) {
        let of_bank = |bank: &HashAlgorithm| {
            self.hashers.iter().find(|hasher| hasher.algorithm() == *bank).cloned()
        };
        let found: Option<Vec<Hasher>> = banks.iter().map(of_bank).collect();
        found.map_or_else(|| (hashers(banks), 0), |found| (found, self.length))
    }
}

fn hashers(banks: &[HashAlgorithm]) -> Vec<Hasher> {
    banks.iter().map(|bank| Hasher::new(*bank)).collect()
}
