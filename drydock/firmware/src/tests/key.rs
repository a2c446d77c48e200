use snp::message::{
    GuestFieldSelect, KeyRequest, KeyResponse, KeySelection, MessageType, RootKeySelect,
};
use snp::report::TcbVersion;
use snp::status::Status;
use zerocopy::FromZeros;

use super::fixture::{Client, NO_IDENTITY, add, launching, running};
use crate::{Guest, Update};

fn derive_in(guest: &mut Guest, vmpck: u8, request: &KeyRequest) -> Result<[u8; 32], Status> {
    let response: KeyResponse = Client::new(vmpck).call(guest, MessageType::KEY_REQ, request);
    match Status(response.status) {
        Status::SUCCESS => Ok(response.key),
        status => {
            assert_eq!(response.key, [0; 32]);
            Err(status)
        }
    }
}

fn derive(vmpck: u8, request: &KeyRequest) -> Result<[u8; 32], Status> {
    derive_in(&mut running(), vmpck, request)
}

fn base() -> KeyRequest {
    KeyRequest::new_zeroed()
}

fn select(bit: u32) -> GuestFieldSelect {
    GuestFieldSelect::from_bits(1 << bit)
}

#[test]
fn the_same_request_gives_the_same_key() {
    assert_eq!(derive(0, &base()), derive(0, &base()));
    // Also for a sender of another level that may ask for it.
    let level_3 = KeyRequest { vmpl: 3, ..base() };
    assert_eq!(derive(0, &level_3), derive(3, &level_3));
}

#[test]
fn every_selection_gives_a_key_of_its_own() {
    let mut requests = [base(); 12];
    requests[1].vmpl = 1;
    requests[2].vmpl = 3;
    requests[3].root_key_select = RootKeySelect::new().with_vmrk(true);
    for bit in 0..6 {
        requests[4 + bit as usize].guest_field_select = select(bit);
    }
    requests[10].guest_field_select = select(5);
    requests[10].tcb_version = TcbVersion::milan(1, 0, 0, 0);
    requests[11].guest_field_select = GuestFieldSelect::from_bits(0x3f);
    let keys = requests.map(|request| derive(0, &request).unwrap());
    for (index, key) in keys.iter().enumerate() {
        assert!(!keys[..index].contains(key), "request {index}");
    }
}

#[test]
fn a_property_counts_only_if_it_is_selected() {
    let tcb_version = TcbVersion::milan(1, 0, 0, 0);
    assert_eq!(derive(0, &KeyRequest { tcb_version, ..base() }), derive(0, &base()));
    let mut other = launching();
    add(&mut other, Update::Normal(&[9; 4096]), 0x1000).unwrap();
    other.launch_finish(&NO_IDENTITY).unwrap();
    assert_eq!(derive_in(&mut other, 0, &base()), derive(0, &base()));
    let measured = KeyRequest { guest_field_select: select(3), ..base() };
    let mut other = launching();
    add(&mut other, Update::Normal(&[9; 4096]), 0x1000).unwrap();
    other.launch_finish(&NO_IDENTITY).unwrap();
    assert_ne!(derive_in(&mut other, 0, &measured), derive(0, &measured));
}

#[test]
fn a_request_beyond_the_guests_rights_is_refused() {
    let key = |key| RootKeySelect::new().with_key(key);
    let table = [
        (1, base(), Status::INVALID_PARAM),
        (0, KeyRequest { vmpl: 4, ..base() }, Status::INVALID_PARAM),
        (0, KeyRequest { reserved_04: 1, ..base() }, Status::INVALID_PARAM),
        (0, KeyRequest { guest_field_select: select(6), ..base() }, Status::INVALID_PARAM),
        (0, KeyRequest { guest_field_select: select(63), ..base() }, Status::INVALID_PARAM),
        (0, KeyRequest { guest_svn: 1, ..base() }, Status::INVALID_PARAM),
        (
            0,
            KeyRequest { tcb_version: TcbVersion::milan(5, 0, 0, 0), ..base() },
            Status::INVALID_PARAM,
        ),
        (
            0,
            KeyRequest { root_key_select: RootKeySelect::from_bits(8), ..base() },
            Status::INVALID_PARAM,
        ),
        (0, KeyRequest { root_key_select: key(KeySelection::VLEK), ..base() }, Status::INVALID_KEY),
        (0, KeyRequest { root_key_select: key(KeySelection(3)), ..base() }, Status::INVALID_PARAM),
    ];
    for (vmpck, request, status) in table {
        assert_eq!(derive(vmpck, &request), Err(status), "{request:?}");
    }
    let vcek = KeyRequest { root_key_select: key(KeySelection::VCEK), ..base() };
    assert_eq!(derive(0, &vcek), derive(0, &base()));
    let committed = KeyRequest { tcb_version: TcbVersion::milan(4, 0, 24, 0xdb), ..base() };
    assert!(derive(0, &committed).is_ok());
}
