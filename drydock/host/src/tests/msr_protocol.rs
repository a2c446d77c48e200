//! Requests by the GHCB MSR.

use snp::msr_protocol::{Answer, CpuidRegister, NO_GFN, Request, Termination};
use snp::page_state::Operation;

use super::fixture::{C_BIT, GHCB, Machine};
use crate::testing::{Change, PAGES};
use crate::{End, PageState, Step};
use drydock_rmp::Size;

#[test]
fn each_request_has_its_answer() {
    let mut machine = Machine::new();
    for (request, answer) in [
        (Request::SevInfo, Answer::SevInfo { max_version: 2, min_version: 2, c_bit: C_BIT }),
        (Request::PreferredGhcb, Answer::PreferredGhcb { gfn: NO_GFN }),
        (Request::RegisterGhcb { gfn: 5 }, Answer::RegisterGhcb { gfn: 5 }),
        (Request::RunVmpl { vmpl: 1 }, Answer::RunVmpl { error: 1 }),
        (Request::ApResetHold, Answer::ApResetHold { started: true }),
    ] {
        assert_eq!(machine.message(request), answer.encode(), "{request:?}");
        assert_eq!(machine.ended(), None);
    }
}

#[test]
fn cpuid_is_answered_register_by_register() {
    let mut machine = Machine::new();
    let [eax, ebx, ecx, edx] = machine.host.cpuid(0x8000_001f, 0, 0);
    assert_eq!(ebx & 0x3f, C_BIT.into());
    for (register, value) in [
        (CpuidRegister::Eax, eax),
        (CpuidRegister::Ebx, ebx),
        (CpuidRegister::Ecx, ecx),
        (CpuidRegister::Edx, edx),
    ] {
        let answer = machine.message(Request::Cpuid { function: 0x8000_001f, register });
        assert_eq!(answer, Answer::Cpuid { value, register }.encode());
    }
}

#[test]
fn a_page_changes_its_state() {
    for (gfn, operation, expected) in [
        (7, Operation::PRIVATE, Some(Change::To(PageState::Private, 7, Size::Small))),
        (7, Operation::SHARED, Some(Change::To(PageState::Shared, 7, Size::Small))),
        (512, Operation::PSMASH, None),
        (7, Operation(0), None),
        (7, Operation(15), None),
        (u64::from(PAGES), Operation::PRIVATE, None),
        (1 << 32, Operation::PRIVATE, None),
        ((1 << 40) - 1, Operation::SHARED, None),
    ] {
        let mut machine = Machine::new();
        let answer = machine.message(Request::PageState { gfn, operation });
        let error = u32::from(expected.is_none());
        assert_eq!(answer, Answer::PageState { error }.encode(), "{gfn:#x}, {operation:?}");
        assert_eq!(*machine.outside().changes.lock().unwrap(), expected.as_slice());
    }
}

#[test]
fn the_guest_ends_the_vm_with_its_reason() {
    for (set, reason) in [(0, 0), (1, 5), (15, 255)] {
        let mut machine = Machine::new();
        let termination = Termination { set, reason };
        machine.message(Request::Terminate(termination));
        assert_eq!(machine.ended(), Some(End::Terminated(termination)));
        assert_eq!(machine.turn(), Step::End(End::Terminated(termination)));
    }
}

#[test]
fn an_unknown_message_ends_the_vm() {
    for value in [0x001, 0x003, 0x005, 0x0ff, 0xffff_ffff_ffff_ffff, 0x1234_5013 | 0x800] {
        let mut machine = Machine::new();
        machine.raw_message(value);
        let end = machine.ended();
        assert!(matches!(end, Some(End::Unanswerable { vp: 0, info_1, .. }) if info_1 == value));
    }
}

#[test]
fn a_ghcb_that_is_not_shared_ends_the_vm() {
    for gpa in [0x9000, 0x7fff_f000, !0xfff] {
        let mut machine = Machine::new();
        machine.raw_message(gpa);
        let end = machine.ended();
        assert!(matches!(end, Some(End::Unanswerable { info_1, .. }) if info_1 == gpa), "{gpa:#x}");
        assert_eq!(*machine.outside().reads.lock().unwrap(), []);
    }
}

#[test]
fn the_first_reason_to_end_counts() {
    let mut machine = Machine::new();
    machine.message(Request::Terminate(Termination { set: 0, reason: 1 }));
    machine.message(Request::Terminate(Termination { set: 0, reason: 2 }));
    assert_eq!(machine.ended(), Some(End::Terminated(Termination { set: 0, reason: 1 })));
}

#[test]
fn the_ghcb_registered_last_is_the_one() {
    let mut machine = Machine::new();
    let elsewhere = GHCB + 0x1000;
    machine.message(Request::RegisterGhcb { gfn: elsewhere >> 12 });
    let code = snp::exit::ExitCode::WBINVD;
    machine.request(code, &[]).malformed(snp::ghcb::InputError::NOT_REGISTERED);
    machine.ghcb = elsewhere;
    machine.request(code, &[]).done(0, &[]);
}
