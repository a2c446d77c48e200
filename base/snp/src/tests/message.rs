use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

use crate::message::{
    Algorithm, GuestFieldSelect, HEADER_SIZE, Header, InvalidHeader, KeySelection, MAX_PAYLOAD,
    MessageType, RootKeySelect, nonce,
};

fn report_request() -> Header {
    Header::new(MessageType::REPORT_REQ, 0x0102_0304_0506_0708, 2, 96)
}

#[test]
fn a_header_has_its_bytes() {
    let header = report_request();
    let bytes = header.as_bytes();
    assert_eq!(bytes[0x20..0x28], [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(bytes[0x30..0x3d], [1, 1, 0x60, 0, 5, 1, 96, 0, 0, 0, 0, 0, 2]);
    assert_eq!(header.authenticated(), &bytes[0x30..0x60]);
    assert_eq!(MAX_PAYLOAD, 4000);
}

#[test]
fn the_nonce_is_the_sequence_number_in_twelve_bytes() {
    assert_eq!(nonce(0x0102_0304_0506_0708), [8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0]);
    assert_ne!(nonce(1), nonce(2));
}

#[test]
fn a_header_with_a_fault_is_refused() {
    let good = report_request();
    assert_eq!(good.check(), Ok(2));
    assert_eq!(Header { message_size: 4000, ..good }.check(), Ok(2));
    let table = [
        (Header { algorithm: Algorithm(0), ..good }, InvalidHeader::Algorithm),
        (Header { algorithm: Algorithm(2), ..good }, InvalidHeader::Algorithm),
        (Header { header_version: 2, ..good }, InvalidHeader::Version),
        (Header { header_size: 0x61, ..good }, InvalidHeader::Version),
        (Header { message_size: 4001, ..good }, InvalidHeader::Size),
        (Header { message_size: u16::MAX, ..good }, InvalidHeader::Size),
        (Header { vmpck: 4, ..good }, InvalidHeader::Key),
        (Header { reserved_28: [1; 8], ..good }, InvalidHeader::Reserved),
        (Header { reserved_38: 1, ..good }, InvalidHeader::Reserved),
        (Header { reserved_3d: [1; 35], ..good }, InvalidHeader::Reserved),
    ];
    for (header, fault) in table {
        assert_eq!(header.check(), Err(fault), "{header:?}");
    }
}

#[test]
fn selections_have_their_bits() {
    assert_eq!(RootKeySelect::new().with_vmrk(true).into_bits(), 1);
    assert_eq!(RootKeySelect::new().with_key(KeySelection::VLEK).into_bits(), 4);
    assert_eq!(RootKeySelect::from_bits(6).key(), KeySelection(3));
    assert_eq!(GuestFieldSelect::new().with_policy(true).into_bits(), 1 << 0);
    assert_eq!(GuestFieldSelect::new().with_image_id(true).into_bits(), 1 << 1);
    assert_eq!(GuestFieldSelect::new().with_family_id(true).into_bits(), 1 << 2);
    assert_eq!(GuestFieldSelect::new().with_measurement(true).into_bits(), 1 << 3);
    assert_eq!(GuestFieldSelect::new().with_guest_svn(true).into_bits(), 1 << 4);
    assert_eq!(GuestFieldSelect::new().with_tcb_version(true).into_bits(), 1 << 5);
}

proptest! {
    #[test]
    fn any_header_can_be_checked(bytes in prop::collection::vec(any::<u8>(), HEADER_SIZE)) {
        let header = Header::read_from_bytes(&bytes).unwrap();
        if header.check().is_ok() {
            prop_assert!(usize::from(header.message_size) <= MAX_PAYLOAD);
        }
    }

    #[test]
    fn a_checked_header_survives_no_bent_field(byte in 0x28_usize..0x60, bit in 0..8_u8) {
        let mut bytes = report_request().as_bytes().to_vec();
        bytes[byte] ^= 1 << bit;
        let header = Header::read_from_bytes(&bytes).unwrap();
        // Type, message version, size and key may have other valid values.
        let may_vary = [0x34, 0x35, 0x36, 0x37, 0x3c].contains(&byte);
        prop_assert!(may_vary || header.check().is_err());
    }
}
