//! Files for the tests, built by the igvm crate or changed by hand.

extern crate std;

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use igvm::snp_defs::SevVmsa;
use igvm::{
    Arch, IgvmDirectiveHeader, IgvmFile, IgvmInitializationHeader, IgvmPlatformHeader, IgvmRevision,
};
use igvm_defs::{
    IGVM_VHS_PARAMETER, IGVM_VHS_PARAMETER_INSERT, IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY,
    IGVM_VHS_SNP_ID_BLOCK_SIGNATURE, IGVM_VHS_SUPPORTED_PLATFORM, IgvmPageDataFlags,
    IgvmPageDataType, IgvmPlatformType,
};
use zerocopy::FromZeros;

use crate::fixed_header::checksum;

/// The compatibility mask of SEV-SNP.
pub(super) const SNP: u32 = 1;
/// The compatibility mask of the other platform.
pub(super) const NATIVE: u32 = 2;

pub(super) const POLICY: u64 = 0x3_0000;

/// Offset of the fixed header's checksum.
const CHECKSUM: usize = 20;

pub(super) fn platform(mask: u32, platform_type: IgvmPlatformType) -> IgvmPlatformHeader {
    IgvmPlatformHeader::SupportedPlatform(IGVM_VHS_SUPPORTED_PLATFORM {
        compatibility_mask: mask,
        highest_vtl: 0,
        platform_type,
        platform_version: 1,
        shared_gpa_boundary: 0,
    })
}

pub(super) fn policy(mask: u32) -> IgvmInitializationHeader {
    IgvmInitializationHeader::GuestPolicy { policy: POLICY, compatibility_mask: mask }
}

pub(super) fn page(gpa: u64, byte: Option<u8>) -> IgvmDirectiveHeader {
    typed_page(gpa, byte, IgvmPageDataType::NORMAL, IgvmPageDataFlags::new())
}

pub(super) fn typed_page(
    gpa: u64,
    byte: Option<u8>,
    data_type: IgvmPageDataType,
    flags: IgvmPageDataFlags,
) -> IgvmDirectiveHeader {
    let data = byte.map_or(Vec::new(), |byte| vec![byte; 4096]);
    IgvmDirectiveHeader::PageData { gpa, compatibility_mask: SNP, flags, data_type, data }
}

pub(super) fn area(index: u32, bytes: u64) -> IgvmDirectiveHeader {
    IgvmDirectiveHeader::ParameterArea {
        number_of_bytes: bytes,
        parameter_area_index: index,
        initial_data: Vec::new(),
    }
}

pub(super) fn parameter(area: u32, offset: u32) -> IGVM_VHS_PARAMETER {
    IGVM_VHS_PARAMETER { parameter_area_index: area, byte_offset: offset }
}

pub(super) fn insert(gpa: u64, area: u32) -> IgvmDirectiveHeader {
    IgvmDirectiveHeader::ParameterInsert(IGVM_VHS_PARAMETER_INSERT {
        gpa,
        compatibility_mask: SNP,
        parameter_area_index: area,
    })
}

pub(super) fn context(gpa: u64, vp_index: u16) -> IgvmDirectiveHeader {
    let mut vmsa = SevVmsa::new_zeroed();
    vmsa.rip = 0xfff0;
    vmsa.sev_features = vmsa.sev_features.with_snp(true);
    let vmsa = Box::new(vmsa);
    IgvmDirectiveHeader::SnpVpContext { gpa, compatibility_mask: SNP, vp_index, vmsa }
}

pub(super) fn id_block() -> IgvmDirectiveHeader {
    let signature = |byte| {
        Box::new(IGVM_VHS_SNP_ID_BLOCK_SIGNATURE { r_comp: [byte; 72], s_comp: [byte + 1; 72] })
    };
    let key = |byte| {
        Box::new(IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY {
            curve: 2,
            reserved: 0,
            qx: [byte; 72],
            qy: [byte + 1; 72],
        })
    };
    IgvmDirectiveHeader::SnpIdBlock {
        compatibility_mask: SNP,
        author_key_enabled: 1,
        reserved: [0; 3],
        ld: [0x10; 48],
        family_id: [0x11; 16],
        image_id: [0x12; 16],
        version: 1,
        guest_svn: 7,
        id_key_algorithm: 1,
        author_key_algorithm: 1,
        id_key_signature: signature(0x20),
        id_public_key: key(0x30),
        author_key_signature: signature(0x40),
        author_public_key: key(0x50),
    }
}

/// A file for SEV-SNP alone.
pub(super) fn file(directives: Vec<IgvmDirectiveHeader>) -> Vec<u8> {
    serialize(
        IgvmRevision::V1,
        vec![platform(SNP, IgvmPlatformType::SEV_SNP)],
        vec![policy(SNP)],
        directives,
    )
}

pub(super) const V2: IgvmRevision = IgvmRevision::V2 { arch: Arch::X64, page_size: 4096 };

pub(super) fn serialize(
    revision: IgvmRevision,
    platforms: Vec<IgvmPlatformHeader>,
    initialization: Vec<IgvmInitializationHeader>,
    directives: Vec<IgvmDirectiveHeader>,
) -> Vec<u8> {
    let file = IgvmFile::new(revision, platforms, initialization, directives).unwrap();
    let mut bytes = Vec::new();
    file.serialize(&mut bytes).unwrap();
    bytes
}

/// Directives of every kind that is supported.
pub(super) fn all_directives() -> Vec<IgvmDirectiveHeader> {
    let unmeasured = IgvmPageDataFlags::new().with_unmeasured(true);
    let measured = IgvmPageDataFlags::new();
    vec![
        page(0x10_0000, Some(0xa1)),
        page(0x10_1000, None),
        typed_page(0x10_2000, Some(0xa2), IgvmPageDataType::NORMAL, unmeasured),
        typed_page(0x10_3000, None, IgvmPageDataType::SECRETS, measured),
        typed_page(0x10_4000, Some(0xa3), IgvmPageDataType::CPUID_DATA, measured),
        area(5, 0x2000),
        IgvmDirectiveHeader::VpCount(parameter(5, 0)),
        IgvmDirectiveHeader::EnvironmentInfo(parameter(5, 4)),
        IgvmDirectiveHeader::MemoryMap(parameter(5, 8)),
        IgvmDirectiveHeader::Madt(parameter(5, 0x800)),
        IgvmDirectiveHeader::CommandLine(parameter(5, 0x1000)),
        insert(0x10_5000, 5),
        IgvmDirectiveHeader::RequiredMemory {
            gpa: 0x10_0000,
            compatibility_mask: SNP,
            number_of_bytes: 0x10_0000,
            vtl2_protectable: false,
        },
        context(0xffff_ffff_f000, 0),
        id_block(),
    ]
}

/// A file made by hand: headers as type and body, with data behind them.
pub(super) fn raw(headers: &[(u32, Vec<u8>)], data: &[u8]) -> Vec<u8> {
    let mut variable = Vec::new();
    for (header_type, body) in headers {
        variable.extend(header_type.to_le_bytes());
        variable.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        variable.extend(body);
        variable.resize(variable.len().next_multiple_of(8), 0);
    }
    let mut file = b"IGVM".to_vec();
    let total = 24 + variable.len() + data.len();
    for word in [1, 24, variable.len(), total, 0] {
        file.extend(u32::try_from(word).unwrap().to_le_bytes());
    }
    file.extend(&variable);
    file.extend(data);
    sign(&mut file);
    file
}

/// Computes the checksum of a changed file again.
pub(super) fn sign(file: &mut [u8]) {
    let word =
        |offset: usize| u32::from_le_bytes(file[offset..offset + 4].try_into().unwrap()) as usize;
    let fixed = if word(4) == 2 { 32 } else { 24 };
    let (start, size) = (word(8), word(12));
    let sum = checksum(&file[..fixed], &file[start..start + size]);
    file[CHECKSUM..CHECKSUM + 4].copy_from_slice(&sum.to_le_bytes());
}
