//! A platform, a VM, and a guest that speaks with the firmware.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use snp::digest::LowerPermissions;
use snp::message::{HEADER_SIZE, Header, MessageType, TAG_SIZE, nonce};
use snp::report::{FirmwareVersion, PlatformInfo, Policy, TcbVersion};
use snp::status::Status;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    ChipSecret, Finish, Guest, LaunchEntropy, Platform, PlatformState, Start, TscInfo, Update,
};

pub(super) const POLICY: Policy = Policy::from_bits(0x3_0000);

pub(super) const TSC: TscInfo = TscInfo { scale: 0x1_0000_0000, offset: 0x1234, factor: 200 };

pub(super) fn state() -> PlatformState {
    PlatformState {
        chip_id: [0xc1; 64],
        current_tcb: TcbVersion::milan(5, 0, 25, 0xdc),
        committed_tcb: TcbVersion::milan(4, 0, 24, 0xdb),
        reported_tcb: TcbVersion::milan(3, 0, 23, 0xda),
        version: FirmwareVersion { build: 8, minor: 55, major: 1, reserved: 0 },
        info: PlatformInfo::new().with_smt(true),
        // Family 19h, model 1, stepping 1.
        fms: 0x00a0_0f11,
    }
}

pub(super) fn platform() -> Platform {
    Platform::new(state(), ChipSecret([0x5e; 32]), &[0x11; 48]).unwrap()
}

pub(super) fn start() -> Start {
    Start { policy: POLICY, gosvw: [0x77; 16], vmsa_tweak_bitmap: [0x66; 64], tsc: Some(TSC) }
}

pub(super) fn entropy() -> LaunchEntropy {
    LaunchEntropy {
        vmpck: [[0xa0; 32], [0xa1; 32], [0xa2; 32], [0xa3; 32]],
        report_id: [0xb0; 32],
        root_key: [0xb1; 32],
    }
}

pub(super) fn launching() -> Guest {
    Guest::launch_start(&platform(), start(), entropy()).unwrap()
}

pub(super) fn add(guest: &mut Guest, update: Update<'_>, gpa: u64) -> Result<(), Status> {
    guest.launch_update(&platform(), update, gpa, LowerPermissions::default())
}

pub(super) const NO_IDENTITY: Finish<'static> = Finish { identity: None, host_data: [0x40; 32] };

pub(super) fn running() -> Guest {
    let mut guest = launching();
    add(&mut guest, Update::Normal(&[1; 4096]), 0x1000).unwrap();
    guest.launch_finish(&NO_IDENTITY).unwrap();
    guest
}

/// The guest's side of one key.
pub(super) struct Client {
    key: [u8; 32],
    pub vmpck: u8,
    pub sequence: u64,
}

impl Client {
    pub(super) fn new(vmpck: u8) -> Self {
        Self { key: entropy().vmpck[usize::from(vmpck)], vmpck, sequence: 0 }
    }

    pub(super) fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&self.key.into())
    }

    /// Encrypts a message with a header of the caller's.
    pub(super) fn seal(&self, mut header: Header, payload: &[u8]) -> [u8; 4096] {
        let mut page = [0; 4096];
        let text = &mut page[HEADER_SIZE..][..payload.len()];
        text.copy_from_slice(payload);
        let tag = self
            .cipher()
            .encrypt_inout_detached(
                &nonce(header.sequence).into(),
                header.authenticated(),
                text.into(),
            )
            .unwrap();
        header.tag[..TAG_SIZE].copy_from_slice(&tag);
        page[..HEADER_SIZE].copy_from_slice(header.as_bytes());
        page
    }

    /// The next message.
    pub(super) fn message(&self, message_type: MessageType, payload: &[u8]) -> [u8; 4096] {
        let size = payload.len().try_into().unwrap();
        self.seal(Header::new(message_type, self.sequence + 1, self.vmpck, size), payload)
    }

    /// Decrypts an answer and checks its header.
    pub(super) fn open<T: FromBytes + KnownLayout + Immutable>(
        &self,
        message_type: MessageType,
        page: &[u8; 4096],
    ) -> T {
        let (header, rest) = Header::read_from_prefix(page).unwrap();
        assert_eq!(header.check(), Ok(usize::from(self.vmpck)));
        assert_eq!(header.message_type, message_type);
        assert_eq!(header.sequence, self.sequence + 2);
        let size = usize::from(header.message_size);
        let (text, behind) = rest.split_at(size);
        assert!(behind.iter().all(|byte| *byte == 0));
        let mut buffer = [0; 4000];
        let buffer = &mut buffer[..size];
        buffer.copy_from_slice(text);
        let tag: [u8; TAG_SIZE] = header.tag[..TAG_SIZE].try_into().unwrap();
        self.cipher()
            .decrypt_inout_detached(
                &nonce(header.sequence).into(),
                header.authenticated(),
                (&mut *buffer).into(),
                &tag.into(),
            )
            .unwrap();
        T::read_from_bytes(buffer).unwrap()
    }

    /// Sends a request and reads its answer.
    pub(super) fn call<T: FromBytes + KnownLayout + Immutable>(
        &mut self,
        guest: &mut Guest,
        message_type: MessageType,
        request: &(impl IntoBytes + Immutable),
    ) -> T {
        let message = self.message(message_type, request.as_bytes());
        let mut response = [0xee; 4096];
        guest.request(&platform(), &message, &mut response).unwrap();
        let answer = self.open(message_type.answer(), &response);
        self.sequence += 2;
        answer
    }
}
