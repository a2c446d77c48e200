//! The small structures of Part 2, sections 9 to 11: schemes, ciphers, PCR selections, tickets.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::codec::{Put, Reader};
use crate::constants::{BANKS, alg, curve};
use crate::rc::{Rc, Result};

/// The largest digest.
pub(crate) const MAX_DIGEST: usize = 64;
/// The largest name: an algorithm with a digest.
pub(crate) const MAX_NAME: usize = 2 + MAX_DIGEST;
/// MAX_SYM_DATA.
pub(crate) const MAX_SYM_DATA: usize = 128;
/// The largest TPM2B_DATA: a digest with its algorithm.
pub(crate) const MAX_DATA: usize = 2 + MAX_DIGEST;
/// The largest TPM2B_MAX_BUFFER.
pub(crate) const MAX_BUFFER: usize = 1024;
/// The largest TPM2B_PUBLIC_KEY_RSA.
pub(crate) const MAX_RSA: usize = 384;
/// The largest TPM2B_ECC_PARAMETER.
pub(crate) const MAX_ECC: usize = 48;

/// A scheme with its hash; `extra` is the key derivation of XOR or the count of ECDAA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scheme {
    pub(crate) alg: u16,
    pub(crate) hash: u16,
    pub(crate) extra: u16,
}

impl Scheme {
    pub(crate) const NULL: Self = Self { alg: alg::NULL, hash: alg::NULL, extra: 0 };

    pub(crate) const fn is_null(self) -> bool {
        self.alg == alg::NULL
    }

    /// Whether the scheme can sign.
    pub(crate) const fn is_signing(self) -> bool {
        matches!(
            self.alg,
            alg::RSASSA | alg::RSAPSS | alg::ECDSA | alg::ECDAA | alg::ECSCHNORR | alg::HMAC
        )
    }

    /// Reads the details that belong to `alg`.
    fn details(r: &mut Reader<'_>, alg: u16) -> Result<Self> {
        let mut scheme = Self { alg, hash: alg::NULL, extra: 0 };
        match alg {
            alg::NULL | alg::RSAES => {}
            alg::XOR => {
                scheme.hash = hash(r)?;
                scheme.extra = kdf_or_null(r)?;
            }
            alg::ECDAA => {
                scheme.hash = hash(r)?;
                scheme.extra = r.u16()?;
            }
            _ => scheme.hash = hash(r)?,
        }
        Ok(scheme)
    }

    /// TPMT_KEYEDHASH_SCHEME+.
    pub(crate) fn keyed_hash(r: &mut Reader<'_>) -> Result<Self> {
        match r.u16()? {
            alg @ (alg::HMAC | alg::XOR | alg::NULL) => Self::details(r, alg),
            _ => Err(Rc::VALUE),
        }
    }

    /// TPMT_RSA_SCHEME+.
    pub(crate) fn rsa(r: &mut Reader<'_>) -> Result<Self> {
        match r.u16()? {
            alg @ (alg::RSASSA | alg::RSAPSS | alg::RSAES | alg::OAEP | alg::NULL) => {
                Self::details(r, alg)
            }
            _ => Err(Rc::VALUE),
        }
    }

    /// TPMT_RSA_DECRYPT+.
    pub(crate) fn rsa_decrypt(r: &mut Reader<'_>) -> Result<Self> {
        match r.u16()? {
            alg @ (alg::RSAES | alg::OAEP | alg::NULL) => Self::details(r, alg),
            _ => Err(Rc::VALUE),
        }
    }

    /// TPMT_ECC_SCHEME+.
    pub(crate) fn ecc(r: &mut Reader<'_>) -> Result<Self> {
        match r.u16()? {
            alg @ (alg::ECDSA | alg::ECDAA | alg::ECDH | alg::NULL) => Self::details(r, alg),
            _ => Err(Rc::SCHEME),
        }
    }

    /// TPMT_KDF_SCHEME+.
    pub(crate) fn kdf(r: &mut Reader<'_>) -> Result<Self> {
        let alg = kdf_or_null(r)?;
        Self::details(r, alg)
    }

    /// TPMT_SIG_SCHEME, with NULL.
    pub(crate) fn signing(r: &mut Reader<'_>) -> Result<Self> {
        match r.u16()? {
            alg @ (alg::RSASSA | alg::RSAPSS | alg::ECDSA | alg::ECDAA | alg::HMAC | alg::NULL) => {
                Self::details(r, alg)
            }
            _ => Err(Rc::SCHEME),
        }
    }

    pub(crate) fn put(self, out: &mut Vec<u8>) {
        out.put_u16(self.alg);
        match self.alg {
            alg::NULL | alg::RSAES => {}
            alg::XOR | alg::ECDAA => {
                out.put_u16(self.hash).put_u16(self.extra);
            }
            _ => {
                out.put_u16(self.hash);
            }
        }
    }
}

/// Whether the hash is implemented.
pub(crate) const fn is_hash(alg: u16) -> bool {
    matches!(alg, alg::SHA1 | alg::SHA256 | alg::SHA384 | alg::SHA512)
}

/// TPMI_ALG_HASH.
pub(crate) fn hash(r: &mut Reader<'_>) -> Result<u16> {
    let alg = r.u16()?;
    if is_hash(alg) { Ok(alg) } else { Err(Rc::HASH) }
}

/// TPMI_ALG_HASH+.
pub(crate) fn hash_or_null(r: &mut Reader<'_>) -> Result<u16> {
    let alg = r.u16()?;
    if is_hash(alg) || alg == alg::NULL { Ok(alg) } else { Err(Rc::HASH) }
}

/// TPMI_ALG_KDF+.
fn kdf_or_null(r: &mut Reader<'_>) -> Result<u16> {
    match r.u16()? {
        alg @ (alg::MGF1 | alg::KDF1_SP800_56A | alg::KDF1_SP800_108 | alg::NULL) => Ok(alg),
        _ => Err(Rc::KDF),
    }
}

/// TPMI_ECC_CURVE.
pub(crate) fn curve(r: &mut Reader<'_>) -> Result<u16> {
    match r.u16()? {
        id @ (curve::P256 | curve::P384) => Ok(id),
        _ => Err(Rc::CURVE),
    }
}

/// TPMI_ALG_CIPHER_MODE+.
pub(crate) fn mode_or_null(r: &mut Reader<'_>) -> Result<u16> {
    match r.u16()? {
        mode @ (alg::CTR | alg::OFB | alg::CBC | alg::CFB | alg::ECB | alg::NULL) => Ok(mode),
        _ => Err(Rc::MODE),
    }
}

/// TPMT_SYM_DEF: for XOR, `bits` is the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Symmetric {
    pub(crate) alg: u16,
    pub(crate) bits: u16,
    pub(crate) mode: u16,
}

impl Symmetric {
    pub(crate) const NULL: Self = Self { alg: alg::NULL, bits: 0, mode: alg::NULL };

    pub(crate) const fn is_null(self) -> bool {
        self.alg == alg::NULL
    }

    /// Size of a key in bytes.
    pub(crate) const fn key_size(self) -> usize {
        self.bits as usize / 8
    }

    fn aes(r: &mut Reader<'_>) -> Result<Self> {
        let bits = r.u16()?;
        if !matches!(bits, 128 | 192 | 256) {
            return Err(Rc::VALUE);
        }
        Ok(Self { alg: alg::AES, bits, mode: mode_or_null(r)? })
    }

    /// TPMT_SYM_DEF_OBJECT+.
    pub(crate) fn object_or_null(r: &mut Reader<'_>) -> Result<Self> {
        match r.u16()? {
            alg::NULL => Ok(Self::NULL),
            alg::AES => Self::aes(r),
            _ => Err(Rc::SYMMETRIC),
        }
    }

    /// TPMT_SYM_DEF_OBJECT.
    pub(crate) fn object(r: &mut Reader<'_>) -> Result<Self> {
        let symmetric = Self::object_or_null(r)?;
        if symmetric.is_null() { Err(Rc::SYMMETRIC) } else { Ok(symmetric) }
    }

    /// TPMT_SYM_DEF+, for a session.
    pub(crate) fn session(r: &mut Reader<'_>) -> Result<Self> {
        match r.u16()? {
            alg::NULL => Ok(Self::NULL),
            alg::AES => Self::aes(r),
            alg::XOR => Ok(Self { alg: alg::XOR, bits: hash(r)?, mode: alg::NULL }),
            _ => Err(Rc::SYMMETRIC),
        }
    }

    pub(crate) fn put(self, out: &mut Vec<u8>) {
        out.put_u16(self.alg);
        if !self.is_null() {
            out.put_u16(self.bits).put_u16(self.mode);
        }
    }
}

/// TPML_PCR_SELECTION: banks with a bit for each PCR.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PcrSelection(pub(crate) Vec<(u16, u32)>);

impl PcrSelection {
    /// The most entries in a list: one for each hash.
    const MAX: u32 = 4;

    pub(crate) fn parse(r: &mut Reader<'_>) -> Result<Self> {
        let count = r.u32()?;
        if count > Self::MAX {
            return Err(Rc::SIZE);
        }
        let mut list = Vec::new();
        for _ in 0..count {
            let alg = hash(r)?;
            let size = usize::from(r.u8()?);
            if size != 3 {
                return Err(Rc::VALUE);
            }
            let bits = r.take(size)?;
            list.push((alg, bits.iter().rev().fold(0, |all, &byte| all << 8 | u32::from(byte))));
        }
        Ok(Self(list))
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.0.len() as u32);
        for &(alg, bits) in &self.0 {
            let [a, b, c, _] = bits.to_le_bytes();
            out.put_u16(alg).put_u8(3).put(&[a, b, c]);
        }
    }

    /// The selection without PCRs that are not allocated.
    pub(crate) fn implemented(&self, allocated: &[u32; BANKS.len()]) -> Self {
        let bits = |alg| {
            BANKS.iter().zip(allocated).find_map(|(&bank, &bits)| (bank == alg).then_some(bits))
        };
        Self(self.0.iter().map(|&(alg, set)| (alg, set & bits(alg).unwrap_or(0))).collect())
    }
}

/// TPMT_TK_*: a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) tag: u16,
    pub(crate) hierarchy: u32,
    pub(crate) digest: Vec<u8>,
}

impl Ticket {
    /// Reads a ticket with one of `tags`.
    pub(crate) fn parse(r: &mut Reader<'_>, tags: &[u16]) -> Result<Self> {
        let tag = r.u16()?;
        if !tags.contains(&tag) {
            return Err(Rc::TAG);
        }
        let hierarchy = hierarchy(r)?;
        Ok(Self { tag, hierarchy, digest: r.sized(MAX_DIGEST)? })
    }

    /// The NULL ticket with a tag.
    pub(crate) const fn null(tag: u16) -> Self {
        Self { tag, hierarchy: crate::constants::rh::NULL, digest: Vec::new() }
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u16(self.tag).put_u32(self.hierarchy).put_sized(&self.digest);
    }
}

/// TPMI_RH_HIERARCHY+.
pub(crate) fn hierarchy(r: &mut Reader<'_>) -> Result<u32> {
    use crate::constants::rh;
    match r.u32()? {
        handle @ (rh::OWNER | rh::PLATFORM | rh::ENDORSEMENT | rh::NULL) => Ok(handle),
        _ => Err(Rc::VALUE),
    }
}
