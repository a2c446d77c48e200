//! The secrets of an emulated chip: what Drydock signs and derives with.
//!
//! `paravane` makes them once, with a certificate of the signing key, and keeps them; Drydock gets
//! them as a file. A chip without a file is one that nobody can verify.

use core::fmt;

/// Bytes of the file.
pub const SIZE: usize = 32 + 48 + 64 + 8;

/// A chip.
#[derive(Clone, PartialEq, Eq)]
pub struct Chip {
    /// The root of the keys that it derives.
    pub secret: [u8; 32],
    /// The P-384 key that signs reports (VCEK): a big-endian scalar.
    pub signing_key: [u8; 48],
    /// CHIP_ID.
    pub id: [u8; 64],
    /// The version of its firmware and microcode (TCB_VERSION), for which the key was certified.
    pub tcb: [u8; 8],
}

impl fmt::Debug for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The keys stay hidden.
        f.debug_struct("Chip").field("id", &self.id).field("tcb", &self.tcb).finish_non_exhaustive()
    }
}

impl Chip {
    /// As it stands in the file.
    pub fn to_bytes(&self) -> [u8; SIZE] {
        let Self { secret, signing_key, id, tcb } = self;
        let parts = [&secret[..], signing_key, id, tcb];
        let mut bytes = [0; SIZE];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    /// From the file.
    pub fn from_bytes(bytes: &[u8; SIZE]) -> Self {
        let mut chip = Self { secret: [0; 32], signing_key: [0; 48], id: [0; 64], tcb: [0; 8] };
        let Self { secret, signing_key, id, tcb } = &mut chip;
        let parts = [&mut secret[..], signing_key, id, tcb];
        for (to, from) in parts.into_iter().flatten().zip(bytes) {
            *to = *from;
        }
        chip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chip_survives_its_file_and_shows_no_key() {
        let bytes = core::array::from_fn(|index| index as u8);
        let chip = Chip::from_bytes(&bytes);
        assert_eq!(chip.to_bytes(), bytes);
        assert_eq!(
            (chip.secret[0], chip.signing_key[0], chip.id[0], chip.tcb[0]),
            (0, 32, 80, 144)
        );
        let shown = std::format!("{chip:?}");
        assert!(!shown.contains("key") && !shown.contains("secret"), "{shown}");
    }
}
