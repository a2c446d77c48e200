//! One file for each reason to refuse it.

extern crate std;

use std::format;
use std::vec;
use std::vec::Vec;

use igvm_defs::IGVM_VHS_RELOCATABLE_REGION;

use super::build;
use crate::{Fault, Igvm};

type Header = (u32, Vec<u8>);

pub(super) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

pub(super) fn snp_platform() -> Header {
    // Mask 1; highest VTL 0, type 2, version 1; no boundary.
    (0x1, words(&[1, 0x0001_0200, 0, 0]))
}

pub(super) fn snp_policy() -> Header {
    (0x101, words(&[0x3_0000, 0, 1, 0]))
}

pub(super) fn page_data(gpa: u64, offset: u32, flags: u32, data_type: u32) -> Header {
    (0x302, words(&[gpa as u32, (gpa >> 32) as u32, 1, offset, flags, data_type]))
}

fn area(index: u32, size: u64) -> Header {
    (0x301, words(&[size as u32, (size >> 32) as u32, index, 0]))
}

fn insert(gpa: u64, area: u32) -> Header {
    (0x303, words(&[gpa as u32, (gpa >> 32) as u32, 1, area]))
}

pub(super) fn relocation(mask: u8) -> Header {
    let mut body = vec![0; size_of::<IGVM_VHS_RELOCATABLE_REGION>()];
    body[0] = mask;
    (0x102, body)
}

pub(super) fn context(gpa: u32, offset: u32, vp_index: u32) -> Header {
    (0x304, words(&[gpa, 0, 1, offset, vp_index]))
}

fn fault(headers: &[Header]) -> Fault {
    Igvm::parse(&build::raw(headers, &[])).unwrap_err().fault
}

/// The fault in a file with these directives behind a good beginning.
fn directive_fault(directives: &[Header]) -> Fault {
    let mut headers = vec![snp_platform(), snp_policy()];
    headers.extend_from_slice(directives);
    fault(&headers)
}

#[test]
fn a_fixed_header_with_a_fault() {
    let good = build::file(vec![build::page(0x1000, Some(1))]);
    let v2 = build::serialize(
        build::V2,
        vec![build::platform(1, igvm_defs::IgvmPlatformType::SEV_SNP)],
        vec![build::policy(1)],
        vec![build::page(0x1000, Some(1))],
    );
    let changed = |file: &[u8], offset: usize, value: u32| {
        let mut file = file.to_vec();
        file[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        Igvm::parse(&file).unwrap_err().fault
    };
    let size = u32::try_from(good.len()).unwrap();
    assert_eq!(changed(&good, 0, 0x464c_457f), Fault::NotIgvm);
    assert_eq!(changed(&good, 4, 3), Fault::FormatVersion(3));
    assert_eq!(changed(&good, 4, 0), Fault::FormatVersion(0));
    assert_eq!(changed(&good, 8, 16), Fault::HeaderOffset(16));
    assert_eq!(changed(&good, 8, 28), Fault::HeaderOffset(28));
    assert_eq!(changed(&good, 8, 0xffff_fff8), Fault::Cut);
    assert_eq!(changed(&good, 12, size), Fault::Cut);
    assert_eq!(changed(&good, 12, u32::MAX), Fault::Cut);
    assert_eq!(changed(&good, 16, size + 1), Fault::Cut);
    assert_eq!(changed(&good, 16, size - 1), Fault::TrailingBytes);
    assert_eq!(changed(&good, 20, 0x1234), Fault::Checksum);
    assert_eq!(changed(&v2, 24, 1), Fault::Architecture(1));
    assert_eq!(changed(&v2, 28, 0x1_0000), Fault::PageSize(0x1_0000));
    assert_eq!(Igvm::parse(b"IGVM").unwrap_err().fault, Fault::Cut);
    assert_eq!(Igvm::parse(&[]).unwrap_err().fault, Fault::Cut);
}

#[test]
fn a_changed_header_byte_is_found_by_the_checksum() {
    let mut file = build::file(vec![build::page(0x1000, Some(1))]);
    file[40] ^= 1;
    assert_eq!(Igvm::parse(&file).unwrap_err().fault, Fault::Checksum);
}

#[test]
fn a_list_of_headers_with_a_fault() {
    assert_eq!(fault(&[]), Fault::NoSnpPlatform);
    assert_eq!(directive_fault(&[(0x2ff, vec![])]), Fault::Unsupported(0x2ff));
    assert_eq!(directive_fault(&[(0x306, vec![])]), Fault::Unsupported(0x306));
    assert_eq!(directive_fault(&[(0x30d, vec![0; 15])]), Fault::HeaderLength(15));
    let mut measurement = vec![0; 864];
    measurement[0] = 1;
    assert_eq!(directive_fault(&[(0x311, measurement)]), Fault::Unsupported(0x311));
    assert_eq!(directive_fault(&[(0x308, vec![0; 8])]), Fault::Unsupported(0x308));
    assert_eq!(fault(&[snp_platform(), (0x104, vec![0; 16])]), Fault::UnknownMask(0));
    assert_eq!(fault(&[snp_platform(), (0x104, vec![0; 3])]), Fault::HeaderLength(3));
    assert_eq!(fault(&[snp_platform(), (0x106, words(&[1; 8]))]), Fault::Unsupported(0x106));
    assert_eq!(fault(&[snp_platform(), (0x108, vec![])]), Fault::Unsupported(0x108));
    assert_eq!(fault(&[snp_platform(), relocation(2)]), Fault::UnknownMask(2));
    assert_eq!(fault(&[(0x2, vec![])]), Fault::Unsupported(0x2));
    assert_eq!(directive_fault(&[snp_platform()]), Fault::SectionOrder(0x1));
    let page = page_data(0x1000, 0, 0, 0);
    assert_eq!(directive_fault(&[page, snp_policy()]), Fault::SectionOrder(0x101));
    assert_eq!(directive_fault(&[(0x302, vec![0; 23])]), Fault::HeaderLength(23));
    assert_eq!(directive_fault(&[(0x302, vec![0; 25])]), Fault::HeaderLength(25));
}

#[test]
fn a_header_that_exceeds_its_section() {
    let mut file = build::raw(&[snp_platform(), snp_policy(), page_data(0x1000, 0, 0, 0)], &[]);
    let length = file.len() - 28;
    for value in [32_u32, 0xffff_fff8, u32::MAX] {
        file[length..length + 4].copy_from_slice(&value.to_le_bytes());
        build::sign(&mut file);
        assert_eq!(Igvm::parse(&file).unwrap_err().fault, Fault::Cut);
    }
}

#[test]
fn platforms_and_policies_with_a_fault() {
    let platform = |mask: u32, kind: u32| (0x1, words(&[mask, kind, 0, 0]));
    assert_eq!(fault(&[platform(0, 0x1_0200)]), Fault::PlatformMask(0));
    assert_eq!(fault(&[platform(3, 0x1_0200)]), Fault::PlatformMask(3));
    assert_eq!(fault(&[snp_platform(), platform(1, 0x1_0000)]), Fault::PlatformMask(1));
    assert_eq!(fault(&[snp_platform(), platform(2, 0x1_0200)]), Fault::SecondSnpPlatform);
    assert_eq!(fault(&[platform(1, 0x2_0200)]), Fault::PlatformVersion(2));
    assert_eq!(fault(&[platform(1, 0x1_0300)]), Fault::NoSnpPlatform);
    let policy = |mask: u32, reserved: u32| (0x101, words(&[0x3_0000, 0, mask, reserved]));
    assert_eq!(fault(&[snp_platform(), policy(1, 1)]), Fault::Reserved);
    assert_eq!(fault(&[snp_platform(), policy(4, 0)]), Fault::UnknownMask(4));
    assert_eq!(fault(&[snp_platform(), policy(0, 0)]), Fault::UnknownMask(0));
    assert_eq!(fault(&[snp_platform(), policy(1, 0), policy(1, 0)]), Fault::SecondPolicy);
}

#[test]
fn page_data_with_a_fault() {
    let table = [
        (page_data(0x1001, 0, 0, 0), Fault::Misaligned(0x1001)),
        (page_data(0x1000, 0, 1, 0), Fault::Misaligned(0x1000)),
        (page_data(1 << 52, 0, 0, 0), Fault::AddressTooHigh(1 << 52)),
        (page_data(!0xfff, 0, 0, 0), Fault::AddressTooHigh(!0xfff)),
        (page_data(0x1000, 0, 8, 0), Fault::Reserved),
        (page_data(0x1000, 0, 0, 0x1_0000), Fault::Reserved),
        (page_data(0x1000, 0, 4, 1), Fault::SharedPage),
        (page_data(0x1000, 0, 0, 4), Fault::PageType(4)),
        (page_data(0x1000, 0, 0, 0xffff), Fault::PageType(0xffff)),
        (page_data(0x1000, 0x18, 0, 0), Fault::DataOffset(0x18)),
        (page_data(0x1000, 0x1000, 0, 0), Fault::DataOffset(0x1000)),
        (page_data(0x1000, u32::MAX, 0, 0), Fault::DataOffset(u32::MAX)),
    ];
    for (header, expected) in table {
        assert_eq!(directive_fault(&[header]), expected);
    }
    let mut other_mask = page_data(0x1000, 0, 0, 0);
    other_mask.1[8] = 2;
    assert_eq!(directive_fault(&[other_mask]), Fault::UnknownMask(2));
}

#[test]
fn data_that_is_cut() {
    let headers = |offset| [snp_platform(), snp_policy(), page_data(0x1000, offset, 0, 0)];
    let start = u32::try_from(build::raw(&headers(0), &[]).len()).unwrap();
    assert!(Igvm::parse(&build::raw(&headers(start), &[0; 4096])).is_ok());
    let error = Igvm::parse(&build::raw(&headers(start), &[0; 4095])).unwrap_err();
    assert_eq!(error.fault, Fault::DataOffset(start));
    let error = Igvm::parse(&build::raw(&headers(start + 1), &[0; 4096])).unwrap_err();
    assert_eq!(error.fault, Fault::DataOffset(start + 1));
}

#[test]
fn overlaps_in_any_order() {
    let small = page_data(0x3f_f000, 0, 0, 0);
    let large = page_data(0x20_0000, 0, 1, 0);
    let overlap = Fault::Overlap(0x3f_f000);
    assert_eq!(directive_fault(&[small.clone(), large.clone()]), overlap);
    assert_eq!(directive_fault(&[large, small.clone()]), overlap);
    assert_eq!(directive_fault(&[small.clone(), small.clone()]), overlap);
    let area = [area(0, 0x2000), insert(0x3f_e000, 0)];
    assert_eq!(directive_fault(&[&area[..], &[small]].concat()), overlap);
    let directives = vec![build::context(0x5000, 0), build::page(0x5000, None)];
    let error = Igvm::parse(&build::file(directives)).unwrap_err();
    assert_eq!(error.fault, Fault::Overlap(0x5000));
}

#[test]
fn parameters_with_a_fault() {
    let count = |area: u32, offset: u32| (0x307, words(&[area, offset]));
    assert_eq!(directive_fault(&[area(0, 0)]), Fault::AreaSize(0));
    assert_eq!(directive_fault(&[area(0, 0x800)]), Fault::Misaligned(0x800));
    assert_eq!(directive_fault(&[area(0, 0x100_1000)]), Fault::AreaSize(0x100_1000));
    assert_eq!(directive_fault(&[area(0, u64::MAX)]), Fault::AreaSize(u64::MAX));
    assert_eq!(directive_fault(&[area(9, 0x1000), area(9, 0x1000)]), Fault::AreaTwice(9));
    let many: Vec<Header> = (0..65).map(|index| area(index, 0x1000)).collect();
    assert_eq!(directive_fault(&many), Fault::TooManyAreas);
    assert_eq!(directive_fault(&[count(3, 0)]), Fault::UnknownArea(3));
    assert_eq!(directive_fault(&[insert(0x1000, 3)]), Fault::UnknownArea(3));
    let page = area(0, 0x1000);
    assert_eq!(directive_fault(&[page.clone(), count(0, 0xffd)]), Fault::ParameterOffset(0xffd));
    let wrap = count(0, u32::MAX);
    assert_eq!(directive_fault(&[page.clone(), wrap]), Fault::ParameterOffset(u32::MAX));
    let map = (0x30c, words(&[0, 0xff0]));
    assert_eq!(directive_fault(&[page.clone(), map]), Fault::ParameterOffset(0xff0));
    let twice = [page.clone(), insert(0x1000, 0), insert(0x2000, 0)];
    assert_eq!(directive_fault(&twice), Fault::AreaInserted(0));
    assert_eq!(
        directive_fault(&[page.clone(), insert(0x1000, 0), count(0, 0)]),
        Fault::AreaInserted(0)
    );
    assert_eq!(directive_fault(&[page, insert(0x1800, 0)]), Fault::Misaligned(0x1800));
    let last = (1 << 52) - 0x1000;
    let high = [area(0, 0x2000), insert(last, 0)];
    assert_eq!(directive_fault(&high), Fault::AddressTooHigh(last));
}

#[test]
fn contexts_memory_and_identities_with_a_fault() {
    assert_eq!(directive_fault(&[context(0x1000, 0, 0)]), Fault::DataOffset(0));
    assert_eq!(directive_fault(&[context(0x1008, 0, 0)]), Fault::Misaligned(0x1008));
    assert_eq!(directive_fault(&[context(0x1000, 0, 0x1_0000)]), Fault::Reserved);
    let memory = |gpa: u32, size: u32, flags: u32| (0x305, words(&[gpa, 0, 1, size, flags, 0]));
    assert_eq!(directive_fault(&[memory(0x1000, 0x1001, 0)]), Fault::Misaligned(0x1001));
    assert_eq!(directive_fault(&[memory(0x1000, 0x1000, 2)]), Fault::Reserved);
    let id_block = |place: usize, value: u8| {
        let mut body = vec![0; 696];
        body[0] = 1;
        body[place] = value;
        (0x30b, body)
    };
    let error_range = |gpa: u32, size: u32| (0x30d, words(&[gpa, 0, 1, size]));
    assert_eq!(directive_fault(&[error_range(0x1008, 0x1000)]), Fault::Misaligned(0x1008));
    assert_eq!(directive_fault(&[error_range(0x1000, 0x1008)]), Fault::Misaligned(0x1008));
    let twice = [error_range(0x1000, 0x2000), page_data(0x2000, 0, 0, 0)];
    assert_eq!(directive_fault(&twice), Fault::Overlap(0x2000));
    assert_eq!(directive_fault(&[id_block(4, 2)]), Fault::AuthorKeyFlag(2));
    assert_eq!(directive_fault(&[id_block(5, 1)]), Fault::Reserved);
    // The reserved word of the ID key.
    assert_eq!(directive_fault(&[id_block(252, 1)]), Fault::Reserved);
    assert_eq!(directive_fault(&[id_block(0, 1), id_block(0, 1)]), Fault::SecondIdBlock);
    let contexts = vec![build::context(0xffff_ffff_f000, 3), build::context(0x6000, 3)];
    let error = Igvm::parse(&build::file(contexts)).unwrap_err();
    assert_eq!(error.fault, Fault::SecondContext(3));
}

#[test]
fn an_error_names_place_fault_and_remedy_in_one_line() {
    let file = build::raw(&[snp_platform(), snp_policy(), page_data(0x1001, 0, 0, 0)], &[]);
    let error = Igvm::parse(&file).unwrap_err();
    assert_eq!(
        format!("{}", error),
        "IGVM file, byte 0x48: 0x1001 is not aligned to its page size; rebuild the file"
    );
}

#[test]
fn every_fault_has_a_sentence_of_its_own() {
    let faults = [
        Fault::NotIgvm,
        Fault::Cut,
        Fault::TrailingBytes,
        Fault::FormatVersion(9),
        Fault::Architecture(9),
        Fault::PageSize(9),
        Fault::HeaderOffset(9),
        Fault::Checksum,
        Fault::Reserved,
        Fault::HeaderLength(9),
        Fault::Unsupported(9),
        Fault::SectionOrder(9),
        Fault::PlatformMask(9),
        Fault::UnknownMask(9),
        Fault::NoSnpPlatform,
        Fault::SecondSnpPlatform,
        Fault::PlatformVersion(9),
        Fault::SecondPolicy,
        Fault::Misaligned(9),
        Fault::AddressTooHigh(9),
        Fault::Overlap(9),
        Fault::DataOffset(9),
        Fault::PageType(9),
        Fault::SharedPage,
        Fault::AreaSize(9),
        Fault::TooManyAreas,
        Fault::AreaTwice(9),
        Fault::UnknownArea(9),
        Fault::AreaInserted(9),
        Fault::ParameterOffset(9),
        Fault::SecondContext(9),
        Fault::SecondIdBlock,
        Fault::AuthorKeyFlag(9),
    ];
    let mut sentences: Vec<_> = faults.iter().map(|fault| format!("{fault}")).collect();
    for (sentence, fault) in sentences.iter().zip(faults) {
        assert!(sentence.contains("; ") && !sentence.contains('\n'), "{sentence}");
        assert_ne!(*sentence, format!("{fault:?}"));
    }
    sentences.sort();
    sentences.dedup();
    assert_eq!(sentences.len(), faults.len());
}
