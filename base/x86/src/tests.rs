extern crate std;

use std::collections::HashMap;
use std::vec::Vec;

use proptest::prelude::*;

use crate::page_table::{Format, PageTables, TableMemory, Translation, entry};
use crate::testing::Tables;
use crate::{Attributes, Combined, Register, Segment, SegmentRegister, VpState, combine, vector};

const PAGE: u64 = 0x1000;
const DIRECTORY: u64 = entry::PRESENT | entry::WRITABLE | entry::USER;
const DATA: u64 = entry::PRESENT | entry::WRITABLE;

fn tables(has_gigabyte_pages: bool) -> (Tables, PageTables) {
    let mut memory = Tables::from(0x10_0000);
    let format = Format { directory: DIRECTORY, has_gigabyte_pages };
    let tables = PageTables::new(&mut memory, format);
    (memory, tables)
}

#[test]
fn a_range_is_mapped_by_the_largest_pages_that_fit() {
    // Linear and physical start, length, whether the CPU has 1 GiB pages; at an address: the size.
    let cases: &[(u64, u64, u64, bool, u64, u64)] = &[
        (0, 0, 0x1000, true, 0, 1 << 12),
        (0, 0, 0x20_0000, true, 0x1f_f000, 1 << 21),
        (0, 0, 0x4000_0000, true, 0x3fff_f000, 1 << 30),
        (0, 0, 0x4000_0000, false, 0x3fff_f000, 1 << 21),
        (0x1000, 0x1000, 0x40_0000, true, 0x1f_f000, 1 << 12),
        (0x1000, 0x1000, 0x40_0000, true, 0x20_0000, 1 << 21),
        (0x1000, 0x1000, 0x40_0000, true, 0x40_0000, 1 << 12),
        // The physical address does not allow a large page.
        (0, 0x1000, 0x40_0000, true, 0x20_0000, 1 << 12),
        (1 << 46, 0, 0x4000_0000, true, (1 << 46) + 5, 1 << 30),
    ];
    for (linear, physical, length, gigabyte, at, size) in cases {
        let (mut memory, mut tables) = tables(*gigabyte);
        tables.map(&mut memory, *linear..linear + length, *physical, DATA);
        let found = tables.translate(&memory, *at).unwrap();
        assert_eq!((found.size, found.physical), (*size, physical + (at - linear)), "{at:#x}");
        assert_eq!(found.bits & !entry::LARGE, DATA);
        assert_eq!(tables.translate(&memory, linear + length), None, "the end of {length:#x}");
        assert!(*linear == 0 || tables.translate(&memory, linear - 1).is_none());
    }
}

#[test]
fn small_pages_are_small_and_every_table_on_the_way_has_the_directory_s_bits() {
    let (mut memory, mut tables) = tables(true);
    tables.map_small(&mut memory, 0..0x20_0000, 0, DATA | entry::NO_EXECUTE);
    let found = tables.translate(&memory, 0x1234).unwrap();
    let bits = DATA | entry::NO_EXECUTE;
    assert_eq!(found, Translation { physical: 0x1234, size: PAGE, bits });
    let root = memory.read(tables.root(), 0);
    assert_eq!(root & !entry::ADDRESS, DIRECTORY);
    assert_eq!(memory.count(), 4, "root, two directories, one table");
}

#[test]
fn a_run_of_large_pages_keeps_the_table_in_its_middle() {
    let (mut memory, mut tables) = tables(false);
    tables.map_small(&mut memory, 0x40_0000..0x40_1000, 0x9000, DATA);
    let count = memory.count();
    // The same range again, now by pages of 2 MiB but where the table is.
    tables.map(&mut memory, 0..0x4000_0000, 0, DATA);
    assert_eq!(memory.count(), count, "no table is lost, none is made");
    for (at, size) in
        [(0x20_0000, 1 << 21), (0x40_0000, PAGE), (0x5f_f000, PAGE), (0x60_0000, 1 << 21)]
    {
        let found = tables.translate(&memory, at).unwrap();
        assert_eq!((found.physical, found.size), (at, size), "{at:#x}");
    }
}

#[test]
fn a_hole_splits_the_pages_around_it_and_nothing_else_changes() {
    for size in [1 << 21, 1 << 30] {
        let (mut memory, mut tables) = tables(true);
        tables.map(&mut memory, 0..2 * size, 0, DATA);
        let hole = size / 2 + PAGE;
        tables.unmap(&mut memory, hole..hole + 2 * PAGE);
        for (at, there) in [
            (hole - 1, true),
            (hole, false),
            (hole + 2 * PAGE - 1, false),
            (hole + 2 * PAGE, true),
            (0, true),
            (size, true),
        ] {
            let found = tables.translate(&memory, at);
            assert_eq!(found.map(|found| found.physical), there.then_some(at), "{at:#x}");
            assert!(found.is_none_or(|found| found.bits & !entry::LARGE == DATA));
        }
        assert_eq!(tables.translate(&memory, size).unwrap().size, size, "the next page is whole");
    }
}

#[test]
fn a_whole_page_is_unmapped_without_a_split() {
    let (mut memory, mut tables) = tables(true);
    tables.map(&mut memory, 0..1 << 30, 0, DATA);
    let before = memory.count();
    // It starts and ends where nothing is mapped.
    tables.unmap(&mut memory, 0..3 << 30);
    assert_eq!(memory.count(), before);
    assert_eq!(tables.translate(&memory, 0), None);
    tables.unmap(&mut memory, 0..1 << 47);
}

proptest! {
    /// Whatever is mapped and unmapped: each page has the translation that was given it last.
    #[test]
    fn tables_agree_with_a_plain_map(
        steps in proptest::collection::vec((any::<bool>(), 0u64..1500, 1u64..1100, 0u64..3), 1..12),
    ) {
        let (mut memory, mut tables) = tables(true);
        let mut plain: HashMap<u64, u64> = HashMap::new();
        for (maps, first, count, shift) in steps {
            let (start, end) = (first * PAGE, (first + count) * PAGE);
            let target = start + shift * (1 << 21);
            if maps {
                tables.unmap(&mut memory, start..end);
                tables.map(&mut memory, start..end, target, DATA);
            } else {
                tables.unmap(&mut memory, start..end);
            }
            for page in first..first + count {
                plain.remove(&page);
                if maps {
                    plain.insert(page, target + (page - first) * PAGE);
                }
            }
        }
        for page in 0..2700 {
            let found = tables.translate(&memory, page * PAGE).map(|found| found.physical);
            prop_assert_eq!(found, plain.get(&page).copied());
        }
    }
}

#[test]
fn attributes_have_two_forms_that_say_the_same() {
    // AMD's bits, Intel's access rights: 64-bit code, data, a busy task, nothing.
    for (bits, rights) in [(0xa9b, 0xa09b), (0xc93, 0xc093), (0x8b, 0x8b), (0, 1 << 16)] {
        let attributes = Attributes::from_bits(bits);
        assert_eq!(attributes.access_rights(), rights);
        assert_eq!(Attributes::from_access_rights(rights), attributes);
    }
    let code = Attributes::from_bits(0xa9b);
    let said = (code.is_long(), code.is_big(), code.is_granular(), code.is_present());
    assert_eq!(said, (true, false, true, true));
    assert_eq!((code.kind(), code.privilege(), code.is_code_or_data()), (0xb, 0, true));
}

#[test]
fn a_segment_allows_the_accesses_of_its_type() {
    // Type; readable, writable, expand-down.
    let cases = [
        (0x0, true, false, false),
        (0x2, true, true, false),
        (0x6, true, true, true),
        (0x8, false, false, false),
        (0xa, true, false, false),
        // Conforming code is not expand-down.
        (0xe, true, false, false),
    ];
    for (kind, readable, writable, expand_down) in cases {
        let segment =
            Segment { attributes: Attributes::new().with_kind(kind), ..Segment::default() };
        let found = (segment.is_readable(), segment.is_writable(), segment.is_expand_down());
        assert_eq!(found, (readable, writable, expand_down), "type {kind:#x}");
    }
}

#[test]
fn a_descriptor_has_its_fields_where_the_manual_has_them() {
    let flat = Segment {
        selector: 0x10,
        attributes: Attributes::from_bits(0xc93),
        limit: u32::MAX,
        base: 0,
    };
    assert_eq!(flat.descriptor(), 0x00cf_9300_0000_ffff);
    let code = Segment { attributes: Attributes::from_bits(0xa9b), ..flat };
    assert_eq!(code.descriptor(), 0x00af_9b00_0000_ffff);
    let based =
        Segment { attributes: Attributes::from_bits(0x89), limit: 0x67, base: 0x1234_5678, ..flat };
    assert_eq!(based.descriptor(), 0x1200_8934_5678_0067);
}

#[test]
fn a_vp_starts_at_the_reset_vector_or_at_the_page_that_sipi_names() {
    let state = VpState::init(0x80_0f12);
    let code = state.segments[SegmentRegister::Cs as usize];
    assert_eq!(code.base + state.rip, 0xffff_fff0);
    assert_eq!((state.rflags, state.control.cr0), (2, 0x6000_0010));
    assert_eq!(state.gpr[Register::Rdx as usize], 0x80_0f12);
    let state = VpState::startup(0, 0x9a);
    let code = state.segments[SegmentRegister::Cs as usize];
    assert_eq!((code.selector, code.base, state.rip), (0x9a00, 0x9_a000, 0));
}

#[test]
fn numbers_and_registers_agree() {
    for number in 0..=255 {
        assert_eq!(Register::from_number(number) as u8, number & 15);
    }
    for (number, register) in (0..).zip(SegmentRegister::ALL) {
        assert_eq!(register as u8, number);
    }
}

#[test]
fn exceptions_with_an_error_code_are_those_of_the_manual() {
    let with: Vec<u8> = (0..=255).filter(|number| vector::has_error_code(*number)).collect();
    assert_eq!(with, [8, 10, 11, 12, 13, 14, 17, 21, 29, 30]);
}

/// Values as operating systems leave them in the registers, read off by name.
#[test]
fn the_registers_of_a_running_linux_show_the_features_that_it_has_enabled() {
    use crate::{cr0, cr4, dr6, dr7, efer, rflags};
    let all = |value: u64, bits: &[u64]| bits.iter().all(|bit| value & bit != 0);
    let none = |value: u64, bits: &[u64]| bits.iter().all(|bit| value & bit == 0);
    const CR0: u64 = 0x8005_0033;
    assert!(all(CR0, &[cr0::PE, cr0::ET, cr0::WP, cr0::AM, cr0::PG]));
    assert!(none(CR0, &[cr0::EM, cr0::TS, cr0::NW, cr0::CD]));
    assert_eq!(VpState::init(0).control.cr0, cr0::CD | cr0::NW | cr0::ET);
    // 6.1 on a CPU with SMEP, SMAP and UMIP.
    const CR4: u64 = 0x0035_0ef0;
    assert!(all(CR4, &[cr4::PSE, cr4::PAE, cr4::MCE, cr4::OSFXSR, cr4::OSXMMEXCPT, cr4::UMIP]));
    assert!(all(CR4, &[cr4::OSXSAVE, cr4::SMEP, cr4::SMAP]));
    assert!(none(CR4, &[cr4::LA57]));
    const EFER: u64 = 0xd01;
    assert!(all(EFER, &[efer::SCE, efer::LME, efer::LMA, efer::NXE]));
    assert!(none(EFER, &[efer::SVME, efer::FFXSR]));
    assert_eq!(EFER | efer::SVME, 0x1d01, "as the CPU has it below us");
    // After a comparison that was equal, with interrupts enabled.
    const RFLAGS: u64 = 0x246;
    assert!(all(RFLAGS, &[rflags::FIXED, rflags::PF, rflags::ZF, rflags::IF]));
    let others = [rflags::CF, rflags::AF, rflags::SF, rflags::TF, rflags::DF, rflags::OF];
    assert!(none(RFLAGS, &others));
    assert!(none(RFLAGS, &[rflags::NT, rflags::RF, rflags::VM, rflags::AC]));
    assert_eq!(rflags::STATUS, 0x8d5);
    assert_eq!((dr6::RESET | dr6::BS, dr7::RESET), (0xffff_4ff0, 0x400));
}

#[test]
fn every_register_has_a_number_of_its_own() {
    use crate::msr;
    let numbers = [
        msr::APIC_BASE,
        msr::TSC,
        msr::SPEC_CTRL,
        msr::PRED_CMD,
        msr::SYSENTER_CS,
        msr::SYSENTER_ESP,
        msr::SYSENTER_EIP,
        msr::PAT,
        msr::TSC_DEADLINE,
        msr::X2APIC,
        msr::X2APIC_EOI,
        msr::EFER,
        msr::STAR,
        msr::LSTAR,
        msr::CSTAR,
        msr::SFMASK,
        msr::FS_BASE,
        msr::GS_BASE,
        msr::KERNEL_GS_BASE,
        msr::TSC_AUX,
        msr::VM_CR,
        msr::VM_HSAVE_PA,
    ];
    let distinct: std::collections::HashSet<u32> = numbers.into_iter().collect();
    assert_eq!(distinct.len(), numbers.len());
    // Those of SYSCALL lie in a row, and the x2APIC's EOI where the page has it, over 16.
    assert_eq!([msr::LSTAR, msr::CSTAR, msr::SFMASK], [1, 2, 3].map(|next| msr::STAR + next));
    assert_eq!((msr::X2APIC_EOI - msr::X2APIC) * 16, 0xb0);
}

#[test]
fn a_vendor_has_its_own_hypercall() {
    use crate::Vendor;
    let leaf = |name: &[u8; 12]| {
        let word = |at: usize| u32::from_le_bytes(name[at..at + 4].try_into().unwrap());
        [0xd, word(0), word(8), word(4)]
    };
    for (name, vendor, last) in [
        (b"AuthenticAMD", Vendor::Amd, 0xd9),
        (b"HygonGenuine", Vendor::Amd, 0xd9),
        (b"GenuineIntel", Vendor::Intel, 0xc1),
    ] {
        assert_eq!(Vendor::of(leaf(name)), vendor);
        assert_eq!(vendor.hypercall(), [0x0f, 0x01, last]);
    }
}

proptest! {
    #[test]
    fn a_segment_and_its_descriptor_are_the_same(selector in any::<u16>(), bits in any::<u64>()) {
        let segment = Segment::from_descriptor(selector, bits);
        prop_assert_eq!(segment.selector, selector);
        prop_assert_eq!(segment.descriptor(), bits);
        prop_assert!(segment.limit & 0xfff == 0xfff || !segment.attributes.is_granular());
    }
}

#[test]
fn two_events_combine_by_their_classes() {
    let exceptions = [vector::DE, vector::DB, vector::DF, vector::GP, vector::PF, vector::VC];
    // A row for each first event, a column for each second one: second, double fault, shutdown.
    let table: [(Option<u8>, &str); 8] = [
        (None, "222222"),
        (Some(vector::DE), "d22d22"),
        (Some(vector::TS), "d22d22"),
        (Some(vector::SS), "d22d22"),
        (Some(vector::PF), "d22dd2"),
        (Some(vector::DF), "s22ss2"),
        (Some(vector::UD), "222222"),
        (Some(vector::VC), "222222"),
    ];
    for (first, row) in table {
        for (second, expected) in exceptions.into_iter().zip(row.chars()) {
            let expected = match expected {
                'd' => Combined::DoubleFault,
                's' => Combined::Shutdown,
                _ => Combined::Second,
            };
            assert_eq!(combine(first, second), expected, "{first:?} then {second}");
        }
    }
}

#[test]
fn a_shutdown_or_double_fault_needs_a_fault_on_both_sides() {
    for first in 0..=u8::MAX {
        for second in 0..=u8::MAX {
            let harmless = |vector| !matches!(vector, vector::DE | vector::DF | 10..=14);
            if harmless(first) || harmless(second) || second == vector::DF {
                let combined = combine(Some(first), second);
                assert_eq!(combined, Combined::Second, "{first} then {second}");
            }
        }
        assert_eq!(combine(None, first), Combined::Second, "an interrupt, then {first}");
    }
}

#[test]
fn a_descriptor_s_limit_counts_in_the_unit_that_it_says() {
    // A descriptor, the last offset, the base.
    for (descriptor, limit, base) in [
        (0x00cf_9b00_0000_ffff_u64, u32::MAX, 0),
        (0x00af_9b00_0000_ffff, u32::MAX, 0),
        (0x0040_9300_0000_ffff, 0xffff, 0),
        (0x8000_8b12_3456_0067, 0x67, 0x8012_3456),
        (0x008f_9212_0000_0000, 0xf000_0fff, 0x12_0000),
    ] {
        let segment = Segment::from_descriptor(8, descriptor);
        assert_eq!((segment.limit, segment.base), (limit, base), "{descriptor:#x}");
    }
}
