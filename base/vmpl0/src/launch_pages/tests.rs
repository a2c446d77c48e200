extern crate std;

use std::boxed::Box;

use host_wire::linux_start;
use snp::cpuid_page::{CpuidFunction, MAX_ENTRIES};

use super::*;

const MIB: u64 = 1 << 20;
/// Bytes of an entry of the memory map.
const ENTRY: usize = 24;

/// A page with these ranges of RAM, and one that is reserved.
fn map(ranges: &[(u64, u64)]) -> [u8; PAGE_SIZE as usize] {
    let mut page = [0; PAGE_SIZE as usize];
    let entries = ranges.iter().map(|range| (*range, 0_u64)).chain([((0xfe00_0000, 0x1000), 3)]);
    for (place, ((start, length), kind)) in page.as_chunks_mut::<ENTRY>().0.iter_mut().zip(entries)
    {
        place[..8].copy_from_slice(&(start / PAGE_SIZE).to_le_bytes());
        place[8..16].copy_from_slice(&(length / PAGE_SIZE).to_le_bytes());
        place[16..].copy_from_slice(&kind.to_le_bytes());
    }
    page
}

fn own() -> GpaRange {
    GpaRange::new(8 * MIB, 16 * MIB).unwrap()
}

#[test]
fn the_guest_gets_what_is_not_ours() {
    let ram = guest_ram(&map(&[(0, 64 * MIB)]), own()).unwrap();
    let expected = [(0, 0xa_0000), (MIB, 8 * MIB), (16 * MIB, 64 * MIB)];
    let found = ram.ranges().iter().map(|range| (range.start(), range.end()));
    assert!(found.eq(expected), "{ram:?}");
}

#[test]
fn a_memory_map_without_what_was_launched_is_refused() {
    for (what, ranges) in [
        ("no RAM", &[][..]),
        ("too little", &[(0, 12 * MIB)][..]),
        ("RAM twice", &[(0, 64 * MIB), (MIB, MIB)][..]),
        ("beyond the map", &[(0, 64 * MIB), (4096 * MIB, MIB)][..]),
        ("a range that wraps", &[(0, 64 * MIB), (!0xfff, 0x2000)][..]),
    ] {
        assert!(guest_ram(&map(ranges), own()).is_err(), "{what}");
    }
}

/// A page with these functions: leaf, subleaf, answer.
fn cpuid_page(functions: &[(u32, u32, [u32; 4])]) -> Box<CpuidPage> {
    let mut page = Box::new(CpuidPage {
        count: functions.len() as u32,
        reserved_04: [0; 12],
        functions: [CpuidFunction::default(); MAX_ENTRIES],
        reserved_c10: [0; 1008],
    });
    for (place, (eax_in, ecx_in, [eax, ebx, ecx, edx])) in
        page.functions.iter_mut().zip(functions.iter().copied())
    {
        *place = CpuidFunction { eax_in, ecx_in, eax, ebx, ecx, edx, ..Default::default() };
    }
    page
}

const C_BIT: (u32, u32, [u32; 4]) = (0x8000_001f, 0, [0, 51, 0, 0]);
const SIZES: (u32, u32, [u32; 4]) = (0x8000_0008, 0, [0x3030, 0, 0, 0]);

fn find_with(
    cpuid: &CpuidPage,
    vps: u32,
    own_end: impl Fn(u32) -> u64,
) -> Result<Found<'static>, Reason> {
    let memory_map = &map(&[(0, 64 * MIB)]);
    find(&LaunchPages { cpuid, vps, memory_map, measured: &[0; image::PAGE_SIZE] }, 64, own_end)
}

fn end(vps: u32) -> u64 {
    9 * MIB + u64::from(vps) * 0x1_0000
}

#[test]
fn a_launch_that_agrees_with_itself_is_found() {
    let gigabyte = (0x8000_0001, 0, [0, 0, 0, 1 << 26]);
    let found = find_with(&cpuid_page(&[C_BIT, gigabyte, SIZES]), 3, end).unwrap();
    assert_eq!((found.c_bit, found.physical_bits, found.vps), (51, 48, 3));
    assert!(found.has_gigabyte_pages);
    assert_eq!(found.own, GpaRange::new(linux_start::INFO, 9 * MIB + 0x3_0000).unwrap());
    let ram = GpaRange::new(found.own.end(), 64 * MIB).unwrap();
    assert_eq!(found.ram.ranges().last(), Some(&ram));
    // The C-bit is no part of an address.
    let c_bit = |bit| (0x8000_001f, 0, [0, bit, 0, 0]);
    let found = find_with(&cpuid_page(&[c_bit(0xffc0 | 40), SIZES]), 1, end).unwrap();
    assert_eq!((found.c_bit, found.physical_bits, found.has_gigabyte_pages), (40, 40, false));
}

#[test]
fn a_cpuid_page_that_can_not_be_is_refused() {
    let with = |functions: &[_]| find_with(&cpuid_page(functions), 1, end).map(|found| found.c_bit);
    assert_eq!(with(&[C_BIT, SIZES]), Ok(51));
    for bit in [0, 31, 52, 63] {
        assert_eq!(with(&[(C_BIT.0, 0, [0, bit, 0, 0]), SIZES]), Err(Reason::Cpuid), "C-bit {bit}");
    }
    assert_eq!(with(&[C_BIT]), Err(Reason::Cpuid), "no address sizes");
    assert_eq!(with(&[C_BIT, (SIZES.0, 0, [31, 0, 0, 0])]), Err(Reason::Cpuid));
    assert_eq!(with(&[]), Err(Reason::Cpuid));
    for count in [65, u32::MAX] {
        let mut page = cpuid_page(&[C_BIT, SIZES]);
        page.count = count;
        assert_eq!(find_with(&page, 1, end).err(), Some(Reason::Cpuid), "{count} functions");
        assert_eq!(cpuid(&page, C_BIT.0, 0), [0; 4]);
    }
}

#[test]
fn a_number_of_vps_that_does_not_fit_is_refused() {
    let page = cpuid_page(&[C_BIT, SIZES]);
    let with = |vps| find_with(&page, vps, end).map(|found| found.vps);
    assert_eq!((with(1), with(64)), (Ok(1), Ok(64)));
    for vps in [0, 65, u32::MAX] {
        assert_eq!(with(vps), Err(Reason::VpCount), "{vps} VPs");
    }
    let ending = |end| find_with(&page, 1, |_| end).map(|found| found.own.end());
    assert_eq!(ending(image::OWN_END), Ok(image::OWN_END));
    assert_eq!(ending(image::OWN_END + 1), Err(Reason::VpCount));
    assert_eq!(ending(linux_start::INFO - 1), Err(Reason::VpCount), "we would have no memory");
}

#[test]
fn a_function_is_found_by_its_subfunction_if_it_has_several() {
    let page = cpuid_page(&[
        (1, 0, [1, 2, 3, 4]),
        (0xd, 0, [5; 4]),
        (0xd, 1, [6; 4]),
        // A doubled one, which the firmware lets through: the first counts.
        (0xd, 1, [7; 4]),
    ]);
    assert_eq!(cpuid(&page, 1, 0), [1, 2, 3, 4]);
    assert_eq!(cpuid(&page, 1, 9), [1, 2, 3, 4], "it has no subfunctions");
    assert_eq!((cpuid(&page, 0xd, 0), cpuid(&page, 0xd, 1)), ([5; 4], [6; 4]));
    assert_eq!(cpuid(&page, 0xd, 2), [0; 4]);
    assert_eq!(cpuid(&page, 0x4000_0000, 0), [0; 4]);
    assert_eq!(cpuid(&page, 0, 0), [0; 4], "entries that are not in use");
}

#[test]
fn a_measured_page_that_no_builder_wrote_is_refused() {
    let (cpuid, memory_map) = (&cpuid_page(&[C_BIT, SIZES]), &map(&[(0, 64 * MIB)]));
    let with = |measured: &[u8; image::PAGE_SIZE]| {
        let pages = LaunchPages { cpuid, vps: 1, memory_map, measured };
        find(&pages, 64, end).map(|found| found.measured.config.to_vec())
    };
    let files = Default::default();
    let page = Measured { files, config: b"tpm=off\n" }.to_page().unwrap();
    assert_eq!(with(&page).as_deref(), Ok(&b"tpm=off\n"[..]));
    assert_eq!(with(&[0xff; image::PAGE_SIZE]), Err(Reason::Measured));
}
