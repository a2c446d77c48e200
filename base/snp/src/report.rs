//! Attestation reports with the policies, versions and identities in them.

use core::mem::size_of;
use core::ops::Range;

use bitfield_struct::bitfield;
use open_enum::open_enum;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::layout::assert_offsets;

/// Bytes of a SHA-384 digest.
pub const DIGEST_SIZE: usize = 48;

/// The permissions that a VM gives its host (SNP firmware ABI 56860, "Guest policy").
#[bitfield(u64)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Policy {
    /// ABI_MINOR: the lowest minor version of the firmware's ABI.
    pub abi_minor: u8,
    /// ABI_MAJOR: the lowest major version of the firmware's ABI.
    pub abi_major: u8,
    /// SMT: simultaneous multithreading may be on.
    pub smt: bool,
    /// Must be one.
    pub reserved_one: bool,
    /// MIGRATE_MA: a migration agent may be bound to the VM.
    pub migrate_ma: bool,
    /// DEBUG: the host may read and write private memory.
    pub debug: bool,
    /// SINGLE_SOCKET: the VM runs on one socket only.
    pub single_socket: bool,
    /// CXL_ALLOW: CXL devices and memory may be present.
    pub cxl_allow: bool,
    /// MEM_AES_256_XTS: memory must be encrypted with AES-256-XTS.
    pub mem_aes_256_xts: bool,
    /// RAPL_DIS: power measurement must be off.
    pub rapl_dis: bool,
    /// CIPHERTEXT_HIDING_DRAM: the host must not read ciphertext.
    pub ciphertext_hiding: bool,
    /// PAGE_SWAP_DISABLE: the host must not move or swap pages.
    pub page_swap_disable: bool,
    #[bits(38)]
    __: u64,
}

impl Policy {
    /// All bits that have a name here.
    pub const KNOWN: Self = Self::from_bits((1 << 26) - 1);
}

/// The security versions of a platform's firmware (SNP firmware ABI 56860, "TCB version").
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct TcbVersion(pub [u8; 8]);

impl TcbVersion {
    /// The layout before Turin.
    pub const fn milan(bootloader: u8, tee: u8, snp: u8, microcode: u8) -> Self {
        Self([bootloader, tee, 0, 0, 0, 0, snp, microcode])
    }

    /// The layout from Turin on.
    pub const fn turin(fmc: u8, bootloader: u8, tee: u8, snp: u8, microcode: u8) -> Self {
        Self([fmc, bootloader, tee, snp, 0, 0, 0, microcode])
    }

    /// No component is newer than that of the other. Both layouts compare byte by byte.
    pub fn is_at_most(self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(own, other)| *own <= other)
    }
}

/// PLATFORM_INFO.
#[bitfield(u64)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PlatformInfo {
    /// SMT_EN: simultaneous multithreading is on.
    pub smt: bool,
    /// TSME_EN: transparent encryption of all memory is on.
    pub tsme: bool,
    /// ECC_EN: memory has error correction.
    pub ecc: bool,
    /// RAPL_DIS: power measurement is off.
    pub rapl_dis: bool,
    /// CIPHERTEXT_HIDING_DRAM_EN: the host can not read ciphertext.
    pub ciphertext_hiding: bool,
    /// ALIAS_CHECK_COMPLETE: memory was checked for aliases.
    pub alias_check_complete: bool,
    __: bool,
    /// TIO_EN: trusted I/O is on.
    pub tio: bool,
    #[bits(56)]
    __: u64,
}

/// The flags at 48h of a report.
#[bitfield(u32)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct KeyInfo {
    /// AUTHOR_KEY_EN: the ID key is certified by an author key.
    pub author_key: bool,
    /// MASK_CHIP_KEY: the report is not signed.
    pub mask_chip_key: bool,
    /// SIGNING_KEY: 0 for VCEK, 1 for VLEK, 7 for none.
    #[bits(3)]
    pub signing_key: u8,
    #[bits(27)]
    __: u32,
}

/// A signature algorithm.
#[open_enum]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u32)]
pub enum SignatureAlgorithm {
    /// ECDSA on P-384 with SHA-384.
    ECDSA_P384_SHA384 = 1,
}

/// A curve.
#[open_enum]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(u32)]
pub enum Curve {
    /// P-384.
    P384 = 2,
}

/// An integer of a P-384 signature or key: little-endian, 48 bytes used.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Integer(pub [u8; 72]);

impl Integer {
    /// From the big-endian form of the standards.
    pub fn from_be_bytes(bytes: &[u8; 48]) -> Self {
        let mut integer = Self([0; 72]);
        for (to, from) in integer.0.iter_mut().zip(bytes.iter().rev()) {
            *to = *from;
        }
        integer
    }

    /// The big-endian form, if the integer has at most 384 bits.
    pub fn to_be_bytes(&self) -> Option<[u8; 48]> {
        let (low, high) = self.0.split_at(48);
        if high.iter().any(|byte| *byte != 0) {
            return None;
        }
        let mut bytes = [0; 48];
        for (to, from) in bytes.iter_mut().zip(low.iter().rev()) {
            *to = *from;
        }
        Some(bytes)
    }
}

/// An ECDSA signature.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Signature {
    /// R.
    pub r: Integer,
    /// S.
    pub s: Integer,
    /// Zero.
    pub reserved: [u8; 368],
}

/// An ECDSA public key.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PublicKey {
    /// The curve.
    pub curve: Curve,
    /// QX.
    pub x: Integer,
    /// QY.
    pub y: Integer,
    /// Zero.
    pub reserved: [u8; 880],
}

/// A version of the firmware.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct FirmwareVersion {
    /// Build number.
    pub build: u8,
    /// Minor version.
    pub minor: u8,
    /// Major version.
    pub major: u8,
    /// Zero.
    pub reserved: u8,
}

/// An attestation report, version 2 to 5 (SNP firmware ABI 56860, "ATTESTATION_REPORT").
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AttestationReport {
    /// Version of the layout.
    pub version: u32,
    /// The guest's security version.
    pub guest_svn: u32,
    /// The VM's policy.
    pub policy: Policy,
    /// FAMILY_ID of the ID block.
    pub family_id: [u8; 16],
    /// IMAGE_ID of the ID block.
    pub image_id: [u8; 16],
    /// The level that the request named.
    pub vmpl: u32,
    /// SIGNATURE_ALGO.
    pub signature_algorithm: SignatureAlgorithm,
    /// CURRENT_TCB.
    pub current_tcb: TcbVersion,
    /// PLATFORM_INFO.
    pub platform_info: PlatformInfo,
    /// The keys that were used.
    pub key_info: KeyInfo,
    /// Zero.
    pub reserved_04c: u32,
    /// REPORT_DATA: the guest's bytes.
    pub report_data: [u8; 64],
    /// MEASUREMENT: the launch digest.
    pub measurement: [u8; DIGEST_SIZE],
    /// HOST_DATA: the hypervisor's bytes.
    pub host_data: [u8; 32],
    /// ID_KEY_DIGEST: digest of the key that signed the ID block.
    pub id_key_digest: [u8; DIGEST_SIZE],
    /// AUTHOR_KEY_DIGEST: digest of the key that certified the ID key.
    pub author_key_digest: [u8; DIGEST_SIZE],
    /// REPORT_ID of the VM.
    pub report_id: [u8; 32],
    /// REPORT_ID of the VM's migration agent.
    pub report_id_ma: [u8; 32],
    /// REPORTED_TCB, from which the signing key is derived.
    pub reported_tcb: TcbVersion,
    /// CPUID family; version 3.
    pub cpuid_family: u8,
    /// CPUID model; version 3.
    pub cpuid_model: u8,
    /// CPUID stepping; version 3.
    pub cpuid_stepping: u8,
    /// Zero.
    pub reserved_18b: [u8; 21],
    /// CHIP_ID.
    pub chip_id: [u8; 64],
    /// COMMITTED_TCB.
    pub committed_tcb: TcbVersion,
    /// The firmware's version.
    pub current_version: FirmwareVersion,
    /// The lowest version that the platform can go back to.
    pub committed_version: FirmwareVersion,
    /// LAUNCH_TCB: the current TCB when the VM was launched.
    pub launch_tcb: TcbVersion,
    /// LAUNCH_MIT_VECTOR; version 5.
    pub launch_mit_vector: u64,
    /// CURRENT_MIT_VECTOR; version 5.
    pub current_mit_vector: u64,
    /// Zero.
    pub reserved_208: [u8; 152],
    /// The signature of [`AttestationReport::SIGNED`].
    pub signature: Signature,
}

impl AttestationReport {
    /// The bytes that the signature covers.
    pub const SIGNED: Range<usize> = 0..0x2a0;
}

/// The launch that the VM's owner expects (SNP firmware ABI 56860, "ID block").
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct IdBlock {
    /// The launch digest that is expected.
    pub launch_digest: [u8; DIGEST_SIZE],
    /// FAMILY_ID, for the report.
    pub family_id: [u8; 16],
    /// IMAGE_ID, for the report.
    pub image_id: [u8; 16],
    /// Version of the layout: 1.
    pub version: u32,
    /// The guest's security version.
    pub guest_svn: u32,
    /// The policy that is expected.
    pub policy: Policy,
}

/// The signatures of an ID block (SNP firmware ABI 56860, "ID authentication information").
#[repr(C)]
#[derive(Clone, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct IdAuthentication {
    /// Algorithm of the ID key.
    pub id_key_algorithm: SignatureAlgorithm,
    /// Algorithm of the author key.
    pub author_key_algorithm: SignatureAlgorithm,
    /// Zero.
    pub reserved_008: [u8; 56],
    /// The ID key's signature of the ID block.
    pub id_block_signature: Signature,
    /// The ID key.
    pub id_key: PublicKey,
    /// Zero.
    pub reserved_644: [u8; 60],
    /// The author key's signature of the ID key.
    pub id_key_signature: Signature,
    /// The author key.
    pub author_key: PublicKey,
    /// Zero.
    pub reserved_c84: [u8; 892],
}

const _: () = assert!(size_of::<Signature>() == 0x200);
const _: () = assert!(size_of::<PublicKey>() == 0x404);
const _: () = assert!(size_of::<IdBlock>() == 0x60);
const _: () = assert!(size_of::<IdAuthentication>() == 0x1000);
const _: () = assert!(size_of::<AttestationReport>() == 0x4a0);
assert_offsets!(IdAuthentication:
    id_block_signature = 0x040, id_key = 0x240, id_key_signature = 0x680, author_key = 0x880,
);
assert_offsets!(IdBlock: family_id = 0x30, image_id = 0x40, version = 0x50, policy = 0x58);
assert_offsets!(AttestationReport:
    policy = 0x008, family_id = 0x010, image_id = 0x020, vmpl = 0x030,
    signature_algorithm = 0x034, current_tcb = 0x038, platform_info = 0x040, key_info = 0x048,
    report_data = 0x050, measurement = 0x090, host_data = 0x0c0, id_key_digest = 0x0e0,
    author_key_digest = 0x110, report_id = 0x140, report_id_ma = 0x160, reported_tcb = 0x180,
    cpuid_family = 0x188, chip_id = 0x1a0, committed_tcb = 0x1e0, current_version = 0x1e8,
    committed_version = 0x1ec, launch_tcb = 0x1f0, launch_mit_vector = 0x1f8, signature = 0x2a0,
);
