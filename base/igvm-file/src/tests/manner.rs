//! Files whose ID blocks come from loaders of different manners.

extern crate std;

use std::vec;
use std::vec::Vec;

use igvm::IgvmDirectiveHeader;
use igvm_defs::{IgvmPageDataFlags, IgvmPageDataType};
use snp::digest::{LaunchDigest, Page};
use snp::vmsa::DEFAULT_VMSA_GPA;

use super::build;
use crate::{Directive, Igvm, Manner, Memory};

const AREA: u64 = 0x2000;

/// Pages of every kind around a save area, without ID block.
fn directives(area: u64) -> Vec<IgvmDirectiveHeader> {
    let unmeasured = IgvmPageDataFlags::new().with_unmeasured(true);
    let shared = IgvmPageDataFlags::new().with_shared(true);
    let none = IgvmPageDataFlags::new();
    vec![
        build::page(0x1000, Some(1)),
        build::context(area, 0),
        build::page(0x3000, None),
        build::area(7, 0x2000),
        build::insert(0x4000, 7),
        build::typed_page(0x6000, Some(2), IgvmPageDataType::NORMAL, unmeasured),
        build::typed_page(0x7000, Some(3), IgvmPageDataType::NORMAL, shared),
        build::typed_page(0x8000, None, IgvmPageDataType::SECRETS, none),
        build::typed_page(0x9000, Some(4), IgvmPageDataType::CPUID_DATA, none),
    ]
}

/// The digest of the same pages, by the rules of the firmware.
fn digest(manner: Manner, area: u64) -> [u8; 48] {
    let bytes = build::file(directives(AREA));
    let mut found = Igvm::parse(&bytes).unwrap().directives();
    let vmsa = found.find_map(|directive| match directive {
        Directive::VpContext(context) => Some(*context.vmsa),
        _ => None,
    });
    let vmsa = vmsa.unwrap();
    let mut digest = LaunchDigest::EMPTY;
    digest.add(Page::Normal(&[1; 4096]), 0x1000);
    if !manner.has_areas_last {
        digest.add(Page::Vmsa(&vmsa), area);
    }
    let zero = if manner.has_zero_pages { Page::Zero } else { Page::Normal(&[0; 4096]) };
    digest.add(zero, 0x3000);
    for gpa in [0x4000, 0x5000, 0x6000] {
        digest.add(Page::Unmeasured, gpa);
    }
    digest.add(Page::Secrets, 0x8000);
    digest.add(Page::Cpuid, 0x9000);
    if manner.has_areas_last {
        digest.add(Page::Vmsa(&vmsa), area);
    }
    digest.0
}

fn with_id_block(area: u64, digest: [u8; 48]) -> Vec<u8> {
    let mut block = build::id_block();
    if let IgvmDirectiveHeader::SnpIdBlock { ld, .. } = &mut block {
        *ld = digest;
    }
    let mut all = directives(area);
    all.push(block);
    build::file(all)
}

/// A VM with 1 GiB of RAM for the file.
fn memory(file: &[u8]) -> Memory {
    Igvm::parse(file).unwrap().memory(1 << 30)
}

#[test]
fn the_id_block_tells_the_manner() {
    for has_zero_pages in [false, true] {
        for has_areas_last in [false, true] {
            let manner = Manner { has_zero_pages, has_areas_last };
            let bytes = with_id_block(AREA, digest(manner, AREA));
            assert_eq!(Igvm::parse(&bytes).unwrap().manner(&memory(&bytes)), manner);
        }
    }
}

#[test]
fn a_save_area_outside_the_memory_is_measured_elsewhere() {
    let manner = Manner { has_zero_pages: false, has_areas_last: true };
    let bytes = with_id_block(0x80_0000_0000, digest(manner, DEFAULT_VMSA_GPA));
    assert_eq!(Igvm::parse(&bytes).unwrap().manner(&memory(&bytes)), manner);
}

#[test]
fn without_a_digest_that_fits_the_manner_is_qemus() {
    let other = with_id_block(AREA, [7; 48]);
    for bytes in [other, build::file(directives(AREA))] {
        assert_eq!(Igvm::parse(&bytes).unwrap().manner(&memory(&bytes)), Manner::QEMU);
    }
}
