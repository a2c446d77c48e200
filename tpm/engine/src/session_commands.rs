//! The commands on sessions (Part 3, section 11).

use alloc::boxed::Box;
use alloc::vec;

use crate::Tpm;
use crate::call::{Call, Env};
use crate::codec::Put;
use crate::constants::{MAX_ACTIVE_SESSIONS, MAX_LOADED_SESSIONS, alg, attr, nv, rh};
use crate::crypto;
use crate::rc::{Rc, Result};
use crate::secret::Secret;
use crate::session::{PolicyState, Session, SessionKind, SessionSlot, binding, slot_of};
use crate::structures::{MAX_DIGEST, MAX_RSA, Symmetric, hash};

impl Tpm {
    pub(crate) fn session(&self, handle: u32) -> Option<&Session> {
        match self.v.sessions.get(slot_of(handle)) {
            Some(SessionSlot::Loaded(session)) if session.base() >> 24 == handle >> 24 => {
                Some(session)
            }
            _ => None,
        }
    }

    pub(crate) fn session_mut(&mut self, handle: u32) -> Option<&mut Session> {
        match self.v.sessions.get_mut(slot_of(handle)) {
            Some(SessionSlot::Loaded(session)) if session.base() >> 24 == handle >> 24 => {
                Some(session)
            }
            _ => None,
        }
    }

    pub(crate) fn loaded_sessions(&self) -> usize {
        self.v.sessions.iter().filter(|slot| matches!(slot, SessionSlot::Loaded(_))).count()
    }

    pub(crate) fn active_sessions(&self) -> usize {
        self.v.sessions.iter().filter(|slot| !matches!(slot, SessionSlot::Free)).count()
    }

    /// Checks that there is memory for one more session.
    pub(crate) fn check_session_memory(&self) -> Result<()> {
        if self.loaded_sessions() < MAX_LOADED_SESSIONS { Ok(()) } else { Err(Rc::SESSION_MEMORY) }
    }

    pub(crate) fn flush_session(&mut self, handle: u32) {
        if let Some(slot) = self.v.sessions.get_mut(slot_of(handle)) {
            *slot = SessionSlot::Free;
        }
        if self.v.exclusive == handle {
            self.v.exclusive = 0;
        }
    }
}

/// Checks the cipher mode: parameter encryption uses CFB only.
fn check_mode(symmetric: Symmetric) -> Result<()> {
    let fits = symmetric.alg != alg::AES || symmetric.mode == alg::CFB;
    if fits { Ok(()) } else { Err(Rc::MODE.param(4)) }
}

/// TPM2_StartAuthSession.
pub(crate) fn start(tpm: &mut Tpm, env: Env<'_>, call: &mut Call) -> Result<()> {
    let caller = call.sized(MAX_DIGEST)?;
    let secret = call.sized(MAX_RSA)?;
    let kind = call.read(|r| match r.u8()? {
        0 => Ok(SessionKind::Hmac),
        1 => Ok(SessionKind::Policy),
        3 => Ok(SessionKind::Trial),
        _ => Err(Rc::VALUE),
    })?;
    let symmetric = call.read(Symmetric::session)?;
    let hash_alg = call.read(hash)?;
    call.end()?;
    let (key_handle, bind) = (call.handle(0), call.handle(1));
    let size = crypto::digest_size(hash_alg);
    if caller.len() < 16 || caller.len() > size {
        return Err(Rc::SIZE.param(1));
    }
    let salt = if key_handle == rh::NULL {
        if !secret.is_empty() {
            return Err(Rc::VALUE.param(2));
        }
        Secret::default()
    } else {
        tpm.salt(&mut *env, key_handle, &secret, hash_alg)?
    };
    if !tpm.can_bind(bind) {
        return Err(Rc::HANDLE.handle(2));
    }
    check_mode(symmetric)?;
    tpm.check_session_memory()?;
    let slot = tpm
        .v
        .sessions
        .iter()
        .position(|slot| matches!(slot, SessionSlot::Free))
        .ok_or(Rc::SESSION_HANDLES)?;
    debug_assert!(slot < MAX_ACTIVE_SESSIONS);
    // nonceTPM is as long as nonceCaller (Part 1, section 19.6.3).
    let mut nonce = vec![0; caller.len()];
    tpm.random(env, &mut nonce)?;
    let bound = if bind == rh::NULL { Secret::default() } else { tpm.auth_value(bind) };
    let key = [&bound[..], &salt[..]].concat();
    let session = Session {
        kind,
        alg: hash_alg,
        symmetric,
        // There is no session key if both handles are NULL; an empty authorization value of `bind`
        // still gives one (Part 1, section 19.6.8).
        key: if key_handle == rh::NULL && bind == rh::NULL {
            Secret::default()
        } else {
            crypto::kdfa(hash_alg, &key, "ATH", &nonce, &caller, size)
        },
        nonce,
        bound: (bind != rh::NULL).then(|| binding(&tpm.name_of(bind), &bound)),
        bound_protected: bind != rh::NULL && tpm.is_protected(bind),
        bound_lockout: bind == rh::LOCKOUT,
        audit: None,
        policy: PolicyState { digest: vec![0; size], ..PolicyState::default() },
        start: tpm.v.clock.time,
    };
    drop(Secret::from(key));
    let handle = session.handle(slot);
    call.out.put_sized(&session.nonce);
    if let Some(place) = tpm.v.sessions.get_mut(slot) {
        *place = SessionSlot::Loaded(Box::new(session));
    }
    call.out_handle = Some(handle);
    Ok(())
}

impl Tpm {
    /// Whether a session can be bound to a handle. The uses of a PIN index are counted, and a bound
    /// session would bypass that.
    fn can_bind(&self, handle: u32) -> bool {
        match rh::kind(handle) {
            rh::HT_TRANSIENT | rh::HT_PERSISTENT => self
                .object(handle)
                .is_ok_and(|o| o.sensitive.is_some() && o.public.name_alg != alg::NULL),
            rh::HT_NV => self
                .store
                .index(handle)
                .is_some_and(|index| !matches!(index.kind(), nv::PIN_PASS | nv::PIN_FAIL)),
            _ => true,
        }
    }

    /// Decrypts the salt of StartAuthSession with the key in `handle`.
    fn salt(&mut self, env: Env<'_>, handle: u32, secret: &[u8], hash_alg: u16) -> Result<Secret> {
        let key = self.object(handle).map_err(|_| Rc::KEY.handle(1))?;
        if !matches!(key.public.kind(), alg::RSA | alg::ECC) {
            return Err(Rc::KEY.handle(1));
        }
        if secret.is_empty() {
            return Err(Rc::VALUE.param(2));
        }
        if key.sensitive.is_none() {
            return Err(Rc::HANDLE.handle(1));
        }
        if !key.public.is(attr::DECRYPT) {
            return Err(Rc::ATTRIBUTES.handle(1));
        }
        // A lack of entropy is not the caller's fault.
        let salt = crate::secret_share::decrypt(self, env, &key, "SECRET", secret)
            .map_err(|rc| if rc == Rc::FAILURE { rc } else { Rc::VALUE.param(2) })?;
        if salt.len() > crypto::digest_size(key.public.name_alg).max(crypto::digest_size(hash_alg))
        {
            return Err(Rc::VALUE.param(2));
        }
        Ok(salt)
    }
}

/// TPM2_PolicyRestart.
pub(crate) fn policy_restart(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let time = tpm.v.clock.time;
    let session = tpm.session_mut(call.handle(0)).ok_or(Rc::HANDLE.handle(1))?;
    let digest = vec![0; crypto::digest_size(session.alg)];
    session.policy = PolicyState { digest, ..PolicyState::default() };
    session.start = time;
    Ok(())
}
