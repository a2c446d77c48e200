//! The few TPM commands that the paravisor sends itself, before the guest runs.
//!
//! "Part 3" is that of the TPM 2.0 library specification, revision 1.59. All numbers on the wire
//! are big-endian.

use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::TpmError;

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
const CC_CLEAR: u32 = 0x126;
const CC_HIERARCHY_CHANGE_AUTH: u32 = 0x129;
const CC_PCR_ALLOCATE: u32 = 0x12b;
const CC_STARTUP: u32 = 0x144;
const CC_GET_CAPABILITY: u32 = 0x17a;
const CC_PCR_EXTEND: u32 = 0x182;
const RH_PLATFORM: u32 = 0x4000_000c;
const RS_PW: u32 = 0x4000_0009;
const SU_CLEAR: u16 = 0;
const CAP_PCRS: u32 = 5;
/// Bytes of a header, of a command or a response.
const HEADER: usize = 10;
/// The PCRs of a PC: 24, in three bytes.
const ALL_PCRS: [u8; 3] = [0xff; 3];

/// Bytes of a command.
pub(crate) type Command = Zeroizing<Vec<u8>>;

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
    let mut authorization = [0; 13];
    let fields = 9_u32.to_be_bytes().into_iter().chain(RS_PW.to_be_bytes());
    for (to, from) in authorization.iter_mut().zip(fields) {
        *to = from;
    }
    let handle = handle.to_be_bytes();
    let mut parts = Vec::from([&handle[..], &authorization]);
    parts.extend_from_slice(parameters);
    command(SESSIONS, code, &parts)
}

/// TPM2_Startup(CLEAR) (Part 3, 9.3).
pub(crate) fn startup() -> Command {
    command(NO_SESSIONS, CC_STARTUP, &[&SU_CLEAR.to_be_bytes()])
}

/// TPM2_Clear by the platform (Part 3, 24.6).
pub(crate) fn clear() -> Command {
    authorized(CC_CLEAR, RH_PLATFORM, &[])
}

/// TPM2_HierarchyChangeAuth of the platform (Part 3, 24.8).
pub(crate) fn set_platform_auth(value: &[u8]) -> Command {
    let size = (value.len() as u16).to_be_bytes();
    authorized(CC_HIERARCHY_CHANGE_AUTH, RH_PLATFORM, &[&size, value])
}

/// TPM2_PCR_Allocate of all PCRs in the banks that are on, and of none in those that are off
/// (Part 3, 22.5).
pub(crate) fn allocate(banks: &[(u16, bool)]) -> Command {
    let mut selections = Vec::from((banks.len() as u32).to_be_bytes());
    for (algorithm, on) in banks {
        selections.extend_from_slice(&algorithm.to_be_bytes());
        selections.push(ALL_PCRS.len() as u8);
        selections.extend_from_slice(if *on { &ALL_PCRS } else { &[0; 3] });
    }
    authorized(CC_PCR_ALLOCATE, RH_PLATFORM, &[&selections])
}

/// TPM2_PCR_Extend with digests by algorithm (Part 3, 22.2).
pub(crate) fn extend(pcr: u32, digests: &[(u16, &[u8])]) -> Command {
    let mut list = Vec::from((digests.len() as u32).to_be_bytes());
    for (algorithm, digest) in digests {
        list.extend_from_slice(&algorithm.to_be_bytes());
        list.extend_from_slice(digest);
    }
    authorized(CC_PCR_EXTEND, pcr, &[&list])
}

/// TPM2_GetCapability(TPM_CAP_PCRS) (Part 3, 30.2).
pub(crate) fn pcr_banks() -> Command {
    let fields = [CAP_PCRS, 0, 1].map(u32::to_be_bytes);
    command(NO_SESSIONS, CC_GET_CAPABILITY, &[fields.as_flattened()])
}

/// The algorithms whose banks have PCRs, from the response to [`pcr_banks`].
pub(crate) fn active_banks(response: &[u8]) -> Option<Vec<u16>> {
    // Behind the header: moreData, the capability, the number of banks.
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
pub(crate) fn code(response: &[u8]) -> u32 {
    match response.get(6..HEADER) {
        Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]),
        _ => u32::MAX,
    }
}

/// Holds a response to its success.
pub(crate) fn succeeded(response: &[u8]) -> Result<(), TpmError> {
    match code(response) {
        0 => Ok(()),
        code => Err(TpmError::Refused(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_the_specification() {
        assert_eq!(startup()[..], [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0]);
        let authorization = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
        let expected = [&[0x80, 2, 0, 0, 0, 27, 0, 0, 1, 0x26, 0x40, 0, 0, 12][..], &authorization];
        assert_eq!(clear()[..], expected.concat());
        let extended = extend(9, &[(11, &[7; 32])]);
        assert_eq!(extended[..14], [0x80, 2, 0, 0, 0, 65, 0, 0, 1, 0x82, 0, 0, 0, 9]);
        assert_eq!(extended[27..33], [0, 0, 0, 1, 0, 11]);
    }

    #[test]
    fn only_banks_with_pcrs_are_active_and_a_short_answer_is_none() {
        let header = [0x80, 1, 0, 0, 0, 31, 0, 0, 0, 0, 0, 0, 0, 0, 5];
        let banks = [0, 0, 0, 2, 0, 4, 3, 0, 0, 0, 0, 11, 3, 0xff, 0xff, 0xff];
        let response = [&header[..], &banks].concat();
        assert_eq!(active_banks(&response), Some(Vec::from([11])));
        for length in 0..response.len() {
            assert_eq!(active_banks(&response[..length]), None);
        }
        assert_eq!(code(&response), 0);
        assert_eq!(code(&response[..9]), u32::MAX);
    }
}
