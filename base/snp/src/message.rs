//! The messages between a guest and the firmware, without their encryption.
//!
//! A message is a header followed by an encrypted payload, in one page (SNP firmware ABI 56860,
//! "SNP_GUEST_REQUEST"). The hypervisor carries it and can change every byte.

use core::mem::size_of;
use core::ops::Range;

use bitfield_struct::bitfield;
use open_enum::open_enum;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::layout::assert_offsets;
use crate::report::{AttestationReport, TcbVersion};
use crate::secrets::VMPCK_COUNT;

/// Bytes of a header.
pub const HEADER_SIZE: usize = size_of::<Header>();

/// Bytes of the longest payload: the rest of the page.
pub const MAX_PAYLOAD: usize = 0x1000 - HEADER_SIZE;

/// Bytes of the tag of AES-256-GCM; the other bytes of the field are zero.
pub const TAG_SIZE: usize = 16;

/// Bytes of the header that are authenticated, although not encrypted.
pub const AUTHENTICATED: Range<usize> = 0x30..HEADER_SIZE;

/// HDR_VERSION of this layout.
pub const HEADER_VERSION: u8 = 1;

/// MSG_VERSION of the payloads defined here.
pub const MESSAGE_VERSION: u8 = 1;

/// The nonce of a message.
pub const fn nonce(sequence: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    let bytes = sequence.to_le_bytes();
    let mut index = 0;
    while index < bytes.len() {
        nonce[index] = bytes[index];
        index += 1;
    }
    nonce
}

/// The encryption of the payload.
#[open_enum]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u8)]
pub enum Algorithm {
    /// AES-256-GCM.
    AES_256_GCM = 1,
}

/// The kind of a message. The answer to a request has the next number.
#[open_enum]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u8)]
pub enum MessageType {
    /// Asks for CPUID values; a [`CpuidFunction`](crate::cpuid_page::CpuidFunction) list.
    CPUID_REQ = 1,
    /// The answer to [`Self::CPUID_REQ`].
    CPUID_RSP = 2,
    /// Asks for a derived key: a [`KeyRequest`].
    KEY_REQ = 3,
    /// A [`KeyResponse`].
    KEY_RSP = 4,
    /// Asks for an attestation report: a [`ReportRequest`].
    REPORT_REQ = 5,
    /// A [`ReportResponse`].
    REPORT_RSP = 6,
    /// Asks for the export of a VM; the migration agent's.
    EXPORT_REQ = 7,
    /// The answer to [`Self::EXPORT_REQ`].
    EXPORT_RSP = 8,
    /// Asks for the import of a VM; the migration agent's.
    IMPORT_REQ = 9,
    /// The answer to [`Self::IMPORT_REQ`].
    IMPORT_RSP = 10,
    /// Asks for the absorption of a VM; the migration agent's.
    ABSORB_REQ = 11,
    /// The answer to [`Self::ABSORB_REQ`].
    ABSORB_RSP = 12,
    /// Sets the VM root key; the migration agent's.
    VMRK_REQ = 13,
    /// The answer to [`Self::VMRK_REQ`].
    VMRK_RSP = 14,
    /// Asks for the parameters of Secure TSC: a [`TscInfoRequest`].
    TSC_INFO_REQ = 17,
    /// A [`TscInfoResponse`].
    TSC_INFO_RSP = 18,
}

impl MessageType {
    /// The type of the answer to a request.
    pub const fn answer(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// The header of a message.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Header {
    /// AUTHTAG, of which the first [`TAG_SIZE`] bytes are used.
    pub tag: [u8; 32],
    /// MSG_SEQNO: one more than that of the message before it with the same key.
    pub sequence: u64,
    /// Zero.
    pub reserved_28: [u8; 8],
    /// ALGO.
    pub algorithm: Algorithm,
    /// HDR_VERSION.
    pub header_version: u8,
    /// HDR_SIZE.
    pub header_size: u16,
    /// MSG_TYPE.
    pub message_type: MessageType,
    /// MSG_VERSION.
    pub message_version: u8,
    /// MSG_SIZE: bytes of the payload.
    pub message_size: u16,
    /// Zero.
    pub reserved_38: u32,
    /// MSG_VMPCK: number of the key.
    pub vmpck: u8,
    /// Zero.
    pub reserved_3d: [u8; 35],
}

const _: () = assert!(size_of::<Header>() == 0x60);
assert_offsets!(Header:
    sequence = 0x20, algorithm = 0x30, header_version = 0x31, header_size = 0x32,
    message_type = 0x34, message_version = 0x35, message_size = 0x36, vmpck = 0x3c,
    reserved_3d = 0x3d,
);

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidHeader {
    /// The algorithm is not AES-256-GCM.
    Algorithm,
    /// The header's version or size is unknown.
    Version,
    /// The payload would not fit into the page.
    Size,
    /// There is no such key.
    Key,
    /// A reserved byte is not zero.
    Reserved,
}

impl Header {
    /// A header without tag for a message.
    pub const fn new(message_type: MessageType, sequence: u64, vmpck: u8, size: u16) -> Self {
        Self {
            tag: [0; 32],
            sequence,
            reserved_28: [0; 8],
            algorithm: Algorithm::AES_256_GCM,
            header_version: HEADER_VERSION,
            header_size: HEADER_SIZE as u16,
            message_type,
            message_version: MESSAGE_VERSION,
            message_size: size,
            reserved_38: 0,
            vmpck,
            reserved_3d: [0; 35],
        }
    }

    /// Accepts a header whose message can be decrypted. Gives the number of its key.
    pub fn check(&self) -> Result<usize, InvalidHeader> {
        if self.algorithm != Algorithm::AES_256_GCM {
            return Err(InvalidHeader::Algorithm);
        }
        if self.header_version != HEADER_VERSION || usize::from(self.header_size) != HEADER_SIZE {
            return Err(InvalidHeader::Version);
        }
        if usize::from(self.message_size) > MAX_PAYLOAD {
            return Err(InvalidHeader::Size);
        }
        if self.reserved_28 != [0; 8] || self.reserved_38 != 0 || self.reserved_3d != [0; 35] {
            return Err(InvalidHeader::Reserved);
        }
        let key = usize::from(self.vmpck);
        if key >= VMPCK_COUNT {
            return Err(InvalidHeader::Key);
        }
        Ok(key)
    }

    /// The bytes that are authenticated.
    pub fn authenticated(&self) -> &[u8] {
        &self.as_bytes()[AUTHENTICATED]
    }
}

/// The chip's key for a report or a derived key.
#[open_enum]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum KeySelection {
    /// The loaded key (VLEK) if there is one, otherwise the chip's (VCEK).
    AVAILABLE = 0,
    /// The chip's key.
    VCEK = 1,
    /// The loaded key.
    VLEK = 2,
}

impl KeySelection {
    const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    const fn into_bits(self) -> u8 {
        self.0
    }
}

/// Flags of a [`ReportRequest`].
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ReportFlags {
    /// KEY_SEL: the key that signs.
    #[bits(2, from = KeySelection::from_bits, into = KeySelection::into_bits)]
    pub key: KeySelection,
    #[bits(30)]
    __: u32,
}

/// MSG_REPORT_REQ.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ReportRequest {
    /// REPORT_DATA: the guest's bytes for the report.
    pub report_data: [u8; 64],
    /// VMPL: the level in the report, not above the sender's own.
    pub vmpl: u32,
    /// The key that signs.
    pub flags: ReportFlags,
    /// Zero.
    pub reserved_48: [u8; 24],
}

/// MSG_REPORT_RSP.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ReportResponse {
    /// STATUS, a [`Status`](crate::status::Status).
    pub status: u32,
    /// Bytes of the report.
    pub report_size: u32,
    /// Zero.
    pub reserved_08: [u8; 24],
    /// The report.
    pub report: AttestationReport,
}

/// The root of a derived key.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RootKeySelect {
    /// ROOT_KEY_SELECT: the VM's root key (VMRK) instead of a key of the chip.
    pub vmrk: bool,
    /// KEY_SEL: the key of the chip.
    #[bits(2, from = KeySelection::from_bits, into = KeySelection::into_bits)]
    pub key: KeySelection,
    #[bits(29)]
    __: u32,
}

/// The properties of the VM that are mixed into a derived key.
#[bitfield(u64)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct GuestFieldSelect {
    /// The policy.
    pub policy: bool,
    /// The image ID.
    pub image_id: bool,
    /// The family ID.
    pub family_id: bool,
    /// The launch digest.
    pub measurement: bool,
    /// The guest's security version, as the request has it.
    pub guest_svn: bool,
    /// The TCB version, as the request has it.
    pub tcb_version: bool,
    #[bits(58)]
    __: u64,
}

/// MSG_KEY_REQ.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct KeyRequest {
    /// The root key.
    pub root_key_select: RootKeySelect,
    /// Zero.
    pub reserved_04: u32,
    /// The properties to mix in.
    pub guest_field_select: GuestFieldSelect,
    /// The level to mix in, not above the sender's own.
    pub vmpl: u32,
    /// The guest's security version to mix in, not above that of the ID block.
    pub guest_svn: u32,
    /// The TCB version to mix in, not above the committed one.
    pub tcb_version: TcbVersion,
}

/// MSG_KEY_RSP.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct KeyResponse {
    /// STATUS, a [`Status`](crate::status::Status).
    pub status: u32,
    /// Zero.
    pub reserved_04: [u8; 28],
    /// The key.
    pub key: [u8; 32],
}

/// MSG_TSC_INFO_REQ.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TscInfoRequest {
    /// Zero.
    pub reserved: [u8; 128],
}

/// MSG_TSC_INFO_RSP.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct TscInfoResponse {
    /// STATUS, a [`Status`](crate::status::Status).
    pub status: u32,
    /// Zero.
    pub reserved_04: u32,
    /// GUEST_TSC_SCALE for save areas.
    pub guest_tsc_scale: u64,
    /// GUEST_TSC_OFFSET for save areas.
    pub guest_tsc_offset: u64,
    /// TSC_FACTOR, as in the secrets page.
    pub tsc_factor: u32,
    /// Zero.
    pub reserved_1c: [u8; 100],
}

const _: () = assert!(size_of::<ReportRequest>() == 96);
const _: () = assert!(size_of::<ReportResponse>() == 32 + 1184);
const _: () = assert!(size_of::<KeyRequest>() == 32);
const _: () = assert!(size_of::<KeyResponse>() == 64);
const _: () = assert!(size_of::<TscInfoRequest>() == 128);
const _: () = assert!(size_of::<TscInfoResponse>() == 128);
