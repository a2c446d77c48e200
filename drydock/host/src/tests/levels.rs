//! Levels that take turns.

use drydock_rmp::LEVELS;
use platform_api::Event;
use snp::doorbell::{NO_EOI_REQUIRED, NO_EOI_REQUIRED_BIT, PendingEvents};
use snp::exit::{ApCreation, ApCreationRequest, DoorbellRequest, ExitCode, NestedPageFault};
use snp::features::SevFeatures;
use snp::ghcb::{Field, InputError};
use snp::msr_protocol::{Answer, Request};
use x86::{msr, vector};

use super::fixture::{Machine, PRIVATE, SCRATCH, area};
use crate::{Area, End, Step};

const REFLECTING: SevFeatures = SevFeatures::new().with_snp_active(true).with_reflect_vc(true);

fn lower(features: SevFeatures) -> Area {
    Area { features, ..area(3) }
}

/// A machine whose VP has a save area of level 1 with these features.
fn with_level(features: SevFeatures) -> Machine {
    let mut machine = Machine::new();
    let create = ApCreation::new().with_request(ApCreationRequest::CREATE).with_vmpl(1);
    let fields = [
        (Field::SW_EXITINFO1, create.into_bits()),
        (Field::SW_EXITINFO2, 0x3000),
        (Field::RAX, features.into_bits()),
    ];
    machine.request(ExitCode::AP_CREATION, &fields).done(0, &[]);
    machine
}

fn run(machine: &mut Machine, level: u64) {
    machine.request(ExitCode::RUN_VMPL, &[(Field::SW_EXITINFO1, level)]).done(0, &[]);
}

const FIRST: Step = Step::Run { level: 0, area: FIRST_AREA };
const FIRST_AREA: Area = Area {
    guest: drydock_rmp::GuestPage(1),
    page: drydock_rmp::SystemPage(1 + crate::testing::SYSTEM),
    features: SevFeatures::new().with_snp_active(true),
    serial: 0,
};

#[test]
fn a_level_runs_that_has_a_save_area() {
    let mut machine = with_level(REFLECTING);
    for level in [2, 3, LEVELS as u64, u64::MAX] {
        let fields = [(Field::SW_EXITINFO1, level)];
        machine.request(ExitCode::RUN_VMPL, &fields).malformed(InputError::INVALID_INPUT);
        assert_eq!(machine.turn(), FIRST, "level {level}");
    }
    run(&mut machine, 1);
    assert_eq!(machine.turn(), Step::Run { level: 1, area: lower(REFLECTING) });
}

/// COCONUT-SVSM gives its guest a save area by that request, and then runs the level.
#[test]
fn a_level_runs_a_save_area_that_awaits_an_init() {
    let on_init = |machine: &mut Machine, page: u64| {
        let request = ApCreationRequest::CREATE_ON_INIT;
        let create = ApCreation::new().with_request(request).with_vmpl(1);
        let fields = [
            (Field::SW_EXITINFO1, create.into_bits()),
            (Field::SW_EXITINFO2, page),
            (Field::RAX, REFLECTING.into_bits()),
        ];
        machine.request(ExitCode::AP_CREATION, &fields).done(0, &[]);
        assert_eq!(machine.turn(), FIRST, "the first level goes on");
    };
    let second = Area { features: REFLECTING, ..area(4) };
    let mut machine = Machine::new();
    on_init(&mut machine, 0x3000);
    run(&mut machine, 1);
    assert_eq!(machine.turn(), Step::Run { level: 1, area: lower(REFLECTING) });
    machine.exit(ExitCode::VC, 0, 0);
    // It takes the place of the one that the level has.
    on_init(&mut machine, 0x4000);
    assert_eq!(machine.area(0, 1), Some(lower(REFLECTING)));
    assert!(!machine.host.awaits_init(0, 2));
    assert_eq!(
        Answer::decode(machine.message(Request::RunVmpl { vmpl: 2 })),
        Ok(Answer::RunVmpl { error: 1 })
    );
    assert_eq!(
        Answer::decode(machine.message(Request::RunVmpl { vmpl: 1 })),
        Ok(Answer::RunVmpl { error: 0 })
    );
    assert_eq!(machine.turn(), Step::Run { level: 1, area: second });
    assert!(!machine.host.awaits_init(0, 1), "it is given once");
}

#[test]
fn the_msr_runs_a_level_too() {
    let mut machine = with_level(REFLECTING);
    let answer = machine.message(Request::RunVmpl { vmpl: 2 });
    assert_eq!(Answer::decode(answer), Ok(Answer::RunVmpl { error: 1 }));
    let answer = machine.message(Request::RunVmpl { vmpl: 1 });
    assert_eq!(Answer::decode(answer), Ok(Answer::RunVmpl { error: 0 }));
    assert_eq!(machine.turn(), Step::Run { level: 1, area: lower(REFLECTING) });
}

#[test]
fn exits_of_a_reflecting_level_enter_the_first() {
    let no_right = NestedPageFault::new().with_rmp(true).with_vmpl(true).into_bits();
    let private = NestedPageFault::new().with_rmp(true).with_encrypted(true).into_bits();
    for (what, code, info_1, info_2) in [
        ("a reflected #VC", ExitCode::VC, 0, 0),
        ("HLT", ExitCode::HLT, 0, 0),
        ("a call of the host", ExitCode::VMGEXIT, 0, 0),
        ("a triple fault", ExitCode::SHUTDOWN, 0, 0),
        ("a missing right", ExitCode::NPF, no_right, PRIVATE),
        ("no memory", ExitCode::NPF, 0, 1 << 38),
        ("a shared page that it wants as a private one", ExitCode::NPF, private, SCRATCH),
        ("BUSY", ExitCode::BUSY, 0, 0),
        ("invalid state", ExitCode::INVALID, 0, 0),
    ] {
        let mut machine = with_level(REFLECTING);
        run(&mut machine, 1);
        machine.turn();
        machine.exit(code, info_1, info_2);
        assert_eq!(machine.turn(), FIRST, "{what}");
        assert_eq!(machine.ended(), None, "{what}");
        assert_eq!(*machine.outside().changes.lock().unwrap(), [], "{what}");
    }
}

#[test]
fn exits_of_another_level_are_the_hosts() {
    let enlightened = SevFeatures::new().with_snp_active(true);
    let mut machine = with_level(enlightened);
    run(&mut machine, 1);
    machine.turn();
    machine.exit(ExitCode::HLT, 0, 0);
    assert_eq!(machine.turn(), Step::Again, "it sleeps");
    let mut machine = with_level(enlightened);
    run(&mut machine, 1);
    machine.turn();
    machine.exit(ExitCode::SHUTDOWN, 0, 0);
    assert_eq!(machine.ended(), Some(End::Shutdown { vp: 0 }));
}

#[test]
fn a_level_without_save_area_gives_way_to_the_first() {
    let mut machine = with_level(REFLECTING);
    run(&mut machine, 1);
    machine.turn();
    assert!(machine.host.give(0, 1, None));
    machine.exit(ExitCode::INTR, 0, 0);
    assert_eq!(machine.turn(), Step::Again);
    assert_eq!(machine.turn(), FIRST);
}

#[test]
fn a_level_decides_about_less_privileged_ones_alone() {
    let mut machine = with_level(SevFeatures::new().with_snp_active(true));
    run(&mut machine, 1);
    machine.turn();
    let ghcb = machine.ghcb;
    machine.message(Request::RegisterGhcb { gfn: ghcb >> 12 });
    for (level, request) in [(0, ApCreationRequest::CREATE), (0, ApCreationRequest::DESTROY)] {
        let create = ApCreation::new().with_request(request).with_vmpl(level).with_apic_id(1);
        let fields = [
            (Field::SW_EXITINFO1, create.into_bits()),
            (Field::SW_EXITINFO2, 0x4000),
            (Field::RAX, 1),
        ];
        machine.request(ExitCode::AP_CREATION, &fields).malformed(InputError::INVALID_INPUT);
    }
}

fn restricted() -> Machine {
    let mut machine = Machine::new();
    let features = SevFeatures::new().with_snp_active(true).with_restricted_injection(true);
    machine.host.start(0, Area { features, ..area(1) });
    let fields = [(Field::SW_EXITINFO1, DoorbellRequest::SET.0), (Field::SW_EXITINFO2, SCRATCH)];
    machine.request(ExitCode::HV_DOORBELL_PAGE, &fields).done(SCRATCH, &[]);
    let base = 0xfee0_0d00;
    for (number, value) in [(msr::APIC_BASE, base), (msr::X2APIC + 0xf, 0x1ff)] {
        write(&mut machine, number, value);
    }
    machine
}

fn write(machine: &mut Machine, number: u32, value: u64) {
    let fields = [
        (Field::SW_EXITINFO1, 1),
        (Field::RCX, number.into()),
        (Field::RAX, value & 0xffff_ffff),
        (Field::RDX, value >> 32),
    ];
    machine.request(ExitCode::MSR, &fields).done(0, &[]);
}

fn events(machine: &Machine) -> PendingEvents {
    let mut bytes = [0; 2];
    machine.outside().guest_reads(SCRATCH, &mut bytes);
    PendingEvents::from_bits(u16::from_le_bytes(bytes))
}

#[test]
fn restricted_injection_rings_the_doorbell() {
    const SELF_IPI: u32 = msr::X2APIC + 0x3f;
    let hv = Event::Exception { vector: vector::HV, error_code: None };
    let mut machine = restricted();
    write(&mut machine, SELF_IPI, 0x51);
    machine.turn();
    let expected = PendingEvents::new().with_vector(0x51).with_no_further_signal(true);
    assert_eq!(events(&machine), expected);
    assert_eq!((machine.vcpus[0].event.take(), machine.vcpus[0].offered), (Some(hv), None));
    // The guest has not looked yet: a more urgent one waits, and nothing signals again.
    machine.exit(ExitCode::INTR, 0, 0);
    write(&mut machine, SELF_IPI, 0x91);
    machine.turn();
    assert_eq!((events(&machine), machine.vcpus[0].event), (expected, None));
    // It has taken the vector, and not cleared NoFurtherSignal.
    let taken = PendingEvents::new().with_no_further_signal(true);
    machine.outside().guest_writes(SCRATCH, &taken.into_bits().to_le_bytes());
    machine.exit(ExitCode::INTR, 0, 0);
    machine.turn();
    assert_eq!((events(&machine), machine.vcpus[0].event), (taken.with_vector(0x91), None));
}

/// The byte of the doorbell page that tells whether the interrupt needs an EOI.
fn no_eoi_required(machine: &Machine) -> u8 {
    let mut byte = [0];
    machine.outside().guest_reads(SCRATCH + NO_EOI_REQUIRED as u64, &mut byte);
    byte[0]
}

/// The guest takes its vector, and ends it by the doorbell page if it may. Answers whether it did.
fn ends_by_the_page(machine: &mut Machine) -> bool {
    machine.outside().guest_writes(SCRATCH, &[0, 0]);
    let may = no_eoi_required(machine) == NO_EOI_REQUIRED_BIT;
    machine.outside().guest_writes(SCRATCH + NO_EOI_REQUIRED as u64, &[0]);
    machine.exit(ExitCode::INTR, 0, 0);
    may
}

#[test]
fn an_interrupt_that_nobody_waits_for_ends_by_the_doorbell_page() {
    const SELF_IPI: u32 = msr::X2APIC + 0x3f;
    const EOI: u32 = msr::X2APIC + 0x0b;
    let mut machine = restricted();
    // Twice the same one: its end has reached the APIC.
    for _ in 0..2 {
        write(&mut machine, SELF_IPI, 0x51);
        machine.turn();
        assert_eq!(events(&machine).vector(), 0x51);
        assert!(ends_by_the_page(&mut machine));
    }
    // One that arrives while another is in service waits for the EOI, which is asked for.
    write(&mut machine, SELF_IPI, 0x51);
    machine.turn();
    assert_eq!(no_eoi_required(&machine), NO_EOI_REQUIRED_BIT);
    write(&mut machine, SELF_IPI, 0x41);
    machine.turn();
    assert_eq!((events(&machine).vector(), no_eoi_required(&machine)), (0x51, 0));
    assert!(!ends_by_the_page(&mut machine));
    machine.turn();
    assert_eq!(events(&machine).vector(), 0, "0x51 is in service");
    write(&mut machine, EOI, 0);
    machine.turn();
    assert_eq!(events(&machine).vector(), 0x41);
    assert!(ends_by_the_page(&mut machine));
}

#[test]
fn an_interrupt_that_another_waits_for_ends_by_its_eoi() {
    let mut machine = restricted();
    for vector in [0x51, 0x61] {
        write(&mut machine, msr::X2APIC + 0x3f, vector);
    }
    machine.turn();
    assert_eq!((events(&machine).vector(), no_eoi_required(&machine)), (0x61, 0));
}

#[test]
fn a_level_triggered_interrupt_ends_by_its_eoi() {
    let mut machine = restricted();
    for (vector, is_level, required) in [(0x51, false, NO_EOI_REQUIRED_BIT), (0x61, true, 0)] {
        machine.turn();
        let mailboxes = machine.host.chipset(0).mailboxes();
        assert!(mailboxes.get(0).unwrap().post_vector(vector, is_level), "the CPU is in guest");
        machine.exit(ExitCode::INTR, 0, 0);
        machine.turn();
        assert_eq!((events(&machine).vector(), no_eoi_required(&machine)), (vector, required));
        ends_by_the_page(&mut machine);
    }
}

#[test]
fn a_new_doorbell_page_ends_no_interrupt() {
    const SELF_IPI: u32 = msr::X2APIC + 0x3f;
    let mut machine = restricted();
    write(&mut machine, SELF_IPI, 0x51);
    machine.turn();
    assert_eq!(no_eoi_required(&machine), NO_EOI_REQUIRED_BIT);
    let set = [(Field::SW_EXITINFO1, DoorbellRequest::SET.0), (Field::SW_EXITINFO2, SCRATCH)];
    machine.request(ExitCode::HV_DOORBELL_PAGE, &set).done(SCRATCH, &[]);
    assert!(ends_by_the_page(&mut machine));
    write(&mut machine, SELF_IPI, 0x41);
    machine.turn();
    assert_eq!(events(&machine).vector(), 0, "0x51 is in service");
}

#[test]
fn a_first_level_with_an_event_goes_first() {
    let mut machine = restricted();
    assert!(machine.host.give(0, 1, Some(lower(REFLECTING))));
    run(&mut machine, 1);
    assert_eq!(machine.turn(), Step::Run { level: 1, area: lower(REFLECTING) });
    let mailboxes = machine.host.chipset(0).mailboxes();
    assert!(mailboxes.get(0).unwrap().post_vector(0x61, false), "the CPU is in guest");
    machine.exit(ExitCode::INTR, 0, 0);
    assert!(matches!(machine.turn(), Step::Run { level: 0, .. }));
    assert_eq!(events(&machine).vector(), 0x61);
}

#[test]
fn a_doorbell_page_is_shared_memory() {
    let mut machine = Machine::new();
    for page in [PRIVATE, SCRATCH + 8, u64::MAX] {
        let fields = [(Field::SW_EXITINFO1, DoorbellRequest::SET.0), (Field::SW_EXITINFO2, page)];
        machine.request(ExitCode::HV_DOORBELL_PAGE, &fields).malformed(InputError::INVALID_INPUT);
    }
    let query = [(Field::SW_EXITINFO1, DoorbellRequest::QUERY.0)];
    machine.request(ExitCode::HV_DOORBELL_PAGE, &query).done(0, &[]);
}
