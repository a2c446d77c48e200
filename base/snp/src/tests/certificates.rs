use zerocopy::IntoBytes;

use crate::certificates::{CertificateEntry, CertificateKind};

/// As the text of Linux's and AMD's documents has them: `uuid_parse` keeps that order.
#[test]
fn kinds_are_guids_in_the_order_of_their_text() {
    for (kind, text) in [
        (CertificateKind::ARK, "c0b406a4a80349529743 3fb6014cd0ae"),
        (CertificateKind::ASK, "4ab7b379bbac4fe4a02f 05aef327c782"),
        (CertificateKind::VCEK, "63da758de6644564adc5 f4b93be8accd"),
    ] {
        let mut digits = text.bytes().filter(|byte| *byte != b' ');
        let mut digit = || char::from(digits.next().unwrap()).to_digit(16).unwrap() as u8;
        let bytes: [u8; 16] = core::array::from_fn(|_| digit() << 4 | digit());
        assert_eq!(kind.0, bytes, "{text}");
    }
}

#[test]
fn an_entry_is_24_bytes_and_its_numbers_are_little_endian() {
    let entry = CertificateEntry { kind: CertificateKind::ARK, offset: 0x102, length: 0x304 };
    assert_eq!(entry.as_bytes()[..4], [0xc0, 0xb4, 0x06, 0xa4]);
    assert_eq!(entry.as_bytes()[16..], [2, 1, 0, 0, 4, 3, 0, 0]);
    assert_eq!(CertificateEntry::END.as_bytes(), [0; 24]);
}
