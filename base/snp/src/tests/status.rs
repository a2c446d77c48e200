use crate::message::MessageType;
use crate::status::Status;

/// The codes in their order; number 1Eh is not used.
const CODES: [Option<Status>; 40] = [
    Some(Status::SUCCESS),
    Some(Status::INVALID_PLATFORM_STATE),
    Some(Status::INVALID_GUEST_STATE),
    Some(Status::INVALID_CONFIG),
    Some(Status::INVALID_LENGTH),
    Some(Status::ALREADY_OWNED),
    Some(Status::INVALID_CERTIFICATE),
    Some(Status::POLICY_FAILURE),
    Some(Status::INACTIVE),
    Some(Status::INVALID_ADDRESS),
    Some(Status::BAD_SIGNATURE),
    Some(Status::BAD_MEASUREMENT),
    Some(Status::ASID_OWNED),
    Some(Status::INVALID_ASID),
    Some(Status::WBINVD_REQUIRED),
    Some(Status::DF_FLUSH_REQUIRED),
    Some(Status::INVALID_GUEST),
    Some(Status::INVALID_COMMAND),
    Some(Status::ACTIVE),
    Some(Status::HWERROR_PLATFORM),
    Some(Status::HWERROR_UNSAFE),
    Some(Status::UNSUPPORTED),
    Some(Status::INVALID_PARAM),
    Some(Status::RESOURCE_LIMIT),
    Some(Status::SECURE_DATA_INVALID),
    Some(Status::INVALID_PAGE_SIZE),
    Some(Status::INVALID_PAGE_STATE),
    Some(Status::INVALID_MDATA_ENTRY),
    Some(Status::INVALID_PAGE_OWNER),
    Some(Status::AEAD_OFLOW),
    None,
    Some(Status::RB_MODE_EXITED),
    Some(Status::RMP_INIT_REQUIRED),
    Some(Status::BAD_SVN),
    Some(Status::BAD_VERSION),
    Some(Status::SHUTDOWN_REQUIRED),
    Some(Status::UPDATE_FAILED),
    Some(Status::RESTORE_REQUIRED),
    Some(Status::RMP_INITIALIZATION_FAILED),
    Some(Status::INVALID_KEY),
];

#[test]
fn status_codes_are_numbered_in_the_order_of_the_abi() {
    for (number, code) in (0..).zip(CODES) {
        assert!(code.is_none_or(|code| code == Status(number)), "{number:#x}");
    }
}

#[test]
fn every_request_has_the_next_number_as_answer() {
    let pairs = [
        (MessageType::CPUID_REQ, MessageType::CPUID_RSP, 1),
        (MessageType::KEY_REQ, MessageType::KEY_RSP, 3),
        (MessageType::REPORT_REQ, MessageType::REPORT_RSP, 5),
        (MessageType::EXPORT_REQ, MessageType::EXPORT_RSP, 7),
        (MessageType::IMPORT_REQ, MessageType::IMPORT_RSP, 9),
        (MessageType::ABSORB_REQ, MessageType::ABSORB_RSP, 11),
        (MessageType::VMRK_REQ, MessageType::VMRK_RSP, 13),
        (MessageType::TSC_INFO_REQ, MessageType::TSC_INFO_RSP, 17),
    ];
    for (request, answer, number) in pairs {
        assert_eq!(request, MessageType(number));
        assert_eq!(request.answer(), answer);
    }
    assert_eq!(MessageType(255).answer(), MessageType(0));
}
