//! Interrupts, from a device or a VP to the CPU.

extern crate std;

use std::sync::atomic::Ordering;

use platform_api::Event;
use snp::exit::ExitCode;
use snp::ghcb::Field;
use x86::msr;

use super::fixture::{Machine, area};
use super::registers::{enable_x2apic, read, write};
use crate::{Activity, Step};

const APIC_BASE: u64 = 0xfee0_0000 | 1 << 11;
const BSP: u64 = 1 << 8;
const SELF_IPI: u32 = msr::X2APIC + 0x3f;
const ICR: u32 = msr::X2APIC + 0x30;
const LINT0: u32 = msr::X2APIC + 0x35;
const LINT1: u32 = msr::X2APIC + 0x36;
const IN_SERVICE_1: u32 = msr::X2APIC + 0x11;
const RUN: Step = Step::Run { level: 0, area: area_1() };

const fn area_1() -> crate::Area {
    crate::Area {
        guest: drydock_rmp::GuestPage(1),
        page: drydock_rmp::SystemPage(1 + crate::testing::SYSTEM),
        features: snp::features::SevFeatures::new().with_snp_active(true),
        serial: 0,
    }
}

/// A machine whose VPs have their local APICs on.
fn machine() -> (Machine, Machine) {
    let (mut first, mut second) = Machine::with_second();
    enable_x2apic(&mut first, APIC_BASE | BSP);
    enable_x2apic(&mut second, APIC_BASE);
    (first, second)
}

fn out(machine: &mut Machine, port: u64, value: u64) {
    let fields = [(Field::SW_EXITINFO1, port << 16 | 1 << 4), (Field::RAX, value)];
    machine.request(ExitCode::IOIO, &fields).done(0, &[]);
}

/// Sets the 8259 pair and the timer up: vectors from 20h, one tick in a millisecond.
fn start_legacy_timer(machine: &mut Machine) {
    for (port, value) in [
        (0x20, 0x11),
        (0x21, 0x20),
        (0x21, 4),
        (0x21, 1),
        (0x21, 0xfe),
        (0x43, 0x34),
        (0x40, 0xa9),
        (0x40, 0x04),
    ] {
        out(machine, port, value);
    }
}

#[test]
fn a_vector_is_offered_until_the_guest_takes_it() {
    let (mut machine, _) = machine();
    assert_eq!(machine.turn(), RUN);
    assert_eq!(machine.vcpus[0].offered, None);
    write(&mut machine, SELF_IPI, 0x41).done(0, &[]);
    for _ in 0..2 {
        assert_eq!(machine.turn(), RUN);
        assert_eq!(machine.vcpus[0].offered, Some(0x41), "interrupts are disabled in the guest");
        machine.exit(ExitCode::INTR, 0, 0);
    }
    machine.vcpus[0].taken = Some(0x41);
    machine.exit(ExitCode::INTR, 0, 0);
    assert_eq!(machine.turn(), RUN);
    assert_eq!(machine.vcpus[0].offered, None);
    // 41h is in service: bit 1 of the third word.
    let in_service = read(&mut machine, IN_SERVICE_1 + 1).get(Field::RAX);
    assert_eq!(in_service, Some(1 << 1));
    write(&mut machine, SELF_IPI, 0x31).done(0, &[]);
    machine.turn();
    assert_eq!(machine.vcpus[0].offered, None, "a lower priority waits");
    write(&mut machine, msr::X2APIC_EOI, 0).done(0, &[]);
    machine.turn();
    assert_eq!(machine.vcpus[0].offered, Some(0x31));
}

#[test]
fn the_guests_task_priority_counts() {
    let (mut machine, _) = machine();
    write(&mut machine, SELF_IPI, 0x41).done(0, &[]);
    for (class, offered) in [(4, None), (3, Some(0x41)), (15, None)] {
        machine.vcpus[0].task_priority = class;
        machine.turn();
        assert_eq!(machine.vcpus[0].offered, offered, "{class}");
    }
}

#[test]
fn an_interrupt_ends_a_sleep_if_interrupts_are_enabled() {
    for interrupts_enabled in [false, true] {
        let (mut first, mut second) = machine();
        first.turn();
        first.exit(ExitCode::HLT, 0, 0);
        first.vcpus[0].interrupts_enabled = interrupts_enabled;
        assert_eq!(first.turn(), Step::Again);
        write(&mut second, ICR, 0x51).done(0, &[]);
        let step = first.turn();
        if interrupts_enabled {
            assert_eq!(step, RUN);
            assert_eq!(first.vcpus[0].offered, Some(0x51));
        } else {
            assert_eq!(step, Step::Again);
            assert_eq!(first.vp.levels[0].activity, Activity::Halted);
        }
    }
}

#[test]
fn an_ipi_kicks_a_vp_in_its_guest_once() {
    let (mut first, mut second) = machine();
    while first.turn() != RUN {}
    for vector in [0x51, 0x52] {
        write(&mut second, ICR, vector).done(0, &[]);
    }
    assert_eq!(*first.outside().host.kicks.lock().unwrap(), [0]);
    first.exit(ExitCode::INTR, 0, 0);
    assert_eq!(first.turn(), RUN);
    assert_eq!(first.vcpus[0].offered, Some(0x52));
}

#[test]
fn an_nmi_is_injected_when_the_guest_can_take_it() {
    let (mut first, mut second) = machine();
    first.turn();
    first.exit(ExitCode::HLT, 0, 0);
    first.vcpus[0].nmis_masked = true;
    // An NMI to physical destination 0.
    write(&mut second, ICR, 4 << 8).done(0, &[]);
    assert_eq!(first.turn(), RUN, "it ends a sleep");
    assert_eq!(first.vcpus[0].event, None);
    first.vcpus[0].nmis_masked = false;
    assert_eq!(first.turn(), RUN);
    assert_eq!(first.vcpus[0].event.take(), Some(Event::Nmi));
    assert_eq!(first.turn(), RUN);
    assert_eq!(first.vcpus[0].event, None, "it came once");
}

#[test]
fn an_nmi_of_the_outside_comes_by_lint1() {
    for (entry, event) in [(4 << 8, Some(Event::Nmi)), (1 << 16 | 4 << 8, None)] {
        let (mut machine, _) = machine();
        write(&mut machine, LINT1, entry).done(0, &[]);
        machine.outside().host.nmi.store(true, Ordering::Relaxed);
        machine.exit(ExitCode::NMI, 0, 0);
        machine.turn();
        assert_eq!(machine.vcpus[0].event, event);
    }
}

#[test]
fn the_8259_pair_interrupts_by_lint0() {
    let (mut machine, _) = machine();
    write(&mut machine, LINT0, 7 << 8).done(0, &[]);
    start_legacy_timer(&mut machine);
    while machine.turn() != RUN {}
    assert_eq!(machine.vcpus[0].event, None);
    machine.outside().host.tsc.fetch_add(2_000_000, Ordering::Relaxed);
    machine.exit(ExitCode::INTR, 0, 0);
    assert_eq!(machine.turn(), RUN);
    assert!(machine.vcpus[0].window && machine.vcpus[0].event.is_none(), "interrupts are disabled");
    machine.vcpus[0].interrupts_enabled = true;
    machine.exit(ExitCode::VINTR, 0, 0);
    assert_eq!(machine.turn(), RUN);
    assert_eq!(machine.vcpus[0].event.take(), Some(Event::Interrupt(0x20)));
    assert_eq!(machine.turn(), RUN);
    assert_eq!(machine.vcpus[0].event, None, "it was acknowledged");
}

#[test]
fn an_nmi_and_a_legacy_interrupt_do_not_displace_each_other() {
    let (mut machine, mut second) = machine();
    write(&mut machine, LINT0, 7 << 8).done(0, &[]);
    start_legacy_timer(&mut machine);
    machine.outside().host.tsc.fetch_add(2_000_000, Ordering::Relaxed);
    machine.exit(ExitCode::INTR, 0, 0);
    write(&mut second, ICR, 4 << 8).done(0, &[]);
    machine.vcpus[0].interrupts_enabled = true;
    while machine.turn() != RUN {}
    assert_eq!(machine.vcpus[0].event.take(), Some(Event::Nmi));
    while machine.turn() != RUN {}
    assert_eq!(machine.vcpus[0].event.take(), Some(Event::Interrupt(0x20)));
}

#[test]
fn a_sleep_lasts_until_the_timer() {
    let (mut machine, _) = machine();
    machine.outside().host.tsc.store(1000, Ordering::Relaxed);
    // LVT timer: vector 61h, TSC deadline.
    write(&mut machine, msr::X2APIC + 0x32, 2 << 17 | 0x61).done(0, &[]);
    write(&mut machine, msr::TSC_DEADLINE, 5_000_000).done(0, &[]);
    machine.exit(ExitCode::HLT, 0, 0);
    machine.vcpus[0].interrupts_enabled = true;
    let mut turns = 0;
    while machine.turn() != RUN {
        turns += 1;
        assert!(turns < 10, "it sleeps on");
    }
    assert_eq!(machine.outside().host.tsc.load(Ordering::Relaxed), 5_000_000);
    assert_eq!(machine.vcpus[0].offered, Some(0x61));
}

#[test]
fn a_far_deadline_is_met_in_steps() {
    let (mut machine, _) = machine();
    write(&mut machine, msr::X2APIC + 0x32, 2 << 17 | 0x61).done(0, &[]);
    while machine.turn() != RUN {}
    assert_eq!(*machine.outside().host.timer.lock().unwrap(), None);
    write(&mut machine, msr::TSC_DEADLINE, 100_000_000_000).done(0, &[]);
    while machine.turn() != RUN {}
    let timer = machine.outside().host.timer.lock().unwrap().unwrap();
    assert_eq!(timer.0, 4_000_000_000);
}

#[test]
fn a_sipi_ends_a_reset_hold() {
    let (mut first, mut second) = machine();
    first.host.start(1, area(3));
    while second.turn() == Step::Again {}
    second.request(ExitCode::AP_RESET_HOLD, &[]).done(1, &[]);
    assert_eq!(second.turn(), Step::Again);
    // A SIPI to physical destination 1.
    write(&mut first, ICR, 1 << 32 | 6 << 8 | 0x12).done(0, &[]);
    assert_eq!(second.turn(), Step::Run { level: 0, area: area(3) });
}

#[test]
fn a_reset_hold_ends_by_nothing_else() {
    let (mut first, mut second) = machine();
    first.host.start(1, area(3));
    while second.turn() == Step::Again {}
    second.request(ExitCode::AP_RESET_HOLD, &[]).done(1, &[]);
    // An interrupt and an NMI to physical destination 1.
    write(&mut first, ICR, 1 << 32 | 0x61).done(0, &[]);
    write(&mut first, ICR, 1 << 32 | 4 << 8).done(0, &[]);
    for _ in 0..4 {
        assert_eq!(second.turn(), Step::Again);
    }
}

#[test]
fn a_vm_ends_when_all_its_vps_sleep_with_interrupts_disabled() {
    let (mut first, mut second) = machine();
    first.host.start(1, area(3));
    while second.turn() == Step::Again {}
    second.request(ExitCode::AP_RESET_HOLD, &[]).done(1, &[]);
    assert_eq!(second.turn(), Step::Again);
    assert_eq!(second.ended(), None, "the other VP runs");
    first.vcpus[0].interrupts_enabled = false;
    first.exit(ExitCode::HLT, 0, 0);
    // The second VP sleeps all the while; in the test its sleep is a call that returns.
    first.host.fall_asleep();
    assert_eq!(first.turn(), Step::Again);
    assert_eq!(first.turn(), Step::End(crate::End::Halted));
}

#[test]
fn mail_on_its_way_keeps_a_vm_that_sleeps() {
    let (mut first, mut second) = machine();
    first.host.start(1, area(3));
    while second.turn() == Step::Again {}
    second.request(ExitCode::AP_RESET_HOLD, &[]).done(1, &[]);
    assert_eq!(second.turn(), Step::Again);
    first.host.fall_asleep();
    // A SIPI, then HLT.
    write(&mut first, ICR, 1 << 32 | 6 << 8 | 0x12).done(0, &[]);
    first.vcpus[0].interrupts_enabled = false;
    first.exit(ExitCode::HLT, 0, 0);
    assert_eq!(first.turn(), Step::Again);
    assert_eq!(first.ended(), None);
    assert_eq!(second.turn(), Step::Run { level: 0, area: area(3) });
}
