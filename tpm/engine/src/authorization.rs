//! Authorizes a command by its sessions (Part 1, section 19; Part 3, sections 5.5 to 5.8).

use alloc::vec::Vec;

use crate::Tpm;
use crate::call::{Authorization, Call, Command, Env};
use crate::codec::Reader;
use crate::constants::{alg, rh, sa};
use crate::crypto::{self, Way};
use crate::entity::is_set;
use crate::rc::{Rc, Result};
use crate::secret::{Secret, same};
use crate::session::{BoundHash, Session, SessionKind, binding};
use crate::structures::MAX_DIGEST;
use crate::table::{Role, flag, is_any_session};

/// Reads one entry of the authorization area.
fn entry(r: &mut Reader<'_>) -> Result<Authorization> {
    let handle = r.u32()?;
    if handle != rh::PW && !is_any_session(handle) {
        return Err(Rc::VALUE);
    }
    let nonce = r.sized(MAX_DIGEST)?;
    let attributes = r.u8()?;
    if attributes & sa::RESERVED != 0 {
        return Err(Rc::RESERVED_BITS);
    }
    Ok(Authorization { handle, nonce, attributes, hmac: r.sized(MAX_DIGEST)?.into(), entity: None })
}

/// Reads the authorization area of a command.
pub(crate) fn parse(
    tpm: &Tpm,
    area: &[u8],
    command: &Command,
    handles: &[u32],
) -> Result<Vec<Authorization>> {
    let mut reader = Reader::new(area);
    let mut sessions: Vec<Authorization> = Vec::new();
    while !reader.is_empty() {
        let number = sessions.len() + 1;
        if number > 3 {
            return Err(Rc::SIZE);
        }
        let mut parsed = entry(&mut reader).map_err(|rc| rc.session(number))?;
        parsed.entity =
            (number <= command.auths.len()).then(|| handles.get(number - 1)).flatten().copied();
        check_form(tpm, command, &sessions, &parsed, number)?;
        sessions.push(parsed);
    }
    if sessions.len() < command.auths.len() {
        return Err(Rc::AUTH_MISSING);
    }
    Ok(sessions)
}

/// Makes the checks that do not depend on the authorized entity.
fn check_form(
    tpm: &Tpm,
    command: &Command,
    earlier: &[Authorization],
    this: &Authorization,
    number: usize,
) -> Result<()> {
    let fail = |rc: Rc| Err(rc.session(number));
    if this.handle == rh::PW {
        if this.entity.is_none() {
            return fail(Rc::HANDLE);
        }
        let audit = sa::AUDIT | sa::AUDIT_EXCLUSIVE | sa::AUDIT_RESET;
        if this.attributes & (sa::DECRYPT | sa::ENCRYPT | audit) != 0 {
            return fail(Rc::ATTRIBUTES);
        }
        return if this.nonce.is_empty() { Ok(()) } else { fail(Rc::NONCE) };
    }
    let Some(session) = tpm.session(this.handle) else {
        return Err(Rc::REFERENCE_S0.plus(number - 1));
    };
    if earlier.iter().any(|other| other.handle == this.handle) {
        return fail(Rc::HANDLE);
    }
    let twice = |bit| this.has(bit) && earlier.iter().any(|other| other.has(bit));
    let uses = this.attributes & (sa::DECRYPT | sa::ENCRYPT | sa::AUDIT);
    let audit_only = this.attributes & (sa::AUDIT_EXCLUSIVE | sa::AUDIT_RESET);
    if twice(sa::DECRYPT) || twice(sa::ENCRYPT) || twice(sa::AUDIT) {
        return fail(Rc::ATTRIBUTES);
    }
    let wrong = (this.entity.is_none() && uses == 0)
        || (this.has(sa::DECRYPT) && !command.is(flag::DECRYPT))
        || (this.has(sa::ENCRYPT) && !command.is(flag::ENCRYPT))
        || (uses & (sa::DECRYPT | sa::ENCRYPT) != 0 && session.symmetric.is_null())
        || (!this.has(sa::AUDIT) && audit_only != 0)
        || (this.has(sa::AUDIT) && session.kind != SessionKind::Hmac)
        || session.kind == SessionKind::Trial;
    if wrong { fail(Rc::ATTRIBUTES) } else { Ok(()) }
}

impl Tpm {
    /// Checks all authorizations of a command, then decrypts its first parameter.
    pub(crate) fn authorize(
        &mut self,
        env: Env<'_>,
        call: &mut Call,
        command: &Command,
    ) -> Result<()> {
        self.check_exclusive(call)?;
        for index in 0..call.sessions.len() {
            let role = command.auths.get(index).copied();
            self.check_session(&mut *env, call, command, index, role)?;
        }
        self.note_audit(call);
        self.decrypt_parameter(call)
    }

    /// Refuses an audit session that claims to be exclusive but no longer is (Part 1, Audit
    /// Session).
    fn check_exclusive(&self, call: &Call) -> Result<()> {
        let broken = call.sessions.iter().any(|s| {
            s.has(sa::AUDIT | sa::AUDIT_EXCLUSIVE)
                && self.session(s.handle).is_some_and(|session| session.audit.is_some())
                && self.v.exclusive != s.handle
        });
        if broken { Err(Rc::EXCLUSIVE) } else { Ok(()) }
    }

    fn check_session(
        &mut self,
        env: Env<'_>,
        call: &Call,
        command: &Command,
        index: usize,
        role: Option<Role>,
    ) -> Result<()> {
        let Some(auth) = call.sessions.get(index) else { return Ok(()) };
        let number = index + 1;
        let Some((entity, role)) = auth.entity.zip(role) else {
            let (protected, lockout) = self.bound_protection(auth);
            self.check_lockouts(protected, lockout)?;
            let expected = self.hmac(call, index, &cp_hash(self, call, self.alg_of(auth)), None);
            let fits = self.is_hmac_right(auth, None, expected.as_deref());
            return if fits { Ok(()) } else { self.failed(env, None, protected, lockout, number) };
        };
        let policy = rh::kind(auth.handle) == rh::HT_POLICY;
        self.check_availability(entity, role, policy)?;
        if command.is(flag::PP) && entity == rh::PLATFORM && !call.presence {
            let listed = self.store.global().pp_commands.binary_search(&call.code).is_ok();
            if listed {
                return Err(Rc::PP.session(number));
            }
        }
        if policy {
            self.check_policy(call, command, auth, role, entity, number)?;
        }
        self.check_written(entity, call.code)?;
        let by_value = !policy
            || self.session(auth.handle).is_some_and(|s| s.policy.auth_value || s.policy.password);
        let bound = self.bound_protection(auth);
        let protected = by_value && self.is_protected(entity) && entity != rh::LOCKOUT || bound.0;
        let lockout = by_value && entity == rh::LOCKOUT || bound.1;
        self.check_lockouts(protected, lockout)?;
        let fits = self.check_value(call, index, entity, policy);
        if fits && by_value {
            return self.pin_succeeded(env, entity);
        }
        if fits { Ok(()) } else { self.failed(env, Some(entity), protected, lockout, number) }
    }

    /// For an HMAC session: whether the entity that it is bound to has dictionary-attack
    /// protection, and whether that entity is TPM_RH_LOCKOUT.
    fn bound_protection(&self, auth: &Authorization) -> (bool, bool) {
        let session = self.session(auth.handle).filter(|s| s.kind == SessionKind::Hmac);
        session.map_or((false, false), |s| (s.bound_protected && !s.bound_lockout, s.bound_lockout))
    }

    /// Refuses an authorization attempt while the TPM is locked out.
    fn check_lockouts(&self, protected: bool, lockout: bool) -> Result<()> {
        if lockout {
            self.check_lockout(rh::LOCKOUT)?;
        }
        if protected { self.check_lockout(rh::NULL) } else { Ok(()) }
    }

    /// Records a failed authorization durably before it is reported.
    fn failed(
        &mut self,
        env: Env<'_>,
        entity: Option<u32>,
        protected: bool,
        lockout: bool,
        number: usize,
    ) -> Result<()> {
        let healing = self.v.healing.clone();
        if let Some(entity) = entity {
            self.pin_failed(entity);
        }
        if lockout {
            self.count_failure(rh::LOCKOUT);
        }
        if protected {
            self.count_failure(rh::NULL);
        }
        if let Err(rc) = self.store.commit(env) {
            self.v.healing = healing;
            return Err(rc);
        }
        let rc = if protected || lockout { Rc::AUTH_FAIL } else { Rc::BAD_AUTH };
        Err(rc.session(number))
    }

    /// Checks that this kind of authorization is available for the entity (Part 1, section 19.3).
    fn check_availability(&self, entity: u32, role: Role, policy: bool) -> Result<()> {
        if policy {
            let set = is_set(&self.policy_of(entity));
            return if set { Ok(()) } else { Err(Rc::AUTH_UNAVAILABLE) };
        }
        if self.needs_policy(entity, role) {
            return Err(Rc::AUTH_TYPE);
        }
        if self.is_value_available(entity, role) { Ok(()) } else { Err(Rc::AUTH_UNAVAILABLE) }
    }

    /// Whether the password or HMAC of an authorization is right.
    fn check_value(&self, call: &Call, index: usize, entity: u32, policy: bool) -> bool {
        let Some(auth) = call.sessions.get(index) else { return false };
        let by_password = auth.handle == rh::PW
            || policy && self.session(auth.handle).is_some_and(|s| s.policy.password);
        if by_password {
            let given = Secret::auth(auth.hmac.to_vec());
            return self.auth_value(entity).matches(&given);
        }
        let hash = cp_hash(self, call, self.alg_of(auth));
        let expected = self.hmac(call, index, &hash, Some(entity));
        self.is_hmac_right(auth, Some(entity), expected.as_deref())
    }

    /// Compares an HMAC; with an empty key the caller may omit it (Part 1, section 19.6.5).
    fn is_hmac_right(
        &self,
        auth: &Authorization,
        entity: Option<u32>,
        expected: Option<&[u8]>,
    ) -> bool {
        let Some((session, expected)) = self.session(auth.handle).zip(expected) else {
            return false;
        };
        let left_out = auth.hmac.is_empty() && self.hmac_key(session, entity).is_empty();
        left_out || same(expected, &auth.hmac)
    }

    /// The hash of the session of an authorization.
    pub(crate) fn alg_of(&self, auth: &Authorization) -> u16 {
        self.session(auth.handle).map_or(alg::SHA256, |session| session.alg)
    }

    /// The key of a session's HMAC.
    fn hmac_key(&self, session: &Session, entity: Option<u32>) -> Secret {
        let value = match entity {
            Some(entity) => {
                let value = self.auth_value(entity);
                let with_value = match session.kind {
                    SessionKind::Hmac => {
                        let this = binding(&self.name_of(entity), &value);
                        session.bound.as_ref().is_none_or(|bound| *bound != this)
                    }
                    _ => session.policy.auth_value,
                };
                if with_value { value } else { Secret::default() }
            }
            None => Secret::default(),
        };
        let key = [&session.key[..], &value[..]].concat();
        key.into()
    }

    /// The HMAC of a command's session (Part 1, section 19.6.5).
    fn hmac(
        &self,
        call: &Call,
        index: usize,
        cp_hash: &[u8],
        entity: Option<u32>,
    ) -> Option<Vec<u8>> {
        let auth = call.sessions.get(index)?;
        let session = self.session(auth.handle)?;
        let key = self.hmac_key(session, entity);
        let (mut decrypt, mut encrypt) = (None, None);
        if index == 0 {
            decrypt = call.sessions.iter().skip(1).find(|s| s.has(sa::DECRYPT));
            let first_decrypts = auth.has(sa::DECRYPT);
            encrypt = call.sessions.iter().skip(1).find(|s| s.has(sa::ENCRYPT));
            if encrypt.is_some_and(|s| s.has(sa::DECRYPT)) && !first_decrypts {
                encrypt = None;
            }
        }
        let nonce = |s: Option<&Authorization>| {
            s.and_then(|s| self.session(s.handle)).map(|s| &s.nonce[..]).unwrap_or_default()
        };
        let parts = [
            cp_hash,
            &auth.nonce,
            &session.nonce,
            nonce(decrypt),
            nonce(encrypt),
            &[auth.attributes],
        ];
        Some(crypto::hmac(session.alg, &key, &parts))
    }

    /// The HMAC of a response's session, after the nonces were rolled.
    pub(crate) fn response_hmac(
        &self,
        auth: &Authorization,
        attributes: u8,
        rp_hash: &[u8],
        entity: Option<u32>,
    ) -> Vec<u8> {
        let Some(session) = self.session(auth.handle) else { return Vec::new() };
        let key = self.hmac_key(session, entity);
        if session.policy.password || (key.is_empty() && auth.hmac.is_empty()) {
            return Vec::new();
        }
        crypto::hmac(session.alg, &key, &[rp_hash, &session.nonce, &auth.nonce, &[attributes]])
    }

    /// The key for parameter encryption: the session key, then the entity's authorization value.
    pub(crate) fn parameter_key(&self, auth: &Authorization, entity: Option<u32>) -> Secret {
        let value = entity.map(|entity| self.auth_value(entity)).unwrap_or_default();
        let key = self.session(auth.handle).map(|s| &s.key[..]).unwrap_or_default();
        [key, &value[..]].concat().into()
    }

    fn decrypt_parameter(&self, call: &mut Call) -> Result<()> {
        let Some(auth) = call.sessions.iter().find(|s| s.has(sa::DECRYPT)) else { return Ok(()) };
        let Some(session) = self.session(auth.handle) else { return Ok(()) };
        let key = self.parameter_key(auth, auth.entity);
        let Some((size, rest)) = call.parameters.split_first_chunk_mut::<2>() else {
            return Err(Rc::INSUFFICIENT);
        };
        let size = usize::from(u16::from_be_bytes(*size));
        let data = rest.get_mut(..size).ok_or(Rc::SIZE)?;
        let nonces = (&auth.nonce[..], &session.nonce[..]);
        crypto::parameter(session.alg, session.symmetric, &key, nonces, data, Way::Decrypt)
    }

    /// Checks the conditions that a policy session carries (Part 3, section 5.7).
    fn check_policy(
        &self,
        call: &Call,
        command: &Command,
        auth: &Authorization,
        role: Role,
        entity: u32,
        number: usize,
    ) -> Result<()> {
        let session = self.session(auth.handle).ok_or(Rc::HANDLE.session(number))?;
        let state = &session.policy;
        let fail = |rc: Rc| Err(rc.session(number));
        let policy = self.policy_of(entity);
        if policy.alg != session.alg || policy.digest != state.digest {
            return fail(Rc::POLICY_FAIL);
        }
        if state.pcr_counter.is_some_and(|counter| counter != self.v.reset.pcr_counter) {
            return Err(Rc::PCR_CHANGED);
        }
        if state.timeout.is_some_and(|timeout| timeout < self.v.clock.time) {
            return fail(Rc::EXPIRED);
        }
        match state.command {
            Some(code) if code != call.code => return fail(Rc::POLICY_CC),
            None if role != Role::User && needs_command(entity, role) => {
                return fail(Rc::POLICY_FAIL);
            }
            _ => {}
        }
        let allowed = match call.locality {
            locality @ 0..=4 => state.locality & (1 << locality) != 0 && state.locality < 32,
            locality => state.locality == locality,
        };
        if state.locality != 0 && !allowed {
            return Err(Rc::LOCALITY);
        }
        if state.presence && !call.presence {
            return Err(Rc::PP);
        }
        let index = call.handles.iter().find_map(|&handle| self.store.index(handle));
        let written = index.map(|index| index.is(crate::constants::nv::WRITTEN));
        if state.nv_written.is_some() && state.nv_written != written {
            return fail(Rc::POLICY_FAIL);
        }
        let names = command.handles.len();
        let fits = match &state.hash {
            BoundHash::None => true,
            BoundHash::Parameters(hash) => *hash == cp_hash(self, call, session.alg),
            BoundHash::Names(hash) => *hash == self.name_hash(call, session.alg, names),
            BoundHash::Template(hash) => template_hash(call, session.alg).as_ref() == Some(hash),
        };
        if fits { Ok(()) } else { fail(Rc::POLICY_FAIL) }
    }

    fn name_hash(&self, call: &Call, alg: u16, count: usize) -> Vec<u8> {
        let names: Vec<Vec<u8>> =
            call.handles.iter().take(count).map(|&handle| self.name_of(handle)).collect();
        let parts: Vec<&[u8]> = names.iter().map(|name| &name[..]).collect();
        crypto::hash(alg, &parts)
    }
}

/// Whether the policy for this role has to name the command: for DUP always, for ADMIN if the
/// entity is an object or an index.
const fn needs_command(entity: u32, role: Role) -> bool {
    matches!(role, Role::Duplicate)
        || matches!(rh::kind(entity), rh::HT_NV | rh::HT_TRANSIENT | rh::HT_PERSISTENT)
}

/// cpHash (Part 1, section 16.7), over the parameters as they were sent: possibly encrypted.
pub(crate) fn cp_hash(tpm: &Tpm, call: &Call, alg: u16) -> Vec<u8> {
    let names: Vec<Vec<u8>> =
        call.handles.iter().take(call.count).map(|&handle| tpm.name_of(handle)).collect();
    let code = call.code.to_be_bytes();
    let mut parts: Vec<&[u8]> = Vec::from([&code[..]]);
    parts.extend(names.iter().map(|name| &name[..]));
    parts.push(&call.parameters);
    crypto::hash(alg, &parts)
}

/// The hash of the template in Create, CreatePrimary or CreateLoaded: their second parameter.
fn template_hash(call: &Call, alg: u16) -> Option<Vec<u8>> {
    if !matches!(call.code, 0x131 | 0x153 | 0x191) {
        return None;
    }
    let mut reader = Reader::new(&call.parameters);
    reader.sized(usize::from(u16::MAX)).ok()?;
    let template = reader.sized(usize::from(u16::MAX)).ok()?;
    Some(crypto::hash(alg, &[&template]))
}
