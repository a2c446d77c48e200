use snp::cpuid_page::{CpuidFunction, CpuidPage};
use snp::status::Status;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::fixture::{add, launching};
use crate::{CpuidResult, HostCpuid, Update};

/// A CPU with AVX, protection keys and shadow stacks, in the layout of an EPYC.
struct Host;

const fn result(eax: u32, ebx: u32, ecx: u32, edx: u32) -> CpuidResult {
    CpuidResult { eax, ebx, ecx, edx }
}

impl HostCpuid for Host {
    fn cpuid(&self, function: u32, subfunction: u32) -> CpuidResult {
        match (function, subfunction) {
            (0, _) => result(0x10, 0x6874_7541, 0x444d_4163, 0x6974_6e65),
            (1, _) => result(0x00a0_0f11, 0x0010_0800, 0x7ed8_320b, 0x178b_fbff),
            (7, 0) => result(0, 0x219c_91a9, 0x0040_068c, 0x10),
            (0xd, 0) => result(0x207, 0x988, 0x988, 0),
            (0xd, 1) => result(0xf, 0x358, 0x1800, 0),
            (0xd, 2) => result(0x100, 0x240, 0, 0),
            (0xd, 9) => result(8, 0x980, 0, 0),
            (0xd, 11) => result(0x10, 0, 1, 0),
            (0xd, 12) => result(0x18, 0, 0b11, 0),
            (0x8000_0000, _) => result(0x8000_0023, 0x6874_7541, 0x444d_4163, 0x6974_6e65),
            (0x8000_0001, _) => result(0x00a0_0f11, 0x4000_0000, 0x75c2_37ff, 0x2fd3_fbff),
            (0x8000_0008, _) => result(0x3030, 0x111e_f657, 0x607f, 0x1_0000),
            (0x8000_000a, _) => result(1, 0x8000, 0, 0x1c9f_bcff),
            (0x8000_001f, _) => result(0x0101_fd3f, 0x4173, 0x1fd, 1),
            (0x8000_0021, _) => result(0x45, 0, 0, 0),
            _ => CpuidResult::default(),
        }
    }
}

fn entry(function: u32, subfunction: u32, registers: CpuidResult) -> CpuidFunction {
    CpuidFunction {
        eax_in: function,
        ecx_in: subfunction,
        eax: registers.eax,
        ebx: registers.ebx,
        ecx: registers.ecx,
        edx: registers.edx,
        ..CpuidFunction::default()
    }
}

fn page(entries: &[CpuidFunction]) -> [u8; 4096] {
    let mut page = CpuidPage::new_zeroed();
    page.count = entries.len().try_into().unwrap();
    page.functions[..entries.len()].copy_from_slice(entries);
    page.as_bytes().try_into().unwrap()
}

fn check(page: &mut [u8; 4096]) -> Result<(), Status> {
    add(&mut launching(), Update::Cpuid(page, &Host), 0x1000)
}

/// The entry that the firmware asks for instead, or none if it accepts this one.
fn corrected(given: CpuidFunction) -> Option<CpuidFunction> {
    let mut bytes = page(&[given]);
    match check(&mut bytes) {
        Ok(()) => {
            assert_eq!(bytes, page(&[given]));
            None
        }
        Err(status) => {
            assert_eq!(status, Status::INVALID_PARAM);
            let proposed = CpuidPage::read_from_bytes(&bytes).unwrap().functions[0];
            // The firmware accepts what it asks for.
            let mut second = page(&[proposed]);
            assert_eq!(check(&mut second), Ok(()));
            Some(proposed)
        }
    }
}

#[test]
fn values_of_the_host_are_accepted() {
    let functions = [
        (0, 0),
        (1, 0),
        (5, 0),
        (7, 0),
        (7, 1),
        (0xb, 0),
        (0xd, 2),
        (0xd, 9),
        (0xd, 12),
        (0x8000_0000, 0),
        (0x8000_0001, 0),
        (0x8000_0008, 0),
        (0x8000_000a, 0),
        (0x8000_001f, 0),
        (0x8000_0021, 0),
    ];
    for (function, subfunction) in functions {
        let given = entry(function, subfunction, Host.cpuid(function, subfunction));
        assert_eq!(corrected(given), None, "{function:#x}");
    }
}

#[test]
fn a_guest_may_have_less_and_not_more() {
    // Function, the registers that are given, the registers that are asked for if they differ.
    let host = |function| Host.cpuid(function, 0);
    let seven = host(7);
    let eight = host(0x8000_0008);
    let svm = host(0x8000_000a);
    let table = [
        (0, CpuidResult { eax: 0xd, ..host(0) }, None),
        (0, CpuidResult { eax: 0x11, ..host(0) }, Some(host(0))),
        (0, CpuidResult { ebx: 0x756e_6547, ..host(0) }, Some(host(0))),
        (1, CpuidResult { eax: 0x0080_0f12, ebx: 0xff, ..host(1) }, None),
        (1, CpuidResult { ecx: 0, edx: 0, ..host(1) }, None),
        (1, CpuidResult { ecx: host(1).ecx | 1 << 31 | 1 << 27, ..host(1) }, None),
        (1, CpuidResult { ecx: host(1).ecx | 1 << 24, ..host(1) }, Some(host(1))),
        (7, CpuidResult { ecx: seven.ecx | 1 << 4, ..seven }, None),
        (7, CpuidResult { ebx: seven.ebx | 1 << 1, ..seven }, Some(seven)),
        (7, CpuidResult { edx: seven.edx | 1 << 29, ..seven }, Some(seven)),
        (7, CpuidResult { eax: 1, ..seven }, Some(seven)),
        (0x8000_0008, CpuidResult { eax: 0x3028, ..eight }, None),
        (
            0x8000_0008,
            CpuidResult { eax: 0x2834, ..eight },
            Some(CpuidResult { eax: 0x2830, ..eight }),
        ),
        (0x8000_0008, CpuidResult { eax: 0x30_3030, ecx: 7, ..eight }, None),
        (0x8000_0008, CpuidResult { ebx: eight.ebx | 1 << 25, ..eight }, Some(eight)),
        (0x8000_000a, CpuidResult { ebx: 0x8001, ..svm }, Some(svm)),
        (0x8000_000a, CpuidResult { ebx: 0x10, edx: 0, ..svm }, None),
        (0x8000_0021, CpuidResult { eax: 0x47, ..host(0x8000_0021) }, Some(host(0x8000_0021))),
        // A function that the host does not have.
        (
            0x8000_0022,
            CpuidResult { eax: 1, ..CpuidResult::default() },
            Some(CpuidResult::default()),
        ),
    ];
    for (function, given, expected) in table {
        let expected = expected.map(|registers| entry(function, 0, registers));
        assert_eq!(corrected(entry(function, 0, given)), expected, "{function:#x} {given:?}");
    }
}

#[test]
fn the_c_bit_is_the_hosts() {
    let host = Host.cpuid(0x8000_001f, 0);
    let other = CpuidResult { ebx: host.ebx ^ 0b11, ..host };
    let expected = entry(0x8000_001f, 0, host);
    assert_eq!(corrected(entry(0x8000_001f, 0, other)), Some(expected));
    let counts = CpuidResult { ecx: 1, edx: 2, ebx: host.ebx & 0xfff, ..host };
    assert_eq!(corrected(entry(0x8000_001f, 0, counts)), None);
}

/// An entry for the size of the XSAVE area.
fn xsave(subfunction: u32, xcr0: u64, xss: u64, size: u32) -> CpuidFunction {
    let host = Host.cpuid(0xd, subfunction);
    let registers = CpuidResult { ebx: size, ..host };
    CpuidFunction { xcr0_in: xcr0, xss_in: xss, ..entry(0xd, subfunction, registers) }
}

#[test]
fn the_size_of_the_xsave_area_is_computed() {
    // Subfunction, XCR0, XSS, size.
    let table = [
        (0, 0, 0, 0x240),
        (0, 1, 0, 0x240),
        (0, 0b111, 0, 0x340),
        (0, 0x207, 0, 0x988),
        (0, 0x203, 0, 0x988),
        (1, 0b11, 0, 0x240),
        (1, 0b111, 0, 0x340),
        (1, 0x207, 0, 0x348),
        (1, 0b11, 0x800, 0x250),
        // Component 12 is aligned to 64 bytes.
        (1, 0b11, 0x1800, 0x298),
        (1, 0x207, 0x1000, 0x398),
    ];
    for (subfunction, xcr0, xss, size) in table {
        assert_eq!(corrected(xsave(subfunction, xcr0, xss, size)), None, "{xcr0:#x} {xss:#x}");
        for wrong in [size - 8, size + 8, 0, u32::MAX] {
            let expected = xsave(subfunction, xcr0, xss, size);
            assert_eq!(corrected(xsave(subfunction, xcr0, xss, wrong)), Some(expected));
        }
    }
}

#[test]
fn components_of_the_xsave_area_are_the_hosts() {
    for given in [xsave(0, 0x20, 0, 0x240), xsave(1, 3, 0x100, 0x240), xsave(0, 1 << 63, 0, 0)] {
        let mut bytes = page(&[given]);
        assert_eq!(check(&mut bytes), Err(Status::INVALID_PARAM));
        assert_eq!(bytes, page(&[given]));
    }
    let moved = entry(0xd, 2, result(0x100, 0x248, 0, 0));
    assert_eq!(corrected(moved), Some(entry(0xd, 2, Host.cpuid(0xd, 2))));
}

#[test]
fn a_malformed_page_is_refused_as_it_is() {
    let good = entry(0, 0, Host.cpuid(0, 0));
    let beyond = entry(0x4001_0000, 0, CpuidResult::default());
    let reserved = CpuidFunction { reserved: 1, ..good };
    let gap = entry(0x1_0000, 0, CpuidResult::default());
    let above = entry(0x8001_0000, 0, CpuidResult::default());
    for entries in [[good, beyond], [good, reserved], [good, gap], [good, above]] {
        let mut bytes = page(&entries);
        assert_eq!(check(&mut bytes), Err(Status::INVALID_PARAM));
        assert_eq!(bytes, page(&entries));
    }
    for (place, value) in [(0, 65), (3, 1), (4, 1), (15, 1), (0xc10, 1), (0xfff, 1)] {
        let mut bytes = page(&[good]);
        bytes[place] = value;
        assert_eq!(check(&mut bytes), Err(Status::INVALID_PARAM), "byte {place:#x}");
    }
    assert_eq!(check(&mut page(&[])), Ok(()));
    let hypervisors_own = entry(0x4000_0000, 0, result(1, 2, 3, 4));
    assert_eq!(check(&mut page(&[hypervisors_own])), Ok(()), "the hypervisor says what it likes");
    assert_eq!(check(&mut page(&[good; 64])), Ok(()));
}

#[test]
fn a_page_that_is_corrected_is_not_measured() {
    let mut guest = launching();
    let mut bytes = page(&[entry(1, 0, result(0, 0, u32::MAX, 0))]);
    assert!(add(&mut guest, Update::Cpuid(&mut bytes, &Host), 0x1000).is_err());
    assert_eq!(guest.measurement(), [0; 48]);
    add(&mut guest, Update::Cpuid(&mut bytes, &Host), 0x1000).unwrap();
    assert_ne!(guest.measurement(), [0; 48]);
}
