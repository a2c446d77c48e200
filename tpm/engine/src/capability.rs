//! GetCapability (Part 3, section 30.2), answered from the tables that the engine works with.

use alloc::vec::Vec;

use crate::Tpm;
use crate::call::{Call, Command, Env};
use crate::codec::{Put, built};
use crate::constants::{BANKS, curve, rh};
use crate::pcr::{self, COUNT};
use crate::properties::ALGORITHMS;
use crate::rc::{Rc, Result};
use crate::session::SessionSlot;
use crate::structures::PcrSelection;

/// Largest list in bytes: MAX_CAP_BUFFER less the capability and the count.
const MAX_DATA: usize = 1024 - 8;

/// TPM2_GetCapability.
pub(crate) fn get(tpm: &mut Tpm, _: Env<'_>, call: &mut Call) -> Result<()> {
    let capability = call.read(|r| match r.u32()? {
        value @ 0..=9 => Ok(value),
        _ => Err(Rc::VALUE),
    })?;
    let first = call.read(|r| r.u32())?;
    let count = call.read(|r| r.u32())?;
    call.end()?;
    let (entries, size) = match capability {
        0 => (algorithms(first), 6),
        1 => (tpm.handles(first)?, 4),
        2 => (commands(call.table, first), 4),
        3 => (codes(&tpm.store.global().pp_commands, first), 4),
        4 => (codes(&tpm.store.global().audited, first), 4),
        5 => return banks(tpm, first, call),
        6 => (tpm.properties(first, call.table.len()), 8),
        7 => (pcr_properties(first), 8),
        8 => (curves(first), 2),
        _ => return policies(tpm, first, count, call),
    };
    let room = (MAX_DATA / size).min(count as usize);
    let all = entries.len() / size;
    call.out.put_u8((all > room).into()).put_u32(capability);
    call.out.put_u32(all.min(room) as u32);
    call.out.put(entries.get(..all.min(room) * size).unwrap_or_default());
    Ok(())
}

fn algorithms(first: u32) -> Vec<u8> {
    built(|out| {
        for &(id, attributes) in ALGORITHMS.iter().filter(|(id, _)| u32::from(*id) >= first) {
            out.put_u16(id).put_u32(attributes);
        }
    })
}

fn commands(table: &[Command], first: u32) -> Vec<u8> {
    built(|out| {
        for command in table.iter().filter(|command| command.code >= first) {
            out.put_u32(command.attributes());
        }
    })
}

fn codes(list: &[u32], first: u32) -> Vec<u8> {
    built(|out| {
        for &code in list.iter().filter(|&&code| code >= first) {
            out.put_u32(code);
        }
    })
}

fn curves(first: u32) -> Vec<u8> {
    built(|out| {
        for id in [curve::P256, curve::P384].into_iter().filter(|&id| u32::from(id) >= first) {
            out.put_u16(id);
        }
    })
}

/// TPM_CAP_PCRS: the current allocation.
fn banks(tpm: &Tpm, first: u32, call: &mut Call) -> Result<()> {
    if first != 0 {
        return Err(Rc::VALUE.param(2));
    }
    let allocated = BANKS.iter().copied().zip(tpm.v.pcrs.allocated).collect();
    call.out.put_u8(0).put_u32(5);
    PcrSelection(allocated).put(&mut call.out);
    Ok(())
}

/// The PCRs with a property of TPM_PT_PCR (Part 2, section 6.14).
fn pcr_property(tag: u32) -> Option<u32> {
    let by = |allowed: &dyn Fn(u32) -> bool| {
        (0..COUNT).filter(|&pcr| allowed(pcr)).fold(0, |all, pcr| all | 1 << pcr)
    };
    let extend = |locality| by(&|pcr| pcr::has(pcr::extend_localities(pcr).into(), locality));
    let reset = |locality| by(&|pcr| pcr::has(pcr::reset_localities(pcr).into(), locality));
    Some(match tag {
        0x00 => pcr::STATE_SAVED,
        0x01 | 0x03 | 0x05 | 0x07 | 0x09 => extend(tag / 2),
        0x02 | 0x04 | 0x06 | 0x08 | 0x0a => reset(tag / 2 - 1),
        0x11 => pcr::NO_INCREMENT,
        0x12 => pcr::DRTM,
        0x13 | 0x14 => pcr::GROUP,
        _ => return None,
    })
}

fn pcr_properties(first: u32) -> Vec<u8> {
    built(|out| {
        for (tag, bits) in (first..=0x14).filter_map(|tag| Some((tag, pcr_property(tag)?))) {
            let [a, b, c, _] = bits.to_le_bytes();
            out.put_u32(tag).put_u8(3).put(&[a, b, c]);
        }
    })
}

/// TPM_CAP_AUTH_POLICIES: the policies of permanent handles.
fn policies(tpm: &Tpm, first: u32, count: u32, call: &mut Call) -> Result<()> {
    if rh::kind(first) != rh::HT_PERMANENT {
        return Err(Rc::VALUE.param(2));
    }
    let all: Vec<Vec<u8>> = [rh::OWNER, rh::LOCKOUT, rh::ENDORSEMENT, rh::PLATFORM]
        .into_iter()
        .filter(|&handle| handle >= first)
        .map(|handle| {
            let policy = tpm.policy_of(handle);
            built(|out| {
                out.put_u32(handle).put_u16(policy.alg).put(&policy.digest);
            })
        })
        .collect();
    let room = all.len().min(count as usize);
    call.out.put_u8((all.len() > room).into()).put_u32(9).put_u32(room as u32);
    all.iter().take(room).for_each(|entry| {
        call.out.put(entry);
    });
    Ok(())
}

impl Tpm {
    /// TPM_CAP_HANDLES: handles of the same type as `first`, starting there.
    fn handles(&self, first: u32) -> Result<Vec<u8>> {
        let sessions = |wanted: &dyn Fn(u32, &SessionSlot) -> Option<u32>| -> Vec<u32> {
            (0..)
                .zip(self.v.sessions.iter())
                .filter_map(|(slot, state)| wanted(slot, state))
                .collect()
        };
        let list: Vec<u32> = match rh::kind(first) {
            rh::HT_PCR => (0..COUNT).collect(),
            rh::HT_NV => self
                .store
                .indices()
                .filter(|(_, index)| self.is_index_visible(index.public.attributes))
                .map(|(handle, _)| handle)
                .collect(),
            rh::HT_HMAC => sessions(&|slot, state| match state {
                SessionSlot::Loaded(session) => Some(session.handle(slot as usize)),
                _ => None,
            }),
            // Saved sessions of both kinds are listed with HMAC session handles.
            rh::HT_POLICY => sessions(&|slot, state| match state {
                SessionSlot::Saved(..) => Some(rh::HMAC_SESSION_FIRST | slot),
                _ => None,
            }),
            rh::HT_PERMANENT => PERMANENT.into(),
            rh::HT_TRANSIENT => (rh::TRANSIENT_FIRST..)
                .zip(self.v.objects.iter())
                .filter_map(|(handle, place)| place.as_ref().map(|_| handle))
                .collect(),
            rh::HT_PERSISTENT => self
                .store
                .objects()
                .filter(|(handle, object)| self.is_persistent_visible(*handle, object))
                .map(|(handle, _)| handle)
                .collect(),
            _ => return Err(Rc::HANDLE.param(2)),
        };
        let from = |handle: u32| match rh::kind(first) {
            rh::HT_HMAC | rh::HT_POLICY => handle & 0x00ff_ffff >= first & 0x00ff_ffff,
            _ => handle >= first,
        };
        Ok(built(|out| {
            for handle in list.into_iter().filter(|&handle| from(handle)) {
                out.put_u32(handle);
            }
        }))
    }
}

/// Permanent handles, in ascending order.
const PERMANENT: [u32; 6] =
    [rh::OWNER, rh::NULL, rh::PW, rh::LOCKOUT, rh::ENDORSEMENT, rh::PLATFORM];
