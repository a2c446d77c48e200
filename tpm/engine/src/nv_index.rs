//! The NV index (Part 2, section 13; Part 1, section 37).

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::codec::{Put, Reader, built};
use crate::constants::{nv, rh};
use crate::rc::{Rc, Result};
use crate::secret::Secret;
use crate::structures::{MAX_DIGEST, hash};

/// The largest size of an index's data.
pub(crate) const MAX_INDEX: u16 = 2048;
/// The most bytes that one command reads or writes.
pub(crate) const MAX_NV_BUFFER: usize = 1024;

/// TPMS_NV_PUBLIC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NvPublic {
    pub(crate) handle: u32,
    pub(crate) name_alg: u16,
    pub(crate) attributes: u32,
    pub(crate) auth_policy: Vec<u8>,
    pub(crate) size: u16,
}

impl NvPublic {
    pub(crate) fn parse(r: &mut Reader<'_>) -> Result<Self> {
        let handle = r.u32()?;
        if rh::kind(handle) != rh::HT_NV {
            return Err(Rc::VALUE);
        }
        let name_alg = hash(r)?;
        let attributes = r.u32()?;
        if attributes & nv::RESERVED != 0 {
            return Err(Rc::RESERVED_BITS);
        }
        let auth_policy = r.sized(MAX_DIGEST)?;
        let size = r.u16()?;
        if size > MAX_INDEX {
            return Err(Rc::SIZE);
        }
        Ok(Self { handle, name_alg, attributes, auth_policy, size })
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.handle).put_u16(self.name_alg).put_u32(self.attributes);
        out.put_sized(&self.auth_policy).put_u16(self.size);
    }

    pub(crate) fn name(&self) -> Vec<u8> {
        crate::crypto::name(self.name_alg, &built(|out| self.put(out)))
    }
}

/// An index with its data.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Index {
    pub(crate) public: NvPublic,
    pub(crate) auth: Secret,
    pub(crate) data: Secret,
}

impl Index {
    /// Bytes of NV space that the index occupies.
    pub(crate) fn space(&self) -> usize {
        usize::from(self.public.size) + self.public.auth_policy.len() + self.auth.len() + 32
    }

    pub(crate) const fn is(&self, attributes: u32) -> bool {
        self.public.attributes & attributes == attributes
    }

    pub(crate) const fn kind(&self) -> u32 {
        nv::kind(self.public.attributes)
    }

    /// The data as a number, for counters and bit fields.
    pub(crate) fn number(&self) -> u64 {
        self.data.iter().fold(0, |all, &byte| all << 8 | u64::from(byte))
    }

    /// pinCount and pinLimit of a PIN index.
    pub(crate) fn pin(&self) -> (u32, u32) {
        let number = self.number();
        ((number >> 32) as u32, number as u32)
    }
}
