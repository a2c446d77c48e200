//! The encoding of records, in memory as on the disk, where it is encrypted.
//!
//! Each record consists of its tenant (1 byte), its key (4 bytes), the size of its data (2 bytes)
//! and the data. Numbers are little-endian. Records ascend by tenant and key, without duplicates.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use crate::error::CommitError;
use crate::layout::MAX_PLAIN;

/// Largest size of a record's data in bytes. The largest record holds what a TPM keeps at
/// Shutdown(STATE).
pub const MAX_RECORD: usize = 16 << 10;
/// Bytes that a record takes in addition to its data.
pub const RECORD_OVERHEAD: usize = 7;

/// The owner of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Tenant {
    /// The TPM.
    Tpm = 1,
    /// UEFI's variables.
    UefiVariables = 2,
    /// The TPM's physical presence interface.
    Presence = 3,
}

impl Tenant {
    /// All tenants, in the order of their records.
    pub const ALL: [Self; 3] = [Self::Tpm, Self::UefiVariables, Self::Presence];

    /// Bytes that the tenant's records may take, with [`RECORD_OVERHEAD`] for each.
    pub const fn quota(self) -> usize {
        match self {
            Self::Tpm => 96 << 10,
            Self::UefiVariables => 128 << 10,
            Self::Presence => 64,
        }
    }

    fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|tenant| *tenant as u8 == number)
    }
}

const _: () = {
    let [tpm, uefi, presence] = Tenant::ALL;
    assert!(tpm.quota() + uefi.quota() + presence.quota() <= MAX_PLAIN);
};

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tpm => "the TPM",
            Self::UefiVariables => "UEFI's variables",
            Self::Presence => "the physical presence interface",
        })
    }
}

/// A change of one record. If a commit changes a record several times, the last change counts.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    /// The record's key.
    pub key: u32,
    /// The new data, or `None` to remove the record. Removing an absent record is no error.
    pub data: Option<&'a [u8]>,
}

impl fmt::Debug for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.data.map(<[u8]>::len);
        f.debug_struct("Change").field("key", &self.key).field("length", &length).finish()
    }
}

type Map<'a> = BTreeMap<(Tenant, u32), &'a [u8]>;

/// All records, valid in form, order and size; cleared on drop.
#[derive(PartialEq, Eq)]
pub(crate) struct Records(Zeroizing<Vec<u8>>);

impl Records {
    /// No records.
    pub(crate) fn none() -> Self {
        Self(Zeroizing::new(Vec::new()))
    }

    /// Decodes authentic bytes; `None` if they are malformed.
    pub(crate) fn parse(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        let mut rest = bytes.as_slice();
        let mut last = None;
        let mut used = BTreeMap::new();
        while !rest.is_empty() {
            let (place, data) = record(&mut rest)?;
            if last >= Some(place) || data.len() > MAX_RECORD {
                return None;
            }
            last = Some(place);
            *used.entry(place.0).or_insert(0) += data.len() + RECORD_OVERHEAD;
        }
        used.iter().all(|(tenant, used)| *used <= tenant.quota()).then_some(Self(bytes))
    }

    /// The encoded records.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Every record in order.
    fn all(&self) -> impl Iterator<Item = ((Tenant, u32), &[u8])> {
        let mut rest = self.bytes();
        core::iter::from_fn(move || record(&mut rest))
    }

    /// A tenant's records by key.
    pub(crate) fn of(&self, tenant: Tenant) -> impl Iterator<Item = (u32, &[u8])> {
        self.all()
            .filter(move |((owner, _), _)| *owner == tenant)
            .map(|((_, key), data)| (key, data))
    }

    /// The records after `changes`.
    ///
    /// # Errors
    /// A record or the tenant's records would be too large.
    pub(crate) fn changed(
        &self,
        tenant: Tenant,
        changes: &[Change<'_>],
    ) -> Result<Self, CommitError> {
        let mut map: Map<'_> = self.all().collect();
        for change in changes {
            let place = (tenant, change.key);
            match change.data {
                Some(data) if data.len() > MAX_RECORD => {
                    return Err(CommitError::TooLarge { key: change.key, length: data.len() });
                }
                Some(data) => map.insert(place, data),
                None => map.remove(&place),
            };
        }
        let size = |data: &[u8]| data.len() + RECORD_OVERHEAD;
        let of_tenant = map.iter().filter(|((owner, _), _)| *owner == tenant);
        if of_tenant.map(|(_, data)| size(data)).sum::<usize>() > tenant.quota() {
            return Err(CommitError::Quota(tenant));
        }
        // Allocated at full size: a growing vector would leave copies of secrets behind.
        let mut bytes =
            Zeroizing::new(Vec::with_capacity(map.values().map(|data| size(data)).sum()));
        for ((owner, key), data) in map {
            bytes.push(owner as u8);
            bytes.extend_from_slice(&key.to_le_bytes());
            bytes.extend_from_slice(&(data.len() as u16).to_le_bytes());
            bytes.extend_from_slice(data);
        }
        Ok(Self(bytes))
    }
}

/// Takes the next record off `rest`; `None` at the end, or if the record is malformed.
fn record<'a>(rest: &mut &'a [u8]) -> Option<((Tenant, u32), &'a [u8])> {
    let (&[tenant, k0, k1, k2, k3, s0, s1], after) = rest.split_first_chunk()?;
    let tenant = Tenant::of_number(tenant)?;
    let (data, after) = after.split_at_checked(u16::from_le_bytes([s0, s1]).into())?;
    *rest = after;
    Some(((tenant, u32::from_le_bytes([k0, k1, k2, k3])), data))
}
