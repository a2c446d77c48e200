//! A hostile guest's messages to Drydock's firmware.

use std::sync::LazyLock;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use drydock_firmware::{
    ChipSecret, Finish, Guest, LaunchEntropy, Platform, PlatformState, Start, TscInfo,
};
use snp::message::{
    HEADER_SIZE, Header, KeyRequest, KeyResponse, MAX_PAYLOAD, MESSAGE_VERSION, MessageType,
    ReportRequest, ReportResponse, TAG_SIZE, TscInfoRequest, TscInfoResponse, nonce,
};
use snp::report::{AttestationReport, FirmwareVersion, PlatformInfo, Policy, TcbVersion};
use snp::secrets::VMPCK_COUNT;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::input::Input;

/// The most messages of one input: it bounds the time.
const MESSAGES: usize = 8;

/// The key that signs reports is made once: that takes long.
pub(crate) static PLATFORM: LazyLock<Platform> = LazyLock::new(|| {
    let state = PlatformState {
        chip_id: [1; 64],
        current_tcb: TcbVersion::milan(2, 0, 8, 100),
        committed_tcb: TcbVersion::milan(2, 0, 8, 99),
        reported_tcb: TcbVersion::milan(2, 0, 7, 98),
        version: FirmwareVersion { build: 1, minor: 55, major: 1, reserved: 0 },
        info: PlatformInfo::new(),
        fms: 0x00a0_0f11,
    };
    Platform::new(state, ChipSecret([2; 32]), &[3; 48]).expect("a key below the curve's order")
});

/// The ciphers of the guest's keys.
static CIPHERS: LazyLock<[Aes256Gcm; VMPCK_COUNT]> =
    LazyLock::new(|| KEYS.map(|key| Aes256Gcm::new(&key.into())));

const KEYS: [[u8; 32]; VMPCK_COUNT] = [[4; 32], [5; 32], [6; 32], [7; 32]];

/// Messages that are not the guest's, and those of a guest that encrypts what it likes.
pub fn guest_message(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut session = Session { guest: guest(), used: [0; VMPCK_COUNT] };
    for _ in 0..MESSAGES {
        if input.is_empty() {
            return;
        }
        match input.u8() & 7 {
            0 => session.forge(&mut input),
            _ => session.send(&mut input),
        }
    }
}

/// A guest that runs.
fn guest() -> Guest {
    let mut guest = launching();
    guest.launch_finish(&Finish { identity: None, host_data: [12; 32] }).expect("a launch");
    guest
}

/// A guest that is being launched.
pub(crate) fn launching() -> Guest {
    let start = Start {
        policy: Policy::from_bits(0x3_0000),
        gosvw: [0; 16],
        vmsa_tweak_bitmap: [0; 64],
        tsc: Some(TscInfo { scale: 1 << 32, offset: 8, factor: 9 }),
    };
    let entropy = LaunchEntropy { vmpck: KEYS, report_id: [10; 32], root_key: [11; 32] };
    Guest::launch_start(&PLATFORM, start, entropy).expect("a policy that fits")
}

/// A running guest with the number of messages in both directions for each key.
struct Session {
    guest: Guest,
    used: [u64; VMPCK_COUNT],
}

impl Session {
    /// A message that nobody has encrypted is refused.
    fn forge(&mut self, input: &mut Input<'_>) {
        let kind = MessageType(input.u8() % 20);
        let vmpck = input.u8() & 3;
        let sequence = self.used[usize::from(vmpck)] + 1;
        let mut page = [0; 4096];
        if input.u8() & 1 != 0 {
            let header = Header::new(kind, sequence, vmpck, input.u16() & 0xfff);
            page[..HEADER_SIZE].copy_from_slice(header.as_bytes());
        }
        let from = usize::from(input.u16()) % 4096;
        page[from..].iter_mut().zip(input.rest()).for_each(|(to, byte)| *to ^= byte);
        assert!(self.call(&page).is_none(), "a message without the key");
    }

    /// A message with any content under a key of the guest.
    fn send(&mut self, input: &mut Input<'_>) {
        let (kind, payload) = payload(input);
        let vmpck = input.u8();
        let vmpck = if vmpck < 0xf8 { vmpck & 3 } else { vmpck };
        let key = usize::from(vmpck & 3);
        let mut header = Header::new(kind, self.used[key] + 1, vmpck, payload.len() as u16);
        let strange = input.u8();
        bend(input, &mut header, strange);
        let mut page = seal(header, &payload, key);
        // A byte of the message changes on its way.
        let is_bent = strange == 14;
        if is_bent {
            page[usize::from(input.u16()) % (HEADER_SIZE + payload.len())] ^= input.u8() | 1;
        }
        let Some(answer) = self.call(&page) else { return };
        assert!(!is_bent, "a message that was changed");
        assert_eq!(header.check(), Ok(key));
        assert_eq!(header.sequence, self.used[key] + 1, "a number that is not the next one");
        assert_eq!(header.message_version, MESSAGE_VERSION);
        assert_eq!(usize::from(header.message_size), payload.len());
        let answer = open(&answer, kind, header.sequence + 1, key);
        self.used[key] += 2;
        check_answer(kind, &payload, key as u32, &answer);
    }

    /// The response, which a refused message does not change.
    fn call(&mut self, page: &[u8; 4096]) -> Option<[u8; 4096]> {
        let mut response = [0xee; 4096];
        let result = self.guest.request(&PLATFORM, page, &mut response);
        if result.is_err() {
            assert_eq!(response, [0xee; 4096], "a refused message changes the response");
        }
        result.ok().map(|()| response)
    }
}

/// A kind with a payload that may be one of it. Few ask for reports: a signature takes long.
fn payload(input: &mut Input<'_>) -> (MessageType, Vec<u8>) {
    let choice = input.u8();
    let (kind, size) = match choice {
        0..=1 => (MessageType::REPORT_REQ, size_of::<ReportRequest>()),
        2..=0x7f => (MessageType::KEY_REQ, size_of::<KeyRequest>()),
        0x80..=0xbf => (MessageType::TSC_INFO_REQ, size_of::<TscInfoRequest>()),
        _ => {
            let kind = MessageType(input.u8());
            let size = usize::from(input.u16()) % (MAX_PAYLOAD + 1);
            // A report is asked for above.
            (kind, if kind == MessageType::REPORT_REQ { size % 96 } else { size })
        }
    };
    let mut bytes = vec![0; size];
    let changes = input.u8() & 3;
    for _ in 0..changes.min(size as u8) {
        bytes[usize::from(input.u16()) % size] = input.u8();
    }
    if kind == MessageType::KEY_REQ && size == size_of::<KeyRequest>() {
        // Selections with a meaning, mostly.
        (bytes[0], bytes[8]) = (input.u8() & 7, input.u8() & 0x3f);
        bytes[16] = input.u8() & 3;
    }
    (kind, bytes)
}

/// Gives one field of some headers a value of its own.
fn bend(input: &mut Input<'_>, header: &mut Header, strange: u8) {
    match strange {
        0 => header.sequence = input.u64(),
        1 => header.sequence = header.sequence.wrapping_sub(2),
        2 => header.sequence = u64::MAX - u64::from(input.u8() & 3),
        3 => header.algorithm.0 = input.u8(),
        4 => header.header_version = input.u8(),
        5 => header.header_size = input.u16(),
        6 => header.message_version = input.u8(),
        7 => header.message_size = input.u16(),
        8 => header.reserved_38 = input.u32(),
        9 => header.reserved_3d[usize::from(input.u8()) % 35] = input.u8(),
        10 => header.reserved_28[usize::from(input.u8()) % 8] = input.u8(),
        11 => header.tag[31] = input.u8(),
        12 => header.sequence += 2,
        _ => {}
    }
}

/// Encrypts a message.
fn seal(mut header: Header, payload: &[u8], key: usize) -> [u8; 4096] {
    let mut page = [0; 4096];
    let text = &mut page[HEADER_SIZE..][..payload.len()];
    text.copy_from_slice(payload);
    let number = nonce(header.sequence).into();
    let sealed = CIPHERS[key].encrypt_inout_detached(&number, header.authenticated(), text.into());
    header.tag[..TAG_SIZE].copy_from_slice(&sealed.expect("a short text"));
    page[..HEADER_SIZE].copy_from_slice(header.as_bytes());
    page
}

/// Decrypts an answer, whose header is that of the next message of the key.
fn open(page: &[u8; 4096], asked: MessageType, sequence: u64, key: usize) -> Vec<u8> {
    let (header, rest) = Header::read_from_prefix(page).expect("a page");
    assert_eq!(header.check(), Ok(key));
    assert_eq!((header.message_type, header.sequence), (asked.answer(), sequence));
    let (text, behind) = rest.split_at(usize::from(header.message_size));
    assert!(behind.iter().all(|byte| *byte == 0), "something lies behind the answer");
    let mut text = text.to_vec();
    let tag: [u8; TAG_SIZE] = header.tag[..TAG_SIZE].try_into().expect("a tag");
    let number = nonce(sequence).into();
    let opened = CIPHERS[key].decrypt_inout_detached(
        &number,
        header.authenticated(),
        text.as_mut_slice().into(),
        &tag.into(),
    );
    opened.expect("the firmware has the guest's key");
    text
}

/// An answer has no more than its status allows, and nothing of a more privileged level.
fn check_answer(kind: MessageType, request: &[u8], sender: u32, answer: &[u8]) {
    match kind {
        MessageType::KEY_REQ => {
            let request = KeyRequest::read_from_bytes(request).expect("its size was checked");
            let answer = KeyResponse::read_from_bytes(answer).expect("a response");
            assert_eq!(answer.status == 0, answer.key != [0; 32], "a key, or a reason");
            assert!(answer.status != 0 || (sender..4).contains(&request.vmpl), "another's key");
        }
        MessageType::REPORT_REQ => {
            let request = ReportRequest::read_from_bytes(request).expect("its size was checked");
            let answer = ReportResponse::read_from_bytes(answer).expect("a response");
            if answer.status == 0 {
                assert!((sender..4).contains(&request.vmpl), "another's report");
                assert_eq!(answer.report.vmpl, request.vmpl);
                assert_eq!(answer.report.report_data, request.report_data);
            } else {
                assert_eq!(answer.report, AttestationReport::new_zeroed());
            }
        }
        MessageType::TSC_INFO_REQ => {
            let answer = TscInfoResponse::read_from_bytes(answer).expect("a response");
            assert_eq!((answer.status, answer.tsc_factor), (0, 9));
        }
        other => panic!("an answer to {other:?}"),
    }
}
