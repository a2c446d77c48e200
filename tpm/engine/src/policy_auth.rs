//! The policy assertions that an authority makes (Part 3, sections 23.3 to 23.5, 23.16).

use alloc::vec::Vec;

use crate::Tpm;
use crate::call::{Call, Env};
use crate::codec::{Put, built};
use crate::constants::{nv, rh, st};
use crate::crypto;
use crate::rc::{Rc, Result};
use crate::secret::same;
use crate::session::BoundHash;
use crate::signature::Signature;
use crate::structures::{MAX_DIGEST, MAX_NAME, Ticket};

/// The command codes of PolicySigned and PolicySecret.
const SIGNED: u32 = 0x160;
const SECRET: u32 = 0x151;

/// The common parameters of PolicySigned and PolicySecret.
struct Assertion {
    nonce: Vec<u8>,
    cp_hash: Vec<u8>,
    policy_ref: Vec<u8>,
    expiration: i32,
}

fn parse(call: &mut Call) -> Result<Assertion> {
    Ok(Assertion {
        nonce: call.sized(MAX_DIGEST)?,
        cp_hash: call.sized(MAX_DIGEST)?,
        policy_ref: call.sized(MAX_DIGEST)?,
        expiration: call.read(|r| r.u32())? as i32,
    })
}

impl Tpm {
    /// Checks an assertion against the session, and returns its timeout in TPM time.
    fn check_assertion(&mut self, call: &Call, assertion: &Assertion) -> Result<Option<u64>> {
        let now = self.v.clock.time;
        let session = self.policy_session(call, 1)?;
        if session.is_trial() {
            return Ok(None);
        }
        if !assertion.nonce.is_empty() && assertion.nonce != session.nonce {
            return Err(Rc::NONCE.param(1));
        }
        // Without a nonce, expiration is an absolute time in seconds, to which the milliseconds of
        // the current time are added.
        let from = if assertion.nonce.is_empty() { now % 1000 } else { session.start };
        let seconds = u64::from(assertion.expiration.unsigned_abs());
        let timeout = (seconds != 0).then(|| from.saturating_add(seconds * 1000));
        if timeout.is_some_and(|timeout| timeout < now) {
            return Err(Rc::EXPIRED.param(4));
        }
        let length = assertion.cp_hash.len();
        if length != 0 && length != crypto::digest_size(session.alg) {
            return Err(Rc::SIZE.param(2));
        }
        session.check_parameters(&assertion.cp_hash)?;
        Ok(timeout)
    }

    /// Records an assertion in the session.
    fn assert(
        &mut self,
        (handle, code): (u32, u32),
        name: &[u8],
        (cp_hash, policy_ref): (&[u8], &[u8]),
        timeout: Option<u64>,
    ) -> Result<()> {
        let session = self.session_mut(handle).ok_or(Rc::HANDLE)?;
        session.update(code, name, policy_ref);
        if !cp_hash.is_empty() {
            let bound = BoundHash::Parameters(cp_hash.into());
            if session.is_trial() {
                session.policy.hash = bound;
            } else {
                session.bind_hash(bound)?;
            }
        }
        if let Some(timeout) = timeout {
            let earlier = session.policy.timeout.unwrap_or(u64::MAX);
            session.policy.timeout = Some(earlier.min(timeout));
        }
        Ok(())
    }

    /// The HMAC of a ticket, which is valid until TPM time restarts.
    fn auth_ticket(
        &self,
        (tag, hierarchy): (u16, u32),
        timeout: u64,
        (cp_hash, policy_ref): (&[u8], &[u8]),
        name: &[u8],
    ) -> Vec<u8> {
        let era = built(|out| {
            out.put_u64(timeout).put_u64(self.store.global().total_reset_count);
            out.put_u32(self.v.reset.restart_count);
            out.put_u16(cp_hash.len() as u16).put_u16(policy_ref.len() as u16);
        });
        self.ticket_hmac(hierarchy, tag, &[&era, cp_hash, policy_ref, name])
    }

    /// Writes timeout and ticket to the response; they are empty unless expiration is negative.
    fn put_ticket(
        &self,
        call: &mut Call,
        (tag, hierarchy): (u16, u32),
        assertion: &Assertion,
        timeout: Option<u64>,
        name: &[u8],
    ) {
        let Some(timeout) = timeout.filter(|_| assertion.expiration < 0) else {
            call.out.put_u16(0);
            Ticket::null(tag).put(&mut call.out);
            return;
        };
        let parts = (&assertion.cp_hash[..], &assertion.policy_ref[..]);
        let digest = self.auth_ticket((tag, hierarchy), timeout, parts, name);
        call.out.put_sized(&timeout.to_be_bytes());
        Ticket { tag, hierarchy, digest }.put(&mut call.out);
    }
}

impl crate::session::Session {
    /// Checks that a cpHash does not contradict an earlier one.
    fn check_parameters(&self, cp_hash: &[u8]) -> Result<()> {
        let fits = cp_hash.is_empty()
            || match &self.policy.hash {
                BoundHash::None => true,
                BoundHash::Parameters(earlier) => earlier == cp_hash,
                _ => false,
            };
        if fits { Ok(()) } else { Err(Rc::CPHASH) }
    }
}

/// TPM2_PolicySigned.
pub(crate) fn signed(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let assertion = parse(call)?;
    let signature = call.read(Signature::parse)?;
    call.end()?;
    let key = tpm.object(call.handle(0)).map_err(|rc| rc.handle(1))?;
    let timeout = tpm.check_assertion(call, &assertion)?;
    let handle = call.handle(1);
    if !tpm.policy_session(call, 1)?.is_trial() {
        let digest = crypto::hash(
            signature.hash,
            &[
                &assertion.nonce,
                &assertion.expiration.to_be_bytes(),
                &assertion.cp_hash,
                &assertion.policy_ref,
            ],
        );
        signature.verify(&key, &digest).map_err(|rc| rc.param(5))?;
    }
    let hashes = (&assertion.cp_hash[..], &assertion.policy_ref[..]);
    tpm.assert((handle, call.code), &key.name, hashes, timeout)?;
    tpm.put_ticket(call, (st::AUTH_SIGNED, key.hierarchy), &assertion, timeout, &key.name);
    Ok(())
}

/// TPM2_PolicySecret.
pub(crate) fn secret(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let assertion = parse(call)?;
    call.end()?;
    let entity = call.handle(0);
    let timeout = tpm.check_assertion(call, &assertion)?;
    let name = tpm.name_of(entity);
    let hashes = (&assertion.cp_hash[..], &assertion.policy_ref[..]);
    tpm.assert((call.handle(1), call.code), &name, hashes, timeout)?;
    let hierarchy = tpm.hierarchy_of(entity);
    // Using the ticket would not count as a use of the PIN (Part 3, section 23.2.5).
    let counts = tpm.store.index(entity).is_some_and(|index| index.kind() == nv::PIN_PASS);
    let timeout = timeout.filter(|_| !counts);
    tpm.put_ticket(call, (st::AUTH_SECRET, hierarchy), &assertion, timeout, &name);
    Ok(())
}

impl Tpm {
    /// The hierarchy that an entity belongs to.
    fn hierarchy_of(&self, handle: u32) -> u32 {
        match rh::kind(handle) {
            rh::HT_TRANSIENT | rh::HT_PERSISTENT => {
                self.object(handle).map_or(rh::NULL, |object| object.hierarchy)
            }
            rh::HT_NV => match self.store.index(handle) {
                Some(index) if index.is(nv::PLATFORM_CREATE) => rh::PLATFORM,
                _ => rh::OWNER,
            },
            rh::HT_PERMANENT if matches!(handle, rh::PLATFORM | rh::ENDORSEMENT | rh::NULL) => {
                handle
            }
            rh::HT_PERMANENT => rh::OWNER,
            _ => rh::NULL,
        }
    }
}

/// TPM2_PolicyTicket.
pub(crate) fn ticket(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let timeout = call.sized(8)?;
    let cp_hash = call.sized(MAX_DIGEST)?;
    let policy_ref = call.sized(MAX_DIGEST)?;
    let name = call.sized(MAX_NAME)?;
    let ticket = call.read(|r| Ticket::parse(r, &[st::AUTH_SIGNED, st::AUTH_SECRET]))?;
    call.end()?;
    let now = tpm.v.clock.time;
    let session = tpm.policy_session(call, 0)?;
    if session.is_trial() {
        return Err(Rc::ATTRIBUTES.handle(1));
    }
    let timeout: [u8; 8] = timeout.try_into().map_err(|_| Rc::SIZE.param(1))?;
    let timeout = u64::from_be_bytes(timeout);
    if !cp_hash.is_empty() && cp_hash.len() != crypto::digest_size(session.alg) {
        return Err(Rc::SIZE.param(2));
    }
    session.check_parameters(&cp_hash)?;
    let hashes = (&cp_hash[..], &policy_ref[..]);
    let expected = tpm.auth_ticket((ticket.tag, ticket.hierarchy), timeout, hashes, &name);
    if !same(&expected, &ticket.digest) {
        return Err(Rc::TICKET.param(5));
    }
    if timeout < now {
        return Err(Rc::EXPIRED.param(1));
    }
    let code = if ticket.tag == st::AUTH_SIGNED { SIGNED } else { SECRET };
    tpm.assert((call.handle(0), code), &name, hashes, Some(timeout))
}

/// TPM2_PolicyAuthorize.
pub(crate) fn authorize(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let approved = call.sized(MAX_DIGEST)?;
    let policy_ref = call.sized(MAX_DIGEST)?;
    let key = call.sized(MAX_NAME)?;
    let ticket = call.read(|r| Ticket::parse(r, &[st::VERIFIED]))?;
    call.end()?;
    let alg = match key.get(..2) {
        Some(&[high, low]) => u16::from_be_bytes([high, low]),
        _ => return Err(Rc::HASH.param(3)),
    };
    if !crate::structures::is_hash(alg) {
        return Err(Rc::HASH.param(3));
    }
    if key.len() != 2 + crypto::digest_size(alg) {
        return Err(Rc::SIZE.param(3));
    }
    let digest = crypto::hash(alg, &[&approved, &policy_ref]);
    let expected = tpm.ticket_hmac(ticket.hierarchy, st::VERIFIED, &[&digest, &key]);
    let session = tpm.policy_session(call, 0)?;
    if !session.is_trial() {
        if session.policy.digest != approved {
            return Err(Rc::VALUE.param(1));
        }
        if !same(&expected, &ticket.digest) {
            return Err(Rc::VALUE.param(4));
        }
    }
    session.zero();
    session.update(call.code, &key, &policy_ref);
    Ok(())
}
