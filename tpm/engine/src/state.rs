//! The state of a TPM, grouped by lifetime.

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

/// An authorization policy: an algorithm with a digest; NULL if there is none.
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

/// A hierarchy's primary seed and its proof.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seed {
    pub(crate) seed: Secret,
    pub(crate) proof: Secret,
}

/// The last shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Orderly {
    /// There was none, or it was undone.
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
    /// Seconds after which the failure count is decremented.
    pub(crate) recovery_time: u32,
    /// Seconds after a lockoutAuth failure until it may be used again; 0: at the next Startup.
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

/// The state in NV, apart from indices and persistent objects.
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
    /// The allocated PCRs of each bank from the next reset on.
    pub(crate) pcr_allocated: [u32; BANKS.len()],
    pub(crate) pcr_policy: Policy,
    /// The codes of audited commands, sorted.
    pub(crate) audited: Vec<u32>,
    pub(crate) audit_alg: u16,
    pub(crate) audit_counter: u64,
    /// The codes of commands that need physical presence, sorted.
    pub(crate) pp_commands: Vec<u32>,
    /// The highest count of any deleted NV counter.
    pub(crate) max_counter: u64,
    pub(crate) orderly: Orderly,
    /// The state that Shutdown(STATE) preserved.
    pub(crate) preserved: Option<Box<Preserved>>,
    /// The last recorded clock, in milliseconds.
    pub(crate) clock: u64,
    /// The Safe flag of that clock.
    pub(crate) clock_safe: bool,
    /// A unique number of this TPM; it is not secret.
    pub(crate) unique: [u8; 8],
}

/// The state that Startup(CLEAR) resets (Part 3, section 9.3).
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

/// The state that lives until the next TPM Reset.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StateReset {
    pub(crate) null: Seed,
    pub(crate) clear_count: u32,
    pub(crate) restart_count: u32,
    pub(crate) context_counter: u64,
    pub(crate) object_context: u64,
    pub(crate) audit_digest: Vec<u8>,
    pub(crate) pcr_counter: u32,
    /// The ephemeral keys of Commit.
    pub(crate) commits: Commits,
}

/// The most ephemeral keys that can be outstanding.
const OUTSTANDING: u64 = 256;

/// The counter of ephemeral keys, and a bit for each key that is still outstanding.
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

/// The times from which the counters recover, in milliseconds since power-on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Healing {
    /// Start of the current recovery period.
    pub(crate) tries_since: u64,
    /// Time of the last lockoutAuth failure.
    pub(crate) lockout_since: u64,
}

/// The state that Shutdown(STATE) preserves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Preserved {
    pub(crate) clear: Shared<StateClear>,
    pub(crate) reset: Shared<StateReset>,
    pub(crate) pcrs: Pcrs,
    pub(crate) sessions: Vec<SessionSlot>,
    /// Whether there was an H-CRTM event before Startup, and the locality of Startup.
    pub(crate) drtm_before_startup: bool,
    pub(crate) locality_at_startup: u8,
}

/// The state that is lost at power-off.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Volatile {
    pub(crate) started: bool,
    pub(crate) failed: bool,
    /// Whether there was an H-CRTM event before Startup, and the locality of Startup: both are
    /// recorded in PCR 0.
    pub(crate) drtm_before_startup: bool,
    pub(crate) locality_at_startup: u8,
    pub(crate) clear: Shared<StateClear>,
    pub(crate) reset: Shared<StateReset>,
    pub(crate) pcrs: Pcrs,
    pub(crate) objects: Shared<[Option<Slot>; MAX_LOADED_OBJECTS]>,
    pub(crate) sessions: Shared<Vec<SessionSlot>>,
    /// The handle of the exclusive audit session; 0 if there is none.
    pub(crate) exclusive: u32,
    pub(crate) clock: Clock,
    /// The hash sequence of a running H-CRTM or D-RTM event.
    pub(crate) event: Option<Arc<Sequence>>,
    pub(crate) self_tested: bool,
    /// The recovery of the lockout counters.
    pub(crate) healing: Healing,
}

impl Volatile {
    /// The state before Startup.
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
