//! Which guest-physical addresses are private.

use crate::mode::Mode;

/// The kind of access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Data.
    Data,
    /// The CPU's walk of the guest's page tables.
    Walk,
    /// An instruction fetch.
    Fetch,
}

/// How a VP tells private from shared memory (AMD64 APM vol. 2, sections 15.34.5 and 15.36.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressing {
    /// The bit of an address that makes it private, of CPUID Fn8000_001F EBX.
    pub c_bit: u8,
    /// Where private memory ends and shared memory starts, if the VP uses that and not the C-bit.
    pub virtual_tom: Option<u64>,
}

/// A guest-physical address, split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The address without the C-bit.
    pub gpa: u64,
    /// Whether the guest's own memory is meant, or memory that the host sees, too.
    pub is_private: bool,
}

impl Addressing {
    /// The C-bit as a mask.
    pub const fn mask(self) -> u64 {
        1 << self.c_bit
    }

    /// What an access to `address` means; the address is that of the nested page tables' input.
    pub const fn place(self, address: u64, kind: Kind, mode: Mode) -> Place {
        let gpa = address & !self.mask();
        let always = !matches!(kind, Kind::Data) || matches!(mode, Mode::AllPrivate);
        let is_private = always
            || match self.virtual_tom {
                Some(top) => address < top,
                None => address != gpa,
            };
        Place { gpa, is_private }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: u64 = 1 << 39;

    #[test]
    fn the_c_bit_counts_for_data_in_long_mode_alone() {
        let by_bit = Addressing { c_bit: 39, virtual_tom: None };
        let by_top = Addressing { c_bit: 39, virtual_tom: Some(0x8000_0000) };
        for (what, how, address, kind, mode, is_private) in [
            ("data without C-bit", by_bit, 0x1000, Kind::Data, Mode::Encrypted, false),
            ("data with C-bit", by_bit, C | 0x1000, Kind::Data, Mode::Encrypted, true),
            ("a walk without C-bit", by_bit, 0x1000, Kind::Walk, Mode::Encrypted, true),
            ("a fetch without C-bit", by_bit, 0x1000, Kind::Fetch, Mode::Encrypted, true),
            ("data without paging", by_bit, 0x1000, Kind::Data, Mode::AllPrivate, true),
            ("below the top", by_top, 0x7fff_ffff, Kind::Data, Mode::Encrypted, true),
            ("at the top", by_top, 0x8000_0000, Kind::Data, Mode::Encrypted, false),
            ("a walk above the top", by_top, 0x8000_0000, Kind::Walk, Mode::Encrypted, true),
        ] {
            let place = how.place(address, kind, mode);
            assert_eq!(place, Place { gpa: address & !C, is_private }, "{what}");
        }
    }
}
