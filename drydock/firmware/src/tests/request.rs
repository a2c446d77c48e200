use snp::message::{
    Algorithm, Header, MessageType, ReportRequest, ReportResponse, TscInfoRequest, TscInfoResponse,
};
use snp::status::Status;
use zerocopy::{FromZeros, IntoBytes};

use super::fixture::{self, Client, NO_IDENTITY, TSC, platform, running};
use crate::{Guest, Start};

const REPORT: MessageType = MessageType::REPORT_REQ;

fn report_request() -> ReportRequest {
    ReportRequest { vmpl: 3, ..ReportRequest::new_zeroed() }
}

fn send(guest: &mut Guest, message: &[u8; 4096]) -> Result<[u8; 4096], Status> {
    let mut response = [0xee; 4096];
    let result = guest.request(&platform(), message, &mut response);
    if result.is_err() {
        assert_eq!(response, [0xee; 4096], "a refused message changes the response");
    }
    result.map(|()| response)
}

#[test]
fn each_key_counts_its_own_messages() {
    let mut guest = running();
    let mut clients = [0, 1, 2, 3].map(Client::new);
    for _ in 0..3 {
        for client in &mut clients {
            let response: ReportResponse = client.call(&mut guest, REPORT, &report_request());
            assert_eq!(response.status, 0);
        }
    }
}

#[test]
fn a_number_is_used_once() {
    let mut guest = running();
    let mut client = Client::new(0);
    let first = client.message(REPORT, report_request().as_bytes());
    send(&mut guest, &first).unwrap();
    // The same message, and another one under the same number.
    assert_eq!(send(&mut guest, &first), Err(Status::INVALID_PARAM));
    let other = client.message(MessageType::TSC_INFO_REQ, &[0; 128]);
    assert_eq!(send(&mut guest, &other), Err(Status::INVALID_PARAM));
    // The number of the answer, and numbers ahead.
    for sequence in [0, 1, 3, 4, 100, u64::MAX - 1] {
        client.sequence = sequence;
        let message = client.message(REPORT, report_request().as_bytes());
        assert_eq!(send(&mut guest, &message), Err(Status::INVALID_PARAM), "{sequence}");
    }
    client.sequence = 2;
    let _: ReportResponse = client.call(&mut guest, REPORT, &report_request());
}

#[test]
fn numbers_do_not_wrap() {
    let mut guest = running();
    guest.messages[0] = u64::MAX - 3;
    let mut client = Client::new(0);
    client.sequence = u64::MAX - 3;
    let _: ReportResponse = client.call(&mut guest, REPORT, &report_request());
    let last = Header::new(REPORT, u64::MAX, 0, 96);
    let message = client.seal(last, report_request().as_bytes());
    assert_eq!(send(&mut guest, &message), Err(Status::AEAD_OFLOW));
}

#[test]
fn a_key_opens_its_own_messages_only() {
    let mut guest = running();
    let mut client = Client::new(1);
    client.vmpck = 0;
    let message = client.message(REPORT, report_request().as_bytes());
    assert_eq!(send(&mut guest, &message), Err(Status::BAD_MEASUREMENT));
}

#[test]
fn a_header_with_a_fault_is_refused() {
    let client = Client::new(0);
    let good = Header::new(REPORT, 1, 0, 96);
    let table = [
        (Header { algorithm: Algorithm(0), ..good }, Status::INVALID_PARAM),
        (Header { header_version: 0, ..good }, Status::INVALID_PARAM),
        (Header { header_size: 0, ..good }, Status::INVALID_PARAM),
        (Header { message_size: 4001, ..good }, Status::INVALID_PARAM),
        (Header { vmpck: 4, ..good }, Status::INVALID_PARAM),
        (Header { reserved_38: 1, ..good }, Status::INVALID_PARAM),
        (Header { message_version: 0, ..good }, Status::INVALID_PARAM),
        (Header { message_version: 2, ..good }, Status::INVALID_PARAM),
        (Header { message_type: MessageType(0), ..good }, Status::INVALID_PARAM),
        (Header { message_type: MessageType::REPORT_RSP, ..good }, Status::INVALID_PARAM),
        (Header { message_type: MessageType::VMRK_REQ, ..good }, Status::INVALID_PARAM),
        (Header { message_type: MessageType(0xff), ..good }, Status::INVALID_PARAM),
        (Header { message_size: 95, ..good }, Status::BAD_MEASUREMENT),
    ];
    for (header, status) in table {
        let message = client.seal(header, report_request().as_bytes());
        assert_eq!(send(&mut running(), &message), Err(status), "{header:?}");
    }
}

#[test]
fn a_payload_has_the_length_of_its_type() {
    for (message_type, length) in
        [(REPORT, 96), (MessageType::KEY_REQ, 32), (MessageType::TSC_INFO_REQ, 128)]
    {
        let client = Client::new(0);
        for wrong in [0, 1, length - 1, length + 1, 4000] {
            let message = client.message(message_type, &[0; 4000][..wrong]);
            let result = send(&mut running(), &message);
            assert_eq!(result, Err(Status::INVALID_LENGTH), "{message_type:?} {wrong}");
        }
        let message = client.message(message_type, &[0; 4000][..length]);
        assert!(send(&mut running(), &message).is_ok());
    }
}

#[test]
fn the_parameters_of_secure_tsc_are_those_of_the_launch() {
    let request = TscInfoRequest::new_zeroed();
    let response: TscInfoResponse =
        Client::new(0).call(&mut running(), MessageType::TSC_INFO_REQ, &request);
    assert_eq!(response.status, 0);
    assert_eq!(response.guest_tsc_scale, TSC.scale);
    assert_eq!(response.guest_tsc_offset, TSC.offset);
    assert_eq!(response.tsc_factor, TSC.factor);

    let start = Start { tsc: None, ..fixture::start() };
    let mut guest = Guest::launch_start(&platform(), start, fixture::entropy()).unwrap();
    guest.launch_finish(&NO_IDENTITY).unwrap();
    let response: TscInfoResponse =
        Client::new(0).call(&mut guest, MessageType::TSC_INFO_REQ, &request);
    assert_eq!(Status(response.status), Status::INVALID_PARAM);
    assert_eq!((response.guest_tsc_scale, response.tsc_factor), (0, 0));
}
