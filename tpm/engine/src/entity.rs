//! Looks up the properties of the entity behind a handle.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::Tpm;
use crate::constants::{alg, attr, nv, rh};
use crate::object::{Object, Slot};
use crate::pcr;
use crate::rc::{Rc, Result};
use crate::secret::Secret;
use crate::state::Policy;

impl Tpm {
    /// A transient or persistent object. Handles are checked when a command is parsed, so this
    /// fails for sequences and TPM_RH_NULL only.
    pub(crate) fn object(&self, handle: u32) -> Result<Arc<Object>> {
        let object = match rh::kind(handle) {
            rh::HT_TRANSIENT => match self.slot(handle) {
                Some(Slot::Object(object)) => Some(object),
                _ => None,
            },
            _ => self.store.object(handle),
        };
        object.cloned().ok_or(Rc::HANDLE)
    }

    /// The name, as cpHash includes it (Part 1, section 16).
    pub(crate) fn name_of(&self, handle: u32) -> Vec<u8> {
        match rh::kind(handle) {
            rh::HT_TRANSIENT | rh::HT_PERSISTENT => {
                self.object(handle).map(|object| object.name.clone()).unwrap_or_default()
            }
            rh::HT_NV => self.store.index(handle).map(|i| i.public.name()).unwrap_or_default(),
            _ => Vec::from(handle.to_be_bytes()),
        }
    }

    /// The authorization value; empty if there is none.
    pub(crate) fn auth_value(&self, handle: u32) -> Secret {
        let global = self.store.global();
        match handle {
            rh::OWNER => global.owner_auth.clone(),
            rh::ENDORSEMENT => global.endorsement_auth.clone(),
            rh::LOCKOUT => global.lockout_auth.clone(),
            rh::PLATFORM => self.v.clear.platform_auth.clone(),
            _ => match rh::kind(handle) {
                rh::HT_PCR if pcr::has(pcr::GROUP, handle) => self.v.clear.pcr_auth.clone(),
                rh::HT_NV => self.store.index(handle).map(|i| i.auth.clone()).unwrap_or_default(),
                rh::HT_TRANSIENT | rh::HT_PERSISTENT => self.object_auth(handle),
                _ => Secret::default(),
            },
        }
    }

    fn object_auth(&self, handle: u32) -> Secret {
        if let Some(Slot::Sequence(sequence)) = self.slot_if_transient(handle) {
            return sequence.auth.clone();
        }
        let object = self.object(handle).ok();
        object.and_then(|o| o.sensitive.as_ref().map(|s| s.auth.clone())).unwrap_or_default()
    }

    /// The authorization policy; NULL if there is none.
    pub(crate) fn policy_of(&self, handle: u32) -> Policy {
        let global = self.store.global();
        match handle {
            rh::OWNER => global.owner_policy.clone(),
            rh::ENDORSEMENT => global.endorsement_policy.clone(),
            rh::LOCKOUT => global.lockout_policy.clone(),
            rh::PLATFORM => self.v.clear.platform_policy.clone(),
            _ => match rh::kind(handle) {
                rh::HT_PCR if pcr::has(pcr::GROUP, handle) => global.pcr_policy.clone(),
                rh::HT_NV => self.store.index(handle).map_or_else(Policy::default, |i| Policy {
                    alg: i.public.name_alg,
                    digest: i.public.auth_policy.clone(),
                }),
                rh::HT_TRANSIENT | rh::HT_PERSISTENT => self.object(handle).map_or_else(
                    |_| Policy::default(),
                    |o| Policy { alg: o.public.name_alg, digest: o.public.auth_policy.clone() },
                ),
                _ => Policy::default(),
            },
        }
    }

    /// Whether the entity has dictionary-attack protection (Part 1, section 19.8.3).
    pub(crate) fn is_protected(&self, handle: u32) -> bool {
        match rh::kind(handle) {
            rh::HT_NV => self.store.index(handle).is_some_and(|i| !i.is(nv::NO_DA)),
            rh::HT_TRANSIENT | rh::HT_PERSISTENT => {
                self.object(handle).is_ok_and(|o| !o.public.is(attr::NO_DA))
            }
            _ => handle == rh::LOCKOUT,
        }
    }

    /// Whether a hierarchy is enabled.
    pub(crate) fn is_enabled(&self, hierarchy: u32) -> bool {
        match hierarchy {
            rh::OWNER => self.v.clear.sh_enable,
            rh::ENDORSEMENT => self.v.clear.eh_enable,
            rh::PLATFORM => self.v.clear.ph_enable,
            rh::PLATFORM_NV => self.v.clear.ph_enable_nv,
            _ => true,
        }
    }

    /// Whether an index is accessible: the hierarchy that created it is enabled.
    pub(crate) fn is_index_visible(&self, attributes: u32) -> bool {
        if attributes & nv::PLATFORM_CREATE != 0 {
            self.v.clear.ph_enable_nv
        } else {
            self.v.clear.sh_enable
        }
    }

    /// Whether a persistent object is accessible: both its own hierarchy and the one that keeps it
    /// in NV are enabled.
    pub(crate) fn is_persistent_visible(&self, handle: u32, object: &Object) -> bool {
        self.keeps(handle) && self.is_enabled(object.hierarchy)
    }

    /// Whether the hierarchy that keeps a persistent handle is enabled.
    fn keeps(&self, handle: u32) -> bool {
        let keeper = if handle >= rh::PLATFORM_PERSISTENT { rh::PLATFORM } else { rh::OWNER };
        self.is_enabled(keeper)
    }

    /// Checks that a handle refers to an entity that is present (Part 3, section 5.4).
    pub(crate) fn check_present(&self, code: u32, handle: u32, number: usize) -> Result<()> {
        let index = number - 1;
        match rh::kind(handle) {
            rh::HT_TRANSIENT if self.slot(handle).is_none() => Err(Rc::REFERENCE_H0.plus(index)),
            rh::HT_HMAC | rh::HT_POLICY if self.session(handle).is_none() => {
                Err(Rc::REFERENCE_H0.plus(index))
            }
            rh::HT_PERSISTENT => match self.store.object(handle) {
                Some(object) if self.is_persistent_visible(handle, object) => Ok(()),
                // The keeper may evict an object whose own hierarchy is disabled.
                Some(_) if code == EVICT_CONTROL && self.keeps(handle) => Ok(()),
                _ => Err(Rc::HANDLE.handle(number)),
            },
            rh::HT_NV => match self.store.index(handle) {
                Some(i) if self.is_index_visible(i.public.attributes) => Ok(()),
                _ => Err(Rc::HANDLE.handle(number)),
            },
            rh::HT_PERMANENT if !self.is_enabled(handle) => Err(Rc::HIERARCHY.handle(number)),
            _ => Ok(()),
        }
    }

    /// The proof of a hierarchy.
    pub(crate) fn proof(&self, hierarchy: u32) -> &Secret {
        let global = self.store.global();
        match hierarchy {
            rh::OWNER => &global.owner.proof,
            rh::ENDORSEMENT => &global.endorsement.proof,
            rh::PLATFORM => &global.platform.proof,
            _ => &self.v.reset.null.proof,
        }
    }

    /// The primary seed of a hierarchy.
    pub(crate) fn seed(&self, hierarchy: u32) -> &Secret {
        let global = self.store.global();
        match hierarchy {
            rh::OWNER => &global.owner.seed,
            rh::ENDORSEMENT => &global.endorsement.seed,
            rh::PLATFORM => &global.platform.seed,
            _ => &self.v.reset.null.seed,
        }
    }
}

/// TPM_CC_EvictControl.
const EVICT_CONTROL: u32 = 0x120;

/// Whether a policy is set.
pub(crate) fn is_set(policy: &Policy) -> bool {
    policy.alg != alg::NULL && !policy.digest.is_empty()
}
