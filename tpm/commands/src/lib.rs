//! The few TPM commands that a platform itself sends, at manufacture or before its guest runs.
//!
//! "Part 1" to "Part 3" are those of the TPM 2.0 library specification, revision 1.59. All numbers
//! on the wire are big-endian. Commands are authorized by the empty password.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod endorsement;

use alloc::vec::Vec;

use zeroize::Zeroizing;

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
const CC_CLEAR: u32 = 0x126;
const CC_NV_DEFINE_SPACE: u32 = 0x12a;
const CC_CREATE_PRIMARY: u32 = 0x131;
const CC_NV_WRITE: u32 = 0x137;
const CC_SHUTDOWN: u32 = 0x145;
const CC_FLUSH_CONTEXT: u32 = 0x165;
const CC_HIERARCHY_CHANGE_AUTH: u32 = 0x129;
const CC_PCR_ALLOCATE: u32 = 0x12b;
const CC_STARTUP: u32 = 0x144;
const CC_GET_CAPABILITY: u32 = 0x17a;
const CC_PCR_EXTEND: u32 = 0x182;
/// TPM_RH_PLATFORM.
const RH_PLATFORM: u32 = 0x4000_000c;
/// TPM_RH_ENDORSEMENT.
pub const RH_ENDORSEMENT: u32 = 0x4000_000b;
const RS_PW: u32 = 0x4000_0009;
const SU_CLEAR: u16 = 0;
const CAP_PCRS: u32 = 5;
/// Size of a command's or a response's header in bytes.
const HEADER: usize = 10;
/// All 24 PCRs of a PC, in three bytes.
const ALL_PCRS: [u8; 3] = [0xff; 3];

/// The implemented banks (TPM_ALG_SHA1, TPM_ALG_SHA256, TPM_ALG_SHA384), and whether a new TPM has
/// them enabled.
pub const NEW_BANKS: [(u16, bool); 3] = [(0x0004, false), (0x000b, true), (0x000c, false)];

/// The bytes of a command.
pub type Command = Zeroizing<Vec<u8>>;

fn command(tag: u16, code: u32, parts: &[&[u8]]) -> Command {
    let length = HEADER + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    bytes.extend_from_slice(&tag.to_be_bytes());
    bytes.extend_from_slice(&(length as u32).to_be_bytes());
    bytes.extend_from_slice(&code.to_be_bytes());
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// A command on `handle`, authorized by the empty password (Part 1, 18.6).
fn authorized(code: u32, handle: u32, parameters: &[&[u8]]) -> Command {
    authorized_by_first(code, &handle.to_be_bytes(), parameters)
}

/// A command with several handles; only the first needs authorization.
fn authorized_by_first(code: u32, handles: &[u8], parameters: &[&[u8]]) -> Command {
    let mut authorization = [0; 13];
    let fields = 9_u32.to_be_bytes().into_iter().chain(RS_PW.to_be_bytes());
    for (to, from) in authorization.iter_mut().zip(fields) {
        *to = from;
    }
    let mut parts = Vec::from([handles, &authorization]);
    parts.extend_from_slice(parameters);
    command(SESSIONS, code, &parts)
}

/// TPM2_Startup(CLEAR) (Part 3, 9.3).
pub fn startup() -> Command {
    command(NO_SESSIONS, CC_STARTUP, &[&SU_CLEAR.to_be_bytes()])
}

/// TPM2_Shutdown(CLEAR) (Part 3, 9.4).
pub fn shutdown() -> Command {
    command(NO_SESSIONS, CC_SHUTDOWN, &[&SU_CLEAR.to_be_bytes()])
}

/// TPM2_CreatePrimary in `hierarchy`, without sensitive data; `template` is a TPMT_PUBLIC (Part 3,
/// 24.1).
pub fn create_primary(hierarchy: u32, template: &[u8]) -> Command {
    // TPM2B_SENSITIVE_CREATE with an empty authorization value and no data.
    const SENSITIVE: [u8; 6] = [0, 4, 0, 0, 0, 0];
    // outsideInfo and creationPCR are empty.
    const REST: [u8; 6] = [0; 6];
    let size = (template.len() as u16).to_be_bytes();
    authorized(CC_CREATE_PRIMARY, hierarchy, &[&SENSITIVE, &size, template, &REST])
}

/// The handle and the public area (a TPMT_PUBLIC) in the response to [`create_primary`].
pub fn primary(response: &[u8]) -> Option<(u32, &[u8])> {
    let (handle, rest) = response.get(HEADER..)?.split_first_chunk()?;
    // The handle is followed by the size of the parameters, then by the first one, a TPM2B_PUBLIC.
    let (size, rest) = rest.get(4..)?.split_first_chunk()?;
    let public = rest.get(..usize::from(u16::from_be_bytes(*size)))?;
    Some((u32::from_be_bytes(*handle), public))
}

/// TPM2_FlushContext (Part 3, 28.4).
pub fn flush(handle: u32) -> Command {
    command(NO_SESSIONS, CC_FLUSH_CONTEXT, &[&handle.to_be_bytes()])
}

/// TPM2_NV_DefineSpace by the platform, of an ordinary index with an empty authorization value and
/// SHA-256 names (Part 3, 31.3).
pub fn nv_define(index: u32, attributes: u32, size: u16) -> Command {
    const SHA256: u16 = 0x000b;
    // An empty TPM2B_AUTH, then a TPM2B_NV_PUBLIC of 14 bytes with an empty policy.
    let head = [0, 0, 0, 14];
    let (index, attributes) = (index.to_be_bytes(), attributes.to_be_bytes());
    let (algorithm, size) = (SHA256.to_be_bytes(), size.to_be_bytes());
    let parts: [&[u8]; 6] = [&head, &index, &algorithm, &attributes, &[0, 0], &size];
    authorized(CC_NV_DEFINE_SPACE, RH_PLATFORM, &parts)
}

/// TPM2_NV_Write by the platform, of at most 1,024 bytes (Part 3, 31.7).
pub fn nv_write(index: u32, offset: u16, data: &[u8]) -> Command {
    let size = (data.len() as u16).to_be_bytes();
    let handles = [RH_PLATFORM.to_be_bytes(), index.to_be_bytes()];
    let parameters: [&[u8]; 3] = [&size, data, &offset.to_be_bytes()];
    authorized_by_first(CC_NV_WRITE, handles.as_flattened(), &parameters)
}

/// TPM2_Clear by the platform (Part 3, 24.6).
pub fn clear() -> Command {
    authorized(CC_CLEAR, RH_PLATFORM, &[])
}

/// TPM2_HierarchyChangeAuth of the platform (Part 3, 24.8).
pub fn set_platform_auth(value: &[u8]) -> Command {
    let size = (value.len() as u16).to_be_bytes();
    authorized(CC_HIERARCHY_CHANGE_AUTH, RH_PLATFORM, &[&size, value])
}

/// TPM2_PCR_Allocate: all PCRs in the enabled banks, none in the others (Part 3, 22.5).
pub fn allocate(banks: &[(u16, bool)]) -> Command {
    let mut selections = Vec::from((banks.len() as u32).to_be_bytes());
    for (algorithm, on) in banks {
        selections.extend_from_slice(&algorithm.to_be_bytes());
        selections.push(ALL_PCRS.len() as u8);
        selections.extend_from_slice(if *on { &ALL_PCRS } else { &[0; 3] });
    }
    authorized(CC_PCR_ALLOCATE, RH_PLATFORM, &[&selections])
}

/// TPM2_PCR_Extend with digests by algorithm (Part 3, 22.2).
pub fn extend(pcr: u32, digests: &[(u16, &[u8])]) -> Command {
    let mut list = Vec::from((digests.len() as u32).to_be_bytes());
    for (algorithm, digest) in digests {
        list.extend_from_slice(&algorithm.to_be_bytes());
        list.extend_from_slice(digest);
    }
    authorized(CC_PCR_EXTEND, pcr, &[&list])
}

/// TPM2_GetCapability(TPM_CAP_PCRS) (Part 3, 30.2).
pub fn pcr_banks() -> Command {
    let fields = [CAP_PCRS, 0, 1].map(u32::to_be_bytes);
    command(NO_SESSIONS, CC_GET_CAPABILITY, &[fields.as_flattened()])
}

/// The algorithms of the banks that have PCRs, from the response to [`pcr_banks`].
pub fn active_banks(response: &[u8]) -> Option<Vec<u16>> {
    // The header is followed by moreData, the capability and the number of banks.
    let (count, mut rest) = response.get(HEADER + 5..)?.split_first_chunk()?;
    let mut banks = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let ([high, low, size], tail) = rest.split_first_chunk()?;
        let (selected, tail) = tail.split_at_checked(usize::from(*size))?;
        if selected.iter().any(|byte| *byte != 0) {
            banks.push(u16::from_be_bytes([*high, *low]));
        }
        rest = tail;
    }
    Some(banks)
}

/// The response code.
pub fn code(response: &[u8]) -> u32 {
    match response.get(6..HEADER) {
        Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]),
        _ => u32::MAX,
    }
}

/// Checks that a response reports success.
///
/// # Errors
/// The response's code.
pub fn succeeded(response: &[u8]) -> Result<(), u32> {
    match code(response) {
        0 => Ok(()),
        code => Err(code),
    }
}

#[cfg(test)]
mod tests;
