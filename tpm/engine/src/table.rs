//! The vocabulary that describes commands: handle types, authorization roles, properties (Part 3).

use crate::codec::Reader;
use crate::constants::rh;
use crate::pcr;
use crate::rc::{Rc, Result};

/// The role of an authorization (Part 1, section 19.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    User,
    Admin,
    Duplicate,
}

/// The interface type of a handle (Part 2, section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TPMI_DH_OBJECT; with NULL.
    Object,
    ObjectOrNull,
    /// TPMI_DH_PARENT: an object or a hierarchy.
    Parent,
    /// TPMI_DH_ENTITY; with NULL.
    Entity,
    EntityOrNull,
    /// TPMI_RH_HIERARCHY with NULL.
    HierarchyOrNull,
    /// TPMI_RH_BASE_HIERARCHY: owner, platform, endorsement.
    BaseHierarchy,
    /// TPMI_RH_HIERARCHY_AUTH: with lockout.
    HierarchyAuth,
    /// TPMI_RH_PROVISION: owner or platform.
    Provision,
    /// TPMI_RH_CLEAR: lockout or platform.
    Clear,
    Platform,
    Lockout,
    Endorsement,
    /// TPMI_RH_NV_AUTH: platform, owner or an index.
    NvAuth,
    NvIndex,
    Pcr,
    PcrOrNull,
    Hmac,
    Policy,
    /// TPMI_DH_CONTEXT.
    Context,
}

impl Kind {
    /// Whether a handle is in this type's range, whatever it refers to.
    fn allows(self, handle: u32) -> bool {
        let kind = rh::kind(handle);
        let object = rh::is_transient(handle) || kind == rh::HT_PERSISTENT;
        let base = matches!(handle, rh::OWNER | rh::PLATFORM | rh::ENDORSEMENT);
        let null = handle == rh::NULL;
        let entity =
            object || base || handle == rh::LOCKOUT || kind == rh::HT_NV || handle < pcr::COUNT;
        match self {
            Self::Object => object,
            Self::ObjectOrNull => object || null,
            Self::Parent => object || base || null,
            Self::Entity => entity,
            Self::EntityOrNull => entity || null,
            Self::HierarchyOrNull => base || null,
            Self::BaseHierarchy => base,
            Self::HierarchyAuth => base || handle == rh::LOCKOUT,
            Self::Provision => matches!(handle, rh::OWNER | rh::PLATFORM),
            Self::Clear => matches!(handle, rh::LOCKOUT | rh::PLATFORM),
            Self::Platform => handle == rh::PLATFORM,
            Self::Lockout => handle == rh::LOCKOUT,
            Self::Endorsement => handle == rh::ENDORSEMENT,
            Self::NvAuth => matches!(handle, rh::OWNER | rh::PLATFORM) || kind == rh::HT_NV,
            Self::NvIndex => kind == rh::HT_NV,
            Self::Pcr => handle < pcr::COUNT,
            Self::PcrOrNull => handle < pcr::COUNT || null,
            Self::Hmac => rh::is_session(handle, rh::HT_HMAC),
            Self::Policy => rh::is_session(handle, rh::HT_POLICY),
            Self::Context => rh::is_transient(handle) || is_any_session(handle),
        }
    }

    /// Reads a handle of this type.
    pub(crate) fn parse(self, r: &mut Reader<'_>) -> Result<u32> {
        let handle = r.u32()?;
        if self.allows(handle) { Ok(handle) } else { Err(Rc::VALUE) }
    }
}

/// Whether a handle is a session's.
pub(crate) const fn is_any_session(handle: u32) -> bool {
    rh::is_session(handle, rh::HT_HMAC) || rh::is_session(handle, rh::HT_POLICY)
}

/// Properties of commands, as bits.
pub(crate) mod flag {
    /// The first parameter may be encrypted.
    pub(crate) const DECRYPT: u16 = 1 << 0;
    /// The first parameter of the response may be encrypted.
    pub(crate) const ENCRYPT: u16 = 1 << 1;
    /// TPMA_CC nv.
    pub(crate) const NV: u16 = 1 << 2;
    /// TPMA_CC extensive.
    pub(crate) const EXTENSIVE: u16 = 1 << 3;
    /// TPMA_CC flushed.
    pub(crate) const FLUSHED: u16 = 1 << 4;
    /// TPMA_CC rHandle.
    pub(crate) const HANDLE: u16 = 1 << 5;
    /// No sessions are allowed.
    pub(crate) const NO_SESSIONS: u16 = 1 << 6;
    /// PP_Commands can make it require physical presence.
    pub(crate) const PP: u16 = 1 << 7;
    /// Changes no state, so it does not undo an orderly shutdown.
    pub(crate) const PASSIVE: u16 = 1 << 8;
    /// Is answered in failure mode.
    pub(crate) const ALWAYS: u16 = 1 << 9;
}
