//! Contexts (Part 3, section 28; Part 1, section 30).

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::Tpm;
use crate::call::{Call, Env};
use crate::codec::{Put, Reader, built};
use crate::constants::{alg, rh};
use crate::crypto::{self, Way};
use crate::object::Slot;
use crate::rc::{Rc, Result};
use crate::secret::{Secret, same};
use crate::session::{Session, SessionKind, SessionSlot, slot_of};
use crate::structures::hierarchy;
use crate::table::{Kind, is_any_session};

/// TPM2_FlushContext; its handle is a parameter.
pub(crate) fn flush(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let handle = call.read(|r| Kind::Context.parse(r))?;
    call.end()?;
    if rh::kind(handle) == rh::HT_TRANSIENT {
        if tpm.slot(handle).is_none() {
            return Err(Rc::HANDLE.param(1));
        }
        tpm.flush_object(handle);
        return Ok(());
    }
    // The number alone tells which session; the type in the handle is ignored.
    let handle = match tpm.v.sessions.get(slot_of(handle)) {
        Some(SessionSlot::Loaded(session)) => session.handle(slot_of(handle)),
        Some(SessionSlot::Saved(..)) => handle,
        _ => return Err(Rc::HANDLE.param(1)),
    };
    tpm.flush_session(handle);
    Ok(())
}

/// The content of a context.
#[derive(Serialize, Deserialize)]
enum Content {
    Slot(Slot),
    Session(Session),
}

/// TPMS_CONTEXT without its blob.
#[derive(Clone, Copy)]
struct Header {
    sequence: u64,
    handle: u32,
    hierarchy: u32,
}

impl Tpm {
    /// Derives the keys of a context from the hierarchy's proof, its number and its handle.
    fn context_keys(&self, header: Header) -> (Secret, Secret, Secret) {
        let proof = self.proof(header.hierarchy);
        let number = header.sequence.to_be_bytes();
        let handle = header.handle.to_be_bytes();
        let reset = self.store.global().total_reset_count.to_be_bytes();
        let clear = self.v.reset.clear_count.to_be_bytes();
        // The contexts of objects with stClear end with Startup(CLEAR), all others with TPM Reset.
        let extra: &[u8] = if header.handle == ST_CLEAR_HANDLE { &clear } else { &[] };
        let key = crypto::kdfa(alg::SHA256, proof, "CONTEXT", &number, &handle, 48);
        let (cipher, vector) = key.split_at_checked(32).unwrap_or_default();
        let mac = crypto::hmac(
            alg::SHA256,
            proof,
            &[b"CONTEXT INTEGRITY", &number, &handle, &reset, extra],
        );
        (Vec::from(cipher).into(), Vec::from(vector).into(), mac.into())
    }

    fn seal(&self, header: Header, content: &Content) -> Result<Vec<u8>> {
        let mut bytes = postcard::to_allocvec(content).map_err(|_| Rc::FAILURE)?;
        let (key, vector, mac) = self.context_keys(header);
        crypto::cfb(&key, &vector, &mut bytes, Way::Encrypt)?;
        let integrity = crypto::hmac(alg::SHA256, &mac, &[&bytes]);
        Ok(built(|out| {
            out.put_sized(&integrity).put(&bytes);
        }))
    }

    fn open_context(&self, header: Header, blob: &[u8]) -> Result<Content> {
        let mut reader = Reader::new(blob);
        let integrity = reader.sized(64)?;
        let (key, vector, mac) = self.context_keys(header);
        if !same(&integrity, &crypto::hmac(alg::SHA256, &mac, &[reader.rest()])) {
            return Err(Rc::INTEGRITY);
        }
        let mut bytes = Vec::from(reader.rest());
        crypto::cfb(&key, &vector, &mut bytes, Way::Decrypt)?;
        let bytes = Secret::from(bytes);
        postcard::from_bytes(&bytes).map_err(|_| Rc::INTEGRITY)
    }
}

/// savedHandle for an ordinary object, a sequence, and an object with stClear.
const ORDINARY_HANDLE: u32 = rh::TRANSIENT_FIRST;
const SEQUENCE_HANDLE: u32 = rh::TRANSIENT_FIRST + 1;
const ST_CLEAR_HANDLE: u32 = rh::TRANSIENT_FIRST + 2;

/// TPM2_ContextSave.
pub(crate) fn save(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    call.end()?;
    let handle = call.handle(0);
    let (header, content) = if rh::kind(handle) == rh::HT_TRANSIENT {
        let slot = tpm.slot(handle).ok_or(Rc::HANDLE.handle(1))?.clone();
        let saved = match &slot {
            Slot::Sequence(_) => SEQUENCE_HANDLE,
            Slot::Object(object) if object.st_clear => ST_CLEAR_HANDLE,
            Slot::Object(_) => ORDINARY_HANDLE,
        };
        let sequence = tpm.v.reset.object_context.checked_add(1).ok_or(Rc::TOO_MANY_CONTEXTS)?;
        let header = Header { sequence, handle: saved, hierarchy: slot.hierarchy() };
        (header, Content::Slot(slot))
    } else {
        let session = tpm.session(handle).ok_or(Rc::HANDLE.handle(1))?.clone();
        let sequence = tpm.v.reset.context_counter.checked_add(1).ok_or(Rc::TOO_MANY_CONTEXTS)?;
        tpm.check_gap(sequence)?;
        (Header { sequence, handle, hierarchy: rh::NULL }, Content::Session(session))
    };
    let blob = tpm.seal(header, &content)?;
    match content {
        Content::Slot(_) => tpm.v.reset.object_context = header.sequence,
        Content::Session(session) => {
            tpm.v.reset.context_counter = header.sequence;
            if let Some(place) = tpm.v.sessions.get_mut(slot_of(handle)) {
                let policy = session.kind != SessionKind::Hmac;
                *place = SessionSlot::Saved(header.sequence, policy);
            }
            if tpm.v.exclusive == handle {
                tpm.v.exclusive = 0;
            }
        }
    }
    call.out.put_u64(header.sequence).put_u32(header.handle).put_u32(header.hierarchy);
    call.out.put_sized(&blob);
    Ok(())
}

/// TPM2_ContextLoad.
pub(crate) fn load(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let (header, blob) = call.read(|r| {
        let sequence = r.u64()?;
        let handle = r.u32()?;
        // TPMI_DH_SAVED (Part 2, section 9.11).
        if !(ORDINARY_HANDLE..=ST_CLEAR_HANDLE).contains(&handle) && !is_any_session(handle) {
            return Err(Rc::VALUE);
        }
        let hierarchy = hierarchy(r)?;
        Ok((Header { sequence, handle, hierarchy }, r.sized(3500)?))
    })?;
    call.end()?;
    if blob.is_empty() {
        return Err(Rc::SIZE.param(1));
    }
    let content = tpm.open_context(header, &blob).map_err(|rc| rc.param(1))?;
    let handle = match content {
        Content::Slot(slot) => {
            if !tpm.is_enabled(header.hierarchy) {
                return Err(Rc::HIERARCHY.param(1));
            }
            tpm.add_slot(slot)?
        }
        Content::Session(session) => {
            let place = tpm.v.sessions.get(slot_of(header.handle));
            let saved =
                matches!(place, Some(SessionSlot::Saved(number, _)) if *number == header.sequence);
            if !saved {
                return Err(Rc::HANDLE.param(1));
            }
            tpm.check_session_memory()?;
            let oldest = tpm.oldest_saved();
            // When the context counter is as far ahead as it may be, only the oldest can be loaded.
            let full = oldest
                .is_some_and(|o| o != header.sequence && tpm.v.reset.context_counter - o >= GAP);
            if full {
                return Err(Rc::CONTEXT_GAP);
            }
            if let Some(place) = tpm.v.sessions.get_mut(slot_of(header.handle)) {
                *place = SessionSlot::Loaded(session.into());
            }
            header.handle
        }
    };
    call.out_handle = Some(handle);
    Ok(())
}

/// The largest difference between context numbers.
const GAP: u64 = u32::MAX as u64;

impl Tpm {
    fn oldest_saved(&self) -> Option<u64> {
        let number = |slot: &SessionSlot| match slot {
            SessionSlot::Saved(number, _) => Some(*number),
            _ => None,
        };
        self.v.sessions.iter().filter_map(number).min()
    }

    fn check_gap(&self, next: u64) -> Result<()> {
        let too_far = self.oldest_saved().is_some_and(|oldest| next - oldest > GAP);
        if too_far { Err(Rc::CONTEXT_GAP) } else { Ok(()) }
    }
}
