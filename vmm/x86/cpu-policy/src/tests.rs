//! Tests of the CPU that the guest sees.

use crate::msr::{pat_is_valid, write_efer};
use crate::*;

/// A CPU that claims every feature.
fn everything(leaf: u32, _: u32) -> [u32; 4] {
    if leaf == 0x8000_0008 { [48 << 8 | 40, u32::MAX, 0, 0] } else { [u32::MAX; 4] }
}

fn table(hypervisor: bool) -> CpuidTable {
    CpuidTable::new(Topology { vps: 4, hypervisor }, everything)
}

#[test]
fn virtualisation_and_unsaved_state_stay_hidden() {
    let table = table(true);
    let [_, _, one_c, one_d] = table.look_up(1, 0, 0, false, 1);
    assert_eq!(one_c & (1 << 3 | 1 << 5 | 1 << 15), 0, "MONITOR, VMX, PDCM");
    assert_eq!(one_d & (1 << 21 | 1 << 22), 0, "DS, ACPI thermal");
    let [_, _, c, _] = table.look_up(0x8000_0001, 0, 0, false, 1);
    assert_eq!(c & (1 << 2 | 1 << 3 | 1 << 12 | 1 << 23), 0, "SVM, extended APIC, SKINIT, PMU");
    let [_, b, c, d] = table.look_up(7, 0, 0, false, 1);
    assert_eq!(b & (1 << 16 | 1 << 2 | 1 << 10 | 1 << 1), 0, "AVX512, SGX, INVPCID, TSC_ADJUST");
    assert_eq!(c & (1 << 16 | 1 << 3), 0, "LA57, PKU");
    assert_eq!(d & !(1 << 4), 0);
    assert_eq!(table.look_up(0x8000_000a, 0, 0, false, 1), [0; 4], "SVM features");
    assert_eq!(table.look_up(0x8000_001f, 0, 0, false, 1), [0; 4], "SEV");
    assert_eq!(table.look_up(0xa, 0, 0, false, 1), [0; 4], "performance counters");
}

#[test]
fn each_vp_reads_its_own_id() {
    let table = table(true);
    for vp in 0..4 {
        assert_eq!(table.look_up(1, 0, vp, false, 1)[1] >> 24, vp);
        assert_eq!(table.look_up(0xb, 1, vp, false, 1), [2, 4, 0x201, vp]);
    }
    assert_eq!(table.look_up(0x8000_0008, 0, 0, false, 1)[2], 2 << 12 | 3);
}

#[test]
fn vps_are_cores_and_no_threads() {
    let bits = |vps: u32| {
        let table = CpuidTable::new(Topology { vps, hypervisor: true }, everything);
        let htt = table.look_up(1, 0, 0, false, 1)[3] >> 28 & 1;
        let cmp_legacy = table.look_up(0x8000_0001, 0, 0, false, 1)[2] >> 1 & 1;
        (htt, cmp_legacy)
    };
    assert_eq!(bits(1), (0, 0));
    assert_eq!(bits(2), (1, 1));
}

#[test]
fn only_plain_hardware_without_the_interface() {
    assert_eq!(table(false).look_up(1, 0, 0, false, 1)[2] >> 31, 0);
    assert_eq!(table(true).look_up(1, 0, 0, false, 1)[2] >> 31, 1);
}

#[test]
fn xsave_follows_the_guests_registers() {
    let table = table(true);
    assert_eq!(table.look_up(1, 0, 0, true, 1)[2] >> 27 & 1, 1);
    assert_eq!(table.look_up(1, 0, 0, false, 1)[2] >> 27 & 1, 0);
    assert_eq!(table.look_up(0xd, 0, 0, true, 1), [7, 576, 832, 0]);
    assert_eq!(table.look_up(0xd, 0, 0, true, 7)[1], 832);
    for (value, valid) in [(1, true), (3, true), (7, true), (5, false), (2, false), (9, false)] {
        assert_eq!(xcr0_is_valid(value, 7), valid, "{value}");
    }
    assert!(!xcr0_is_valid(7, 3));
}

#[test]
fn svme_cannot_be_set_and_long_mode_follows_the_rules() {
    assert_eq!(write_efer(0, 1 << 12, false), None, "SVME");
    assert_eq!(write_efer(0, 1 << 13, false), None, "LMSLE");
    assert_eq!(write_efer(0, 1 << 8, false), Some(1 << 8));
    assert_eq!(write_efer(0x500, 0, true), None, "LME under paging");
    assert_eq!(write_efer(0x500, 0x901, true), Some(0xd01), "LMA stays");
    assert_eq!(write_efer(0, 0x400, false), Some(0), "LMA can not be set");
}

#[test]
fn svm_msrs_do_not_exist() {
    for number in [0xc001_0114, 0xc001_0115, 0xc001_0117, 0xc001_0118] {
        assert_eq!(classify(number), MsrKind::Absent);
    }
}

#[test]
fn no_feature_is_offered_whose_msr_is_absent() {
    // TSC_ADJUST; VIRT_SSBD.
    let [_, extended, ..] = table(true).look_up(0x8000_0008, 0, 0, false, 1);
    assert_eq!(extended & 1 << 25, 0);
    for number in [0x3b, 0xc001_011f] {
        assert_eq!(classify(number), MsrKind::Absent);
    }
}

#[test]
fn the_guest_controls_speculation_as_far_as_the_cpu_lets_it() {
    // The physical CPU's leaf 8000_0008h EBX, the bits of SPEC_CTRL, whether PRED_CMD exists.
    let cases = [
        (0, 0, false),
        (1 << 12, 0, true),
        (1 << 14, 0b1, false),
        (1 << 15, 0b10, false),
        (1 << 24, 0b100, false),
        (1 << 28, 1 << 7, false),
        (u32::MAX, 0b1000_0111, true),
    ];
    for (ebx, control, has_barrier) in cases {
        let below = |leaf, _| if leaf == 0x8000_0008 { [0, ebx, 0, 0] } else { [0; 4] };
        let table = CpuidTable::new(Topology { vps: 1, hypervisor: true }, below);
        let speculation = table.speculation();
        assert_eq!(speculation, Speculation { control, has_barrier }, "{ebx:#x}");
        let shown = table.look_up(0x8000_0008, 0, 0, false, 1)[1] & 0x1100_d000;
        assert_eq!(shown, ebx & 0x1100_d000, "the guest sees the controls that exist");
        for value in [0, 1, 2, 4, 8, 1 << 7, 1 << 63] {
            let valid = control != 0 && value & !control == 0;
            assert_eq!(speculation.control_is_valid(value), valid, "{ebx:#x} {value:#x}");
        }
        let commands = [0, 1, 2].map(|value| speculation.command_is_valid(value));
        assert_eq!(commands, [has_barrier, has_barrier, false]);
    }
}

#[test]
fn memory_types_are_checked() {
    assert!(pat_is_valid(0x0007_0406_0007_0406));
    assert!(!pat_is_valid(0x02));
    let mut mtrrs = Mtrrs::new(40);
    assert_eq!(mtrrs.write(0x2ff, 0xc06), Some(()));
    assert_eq!(mtrrs.write(0x2ff, 0xc02), None);
    assert_eq!(mtrrs.write(0x200, 1 << 41), None);
    assert_eq!(mtrrs.write(0x200, 0x8000_0006), Some(()));
    assert_eq!(mtrrs.read(0x200), Some(0x8000_0006));
    assert_eq!(mtrrs.write(0x250, 7), None);
    assert_eq!(mtrrs.write(0xfe, 0), None);
    assert_eq!(mtrrs.read(0x210), None);
}

#[test]
fn a_cpu_without_features_gets_none_from_us() {
    let table = CpuidTable::new(Topology { vps: 1, hypervisor: false }, |_, _| [0; 4]);
    // x2APIC and the TSC deadline are the paravisor's own.
    assert_eq!(table.look_up(1, 0, 0, false, 1)[2], 1 << 21 | 1 << 24);
    assert_eq!(table.look_up(7, 0, 0, false, 1), [0; 4]);
    assert_eq!((table.components(), table.has_gigabyte_pages()), (0, false));
    for subleaf in 0..4 {
        assert_eq!(table.look_up(0xd, subleaf, 0, true, 7), [0; 4], "no XSAVE: subleaf {subleaf}");
    }
    assert!(!xcr0_is_valid(1, table.components()), "XSETBV does not exist");
}

#[test]
fn leaves_outside_the_table_are_zero() {
    let table = table(true);
    let absent =
        [2, 3, 4, 5, 6, 8, 9, 0xa, 0xe, 0x1f, 0x4000_0000, 0x8000_0009, 0x8fff_ffff, 0xc000_0000];
    for leaf in absent {
        assert_eq!(table.look_up(leaf, 0, 0, true, 7), [0; 4], "{leaf:#x}");
    }
    assert_eq!(table.look_up(7, 1, 0, false, 1), [0; 4], "subleaf 1");
    assert_eq!(table.look_up(0xb, 2, 3, false, 1), [0, 0, 2, 3], "the level behind the last");
    assert_eq!(table.look_up(0, 0, 0, false, 1)[0], 0xd);
    assert_eq!(table.look_up(0x8000_0000, 0, 0, false, 1)[0], 0x8000_0008);
}

#[test]
fn every_msr_is_of_the_kind_that_its_device_answers() {
    let cases = [
        (0x10, MsrKind::Tsc),
        (0x1b, MsrKind::ApicBase),
        (0x48, MsrKind::SpeculationControl),
        (0x49, MsrKind::PredictionCommand),
        (0x6e0, MsrKind::TscDeadline),
        (0x7ff, MsrKind::Absent),
        (0x800, MsrKind::X2Apic),
        (0x8ff, MsrKind::X2Apic),
        (0x900, MsrKind::Absent),
        (0xfe, MsrKind::Mtrr),
        (0x20f, MsrKind::Mtrr),
        (0x210, MsrKind::Absent),
        (0x26f, MsrKind::Mtrr),
        (0x277, MsrKind::Pat),
        (0xc000_0080, MsrKind::Efer),
        (0x4000_0000, MsrKind::Hyperv),
        (0x4000_1000, MsrKind::Absent),
        (0x4b56_4d01, MsrKind::KvmClock),
        (0x179, MsrKind::Fixed { value: 0, writable: 0 }),
        // The guest switches these without an exit; one that exits does not exist.
        (0xc000_0082, MsrKind::Absent),
    ];
    for (number, kind) in cases {
        assert_eq!(classify(number), kind, "{number:#x}");
    }
}

#[test]
fn the_memory_type_ranges_start_as_firmware_leaves_them() {
    for bits in [36, 40, 48, 52, 60] {
        let mtrrs = Mtrrs::new(bits);
        let width = bits.min(52);
        let (base, mask) = (mtrrs.read(0x200).unwrap(), mtrrs.read(0x201).unwrap());
        assert_eq!(base, 0xe000_0000, "the device hole is uncacheable");
        assert_eq!(mask, ((1 << width) - 1) & !0x1fff_ffff | 1 << 11, "{bits} bits");
        assert_eq!(mtrrs.read(0x2ff), Some(0xc06));
        assert_eq!((mtrrs.read(0x259), mtrrs.read(0x268)), (Some(0), Some(0x0606_0606_0606_0606)));
        assert!((0x202..0x210).all(|number| mtrrs.read(number) == Some(0)));
    }
    let mut mtrrs = Mtrrs::new(40);
    for (number, value, taken) in [
        (0x201, 1 << 10, false),
        (0x201, 1 << 11, true),
        (0x201, 1 << 40, false),
        (0x20e, 0x1_0000_0005, true),
        (0x20e, 0x1_0000_0002, false),
        (0x26f, 0x0404_0404_0505_0101, true),
        (0x26f, 0x0700_0000_0000_0000, false),
        (0x2ff, 1 << 12, false),
    ] {
        let before = mtrrs.read(number);
        assert_eq!(mtrrs.write(number, value).is_some(), taken, "{number:#x} {value:#x}");
        assert_eq!(mtrrs.read(number), if taken { Some(value) } else { before });
    }
}
