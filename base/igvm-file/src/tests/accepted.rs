//! Files that are accepted.

extern crate std;

use std::vec;
use std::vec::Vec;

use igvm::{IgvmDirectiveHeader, IgvmRevision};
use igvm_defs::{IgvmPageDataFlags, IgvmPageDataType, IgvmPlatformType};
use snp::digest::Page as Measured;
use snp::report::{Curve, Policy, SignatureAlgorithm};
use snp::vmsa::Vmsa;
use zerocopy::FromBytes;

use super::build::{self, NATIVE, SNP};
use crate::{Directive, Igvm, Manner, Page, PageKind, PageSize, ParameterKind};

fn page(gpa: u64, kind: PageKind, data: Option<&[u8]>) -> Directive<'_> {
    Directive::Page(Page { gpa, size: PageSize::Size4K, kind, data })
}

fn check_all(bytes: &[u8]) {
    let file = Igvm::parse(bytes).unwrap();
    assert_eq!(file.policy(), Policy::from_bits(build::POLICY));
    assert_eq!(file.shared_gpa_boundary(), 0);
    let directives: Vec<Directive<'_>> = file.directives().collect();
    assert_eq!(directives.len(), 15);
    assert_eq!(directives[0], page(0x10_0000, PageKind::Normal, Some(&[0xa1; 4096])));
    assert_eq!(directives[1], page(0x10_1000, PageKind::Normal, None));
    assert_eq!(directives[2], page(0x10_2000, PageKind::Unmeasured, Some(&[0xa2; 4096])));
    assert_eq!(directives[3], page(0x10_3000, PageKind::Secrets, None));
    assert_eq!(directives[4], page(0x10_4000, PageKind::Cpuid, Some(&[0xa3; 4096])));
    let Directive::ParameterArea(area) = &directives[5] else { panic!("{:?}", directives[5]) };
    assert_eq!((area.index, area.size, area.data), (5, 0x2000, None));
    let parameters = [
        (ParameterKind::VpCount, 0),
        (ParameterKind::EnvironmentInfo, 4),
        (ParameterKind::MemoryMap, 8),
        (ParameterKind::Madt, 0x800),
        (ParameterKind::CommandLine, 0x1000),
    ];
    for (directive, (kind, offset)) in directives[6..].iter().zip(parameters) {
        assert_eq!(*directive, Directive::Parameter { kind, area: 5, offset });
    }
    assert_eq!(directives[11], Directive::ParameterInsert { gpa: 0x10_5000, area: 5 });
    assert_eq!(directives[12], Directive::RequiredMemory { gpa: 0x10_0000, size: 0x10_0000 });
    let Directive::VpContext(context) = &directives[13] else { panic!("{:?}", directives[13]) };
    assert_eq!((context.gpa, context.vp_index), (0xffff_ffff_f000, 0));
    let vmsa = Vmsa::read_from_bytes(context.vmsa).unwrap();
    assert_eq!(vmsa.rip, 0xfff0);
    assert!(vmsa.sev_features.snp_active());
    assert!(matches!(directives[14], Directive::Identity(_)));
}

#[test]
fn a_file_of_version_1_gives_its_directives_in_order() {
    check_all(&build::file(build::all_directives()));
}

#[test]
fn a_file_of_version_2_gives_its_directives_in_order() {
    let platforms = vec![build::platform(SNP, IgvmPlatformType::SEV_SNP)];
    let directives = build::all_directives();
    check_all(&build::serialize(build::V2, platforms, vec![build::policy(SNP)], directives));
}

/// COCONUT-SVSM's test image is such a file.
#[test]
fn a_file_without_policy_has_the_one_that_qemu_takes() {
    let platforms = vec![build::platform(SNP, IgvmPlatformType::SEV_SNP)];
    let bytes = build::serialize(IgvmRevision::V1, platforms, vec![], vec![build::page(0, None)]);
    let file = Igvm::parse(&bytes).unwrap();
    assert_eq!(file.policy(), Policy::from_bits(0x3_0000));
}

#[test]
fn directives_of_other_platforms_are_skipped() {
    let mut other = build::page(0x20_0000, Some(0xb1));
    *other.compatibility_mask_mut().unwrap() = NATIVE;
    let mut both = build::page(0x20_1000, Some(0xb2));
    *both.compatibility_mask_mut().unwrap() = NATIVE | SNP;
    let range = IgvmDirectiveHeader::ErrorRange {
        gpa: 0x30_0000,
        compatibility_mask: NATIVE,
        size_bytes: 0x1000,
    };
    let bytes = build::serialize(
        IgvmRevision::V1,
        vec![
            build::platform(NATIVE, IgvmPlatformType::VSM_ISOLATION),
            build::platform(SNP, IgvmPlatformType::SEV_SNP),
        ],
        vec![build::policy(SNP)],
        vec![other, range, both],
    );
    let file = Igvm::parse(&bytes).unwrap();
    let directives: Vec<Directive<'_>> = file.directives().collect();
    assert_eq!(directives, [page(0x20_1000, PageKind::Normal, Some(&[0xb2; 4096]))]);
}

#[test]
fn an_identity_becomes_the_firmwares_structures() {
    let bytes = build::file(build::all_directives());
    let file = Igvm::parse(&bytes).unwrap();
    let identity = file.directives().find_map(|directive| match directive {
        Directive::Identity(identity) => Some(identity),
        _ => None,
    });
    let identity = identity.unwrap();
    let block = identity.block(file.policy());
    assert_eq!(block.launch_digest, [0x10; 48]);
    assert_eq!((block.family_id, block.image_id), ([0x11; 16], [0x12; 16]));
    assert_eq!((block.version, block.guest_svn), (1, 7));
    assert_eq!(block.policy.into_bits(), build::POLICY);
    assert!(identity.author_key_enabled);
    let authentication = identity.authentication();
    assert_eq!(authentication.id_key_algorithm, SignatureAlgorithm::ECDSA_P384_SHA384);
    assert_eq!(authentication.id_block_signature.r.0, [0x20; 72]);
    assert_eq!(authentication.id_block_signature.s.0, [0x21; 72]);
    assert_eq!(authentication.id_key.curve, Curve::P384);
    assert_eq!(authentication.id_key.x.0, [0x30; 72]);
    assert_eq!(authentication.id_key_signature.r.0, [0x40; 72]);
    assert_eq!(authentication.author_key.y.0, [0x51; 72]);
}

#[test]
fn save_areas_may_share_the_address_that_is_outside_guest_memory() {
    let contexts = vec![build::context(0xffff_ffff_f000, 0), build::context(0xffff_ffff_f000, 1)];
    assert_eq!(Igvm::parse(&build::file(contexts)).unwrap().directives().count(), 2);
}

#[test]
fn an_unknown_optional_header_is_skipped() {
    let bytes = build::raw(
        &[
            super::refused::snp_platform(),
            super::refused::snp_policy(),
            (0x8000_0333, vec![1, 2, 3]),
            super::refused::page_data(0x1000, 0, 0, 0),
        ],
        &[],
    );
    assert_eq!(Igvm::parse(&bytes).unwrap().directives().count(), 1);
}

#[test]
fn a_large_page_has_its_size_and_data() {
    let data: Vec<u8> = (0..2 << 20).map(|at| (at >> 12) as u8).collect();
    let headers = |offset| {
        [
            super::refused::snp_platform(),
            super::refused::snp_policy(),
            super::refused::page_data(0x20_0000, offset, 1, 0),
        ]
    };
    let start = build::raw(&headers(0), &[]).len();
    let bytes = build::raw(&headers(u32::try_from(start).unwrap()), &data);
    let file = Igvm::parse(&bytes).unwrap();
    let directives: Vec<Directive<'_>> = file.directives().collect();
    let expected =
        Page { gpa: 0x20_0000, size: PageSize::Size2M, kind: PageKind::Normal, data: Some(&data) };
    assert_eq!(directives, [Directive::Page(expected)]);
    let mut pages = Vec::new();
    file.measured(Manner::QEMU, &file.memory(0), &mut |gpa, page| pages.push((gpa, page)));
    let expected = data.as_chunks().0.iter().zip(0..);
    let expected = expected.map(|(page, at)| (0x20_0000 + (at << 12), Measured::Normal(page)));
    assert_eq!(pages, expected.collect::<Vec<_>>());
}

/// The igvm crate's data for other loaders: pages that the guest shares, a CPUID page of the other
/// type, a range for errors, the ranges of devices.
#[test]
fn shared_memory_and_other_types_are_taken() {
    let shared = IgvmPageDataFlags::new().with_shared(true);
    let none = IgvmPageDataFlags::new();
    let bytes = build::file(vec![
        build::typed_page(0x1000, Some(1), IgvmPageDataType::NORMAL, shared),
        build::typed_page(0x2000, None, IgvmPageDataType::CPUID_XF, none),
        IgvmDirectiveHeader::ErrorRange {
            gpa: 0x3000,
            compatibility_mask: SNP,
            size_bytes: 0x2000,
        },
        build::area(0, 0x1000),
        IgvmDirectiveHeader::MmioRanges(build::parameter(0, 0xfe0)),
        IgvmDirectiveHeader::DeviceTree(build::parameter(0, 0x10)),
        build::insert(0x6000, 0),
    ]);
    let directives: Vec<Directive<'_>> = Igvm::parse(&bytes).unwrap().directives().collect();
    assert_eq!(directives[0], page(0x1000, PageKind::Shared, Some(&[1; 4096])));
    assert_eq!(directives[1], page(0x2000, PageKind::Cpuid, None));
    assert_eq!(directives[2], Directive::ErrorRange { gpa: 0x3000, size: 0x2000 });
    let ranges = Directive::Parameter { kind: ParameterKind::MmioRanges, area: 0, offset: 0xfe0 };
    assert_eq!(directives[4], ranges);
    let tree = Directive::Parameter { kind: ParameterKind::DeviceTree, area: 0, offset: 0x10 };
    assert_eq!(directives[5], tree);
}

/// A header can be shorter than its place. Microsoft's igvm-tooling fills the rest with the digit 0.
#[test]
fn padding_has_no_meaning() {
    use super::refused::{context, page_data, snp_platform, snp_policy};
    let headers = [snp_platform(), snp_policy(), page_data(0x1000, 0, 0, 0), context(0x2000, 0, 0)];
    let mut with_place = headers.clone();
    let start = build::raw(&headers, &[]).len();
    with_place[3] = context(0x2000, u32::try_from(start).unwrap(), 0);
    let mut bytes = build::raw(&with_place, &[0; 4096]);
    bytes[start - 4..start].copy_from_slice(b"0000");
    build::sign(&mut bytes);
    assert_eq!(Igvm::parse(&bytes).unwrap().directives().count(), 2);
}

/// A loader may relocate a region, and need not; the others describe the file.
#[test]
fn initialization_that_changes_nothing_is_skipped() {
    use super::refused::{page_data, relocation, snp_platform, snp_policy, words};
    let bytes = build::raw(
        &[
            snp_platform(),
            (0x1, words(&[2, 0x0001_0300, 0, 0])),
            snp_policy(),
            relocation(1),
            relocation(2),
            (0x104, words(&[1, 0, 0, 0])),
            (0x105, words(&[1, 0, 0, 0])),
            (0x106, words(&[2, 0, 0, 0, 0, 0, 0, 0])),
            (0x107, b"1.2".to_vec()),
            page_data(0x1000, 0, 0, 0),
        ],
        &[],
    );
    assert_eq!(Igvm::parse(&bytes).unwrap().directives().count(), 1);
}
