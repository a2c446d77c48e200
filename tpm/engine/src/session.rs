//! The data of authorization sessions (Part 1, section 19.6).

use alloc::boxed::Box;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::constants::{alg, rh};
use crate::crypto;
use crate::secret::Secret;
use crate::structures::Symmetric;

/// TPM_SE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SessionKind {
    Hmac,
    Policy,
    Trial,
}

/// The hash that the authorized command has to match; a policy has at most one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BoundHash {
    #[default]
    None,
    Parameters(Vec<u8>),
    Names(Vec<u8>),
    Template(Vec<u8>),
}

/// The conditions that a policy session collects (Part 1, section 19.7).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PolicyState {
    pub(crate) digest: Vec<u8>,
    pub(crate) command: Option<u32>,
    pub(crate) hash: BoundHash,
    /// The allowed localities; 0 allows any.
    pub(crate) locality: u8,
    /// The TPM time at which the session expires, in milliseconds.
    pub(crate) timeout: Option<u64>,
    /// pcrUpdateCounter at the time of PolicyPCR.
    pub(crate) pcr_counter: Option<u32>,
    pub(crate) auth_value: bool,
    pub(crate) password: bool,
    pub(crate) presence: bool,
    pub(crate) nv_written: Option<bool>,
}

/// A session in memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) kind: SessionKind,
    pub(crate) alg: u16,
    pub(crate) symmetric: Symmetric,
    pub(crate) key: Secret,
    pub(crate) nonce: Vec<u8>,
    /// Digest of the name and the authorization value of the entity that the session is bound to.
    pub(crate) bound: Option<Vec<u8>>,
    /// Whether that entity has dictionary-attack protection, and whether it is TPM_RH_LOCKOUT.
    pub(crate) bound_protected: bool,
    pub(crate) bound_lockout: bool,
    /// The audit digest, if the session is used for audit.
    pub(crate) audit: Option<Vec<u8>>,
    pub(crate) policy: PolicyState,
    /// TPM time of StartAuthSession, in milliseconds.
    pub(crate) start: u64,
}

/// A slot for a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum SessionSlot {
    Free,
    Loaded(Box<Session>),
    /// The number of its saved context; whether it is a policy session.
    Saved(u64, bool),
}

/// The digest of the name and the authorization value of a bound entity.
pub(crate) fn binding(name: &[u8], auth: &[u8]) -> Vec<u8> {
    crypto::hash(alg::SHA256, &[&(name.len() as u16).to_be_bytes(), name, auth])
}

/// The slot of a session's handle.
pub(crate) const fn slot_of(handle: u32) -> usize {
    (handle & 0x00ff_ffff) as usize
}

impl Session {
    /// The type of the handle.
    pub(crate) const fn base(&self) -> u32 {
        match self.kind {
            SessionKind::Hmac => rh::HMAC_SESSION_FIRST,
            _ => rh::POLICY_SESSION_FIRST,
        }
    }

    pub(crate) const fn handle(&self, slot: usize) -> u32 {
        self.base() | slot as u32
    }
}
