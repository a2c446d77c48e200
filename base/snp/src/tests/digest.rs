use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use igvm::measurement::generate_snp_measurement;
use igvm::snp_defs::SevVmsa;
use igvm::{IgvmDirectiveHeader, IgvmInitializationHeader};
use igvm_defs::{IGVM_VHS_PARAMETER_INSERT, IgvmPageDataFlags, IgvmPageDataType};
use sha2::{Digest, Sha384};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::digest::{LaunchDigest, LowerPermissions, Page, PageType};
use crate::vmsa::{DEFAULT_VMSA_GPA, Vmsa};

extern crate std;

const MASK: u32 = 1;

fn page_data(
    gpa: u64,
    data_type: IgvmPageDataType,
    is_unmeasured: bool,
    data: &[u8],
) -> IgvmDirectiveHeader {
    IgvmDirectiveHeader::PageData {
        gpa,
        compatibility_mask: MASK,
        flags: IgvmPageDataFlags::new().with_unmeasured(is_unmeasured),
        data_type,
        data: data.to_vec(),
    }
}

/// The digest that the igvm crate computes for a file with these directives.
fn theirs(directives: &[IgvmDirectiveHeader]) -> [u8; 48] {
    let policy =
        IgvmInitializationHeader::GuestPolicy { policy: 0x3_0000, compatibility_mask: MASK };
    generate_snp_measurement(&[policy], directives, MASK).unwrap()
}

#[test]
fn a_file_has_the_digest_that_the_igvm_crate_computes() {
    let contents: [u8; 4096] = core::array::from_fn(|index| (index % 253) as u8);
    let mut area = Vmsa::new_zeroed();
    area.rip = 0xffff_fff0;
    area.sev_features.set_snp_active(true);
    let (their_area, _) = SevVmsa::read_from_prefix(area.as_bytes()).unwrap();

    let directives = vec![
        page_data(0x10_0000, IgvmPageDataType::NORMAL, false, &contents),
        page_data(0x10_1000, IgvmPageDataType::NORMAL, false, &[]),
        page_data(0x10_2000, IgvmPageDataType::NORMAL, true, &contents),
        page_data(0x10_3000, IgvmPageDataType::SECRETS, false, &[]),
        page_data(0x10_4000, IgvmPageDataType::CPUID_DATA, false, &contents),
        IgvmDirectiveHeader::ParameterArea {
            number_of_bytes: 0x2000,
            parameter_area_index: 0,
            initial_data: Vec::new(),
        },
        IgvmDirectiveHeader::ParameterInsert(IGVM_VHS_PARAMETER_INSERT {
            gpa: 0x10_5000,
            compatibility_mask: MASK,
            parameter_area_index: 0,
        }),
        IgvmDirectiveHeader::SnpVpContext {
            gpa: DEFAULT_VMSA_GPA,
            compatibility_mask: MASK,
            vp_index: 0,
            vmsa: Box::new(their_area),
        },
    ];

    let mut digest = LaunchDigest::EMPTY;
    digest.add(Page::Normal(&contents), 0x10_0000);
    digest.add(Page::Normal(&[0; 4096]), 0x10_1000);
    digest.add(Page::Unmeasured, 0x10_2000);
    digest.add(Page::Secrets, 0x10_3000);
    digest.add(Page::Cpuid, 0x10_4000);
    digest.add(Page::Unmeasured, 0x10_5000);
    digest.add(Page::Unmeasured, 0x10_6000);
    let bytes: [u8; 4096] = area.as_bytes().try_into().unwrap();
    digest.add(Page::Vmsa(&bytes), DEFAULT_VMSA_GPA);
    assert_eq!(digest.0, theirs(&directives));
}

#[test]
fn a_page_is_hashed_field_by_field() {
    let mut digest = LaunchDigest::EMPTY;
    digest.add(Page::Zero, 0x1000);
    let first = digest.0;
    let permissions = LowerPermissions { vmpl3: 3, vmpl2: 2, vmpl1: 1 };
    digest.add_with_permissions(Page::Zero, 0x2000, permissions);

    let mut input = first.to_vec();
    input.extend([0; 48]);
    input.extend([0x70, 0x00, PageType::ZERO.0, 0, 3, 2, 1, 0]);
    input.extend(0x2000_u64.to_le_bytes());
    let expected: [u8; 48] = Sha384::digest(&input).into();
    assert_eq!(digest.0, expected);
}

#[test]
fn type_address_permissions_contents_and_order_change_the_digest() {
    let of = |pages: &[(Page<'_>, u64)]| {
        let mut digest = LaunchDigest::EMPTY;
        for (page, gpa) in pages {
            digest.add(*page, *gpa);
        }
        digest
    };
    let base = of(&[(Page::Zero, 0x1000), (Page::Secrets, 0x2000)]);
    let mut with_permissions = LaunchDigest::EMPTY;
    let permissions = LowerPermissions { vmpl1: 1, ..LowerPermissions::default() };
    with_permissions.add_with_permissions(Page::Zero, 0x1000, permissions);
    with_permissions.add(Page::Secrets, 0x2000);
    let others = [
        of(&[(Page::Unmeasured, 0x1000), (Page::Secrets, 0x2000)]),
        of(&[(Page::Zero, 0x3000), (Page::Secrets, 0x2000)]),
        of(&[(Page::Secrets, 0x2000), (Page::Zero, 0x1000)]),
        of(&[(Page::Zero, 0x1000), (Page::Cpuid, 0x2000)]),
        of(&[(Page::Normal(&[0; 4096]), 0x1000), (Page::Secrets, 0x2000)]),
        with_permissions,
    ];
    for other in others {
        assert_ne!(base, other);
    }
}
