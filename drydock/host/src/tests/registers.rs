//! MSRs.

extern crate std;

use std::sync::atomic::Ordering;

use snp::exit::ExitCode;
use snp::features::msr as sev;
use snp::ghcb::Field;
use x86::msr;

use super::fixture::{Machine, Reply};

const APIC_BASE: u64 = 0xfee0_0000 | 1 << 8 | 1 << 11;
const X2APIC: u64 = 1 << 10;

pub(super) fn read(machine: &mut Machine, number: u32) -> Reply {
    machine.request(ExitCode::MSR, &[(Field::RCX, number.into())])
}

pub(super) fn write(machine: &mut Machine, number: u32, value: u64) -> Reply {
    // The high halves are no part of the value.
    let high = 0xffff_ffff_0000_0000;
    let fields = [
        (Field::SW_EXITINFO1, 1),
        (Field::RCX, number.into()),
        (Field::RAX, high | value),
        (Field::RDX, high | value >> 32),
    ];
    machine.request(ExitCode::MSR, &fields)
}

/// Turns x2APIC mode and the local APIC on.
pub(super) fn enable_x2apic(machine: &mut Machine, base: u64) {
    write(machine, msr::APIC_BASE, base | X2APIC).done(0, &[]);
    write(machine, msr::X2APIC + 0xf, 0x1ff).done(0, &[]);
}

#[track_caller]
fn assert_value(reply: &Reply, value: u64) {
    reply.done(0, &[(Field::RAX, value & 0xffff_ffff), (Field::RDX, value >> 32)]);
}

#[test]
fn registers_of_the_host_are_read() {
    let mut machine = Machine::new();
    machine.outside().host.tsc.store(0x5_0000_0001, Ordering::Relaxed);
    assert_value(&read(&mut machine, msr::TSC), 0x5_0000_0001);
    assert_value(&read(&mut machine, msr::APIC_BASE), APIC_BASE);
    assert_value(&read(&mut machine, msr::TSC_DEADLINE), 0);
    assert_value(&read(&mut machine, 0xfe), 0x508);
    assert_value(&read(&mut machine, 0xc001_1029), 2);
}

#[test]
fn registers_that_are_not_the_hosts_raise_gp() {
    for number in [
        msr::EFER,
        msr::PAT,
        msr::SPEC_CTRL,
        sev::GHCB,
        sev::SEV_STATUS,
        sev::RMP_BASE,
        0x4000_0000,
        0x4b56_4d02,
        0xdead_beef,
        // The local APIC is not in x2APIC mode.
        msr::X2APIC + 2,
    ] {
        let mut machine = Machine::new();
        read(&mut machine, number).general_protection();
        write(&mut machine, number, 0).general_protection();
        assert_eq!(machine.ended(), None);
    }
}

#[test]
fn writes_are_checked() {
    for (what, number, value, is_fine) in [
        ("the TSC", msr::TSC, 5, true),
        ("a fixed register as it is", 0xc001_1029, 2, true),
        ("bits without effect", 0xc001_1029, 0, true),
        ("other bits", 0xc001_1029, 4, false),
        ("a read-only register", 0x179, 1, false),
        ("an MTRR", 0x2ff, 0xc06, true),
        ("an MTRR with reserved bits", 0x2ff, 1 << 20, false),
        ("APIC_BASE with x2APIC", msr::APIC_BASE, APIC_BASE | X2APIC, true),
        ("APIC_BASE with x2APIC alone", msr::APIC_BASE, (APIC_BASE | X2APIC) & !(1 << 11), false),
        ("APIC_BASE with reserved bits", msr::APIC_BASE, APIC_BASE | 1 << 62, false),
        ("TSC_DEADLINE", msr::TSC_DEADLINE, 5, true),
    ] {
        let mut machine = Machine::new();
        let reply = write(&mut machine, number, value);
        if is_fine {
            reply.done(0, &[])
        } else {
            reply.general_protection()
        }
        assert_eq!(machine.ended(), None, "{what}");
    }
}

#[test]
fn the_high_half_of_rcx_is_no_operand() {
    let mut machine = Machine::new();
    let number = 0x1234_5678_0000_0000 | u64::from(msr::APIC_BASE);
    let reply = machine.request(ExitCode::MSR, &[(Field::RCX, number)]);
    assert_value(&reply, APIC_BASE);
}

#[test]
fn the_local_apic_has_registers_in_x2apic_mode() {
    let (mut first, mut second) = Machine::with_second();
    enable_x2apic(&mut first, APIC_BASE);
    assert_value(&read(&mut first, msr::X2APIC + 2), 0);
    write(&mut first, msr::X2APIC + 8, 0x40).done(0, &[]);
    assert_value(&read(&mut first, msr::X2APIC + 8), 0x40);
    write(&mut first, msr::X2APIC + 2, 0).general_protection();
    enable_x2apic(&mut second, APIC_BASE & !(1 << 8));
    assert_value(&read(&mut second, msr::X2APIC + 2), 1);
    assert_value(&read(&mut second, msr::X2APIC + 8), 0);
}
