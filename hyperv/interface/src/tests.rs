//! Tests of what a guest sees of the interface.

use device_model::{GuestTsc, RestoreError};

use crate::*;

const CLOCK: Clock =
    Clock { tsc_frequency: 2_500_000_000, apic_frequency: 1_000_000_000, tsc_at_zero: 12_345 };

fn partition() -> Partition {
    Partition::new(CLOCK, x86::Vendor::Amd)
}

#[test]
fn linux_finds_the_interface_and_its_clocks() {
    let [max, a, b, c] = leaf(0x4000_0000, 4).unwrap();
    assert_eq!(max, MAX_LEAF);
    let name: [u8; 12] = core::array::from_fn(|i| [a, b, c][i / 4].to_le_bytes()[i % 4]);
    assert_eq!(&name, b"Microsoft Hv");
    let [privileges, _, _, features] = leaf(0x4000_0003, 4).unwrap();
    for bit in [1, 5, 6, 9, 11, 15] {
        assert_ne!(privileges & 1 << bit, 0, "privilege {bit}");
    }
    assert_ne!(features & 1 << 8, 0);
    assert_eq!(leaf(0x4000_0007, 4), None);
    assert_eq!(partition().read(msr::TSC_FREQUENCY, 0, GuestTsc(0)), Ok(2_500_000_000));
    assert_eq!(partition().read(msr::APIC_FREQUENCY, 0, GuestTsc(0)), Ok(1_000_000_000));
    assert_eq!(partition().read(msr::VP_INDEX, 3, GuestTsc(0)), Ok(3));
}

#[test]
fn no_privilege_is_offered_without_its_register() {
    // Reset, APIC MSRs, SynIC, synthetic timers, guest idle: not offered, so they raise #GP.
    for number in [0x4000_0003, 0x4000_0070, 0x4000_0080, 0x4000_00b0, 0x4000_00f0] {
        assert_eq!(partition().read(number, 0, GuestTsc(0)), Err(GeneralProtection));
        assert_eq!(partition().write(number, 0), Err(GeneralProtection));
    }
    for read_only in [msr::VP_INDEX, msr::TIME_REF_COUNT, msr::TSC_FREQUENCY] {
        assert_eq!(partition().write(read_only, 0), Err(GeneralProtection));
    }
}

#[test]
fn each_vp_keeps_its_assist_page() {
    let mut vp = VpRegisters::default();
    assert!(vp.write(msr::VP_ASSIST_PAGE, 0x7fff));
    assert_eq!(vp.read(msr::VP_ASSIST_PAGE), Some(0x7001));
    assert!(!vp.write(msr::GUEST_OS_ID, 1));
    assert_eq!(vp.read(msr::GUEST_OS_ID), None);
}

#[test]
fn the_hypercall_page_needs_an_identity() {
    let mut p = partition();
    assert_eq!(p.write(msr::HYPERCALL, 0x5001), Ok(None));
    assert_eq!(p.hypercall(), None);
    p.write(msr::GUEST_OS_ID, 1).unwrap();
    let page = p.write(msr::HYPERCALL, 0x5001).unwrap().unwrap();
    assert_eq!((page.gpa, page.bytes()), (0x5000, &[0x0f, 0x01, 0xd9, 0xc3][..]));
    assert_eq!(p.hypercall(), Some(INVALID_HYPERCALL_CODE));
    p.write(msr::GUEST_OS_ID, 0).unwrap();
    assert_eq!(p.hypercall(), None);
}

#[test]
fn a_locked_hypercall_page_stays() {
    let mut p = partition();
    p.write(msr::GUEST_OS_ID, 1).unwrap();
    assert!(p.write(msr::HYPERCALL, 0x5003).unwrap().is_some());
    assert_eq!(p.write(msr::HYPERCALL, 0x9001), Ok(None));
    assert_eq!(p.read(msr::HYPERCALL, 0, GuestTsc(0)), Ok(0x5003));
}

#[test]
fn the_page_and_the_counter_tell_the_same_time() {
    let mut p = partition();
    let page = p.write(msr::REFERENCE_TSC, 0x7001).unwrap().unwrap();
    let word = |i: usize| u64::from_le_bytes(page.bytes()[i..i + 8].try_into().unwrap());
    assert_eq!(word(0), 1);
    for seconds in [0, 1, 3_600, 1_000_000] {
        let tsc = CLOCK.tsc_at_zero + seconds * CLOCK.tsc_frequency;
        let by_page = ((u128::from(tsc) * u128::from(word(8))) >> 64) as u64;
        let by_page = by_page.wrapping_add(word(16));
        let counter = p.read(msr::TIME_REF_COUNT, 0, GuestTsc(tsc)).unwrap();
        assert!(by_page.abs_diff(counter) <= 1, "{by_page} {counter}");
        assert!(counter.abs_diff(seconds * 10_000_000) <= 1, "{counter}");
    }
}

#[test]
fn the_leaves_announce_only_implemented_features() {
    assert_eq!(leaf(0x4000_0001, 3), Some([u32::from_le_bytes(*b"Hv#1"), 0, 0, 0]));
    let privileges = [1, 5, 6, 9, 11, 15].iter().fold(0, |bits, bit| bits | 1 << bit);
    assert_eq!(leaf(0x4000_0003, 3), Some([privileges, 0, 0, 1 << 8]));
    assert_eq!(leaf(0x4000_0004, 3), Some([1 << 5, u32::MAX, 0, 0]), "relaxed timing");
    assert_eq!(leaf(0x4000_0005, 3), Some([3, 3, 0, 0]));
    assert_eq!(leaf(0x4000_0006, 3), Some([0; 4]));
    for outside in [0, 0x3FFF_FFFF, MAX_LEAF + 1, 0x4000_0100, 0x8000_0000, u32::MAX] {
        assert_eq!(leaf(outside, 3), None, "{outside:#x}");
    }
}

#[test]
fn registers_start_at_zero_and_drop_their_reserved_bits() {
    let mut p = partition();
    let written =
        [msr::GUEST_OS_ID, msr::HYPERCALL, msr::REFERENCE_TSC, msr::TSC_INVARIANT_CONTROL];
    for number in written {
        assert_eq!(p.read(number, 0, GuestTsc(0)), Ok(0), "{number:#x}");
    }
    assert_eq!(p.write(msr::GUEST_OS_ID, u64::MAX), Ok(None));
    assert_eq!(p.read(msr::GUEST_OS_ID, 0, GuestTsc(0)), Ok(u64::MAX));
    assert_eq!(p.write(msr::HYPERCALL, 0x5FFC), Ok(None), "not enabled, no page");
    assert_eq!(p.read(msr::HYPERCALL, 0, GuestTsc(0)), Ok(0x5000));
    assert_eq!(p.write(msr::REFERENCE_TSC, 0x7FFE), Ok(None));
    assert_eq!(p.read(msr::REFERENCE_TSC, 0, GuestTsc(0)), Ok(0x7000));
    assert_eq!(p.write(msr::TSC_INVARIANT_CONTROL, 1), Ok(None));
    assert_eq!(p.write(msr::TSC_INVARIANT_CONTROL, 2), Err(GeneralProtection));
    assert_eq!(p.read(msr::TSC_INVARIANT_CONTROL, 0, GuestTsc(0)), Ok(1), "unchanged");
}

#[test]
fn reference_time_starts_at_zero_and_lasts_as_long_as_the_tsc() {
    let p = partition();
    let time = |tsc| p.read(msr::TIME_REF_COUNT, 0, GuestTsc(tsc)).unwrap();
    assert_eq!((time(CLOCK.tsc_at_zero), time(CLOCK.tsc_at_zero + 249)), (0, 0));
    assert_eq!(time(CLOCK.tsc_at_zero + 251), 1, "250 ticks are 100 ns");
    // 233 years: 2^64 ticks at 2.5 GHz.
    let last = time(CLOCK.tsc_at_zero - 1);
    assert_eq!(last / 10_000_000 / 86_400 / 365, 233);
}

#[test]
fn saved_state_comes_back_or_is_refused() {
    let mut p = partition();
    p.write(msr::GUEST_OS_ID, 7).unwrap();
    let _ = p.write(msr::HYPERCALL, 0x5001).unwrap();
    let saved = p.save();
    let mut other = partition();
    other.restore(&saved).unwrap();
    assert_eq!(other, p);
    let wrong = Saved { version: 9, ..saved };
    assert_eq!(other.restore(&wrong), Err(RestoreError::Version { found: 9, supported: 1 }));
    for wrong in [
        Saved { hypercall: 0x5009, ..saved },
        Saved { guest_os_id: 0, ..saved },
        Saved { reference_tsc: 2, ..saved },
        Saved { tsc_invariant: 2, ..saved },
    ] {
        assert!(other.restore(&wrong).is_err());
        assert_eq!(other, p);
    }
}
