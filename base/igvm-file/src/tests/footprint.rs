//! Where a file needs memory.

use alloc::vec;

use igvm::IgvmDirectiveHeader;
use snp::vmsa::DEFAULT_VMSA_GPA;

use super::build::{self, SNP};
use crate::Igvm;

fn required(gpa: u64, number_of_bytes: u32) -> IgvmDirectiveHeader {
    IgvmDirectiveHeader::RequiredMemory {
        gpa,
        compatibility_mask: SNP,
        number_of_bytes,
        vtl2_protectable: false,
    }
}

#[test]
fn ranges_are_merged_where_they_touch_and_stay_apart_elsewhere() {
    let bytes = build::file(vec![
        required(0x80_0000_0000, 0x100_0000),
        build::area(3, 0x3000),
        build::page(0xffff_f000, Some(1)),
        build::page(0xffff_e000, None),
        build::page(0xffff_c000, None),
        build::insert(0x20_0000, 3),
        build::page(0x20_3000, Some(2)),
        required(0x20_1000, 0x1000),
        // Inside what is required above.
        build::page(0x80_0000_1000, Some(3)),
        build::context(0xffff_ffff_f000, 0),
        build::context(0x7000, 1),
        IgvmDirectiveHeader::ErrorRange {
            gpa: 0xffff_8000,
            compatibility_mask: SNP,
            size_bytes: 0x1000,
        },
    ]);
    let expected = [
        0x20_0000..0x20_4000,
        0xffff_8000..0xffff_9000,
        0xffff_c000..0xffff_d000,
        0xffff_e000..0x1_0000_0000,
        0x80_0000_0000..0x80_0100_0000,
    ];
    assert_eq!(Igvm::parse(&bytes).unwrap().footprint(), expected);
}

#[test]
fn a_file_without_pages_needs_no_memory() {
    let bytes = build::file(vec![build::area(0, 0x1000), required(0x5000, 0)]);
    assert!(Igvm::parse(&bytes).unwrap().footprint().is_empty());
}

#[test]
fn a_save_area_is_measured_at_its_address_in_ram_or_in_memory_that_the_file_needs() {
    const RAM: u64 = 0x100_0000;
    const FAR: u64 = 0x80_0000_0000;
    let bytes = build::file(vec![
        required(FAR, 0x3000),
        required(FAR + 0x5000, 0x1000),
        build::page(FAR + 0x1000, None),
    ]);
    let memory = Igvm::parse(&bytes).unwrap().memory(RAM);
    for at in [0, RAM - 0x1000, FAR, FAR + 0x2000, FAR + 0x5000] {
        assert_eq!(memory.save_area_at(at), at);
    }
    for at in [RAM, FAR - 0x1000, FAR + 0x3000, FAR + 0x4000, FAR + 0x6000, DEFAULT_VMSA_GPA] {
        assert_eq!(memory.save_area_at(at), DEFAULT_VMSA_GPA, "{at:#x}");
    }
}
