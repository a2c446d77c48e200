//! Public areas for the objects of the tests.

use super::client::{Bytes, b};

/// TPMA_OBJECT (Part 2, section 8.3): fixedTPM with fixedParent, and the others by their names.
pub(super) const FIXED: u32 = 1 << 1 | 1 << 4;
pub(super) const ST_CLEAR: u32 = 1 << 2;
pub(super) const ORIGIN: u32 = 1 << 5;
pub(super) const USER: u32 = 1 << 6;
pub(super) const ADMIN_POLICY: u32 = 1 << 7;
pub(super) const NO_DA: u32 = 1 << 10;
pub(super) const RESTRICTED: u32 = 1 << 16;
pub(super) const DECRYPT: u32 = 1 << 17;
pub(super) const SIGN: u32 = 1 << 18;

/// TPM_ALG_NULL, as a scheme or a symmetric algorithm.
pub(super) fn none() -> Bytes {
    b().u16(0x10)
}

/// A P-256 key without a symmetric algorithm.
pub(super) fn ecc_key(attributes: u32, scheme: &Bytes) -> Bytes {
    let head = b().u16(0x23).u16(0x0b).u32(attributes).u16(0).u16(0x10);
    head.raw(&scheme.0).u16(3).u16(0x10).u16(0).u16(0)
}

/// An RSA key of 1,024 bits, the fastest to make, without a symmetric algorithm.
pub(super) fn rsa_key(attributes: u32, scheme: &Bytes) -> Bytes {
    let head = b().u16(1).u16(0x0b).u32(attributes).u16(0).u16(0x10);
    head.raw(&scheme.0).u16(1024).u32(0).u16(0)
}

/// An AES key with a mode.
pub(super) fn cipher_key(attributes: u32, bits: u16, mode: u16) -> Bytes {
    let head = b().u16(0x25).u16(0x0b).u32(attributes).u16(0);
    head.u16(6).u16(bits).u16(mode).u16(0)
}

/// A keyed hash: data, or a key with a scheme.
pub(super) fn keyed_hash(attributes: u32, policy: &[u8], scheme: &Bytes) -> Bytes {
    b().u16(8).u16(0x0b).u32(attributes).sized(policy).raw(&scheme.0).u16(0)
}

/// The SRK template of the TCG for ECC P-256.
pub(super) fn ecc_srk() -> Bytes {
    b().u16(0x23)
        .u16(0x0b)
        .u32(0x0003_0472)
        .u16(0)
        .u16(6)
        .u16(128)
        .u16(0x43)
        .u16(0x10)
        .u16(3)
        .u16(0x10)
        .u16(0)
        .u16(0)
}

/// The SRK template for RSA-2048.
pub(super) fn rsa_srk() -> Bytes {
    b().u16(1)
        .u16(0x0b)
        .u32(0x0003_0472)
        .u16(0)
        .u16(6)
        .u16(128)
        .u16(0x43)
        .u16(0x10)
        .u16(2048)
        .u32(0)
        .u16(0)
}

/// A restricted ECDSA key.
pub(super) fn ecc_attestation_key() -> Bytes {
    b().u16(0x23)
        .u16(0x0b)
        .u32(0x0005_0072)
        .u16(0)
        .u16(0x10)
        .u16(0x18)
        .u16(0x0b)
        .u16(3)
        .u16(0x10)
        .u16(0)
        .u16(0)
}

/// Sealed data.
pub(super) fn sealed() -> Bytes {
    b().u16(8).u16(0x0b).u32(0x0000_0052).u16(0).u16(0x10).u16(0)
}
