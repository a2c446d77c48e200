//! Builds responses with their authorizations (Part 1, sections 18.9, 19.6, 32).

use alloc::vec;
use alloc::vec::Vec;

use crate::authorization::cp_hash;
use crate::call::{Call, Command};
use crate::codec::{Put, built};
use crate::constants::{cc, rh, sa, st};
use crate::crypto::{self, Way};
use crate::rc::{Rc, Result};
use crate::table::flag;
use crate::{Environment, MAX_RESPONSE, Tpm};

/// TPM_CC_NV_UndefineSpaceSpecial: its index is gone when the response is authenticated.
const UNDEFINE_SPECIAL: u32 = 0x11f;

/// Initial capacity of a response in bytes.
pub(crate) const USUAL_RESPONSE: usize = 128;

/// A response with nothing but a response code.
pub(crate) fn error(rc: Rc) -> Vec<u8> {
    let tag = if rc == Rc::BAD_TAG { st::RSP_COMMAND } else { st::NO_SESSIONS };
    built(|out| {
        out.put_u16(tag).put_u32(10).put_u32(rc.0);
    })
}

impl Tpm {
    /// Computes cpHash for the audits.
    pub(crate) fn note_audit(&self, call: &mut Call) {
        let session = call.sessions.iter().find(|s| s.has(sa::AUDIT));
        let by_session = session.map(|s| cp_hash(self, call, self.alg_of(s)));
        let global = self.store.global();
        let audited = global.audited.binary_search(&call.code).is_ok();
        let by_command = audited.then(|| cp_hash(self, call, global.audit_alg));
        call.audit = [by_session, by_command];
    }

    /// Extends the command audit digest (Part 1, Command Audit). rpHash covers the parameters as
    /// they are sent (section 16.8).
    fn audit_command(&mut self, call: &mut Call) {
        let [_, Some(cp_hash)] = &mut call.audit else { return };
        let mut cp_hash = core::mem::take(cp_hash);
        let alg = self.store.global().audit_alg;
        if call.code == cc::SET_AUDIT_STATUS {
            // This command may have changed the algorithm; its parameters are never encrypted.
            cp_hash = self::cp_hash(self, call, alg);
        }
        if self.store.global().audited.binary_search(&call.code).is_err() {
            return;
        }
        let rp = rp_hash(alg, call.code, &call.out);
        if self.v.reset.audit_digest.is_empty() {
            self.store.global_mut().audit_counter += 1;
        }
        let mut old = core::mem::take(&mut self.v.reset.audit_digest);
        old.resize(crypto::digest_size(alg), 0);
        self.v.reset.audit_digest = crypto::hash(alg, &[&old, &cp_hash, &rp]);
    }

    /// Extends the audit digest of a session (Part 1, Audit Session).
    fn audit_session(&mut self, call: &Call) {
        let auditing = call.sessions.iter().find(|s| s.has(sa::AUDIT));
        if let (Some(auth), [Some(cp_hash), _]) = (auditing, &call.audit) {
            let (handle, reset) = (auth.handle, auth.has(sa::AUDIT_RESET));
            let Some(session) = self.session_mut(handle) else { return };
            let fresh = session.audit.is_none() || reset;
            let size = crypto::digest_size(session.alg);
            let old = session.audit.take().filter(|_| !fresh).unwrap_or_else(|| vec![0; size]);
            let rp = rp_hash(session.alg, call.code, &call.out);
            session.audit = Some(crypto::hash(session.alg, &[&old, cp_hash, &rp]));
            session.bound = None;
            if fresh {
                self.v.exclusive = handle;
            } else if self.v.exclusive != handle {
                self.v.exclusive = 0;
            }
        } else {
            self.v.exclusive = 0;
        }
    }

    /// Builds the response and rolls the sessions' nonces.
    pub(crate) fn respond(
        &mut self,
        command: &Command,
        call: &mut Call,
        env: &mut dyn Environment,
    ) -> Result<Vec<u8>> {
        let handle = call.out_handle.filter(|_| command.is(flag::HANDLE));
        if call.sessions.is_empty() {
            self.audit_command(call);
            if !command.is(flag::PASSIVE) {
                self.v.exclusive = 0;
            }
            let mut out = header(st::NO_SESSIONS, handle);
            out.put(&call.out);
            return finish(out);
        }
        self.roll_nonces(call, env)?;
        self.encrypt_parameter(call)?;
        self.audit_command(call);
        self.audit_session(call);
        let mut out = header(st::SESSIONS, handle);
        out.put_u32(call.out.len() as u32).put(&call.out);
        self.put_sessions(call, &mut out);
        finish(out)
    }

    fn roll_nonces(&mut self, call: &Call, env: &mut dyn Environment) -> Result<()> {
        for auth in &call.sessions {
            let Some(size) = self.session(auth.handle).map(|s| s.nonce.len()) else { continue };
            let nonce = self.random_bytes(&mut *env, size)?;
            if let Some(session) = self.session_mut(auth.handle) {
                session.nonce = nonce.to_vec();
            }
        }
        Ok(())
    }

    fn encrypt_parameter(&self, call: &mut Call) -> Result<()> {
        let Some(auth) = call.sessions.iter().find(|s| s.has(sa::ENCRYPT)) else { return Ok(()) };
        let Some(session) = self.session(auth.handle) else { return Ok(()) };
        let key = self.parameter_key(auth, auth.entity);
        let Some((size, rest)) = call.out.split_first_chunk_mut::<2>() else { return Ok(()) };
        let size = usize::from(u16::from_be_bytes(*size));
        let data = rest.get_mut(..size).ok_or(Rc::FAILURE)?;
        let nonces = (&session.nonce[..], &auth.nonce[..]);
        crypto::parameter(session.alg, session.symmetric, &key, nonces, data, Way::Encrypt)
    }

    fn put_sessions(&mut self, call: &Call, out: &mut Vec<u8>) {
        for auth in &call.sessions {
            if auth.handle == rh::PW {
                out.put_u16(0).put_u8(auth.attributes | sa::CONTINUE).put_u16(0);
                continue;
            }
            let Some(session) = self.session(auth.handle) else {
                // The command has flushed the session.
                out.put_u16(0).put_u8(auth.attributes & !sa::CONTINUE).put_u16(0);
                continue;
            };
            let exclusive = auth.has(sa::AUDIT) && self.v.exclusive == auth.handle;
            let mut attributes = auth.attributes & !sa::AUDIT_EXCLUSIVE;
            if exclusive {
                attributes |= sa::AUDIT_EXCLUSIVE;
            }
            let rp = rp_hash(session.alg, call.code, &call.out);
            let entity = auth.entity.filter(|_| call.code != UNDEFINE_SPECIAL);
            let hmac = self.response_hmac(auth, attributes, &rp, entity);
            out.put_sized(&session.nonce).put_u8(attributes).put_sized(&hmac);
            if auth.has(sa::CONTINUE) {
                self.reset_policy(auth.handle);
            } else {
                self.flush_session(auth.handle);
            }
        }
    }

    /// Resets a policy after the command that it authorized (Part 1, section 19.7.9).
    fn reset_policy(&mut self, handle: u32) {
        let time = self.v.clock.time;
        if let Some(session) = self.session_mut(handle)
            && session.kind == crate::session::SessionKind::Policy
        {
            let digest = vec![0; crypto::digest_size(session.alg)];
            session.policy = crate::session::PolicyState { digest, ..Default::default() };
            session.start = time;
        }
    }
}

fn rp_hash(alg: u16, code: u32, out: &[u8]) -> Vec<u8> {
    crypto::hash(alg, &[&0u32.to_be_bytes(), &code.to_be_bytes(), out])
}

/// A response header whose size is not set yet.
fn header(tag: u16, handle: Option<u32>) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_RESPONSE);
    out.put_u16(tag).put_u32(0).put_u32(0);
    if let Some(handle) = handle {
        out.put_u32(handle);
    }
    out
}

/// Sets the size of a response.
fn finish(mut out: Vec<u8>) -> Result<Vec<u8>> {
    if out.len() > MAX_RESPONSE {
        return Err(Rc::FAILURE);
    }
    let size = (out.len() as u32).to_be_bytes();
    if let Some(place) = out.get_mut(2..6) {
        place.copy_from_slice(&size);
    }
    Ok(out)
}
