//! Files that other builders make, with directives that ours have none of.

use igvm::snp_defs::SevVmsa;
use igvm::{
    IgvmDirectiveHeader as Directive, IgvmFile, IgvmInitializationHeader, IgvmPlatformHeader,
    IgvmRevision,
};
use igvm_defs::{
    IGVM_VHS_PARAMETER, IGVM_VHS_PARAMETER_INSERT, IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY,
    IGVM_VHS_SNP_ID_BLOCK_SIGNATURE, IGVM_VHS_SUPPORTED_PLATFORM, IgvmPageDataFlags,
    IgvmPageDataType, IgvmPlatformType,
};
use snp::digest::{LaunchDigest, Page};
use snp::vmsa::DEFAULT_VMSA_GPA;
use zerocopy::{FromZeros, IntoBytes};

use super::{POLICY, RAM};
use crate::{Row, measure};

const SNP: u32 = 1;
const NORMAL: IgvmPageDataFlags = IgvmPageDataFlags::new();

fn page(gpa: u64, flags: IgvmPageDataFlags, byte: Option<u8>) -> Directive {
    let data = byte.map_or(Vec::new(), |byte| vec![byte; 4096]);
    let data_type = IgvmPageDataType::NORMAL;
    Directive::PageData { gpa, compatibility_mask: SNP, flags, data_type, data }
}

fn save_area() -> SevVmsa {
    let mut vmsa = SevVmsa::new_zeroed();
    vmsa.rip = 0xfff0;
    vmsa.sev_features = vmsa.sev_features.with_snp(true);
    vmsa
}

fn vp(gpa: u64) -> Directive {
    let vmsa = Box::new(save_area());
    Directive::SnpVpContext { gpa, compatibility_mask: SNP, vp_index: 0, vmsa }
}

fn required_memory(gpa: u64, number_of_bytes: u32) -> Directive {
    let (compatibility_mask, vtl2_protectable) = (SNP, false);
    Directive::RequiredMemory { gpa, compatibility_mask, number_of_bytes, vtl2_protectable }
}

/// An ID block without keys, for the digest `ld`.
fn id_block(ld: [u8; 48]) -> Directive {
    let signature = || Box::new(IGVM_VHS_SNP_ID_BLOCK_SIGNATURE::new_zeroed());
    let key = || Box::new(IGVM_VHS_SNP_ID_BLOCK_PUBLIC_KEY::new_zeroed());
    Directive::SnpIdBlock {
        compatibility_mask: SNP,
        author_key_enabled: 0,
        reserved: [0; 3],
        ld,
        family_id: [0; 16],
        image_id: [0; 16],
        version: 1,
        guest_svn: 0,
        id_key_algorithm: 1,
        author_key_algorithm: 0,
        id_key_signature: signature(),
        id_public_key: key(),
        author_key_signature: signature(),
        author_public_key: key(),
    }
}

fn file(directives: Vec<Directive>) -> Vec<u8> {
    let platform = IgvmPlatformHeader::SupportedPlatform(IGVM_VHS_SUPPORTED_PLATFORM {
        compatibility_mask: SNP,
        highest_vtl: 0,
        platform_type: IgvmPlatformType::SEV_SNP,
        platform_version: 1,
        shared_gpa_boundary: 0,
    });
    let policy = IgvmInitializationHeader::GuestPolicy { policy: POLICY, compatibility_mask: SNP };
    let file = IgvmFile::new(IgvmRevision::V1, vec![platform], vec![policy], directives).unwrap();
    let mut bytes = Vec::new();
    file.serialize(&mut bytes).unwrap();
    bytes
}

fn rows(directives: Vec<Directive>) -> Vec<Row> {
    measure(&file(directives), RAM).unwrap()
}

fn places(rows: &[Row]) -> Vec<(u64, &'static str)> {
    rows.iter().map(|row| (row.gpa, row.kind)).collect()
}

#[test]
fn the_content_of_an_unmeasured_page_does_not_count() {
    let flags = NORMAL.with_unmeasured(true);
    let found = rows(vec![page(0x1000, flags, Some(1)), page(0x2000, flags, None)]);
    assert_eq!(places(&found), [(0x1000, "UNMEASURED"), (0x2000, "UNMEASURED")]);
    let mut digest = LaunchDigest::EMPTY;
    digest.add(Page::Unmeasured, 0x1000);
    digest.add(Page::Unmeasured, 0x2000);
    assert_eq!(found[1].digest, digest.0);
}

#[test]
fn the_firmware_does_not_hear_of_memory_that_the_host_sees() {
    let shared = NORMAL.with_shared(true);
    let (gpa, compatibility_mask) = (0x3000, SNP);
    let found = rows(vec![
        page(0x1000, shared, Some(1)),
        page(0x2000, NORMAL, Some(2)),
        Directive::ErrorRange { gpa, compatibility_mask, size_bytes: 0x2000 },
    ]);
    assert_eq!(places(&found), [(0x2000, "NORMAL")]);
}

#[test]
fn a_save_area_in_memory_that_the_file_requires_is_measured_at_its_address() {
    let far = 1 << 40;
    let place = |memory: u32| {
        let mut directives = vec![page(0x1000, NORMAL, Some(1)), vp(far)];
        if memory != 0 {
            directives.push(required_memory(far, memory));
        }
        rows(directives).last().map(|row| (row.gpa, row.kind))
    };
    assert_eq!(place(0x1000), Some((far, "VMSA")));
    assert_eq!(place(0), Some((DEFAULT_VMSA_GPA, "VMSA")));
}

#[test]
fn a_file_is_measured_in_the_way_that_its_id_block_is_for() {
    let mut vmsa = [0; 4096];
    vmsa[..save_area().as_bytes().len()].copy_from_slice(save_area().as_bytes());
    let mut specified = LaunchDigest::EMPTY;
    specified.add(Page::Vmsa(&vmsa), 0x2000);
    specified.add(Page::Normal(&[0; 4096]), 0x1000);
    let mut of_qemu = LaunchDigest::EMPTY;
    of_qemu.add(Page::Zero, 0x1000);
    of_qemu.add(Page::Vmsa(&vmsa), 0x2000);
    let with_block = |digest| rows(vec![vp(0x2000), page(0x1000, NORMAL, None), id_block(digest)]);
    let found = with_block(specified.0);
    assert_eq!(places(&found), [(0x2000, "VMSA"), (0x1000, "NORMAL")]);
    assert_eq!(found[1].digest, specified.0);
    for other in [of_qemu.0, [7; 48]] {
        let found = with_block(other);
        assert_eq!(places(&found), [(0x1000, "ZERO"), (0x2000, "VMSA")]);
        assert_eq!(found[1].digest, of_qemu.0);
    }
}

#[test]
fn a_large_page_is_measured_as_512_small_ones() {
    let large = page(2 << 20, NORMAL.with_is_2mb_page(true), None);
    let found = rows(vec![large]);
    assert_eq!(found.len(), 512);
    assert_eq!((found[511].gpa, found[511].kind), ((4 << 20) - 4096, "ZERO"));
    let mut digest = LaunchDigest::EMPTY;
    (0..512).for_each(|number| digest.add(Page::Zero, (2 << 20) + (number << 12)));
    assert_eq!(found[511].digest, digest.0);
}

#[test]
fn all_pages_of_a_parameter_area_are_there_and_not_measured() {
    let parameter_area_index = 3;
    let area = Directive::ParameterArea {
        number_of_bytes: 0x2000,
        parameter_area_index,
        initial_data: vec![1; 0x1001],
    };
    let parameter = IGVM_VHS_PARAMETER { parameter_area_index, byte_offset: 0 };
    let (gpa, compatibility_mask) = (0x1000, SNP);
    let insert = IGVM_VHS_PARAMETER_INSERT { gpa, compatibility_mask, parameter_area_index };
    let found = rows(vec![
        area,
        Directive::DeviceTree(parameter),
        Directive::MmioRanges(parameter),
        Directive::ParameterInsert(insert),
    ]);
    assert_eq!(places(&found), [(0x1000, "UNMEASURED"), (0x2000, "UNMEASURED")]);
}

#[test]
fn a_directive_that_is_not_known_is_refused_with_its_place() {
    let srat = Directive::Srat(IGVM_VHS_PARAMETER { parameter_area_index: 3, byte_offset: 0 });
    let area = Directive::ParameterArea {
        number_of_bytes: 0x1000,
        parameter_area_index: 3,
        initial_data: Vec::new(),
    };
    let error = measure(&file(vec![area, srat]), RAM).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("byte 0x") && text.contains("not supported"), "{text}");
}
