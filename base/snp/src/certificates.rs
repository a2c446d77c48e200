//! The table of certificates that a guest gets beside a report.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::layout::assert_offsets;

/// The kind of a certificate: a GUID, whose bytes have the order of its text (GHCB specification
/// 56421, "SNP Extended Guest Request").
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CertificateKind(pub [u8; 16]);

impl CertificateKind {
    /// The end of the table.
    pub const END: Self = Self([0; 16]);
    /// ARK: AMD's root key.
    pub const ARK: Self = Self(0xc0b4_06a4_a803_4952_9743_3fb6_014c_d0ae_u128.to_be_bytes());
    /// ASK: the key that certifies those of chips.
    pub const ASK: Self = Self(0x4ab7_b379_bbac_4fe4_a02f_05ae_f327_c782_u128.to_be_bytes());
    /// VCEK: a chip's key.
    pub const VCEK: Self = Self(0x63da_758d_e664_4564_adc5_f4b9_3be8_accd_u128.to_be_bytes());
}

/// An entry of the table. The entries come first, and one of zeros ends them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CertificateEntry {
    /// What it is.
    pub kind: CertificateKind,
    /// The certificate's place, in bytes from the start of the table.
    pub offset: u32,
    /// The certificate's length in bytes.
    pub length: u32,
}

impl CertificateEntry {
    /// The entry that ends a table.
    pub const END: Self = Self { kind: CertificateKind::END, offset: 0, length: 0 };
}

const _: () = assert!(size_of::<CertificateEntry>() == 24);
assert_offsets!(CertificateEntry: kind = 0, offset = 16, length = 20);
