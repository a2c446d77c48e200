//! Damaged and random input.

use proptest::prelude::*;
use snp::message::{Header, MessageType, ReportRequest};
use snp::status::Status;
use zerocopy::{FromZeros, IntoBytes};

use super::fixture::{Client, add, launching, platform, running};
use crate::{CpuidResult, HostCpuid, Update};

/// Bytes that the tag protects: from the header, and the payload.
const PROTECTED: usize = 0x60 + 96;

#[test]
fn every_bent_bit_is_found() {
    let mut guest = running();
    let client = Client::new(0);
    let message = client.message(MessageType::REPORT_REQ, ReportRequest::new_zeroed().as_bytes());
    let mut response = [0; 4096];
    for place in 0..PROTECTED {
        for bit in 0..8 {
            let mut bent = message;
            bent[place] ^= 1 << bit;
            let status = guest.request(&platform(), &bent, &mut response).unwrap_err();
            let expected = [Status::BAD_MEASUREMENT, Status::INVALID_PARAM];
            assert!(expected.contains(&status), "byte {place:#x}, bit {bit}: {status:?}");
        }
    }
    // Nothing of it counted.
    assert_eq!(guest.request(&platform(), &message, &mut response), Ok(()));
}

#[test]
fn every_truncated_message_is_found() {
    let client = Client::new(0);
    let message = client.message(MessageType::REPORT_REQ, ReportRequest::new_zeroed().as_bytes());
    for length in 0..PROTECTED {
        let mut cut = [0; 4096];
        cut[..length].copy_from_slice(&message[..length]);
        let mut response = [0; 4096];
        let result = running().request(&platform(), &cut, &mut response);
        // A cut that took zeroes only has left the message as it was.
        assert_eq!(result.is_ok(), cut == message, "{length} bytes");
    }
}

/// A CPU with random values.
struct Host(u32);

impl HostCpuid for Host {
    fn cpuid(&self, function: u32, subfunction: u32) -> CpuidResult {
        let value = |salt: u32| {
            (self.0 ^ function ^ subfunction.wrapping_mul(salt)).wrapping_mul(0x9e37_79b9)
        };
        CpuidResult { eax: value(3), ebx: value(5), ecx: value(7), edx: value(11) }
    }
}

proptest! {
    #[test]
    fn a_random_message_is_refused(
        head in prop::collection::vec(any::<u8>(), 0x60),
        tail in prop::collection::vec(any::<u8>(), 64),
    ) {
        let mut message = [0; 4096];
        message[..0x60].copy_from_slice(&head);
        message[0x60..][..64].copy_from_slice(&tail);
        prop_assert!(running().request(&platform(), &message, &mut [0; 4096]).is_err());
    }

    #[test]
    fn a_message_of_the_guests_with_any_content_causes_no_panic(
        message_type: u8,
        version in 0_u8..3,
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let client = Client::new(2);
        let header = Header {
            message_version: version,
            ..Header::new(MessageType(message_type), 1, 2, payload.len() as u16)
        };
        let message = client.seal(header, &payload);
        let mut guest = running();
        let before = guest.messages;
        let result = guest.request(&platform(), &message, &mut [0; 4096]);
        prop_assert_eq!(result.is_ok(), guest.messages != before);
    }

    #[test]
    fn a_random_cpuid_page_is_refused_or_corrected_once(
        seed: u32,
        count in 0_u8..70,
        functions in prop::collection::vec((0_u32..0x20, 0_u32..70, any::<bool>()), 64),
        fill: u8,
    ) {
        let mut bytes = [0; 4096];
        bytes[0] = count;
        for (index, (function, subfunction, extended)) in functions.into_iter().enumerate() {
            let entry = &mut bytes[16 + 48 * index..][..48];
            entry[24..40].fill(fill);
            let base = if extended { 0x8000_0000 } else { 0 };
            entry[..4].copy_from_slice(&(base | function).to_le_bytes());
            entry[4..8].copy_from_slice(&subfunction.to_le_bytes());
        }
        let host = Host(seed);
        let before = bytes;
        if add(&mut launching(), Update::Cpuid(&mut bytes, &host), 0).is_err() && bytes != before {
            prop_assert_eq!(add(&mut launching(), Update::Cpuid(&mut bytes, &host), 0), Ok(()));
        }
    }
}
