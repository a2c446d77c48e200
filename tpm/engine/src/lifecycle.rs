//! Creates a TPM: by manufacture, from records, or from saved state.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::constants::{BANKS, alg, cc};
use crate::pcr::ALL;
use crate::running::Running;
use crate::secret::Secret;
use crate::state::{Global, Lockout, Orderly, Policy, Seed, Volatile};
use crate::store::{Opening, Store};
use crate::{Environment, OpenError, Tpm};

// The entry points are not inlined: this crate is compiled for size, its callers for speed.

/// Version of [`Saved`].
pub const SAVED_VERSION: u32 = 3;

/// The complete state of a TPM, with an unfinished command, for a live update. It is secret.
#[derive(Clone, Serialize, Deserialize)]
pub struct Saved {
    version: u32,
    store: Store,
    volatile: Box<Volatile>,
    running: Option<Box<Running>>,
}

impl core::fmt::Debug for Saved {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Saved(version {})", self.version)
    }
}

fn secret(env: &mut dyn Environment) -> Result<Secret, OpenError> {
    let mut bytes = vec![0; 64];
    if env.entropy(&mut bytes) { Ok(bytes.into()) } else { Err(OpenError::Entropy) }
}

fn seed(env: &mut dyn Environment) -> Result<Seed, OpenError> {
    Ok(Seed { seed: secret(env)?, proof: secret(env)? })
}

impl Tpm {
    /// A new TPM with fresh seeds; its first state is stored before it is returned.
    ///
    /// # Errors
    /// [`OpenError::Entropy`], [`OpenError::Commit`].
    #[inline(never)]
    pub fn manufacture(env: &mut dyn Environment) -> Result<Self, OpenError> {
        let mut unique = [0; 8];
        if !env.entropy(&mut unique) {
            return Err(OpenError::Entropy);
        }
        let global = Global {
            platform: seed(env)?,
            owner: seed(env)?,
            endorsement: seed(env)?,
            owner_auth: Secret::default(),
            endorsement_auth: Secret::default(),
            lockout_auth: Secret::default(),
            owner_policy: Policy::default(),
            endorsement_policy: Policy::default(),
            lockout_policy: Policy::default(),
            disable_clear: false,
            lockout: Lockout::default(),
            total_reset_count: 0,
            reset_count: 0,
            pcr_allocated: [ALL; BANKS.len()],
            pcr_policy: Policy::default(),
            audited: Vec::from([cc::SET_AUDIT_STATUS]),
            audit_alg: alg::SHA256,
            audit_counter: 0,
            pp_commands: Vec::from([cc::PP_COMMANDS]),
            max_counter: 0,
            orderly: Orderly::Clear,
            preserved: None,
            clock: 0,
            clock_safe: true,
            unique,
        };
        let mut tpm = Self::with(Store::new(global), env);
        tpm.store.global_mut();
        let commit = |_| OpenError::Commit(crate::CommitError::Unavailable);
        tpm.store.commit(env).map_err(commit)?;
        Ok(tpm)
    }

    /// The TPM with these records, by key, as after power-on.
    ///
    /// # Errors
    /// The fault in the records.
    pub fn open<'a>(
        records: impl IntoIterator<Item = (u32, &'a [u8])>,
        env: &mut dyn Environment,
    ) -> Result<Self, OpenError> {
        let mut opening = Opening::default();
        for (key, bytes) in records {
            opening.read(key, bytes)?;
        }
        Ok(Self::with(opening.finish()?, env))
    }

    #[inline(never)]
    fn with(store: Store, env: &mut dyn Environment) -> Self {
        let v = Box::new(Volatile::new(env.now_ms(), store.global()));
        Self { store, v, random: None, running: None }
    }

    /// _TPM_Init: the platform was reset, so volatile state is lost.
    #[inline(never)]
    pub fn init(&mut self, env: &mut dyn Environment) {
        self.running = None;
        self.store.roll_back();
        *self.v = Volatile::new(env.now_ms(), self.store.global());
    }

    /// The complete state.
    #[inline(never)]
    pub fn save(&self) -> Saved {
        Saved {
            version: SAVED_VERSION,
            store: self.store.clone(),
            volatile: self.v.clone(),
            running: self.running.clone(),
        }
    }

    /// Continues from a saved state, with the environment's time base.
    ///
    /// # Errors
    /// [`OpenError::Version`].
    #[inline(never)]
    pub fn restore(saved: Saved, env: &mut dyn Environment) -> Result<Self, OpenError> {
        if saved.version != SAVED_VERSION {
            return Err(OpenError::Version(saved.version));
        }
        let Saved { store, volatile: mut v, running, .. } = saved;
        v.clock.rebase(env.now_ms());
        Ok(Self { store, v, random: None, running })
    }
}
