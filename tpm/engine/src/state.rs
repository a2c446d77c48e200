//! What a TPM remembers, sorted by how long.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::constants::{BANKS, MAX_ACTIVE_SESSIONS, MAX_LOADED_OBJECTS, alg};
use crate::object::Slot;
use crate::pcr::Pcrs;
use crate::secret::Secret;
use crate::sequence::Sequence;
use crate::session::SessionSlot;
use crate::shared::Shared;

/// An authorization policy: a digest under an algorithm; NULL without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Policy {
    pub(crate) alg: u16,
    pub(crate) digest: Vec<u8>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { alg: alg::NULL, digest: Vec::new() }
    }
}

/// A hierarchy's seed with the proof that belongs to it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seed {
    pub(crate) seed: Secret,
    pub(crate) proof: Secret,
}

/// How the TPM was shut down last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Orderly {
    /// Not at all.
    None,
    /// TPM_SU_CLEAR.
    Clear,
    /// TPM_SU_STATE.
    State,
}

/// Dictionary-attack protection (Part 1, section 19.8).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lockout {
    pub(crate) failed_tries: u32,
    pub(crate) max_tries: u32,
    /// Seconds until one failure is forgotten.
    pub(crate) recovery_time: u32,
    /// Seconds until lockoutAuth may be used after a failure of it; 0 is until the next reset.
    pub(crate) lockout_recovery: u32,
    pub(crate) auth_enabled: bool,
}

impl Default for Lockout {
    fn default() -> Self {
        Self {
            failed_tries: 0,
            max_tries: 32,
            recovery_time: 7200,
            lockout_recovery: 86400,
            auth_enabled: true,
        }
    }
}

/// What lives in NV, apart from indices and persistent objects.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Global {
    pub(crate) platform: Seed,
    pub(crate) owner: Seed,
    pub(crate) endorsement: Seed,
    pub(crate) owner_auth: Secret,
    pub(crate) endorsement_auth: Secret,
    pub(crate) lockout_auth: Secret,
    pub(crate) owner_policy: Policy,
    pub(crate) endorsement_policy: Policy,
    pub(crate) lockout_policy: Policy,
    pub(crate) disable_clear: bool,
    pub(crate) lockout: Lockout,
    pub(crate) total_reset_count: u64,
    pub(crate) reset_count: u32,
    /// PCRs of each bank, from the next reset on.
    pub(crate) pcr_allocated: [u32; BANKS.len()],
    pub(crate) pcr_policy: Policy,
    /// Codes of audited commands, sorted.
    pub(crate) audited: Vec<u32>,
    pub(crate) audit_alg: u16,
    pub(crate) audit_counter: u64,
    /// Codes of commands that need physical presence, sorted.
    pub(crate) pp_commands: Vec<u32>,
    /// The greatest count of any NV counter that was deleted.
    pub(crate) max_counter: u64,
    pub(crate) orderly: Orderly,
    /// Volatile state of Shutdown(STATE).
    pub(crate) preserved: Option<Box<Preserved>>,
    /// Clock of the last record, in milliseconds.
    pub(crate) clock: u64,
    /// Whether that clock was recorded in order.
    pub(crate) clock_safe: bool,
    /// Names the TPM for the derivations that need no secret.
    pub(crate) unique: [u8; 8],
}

/// State that Startup(CLEAR) sets anew (Part 3, section 9.3).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StateClear {
    pub(crate) ph_enable: bool,
    pub(crate) ph_enable_nv: bool,
    pub(crate) sh_enable: bool,
    pub(crate) eh_enable: bool,
    pub(crate) platform_auth: Secret,
    pub(crate) platform_policy: Policy,
    pub(crate) pcr_auth: Secret,
}

impl Default for StateClear {
    fn default() -> Self {
        Self {
            ph_enable: true,
            ph_enable_nv: true,
            sh_enable: true,
            eh_enable: true,
            platform_auth: Secret::default(),
            platform_policy: Policy::default(),
            pcr_auth: Secret::default(),
        }
    }
}

/// State that lives until the next TPM Reset.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StateReset {
    pub(crate) null: Seed,
    pub(crate) clear_count: u32,
    pub(crate) restart_count: u32,
    pub(crate) context_counter: u64,
    pub(crate) object_context: u64,
    /// Saved sessions by slot: their context number; 0 for none.
    pub(crate) audit_digest: Vec<u8>,
    pub(crate) pcr_counter: u32,
    /// Ephemeral key counter of Commit, with the bits of those not used yet.
    pub(crate) commits: Commits,
}

/// How many ephemeral keys may be outstanding.
const OUTSTANDING: u64 = 256;

/// The counter of ephemeral keys, with one bit for each that may still be used.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Commits {
    pub(crate) counter: u64,
    pub(crate) pending: [u64; 4],
    pub(crate) nonce: Secret,
}

impl Commits {
    pub(crate) fn place(&mut self, count: u64) -> Option<(&mut u64, u64)> {
        let bit = count % OUTSTANDING;
        Some((self.pending.get_mut((bit / 64) as usize)?, 1 << (bit % 64)))
    }
}

/// When the counters move, in milliseconds since power-on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Healing {
    /// Start of the period in which one failure is forgotten.
    pub(crate) tries_since: u64,
    /// When lockoutAuth failed.
    pub(crate) lockout_since: u64,
}

/// What Shutdown(STATE) keeps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Preserved {
    pub(crate) clear: Shared<StateClear>,
    pub(crate) reset: Shared<StateReset>,
    pub(crate) pcrs: Pcrs,
    pub(crate) sessions: Vec<SessionSlot>,
    /// Where the start of trust was: H-CRTM before Startup, and the locality of Startup.
    pub(crate) drtm_before_startup: bool,
    pub(crate) locality_at_startup: u8,
}

/// What is lost without power.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Volatile {
    pub(crate) started: bool,
    pub(crate) failed: bool,
    /// H-CRTM, or the locality of Startup, for PCR 0.
    pub(crate) drtm_before_startup: bool,
    pub(crate) locality_at_startup: u8,
    pub(crate) clear: Shared<StateClear>,
    pub(crate) reset: Shared<StateReset>,
    pub(crate) pcrs: Pcrs,
    pub(crate) objects: Shared<[Option<Slot>; MAX_LOADED_OBJECTS]>,
    pub(crate) sessions: Shared<Vec<SessionSlot>>,
    /// The session that is the exclusive audit session.
    pub(crate) exclusive: u32,
    pub(crate) clock: Clock,
    /// Hash sequence of the H-CRTM or D-RTM event.
    pub(crate) event: Option<Arc<Sequence>>,
    pub(crate) self_tested: bool,
    /// When lockout counters move next.
    pub(crate) healing: Healing,
}

impl Volatile {
    /// Before Startup.
    pub(crate) fn new(now_ms: u64, global: &Global) -> Self {
        Self {
            started: false,
            failed: false,
            drtm_before_startup: false,
            locality_at_startup: 0,
            clear: StateClear::default().into(),
            reset: StateReset {
                null: Seed::default(),
                clear_count: 0,
                restart_count: 0,
                context_counter: 0,
                object_context: 0,
                audit_digest: Vec::new(),
                pcr_counter: 0,
                commits: Default::default(),
            }
            .into(),
            pcrs: Pcrs::new(global.pcr_allocated),
            objects: Default::default(),
            sessions: (0..MAX_ACTIVE_SESSIONS)
                .map(|_| SessionSlot::Free)
                .collect::<Vec<_>>()
                .into(),
            exclusive: 0,
            clock: Clock::new(now_ms),
            event: None,
            self_tested: false,
            healing: Default::default(),
        }
    }
}
