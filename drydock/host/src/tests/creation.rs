//! Creation of VPs.

use drydock_rmp::GuestPage;
use snp::exit::{ApCreation, ApCreationRequest, ExitCode};
use snp::features::SevFeatures;
use snp::ghcb::{Field, InputError};

use super::fixture::{Machine, Reply, SCRATCH, area};
use crate::testing::PAGES;
use crate::{Activity, Area, Step};

fn create(machine: &mut Machine, request: ApCreation, save_area: u64, features: u64) -> Reply {
    let fields = [
        (Field::SW_EXITINFO1, request.into_bits()),
        (Field::SW_EXITINFO2, save_area),
        (Field::RAX, features),
    ];
    machine.request(ExitCode::AP_CREATION, &fields)
}

const CREATE: ApCreation =
    ApCreation::new().with_request(ApCreationRequest::CREATE).with_apic_id(1);

fn destroy() -> ApCreation {
    CREATE.with_request(ApCreationRequest::DESTROY)
}

#[test]
fn a_vp_starts_with_the_save_area_that_it_is_given() {
    let (mut first, mut second) = Machine::with_second();
    assert_eq!(second.turn(), Step::Again);
    assert!(second.vp.is_waiting);
    let idled = &second.outside().host.idled;
    assert_eq!(idled.load(core::sync::atomic::Ordering::Relaxed), 1, "it sleeps");
    create(&mut first, CREATE, 0x3000, 0x11).done(0, &[]);
    let features = SevFeatures::from_bits(0x11);
    assert_eq!(second.turn(), Step::Run { level: 0, area: Area { features, ..area(3) } });
}

#[test]
fn a_vp_that_sleeps_is_kicked() {
    let (mut first, mut second) = Machine::with_second();
    create(&mut first, CREATE, 0x3000, 1).done(0, &[]);
    assert_eq!(second.turn(), Step::Run { level: 0, area: area(3) });
    // The second VP is in its guest now.
    create(&mut first, CREATE, 0x4000, 1).done(0, &[]);
    assert_eq!(*first.outside().host.kicks.lock().unwrap(), [1]);
    second.exit(ExitCode::INTR, 0, 0);
    assert_eq!(second.turn(), Step::Run { level: 0, area: area(4) });
}

#[test]
fn a_vp_that_has_halted_starts_anew() {
    for code in [ExitCode::HLT, ExitCode::AP_RESET_HOLD] {
        let (mut first, mut second) = Machine::with_second();
        create(&mut first, CREATE, 0x3000, 1).done(0, &[]);
        second.turn();
        second.request(code, &[]);
        assert_eq!(second.turn(), Step::Again, "it sleeps");
        create(&mut first, CREATE, 0x4000, 1).done(0, &[]);
        assert_eq!(second.turn(), Step::Run { level: 0, area: area(4) }, "{code:?}");
    }
}

#[test]
fn a_start_of_a_vp_that_runs_does_not_end_a_later_sleep() {
    let (mut first, mut second) = Machine::with_second();
    create(&mut first, CREATE, 0x3000, 1).done(0, &[]);
    second.turn();
    create(&mut first, CREATE, 0x4000, 1).done(0, &[]);
    second.exit(ExitCode::INTR, 0, 0);
    second.turn();
    second.exit(ExitCode::HLT, 0, 0);
    assert_eq!(second.turn(), Step::Again);
    assert_eq!(second.vp.levels[0].activity, Activity::Halted);
}

#[test]
fn a_vp_without_save_area_waits_for_the_next() {
    let (mut first, mut second) = Machine::with_second();
    create(&mut first, CREATE, 0x3000, 1).done(0, &[]);
    second.turn();
    create(&mut first, destroy(), 0, 0).done(0, &[]);
    second.exit(ExitCode::INTR, 0, 0);
    assert_eq!(second.turn(), Step::Again);
    assert_eq!(second.turn(), Step::Again);
    assert!(second.vp.is_waiting);
    create(&mut first, CREATE, 0x4000, 1).done(0, &[]);
    assert_eq!(second.turn(), Step::Run { level: 0, area: area(4) });
}

/// The first VP sends INIT to the second by its APIC's command register.
fn send_init(machine: &mut Machine) {
    const INIT: u64 = 5 << 8 | 1 << 14;
    let fields = [(Field::SW_EXITINFO1, 1 << 32 | INIT)];
    machine.request(ExitCode::HV_IPI, &fields).done(0, &[]);
}

const ON_INIT: ApCreation = CREATE.with_request(ApCreationRequest::CREATE_ON_INIT);

/// The APICs take commands of 64 bits.
fn use_x2apic(machine: &mut Machine) {
    for value in [0xfee0_0900_u64, 0xfee0_0d00] {
        let fields =
            [(Field::SW_EXITINFO1, 1), (Field::RCX, 0x1b), (Field::RAX, value), (Field::RDX, 0)];
        machine.request(ExitCode::MSR, &fields).done(0, &[]);
    }
}

#[test]
fn a_save_area_for_init_waits_for_that() {
    let (mut first, mut second) = Machine::with_second();
    use_x2apic(&mut first);
    create(&mut first, ON_INIT, 0x3000, 1).done(0, &[]);
    assert_eq!(second.turn(), Step::Again);
    assert_eq!(second.turn(), Step::Again);
    assert!(second.vp.is_waiting);
    send_init(&mut first);
    assert_eq!(second.turn(), Step::Run { level: 0, area: area(3) });
    // It is given once.
    create(&mut first, destroy(), 0, 0).done(0, &[]);
    second.exit(ExitCode::INTR, 0, 0);
    send_init(&mut first);
    assert_eq!(second.turn(), Step::Again);
    assert!(second.vp.is_waiting);
}

#[test]
fn a_vp_that_runs_goes_on_until_init() {
    let (mut first, mut second) = Machine::with_second();
    use_x2apic(&mut first);
    create(&mut first, CREATE, 0x3000, 1).done(0, &[]);
    second.turn();
    create(&mut first, ON_INIT, 0x4000, 1).done(0, &[]);
    second.exit(ExitCode::HLT, 0, 0);
    assert_eq!(second.turn(), Step::Again, "it sleeps on");
    send_init(&mut first);
    assert_eq!(second.turn(), Step::Run { level: 0, area: area(4) });
}

#[test]
fn another_request_takes_the_place_of_one_for_init() {
    for (request, save_area) in [(destroy(), 0), (CREATE, 0x4000)] {
        let (mut first, mut second) = Machine::with_second();
        use_x2apic(&mut first);
        create(&mut first, ON_INIT, 0x3000, 1).done(0, &[]);
        create(&mut first, request, save_area, 1).done(0, &[]);
        send_init(&mut first);
        let runs =
            matches!(second.turn(), Step::Run { area, .. } if area.page == self::area(3).page);
        assert!(!runs);
    }
}

#[test]
fn a_vp_gives_up_its_own_save_area() {
    let mut machine = Machine::new();
    create(&mut machine, destroy().with_apic_id(0), 0, 0).done(0, &[]);
    assert_eq!(machine.turn(), Step::Again);
    assert!(machine.vp.is_waiting);
}

#[test]
fn a_request_that_can_not_be_met_changes_nothing() {
    let unknown = ApCreationRequest(3);
    for (what, request, save_area) in [
        ("an unknown request", CREATE.with_request(unknown), 0x3000),
        ("no such VP", CREATE.with_apic_id(2), 0x3000),
        ("the highest VP", CREATE.with_apic_id(u32::MAX), 0x3000),
        ("no such level", CREATE.with_vmpl(4), 0x3000),
        ("the highest level", CREATE.with_vmpl(15), 0x3000),
        ("a 2 MiB boundary", CREATE, 0x20_0000),
        ("address zero", CREATE, 0),
        ("its own level 0", CREATE.with_apic_id(0), 0x3000),
        ("shared memory", CREATE, SCRATCH),
        ("no memory", CREATE, u64::from(PAGES + 1) << 12),
        ("the highest address", CREATE, u64::MAX),
        ("not at a page's start", CREATE, 0x3008),
    ] {
        let (mut first, mut second) = Machine::with_second();
        create(&mut first, request, save_area, 1).malformed(InputError::INVALID_INPUT);
        assert_eq!(first.area(1, 0), None, "{what}");
        assert_eq!(first.area(0, 0), Some(area(1)), "{what}");
        assert_eq!(second.turn(), Step::Again, "{what}");
    }
    let mut machine = Machine::new();
    let gone = destroy().with_apic_id(2);
    create(&mut machine, gone, 0, 0).malformed(InputError::INVALID_INPUT);
}

#[test]
fn a_level_has_a_save_area_of_its_own() {
    let (mut first, _) = Machine::with_second();
    create(&mut first, CREATE.with_vmpl(1), 0x3000, 1).done(0, &[]);
    assert_eq!(first.area(1, 1), Some(area(3)));
    assert_eq!(first.area(1, 0), None);
    assert_eq!(first.area(1, 4), None);
    assert_eq!(first.area(2, 0), None);
    assert_eq!(area(3).guest, GuestPage(3));
}
