//! Arbitrary bytes as commands: each response is well-formed, a refused command changes no state.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::client::*;

/// The state that a refused command may not change.
fn state(client: &Client) -> Vec<u8> {
    postcard::to_allocvec(&client.tpm.save()).expect("plain data")
}

/// A TPM that holds an entity of every kind.
fn furnished() -> Client {
    let mut client = Client::new();
    let parent = client.primary(OWNER, &ecc_srk()).handle;
    client.child(parent, &sealed(), b"", b"data");
    client.primary(ENDORSEMENT, &ecc_attestation_key());
    client.session(0);
    client.session(1);
    let public = b().u32(0x0150_0000).u16(0x0b).u32(1 << 1 | 1 << 17 | 1 << 25).u16(0).u16(8);
    client.pw(0x12a, &[OWNER], b().u16(0).sized(&public.0)).ok();
    client
}

fn handle() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(OWNER),
        Just(NULL),
        Just(PLATFORM),
        Just(ENDORSEMENT),
        Just(LOCKOUT),
        Just(0x0150_0000),
        Just(0x8000_0000),
        Just(0x8000_0001),
        Just(0x8000_0002),
        Just(0x0200_0000),
        Just(0x0300_0001),
        0u32..24,
        any::<u32>()
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn noise_behind_a_right_header(
        code in 0x11fu32..0x19a,
        handles in proptest::collection::vec(handle(), 0..4),
        auths in 0usize..3,
        parameters in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..12, any::<u8>()], 0..80),
        locality in 0u8..6,
    ) {
        let mut client = furnished();
        let before = state(&client);
        let mut body = b();
        for handle in handles {
            body = body.u32(handle);
        }
        if auths > 0 {
            body = body.u32(9 * auths as u32);
            for _ in 0..auths {
                body = body.u32(0x4000_0009).u16(0).u8(1).u16(0);
            }
        }
        let body = body.raw(&parameters).0;
        let tag = if auths > 0 { 0x8002 } else { 0x8001 };
        let command = b().u16(tag).u32(10 + body.len() as u32).u32(code).raw(&body).0;
        let response = client.send(&command, locality);
        let rc = u32::from_be_bytes(response[6..10].try_into().expect("four bytes"));
        if rc != 0 && rc & 0x8bf != 0x88e {
            prop_assert_eq!(response.len(), 10);
            prop_assert!(state(&client) == before, "{:#x} answered {:#x} and changed", code, rc);
        }
    }

    #[test]
    fn noise_alone(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut client = Client::new();
        let before = state(&client);
        client.send(&bytes, 0);
        prop_assert!(state(&client) == before);
    }
}
