//! Automatic exits.

extern crate std;

use std::sync::atomic::Ordering;

use drydock_rmp::Size::Small;
use snp::exit::{ExitCode, NestedPageFault};

use super::fixture::{C_BIT, Machine, area};
use crate::PageState::{Private, Shared};
use crate::testing::{Change, PAGES};
use crate::{Activity, End, HostVp, Step};

const C: u64 = 1 << C_BIT;
const FAULT: NestedPageFault = NestedPageFault::new().with_present(true).with_rmp(true);

#[test]
fn a_nested_page_fault_gives_the_guest_what_its_access_asks_for() {
    let private = FAULT.with_encrypted(true);
    for (what, fault, gpa, change) in [
        ("a private access", private, 0x7123 | C, Change::To(Private, 7, Small)),
        ("a private access without C-bit", private, 0x7123, Change::To(Private, 7, Small)),
        ("a shared access", FAULT, 0x7fff, Change::To(Shared, 7, Small)),
        ("another size", private.with_size_mismatch(true), 0x20_3000 | C, Change::Split(0x203)),
    ] {
        let mut machine = Machine::new();
        machine.exit(ExitCode::NPF, fault.into_bits(), gpa);
        assert_eq!(*machine.outside().changes.lock().unwrap(), [change], "{what}");
        assert_eq!(machine.turn(), Step::Run { level: 0, area: area(1) }, "{what}");
    }
}

#[test]
fn a_nested_page_fault_that_can_not_be_resolved_ends_the_vm() {
    let private = FAULT.with_encrypted(true);
    let beyond = u64::from(PAGES) << 12;
    for (what, fault, gpa) in [
        ("no memory", private, beyond | C),
        ("no memory, shared", FAULT, 0xfee0_0000),
        ("no memory to split", private.with_size_mismatch(true), beyond | C),
        ("beyond all pages", FAULT, 1 << 50),
        ("a level without rights", private.with_vmpl(true), 0x7000 | C),
    ] {
        let mut machine = Machine::new();
        machine.exit(ExitCode::NPF, fault.into_bits(), gpa);
        let (info_1, info_2) = (fault.into_bits(), gpa);
        let end = End::Unanswerable { vp: 0, code: ExitCode::NPF.0, info_1, info_2 };
        assert_eq!(machine.turn(), Step::End(end), "{what}");
        assert_eq!(*machine.outside().changes.lock().unwrap(), []);
    }
}

#[test]
fn other_exits_resume_the_vp_or_end_the_vm() {
    let unanswerable =
        |code: ExitCode| Some(End::Unanswerable { vp: 0, code: code.0, info_1: 3, info_2: 4 });
    for (code, end) in [
        (ExitCode::INTR, None),
        (ExitCode::NMI, None),
        (ExitCode::SMI, None),
        (ExitCode::INIT, None),
        (ExitCode::VINTR, None),
        (ExitCode::PAUSE, None),
        (ExitCode::SHUTDOWN, Some(End::Shutdown { vp: 0 })),
        (ExitCode::INVALID, Some(End::Invalid { vp: 0, level: 0 })),
        (ExitCode::BUSY, Some(End::Invalid { vp: 0, level: 0 })),
        (ExitCode::VC, unanswerable(ExitCode::VC)),
        (ExitCode::CPUID, unanswerable(ExitCode::CPUID)),
        (ExitCode(0x1234), unanswerable(ExitCode(0x1234))),
    ] {
        let mut machine = Machine::new();
        machine.exit(code, 3, 4);
        assert_eq!(machine.ended(), end, "{code:?}");
        let step = end.map_or(Step::Run { level: 0, area: area(1) }, Step::End);
        assert_eq!(machine.turn(), step, "{code:?}");
    }
}

#[test]
fn hlt_puts_the_vp_to_sleep() {
    for code in [ExitCode::HLT, ExitCode::IDLE_HLT] {
        let mut machine = Machine::new();
        machine.exit(code, 0, 0);
        assert_eq!(machine.turn(), Step::Again);
        assert_eq!(machine.vp.levels[0].activity, Activity::Halted);
        assert_eq!(machine.outside().host.idled.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn there_are_as_many_vps_as_were_asked_for() {
    let machine = Machine::new();
    for (index, exists) in [(0, true), (1, true), (2, false), (u32::MAX, false)] {
        assert_eq!(HostVp::new(machine.host, index).is_some(), exists);
    }
    machine.host.start(2, area(3));
    assert_eq!(machine.ended(), None);
}
