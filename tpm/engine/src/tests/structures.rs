//! Wire structures (Part 2): they are written as they were read.

use std::vec::Vec;

use proptest::prelude::*;

use super::client::*;
use crate::codec::{Reader, built};
use crate::nv_index::NvPublic;
use crate::public::{Public, Sensitive};
use crate::rc::Rc;
use crate::signature::Signature;
use crate::structures::{PcrSelection, Scheme, Symmetric, Ticket};

/// Reads a structure and writes it again; `None` if it is refused.
type Echo = fn(&mut Reader<'_>) -> Option<Vec<u8>>;

const PUBLIC: Echo = |r| Public::parse(r).ok().map(|public| public.bytes());
const NV_PUBLIC: Echo = |r| NvPublic::parse(r).ok().map(|public| built(|out| public.put(out)));
const SELECTION: Echo = |r| PcrSelection::parse(r).ok().map(|list| built(|out| list.put(out)));
const SIGNATURE: Echo = |r| Signature::parse(r).ok().map(|made| built(|out| made.put(out)));
const TICKET: Echo =
    |r| Ticket::parse(r, &[0x8021, 0x8022]).ok().map(|ticket| built(|out| ticket.put(out)));
const OBJECT_CIPHER: Echo =
    |r| Symmetric::object_or_null(r).ok().map(|cipher| built(|out| cipher.put(out)));
const SCHEMES: [Echo; 4] = [
    |r| Scheme::rsa(r).ok().map(|scheme| built(|out| scheme.put(out))),
    |r| Scheme::ecc(r).ok().map(|scheme| built(|out| scheme.put(out))),
    |r| Scheme::keyed_hash(r).ok().map(|scheme| built(|out| scheme.put(out))),
    |r| Scheme::signing(r).ok().map(|scheme| built(|out| scheme.put(out))),
];

/// A valid example of each structure.
fn examples() -> Vec<(Echo, Vec<u8>)> {
    let selection = b().u32(2).raw(&[0, 4, 3, 1, 2, 3]).raw(&[0, 0x0b, 3, 0xff, 0, 0x80]);
    let hmac_key = keyed_hash(USER | SIGN, &[7; 32], &b().u16(5).u16(0x0c));
    let xor_key = keyed_hash(USER | DECRYPT, b"", &b().u16(0x0a).u16(0x0b).u16(0x22));
    let index = b().u32(0x0150_0000).u16(0x0c).u32(0x0002_0002).sized(&[1; 48]).u16(99);
    let ecdsa = b().u16(0x18).u16(0x0b).sized(&[1; 32]).sized(&[2; 31]);
    [
        (PUBLIC, ecc_srk()),
        (PUBLIC, rsa_srk()),
        (PUBLIC, ecc_key(USER | SIGN, &b().u16(0x1a).u16(0x0b).u16(7))),
        (PUBLIC, cipher_key(USER | SIGN, 256, 0x44)),
        (PUBLIC, hmac_key),
        (PUBLIC, xor_key),
        (NV_PUBLIC, index),
        (SELECTION, selection),
        (SIGNATURE, ecdsa),
        (SIGNATURE, b().u16(0x16).u16(0x0d).sized(&[3; 256])),
        (SIGNATURE, b().u16(5).u16(4).raw(&[4; 20])),
        (TICKET, b().u16(0x8021).u32(OWNER).sized(&[5; 64])),
        (OBJECT_CIPHER, b().u16(6).u16(192).u16(0x10)),
        (SCHEMES[0], b().u16(0x15)),
        (SCHEMES[0], b().u16(0x17).u16(0x0b)),
        (SCHEMES[1], b().u16(0x19).u16(0x0c)),
        (SCHEMES[2], b().u16(0x10)),
        (SCHEMES[3], b().u16(0x1a).u16(0x0b).u16(9)),
    ]
    .map(|(echo, bytes)| (echo, bytes.0))
    .into()
}

#[test]
fn a_structure_is_written_as_it_was_read_and_needs_all_its_bytes() {
    for (number, (echo, bytes)) in examples().into_iter().enumerate() {
        let mut reader = Reader::new(&bytes);
        assert_eq!(echo(&mut reader).as_ref(), Some(&bytes), "structure {number}");
        assert!(reader.is_empty());
        for length in 0..bytes.len() {
            assert_eq!(echo(&mut Reader::new(&bytes[..length])), None, "{number} cut at {length}");
        }
    }
}

#[test]
fn a_sensitive_area_is_padded_to_the_names_digest() {
    let bytes = b().u16(8).sized(b"pin\0\0").sized(&[1; 32]).sized(b"data").0;
    let (sensitive, kind) = Sensitive::parse(&mut Reader::new(&bytes)).expect("valid");
    assert_eq!((kind, &sensitive.auth[..]), (8, &b"pin"[..]), "zeros do not count");
    let plain = b().u16(8).sized(b"pin").sized(&[1; 32]).sized(b"data");
    assert_eq!(sensitive.sized(kind)[..], b().sized(&plain.0).0);
    let public = Public::parse(&mut Reader::new(&sealed().0)).expect("valid");
    let value = [&b"pin"[..], &[0; 29]].concat();
    let padded = b().u16(8).sized(&value).sized(&[1; 32]).sized(b"data");
    assert_eq!(sensitive.padded(&public)[..], b().sized(&padded.0).0);
}

#[test]
fn numbers_go_into_codes_of_format_one_only() {
    for (rc, code) in [
        (Rc::VALUE.param(1), 0x1c4),
        (Rc::VALUE.param(15), 0xfc4),
        (Rc::SIZE.handle(3), 0x395),
        (Rc::BAD_AUTH.session(2), 0xaa2),
        (Rc::NV_RANGE.param(1), 0x146),
        (Rc::LOCALITY.handle(1), 0x907),
        (Rc::AUTH_TYPE.session(1), 0x124),
        (Rc::VALUE.param(2).param(1), 0x2c4),
        (Rc::REFERENCE_H0.plus(2), 0x912),
        (Rc::REFERENCE_S0.plus(1), 0x919),
    ] {
        assert_eq!(rc.0, code);
    }
}

proptest! {
    #[test]
    fn damaged_structures_are_refused_or_written_as_they_were_read(
        number in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let (echo, mut bytes) = number.get(&examples()).clone();
        *place.get_mut(&mut bytes) = byte;
        let mut reader = Reader::new(&bytes);
        if let Some(written) = echo(&mut reader) {
            let read = bytes.len() - reader.rest().len();
            prop_assert_eq!(written, &bytes[..read]);
        }
    }

    #[test]
    fn a_reader_takes_the_fields_of_a_writer(
        small in any::<u8>(),
        word in any::<u16>(),
        long in any::<u32>(),
        longer in any::<u64>(),
        data in proptest::collection::vec(any::<u8>(), 0..90),
        limit in 0_usize..90,
    ) {
        use crate::codec::Put;
        let bytes = built(|out| {
            out.put_u8(small).put_u16(word).put_u32(long).put_u64(longer).put_sized(&data);
        });
        let mut r = Reader::new(&bytes);
        prop_assert_eq!((r.u8(), r.u16()), (Ok(small), Ok(word)));
        prop_assert_eq!((r.u32(), r.u64()), (Ok(long), Ok(longer)));
        let expected = if data.len() > limit { Err(Rc::SIZE) } else { Ok(data.clone()) };
        prop_assert_eq!(r.clone().sized(limit), expected);
        prop_assert_eq!(r.sized_structure(|r| r.take(data.len().max(1)).map(Vec::from)).is_ok(), !data.is_empty());
    }
}
