//! The guest's three instructions.

use snp::instruction::Outcome as Code;

use super::fixture::{Machine, PAGES, READ, READ_WRITE};
use crate::Size::{self, Large, Small};
use crate::{Adjustment, Backing, Changed, Fault, GuestPage, Outcome, Query, Rights, SystemPage};

type Setup = fn(&mut Machine);
type Pvalidate = (&'static str, Setup, u32, Size, bool, Outcome<Changed>);
type Rmpadjust = (&'static str, Setup, u32, Size, Adjustment, Outcome<()>);
/// The page, the level that asks, and the level that it asks about.
type Rmpquery = (&'static str, Setup, u32, u8, u8, Outcome<Query>);

const IN_USE: Setup = |machine| {
    machine.save_area(7, 3);
    assert!(machine.rmp.run(SystemPage(7), GuestPage(3)));
};
const IMMUTABLE: Setup = |machine| {
    machine.rmp.assign(SystemPage(7), GuestPage(3), Small, true).unwrap();
    machine.map(3, 7, 1);
};
const SMALL: Setup = |machine| machine.assign(7, 3, Small);
const SMALL_AT_ZERO: Setup = |machine| machine.assign(7, 0, Small);
const LARGE: Setup = |machine| machine.assign(512, 0, Large);
const VALIDATED: Setup = |machine| machine.validated(7, 3, Small);
const VALIDATED_LARGE: Setup = |machine| machine.validated(512, 0, Large);
/// The host has put the page of guest page 3 behind guest page 4, too.
const REMAPPED: Setup = |machine| {
    machine.validated(7, 3, Small);
    machine.map(4, 7, 1);
};
/// The host has put the middle of the large page behind its start.
const SHIFTED: Setup = |machine| {
    machine.validated(512, 0, Large);
    machine.map(0, 513, 1);
};
const SHARED: Setup = |machine| assert!(machine.map.set(GuestPage(3), Some(Backing::Shared)));
const BEYOND: Setup = |machine| {
    let backing = Backing::Private(SystemPage(PAGES));
    assert!(machine.map.set(GuestPage(3), Some(backing)));
};

fn changed() -> Outcome<Changed> {
    Ok(Ok(Changed(true)))
}

fn unchanged() -> Outcome<Changed> {
    Ok(Ok(Changed(false)))
}

#[test]
fn pvalidate_completes_or_faults_as_the_manual_says() {
    let in_use = Ok(Err(Code::FAIL_INUSE));
    let not_assigned = Err(Fault::NotAssigned);
    #[rustfmt::skip]
    let cases: &[Pvalidate] = &[
        ("a new page is validated", SMALL, 3, Small, true, changed()),
        ("a new page has no validation to lose", SMALL, 3, Small, false, unchanged()),
        ("a validated page loses it", VALIDATED, 3, Small, false, changed()),
        ("a validated page is not validated twice", VALIDATED, 3, Small, true, unchanged()),
        ("a large page", LARGE, 0, Large, true, changed()),
        ("a large page twice", VALIDATED_LARGE, 0, Large, true, unchanged()),
        ("a large page loses it", VALIDATED_LARGE, 0, Large, false, changed()),
        ("4 KiB of a large entry", LARGE, 0, Small, true, Err(Fault::SizeMismatch(SystemPage(512)))),
        ("4 KiB in its middle", LARGE, 9, Small, true, Err(Fault::SizeMismatch(SystemPage(512)))),
        ("2 MiB of a small entry", SMALL_AT_ZERO, 0, Large, true, Ok(Err(Code::FAIL_SIZEMISMATCH))),
        ("2 MiB at no boundary", LARGE, 1, Large, true, Ok(Err(Code::FAIL_INPUT))),
        ("2 MiB at no boundary, nothing there", |_| {}, 1, Large, true, Ok(Err(Code::FAIL_INPUT))),
        ("a page in use", IN_USE, 3, Small, false, in_use),
        ("a page in use, again", IN_USE, 3, Small, true, in_use),
        ("an immutable page", IMMUTABLE, 3, Small, true, in_use),
        ("no memory", |_| {}, 3, Small, true, not_assigned),
        ("beyond the map", |_| {}, PAGES, Small, true, not_assigned),
        ("shared memory", SHARED, 3, Small, true, not_assigned),
        ("a system page that is not assigned", |machine| machine.map(3, 7, 1), 3, Small, true, not_assigned),
        ("a system page beyond the table", BEYOND, 3, Small, true, not_assigned),
        ("a page of another address", REMAPPED, 4, Small, true, not_assigned),
        ("a large page out of place", SHIFTED, 0, Large, true, not_assigned),
        ("4 KiB of a large page out of place", SHIFTED, 0, Small, true, not_assigned),
    ];
    for (what, setup, guest, size, validate, expected) in cases {
        let mut machine = Machine::new();
        setup(&mut machine);
        let outcome = machine.rmp.pvalidate(&machine.map, GuestPage(*guest), *size, *validate);
        assert_eq!(outcome, *expected, "{what}");
    }
}

#[test]
fn a_refused_pvalidate_changes_nothing() {
    for (what, setup, guest, size) in [
        ("size", LARGE, 0, Small),
        ("size", SMALL_AT_ZERO, 0, Large),
        ("in use", IN_USE, 3, Small),
        ("immutable", IMMUTABLE, 3, Small),
        ("another address", REMAPPED, 4, Small),
    ] {
        let mut machine = Machine::new();
        setup(&mut machine);
        let before = [machine.entry(7), machine.entry(512)];
        for validate in [false, true] {
            let _ = machine.rmp.pvalidate(&machine.map, GuestPage(guest), size, validate);
        }
        assert_eq!([machine.entry(7), machine.entry(512)], before, "{what}");
    }
}

#[test]
fn a_page_that_loses_its_validation_keeps_no_rights() {
    let mut machine = Machine::new();
    machine.save_area(7, 3);
    let all = Adjustment { current: 0, target: 2, rights: Rights::ALL, vmsa: true };
    machine.rmp.rmpadjust(&machine.map, GuestPage(3), Small, all).unwrap().unwrap();
    for validate in [false, true] {
        machine.rmp.pvalidate(&machine.map, GuestPage(3), Small, validate).unwrap().unwrap();
        let entry = machine.entry(7);
        let rights = [0, 1, 2, 3].map(|vmpl| entry.rights(vmpl));
        let none = Rights::new();
        assert_eq!(rights, [Rights::ALL, none, none, none]);
        assert!(!entry.vmsa());
    }
}

const fn adjust(current: u8, target: u8, rights: Rights, vmsa: bool) -> Adjustment {
    Adjustment { current, target, rights, vmsa }
}

#[test]
fn rmpadjust_completes_or_faults_as_the_manual_says() {
    /// VMPL1 may read and write guest page 3.
    const LENT: Setup = |machine| {
        machine.validated(7, 3, Small);
        let lent = adjust(0, 1, READ_WRITE, false);
        machine.rmp.rmpadjust(&machine.map, GuestPage(3), Small, lent).unwrap().unwrap();
    };
    let done = Ok(Ok(()));
    let permission = Ok(Err(Code::FAIL_PERMISSION));
    let plain = adjust(0, 1, READ, false);
    #[rustfmt::skip]
    let cases: &[Rmpadjust] = &[
        ("VMPL0 gives rights", VALIDATED, 3, Small, plain, done),
        ("VMPL0 gives all rights", VALIDATED, 3, Small, adjust(0, 3, Rights::ALL, false), done),
        ("VMPL0 makes a VMSA", VALIDATED, 3, Small, adjust(0, 1, READ, true), done),
        ("VMPL0 changes its own", VALIDATED, 3, Small, adjust(0, 0, READ, false), permission),
        ("VMPL1 changes its own", LENT, 3, Small, adjust(1, 1, READ, false), permission),
        ("VMPL1 changes VMPL0's", LENT, 3, Small, adjust(1, 0, READ, false), permission),
        ("VMPL1 gives what it has", LENT, 3, Small, adjust(1, 2, READ_WRITE, false), done),
        ("VMPL1 gives more than it has", LENT, 3, Small, adjust(1, 2, Rights::ALL, false), permission),
        ("VMPL2 gives what it has not", LENT, 3, Small, adjust(2, 3, READ, false), permission),
        ("VMPL2 gives nothing", LENT, 3, Small, adjust(2, 3, Rights::new(), false), done),
        ("a large page", VALIDATED_LARGE, 0, Large, plain, done),
        ("a large VMSA", VALIDATED_LARGE, 0, Large, adjust(0, 1, READ, true), Ok(Err(Code::FAIL_INPUT))),
        ("4 KiB of a large entry", VALIDATED_LARGE, 5, Small, plain, Err(Fault::SizeMismatch(SystemPage(512)))),
        ("2 MiB of a small entry", |machine| machine.validated(7, 0, Small), 0, Large, plain, Ok(Err(Code::FAIL_SIZEMISMATCH))),
        ("2 MiB at no boundary", VALIDATED_LARGE, 8, Large, plain, Ok(Err(Code::FAIL_INPUT))),
        ("a page in use", IN_USE, 3, Small, plain, Ok(Err(Code::FAIL_INUSE))),
        ("a page in use stays a VMSA", IN_USE, 3, Small, adjust(0, 1, READ, true), Ok(Err(Code::FAIL_INUSE))),
        ("a page that awaits PVALIDATE", SMALL, 3, Small, plain, Err(Fault::NotValidated)),
        ("no memory", |_| {}, 3, Small, plain, Err(Fault::NotAssigned)),
        ("shared memory", SHARED, 3, Small, plain, Err(Fault::NotAssigned)),
        ("a page of another address", REMAPPED, 4, Small, plain, Err(Fault::NotAssigned)),
    ];
    for (what, setup, guest, size, change, expected) in cases {
        let mut machine = Machine::new();
        setup(&mut machine);
        let before = [machine.entry(7), machine.entry(512)];
        let outcome = machine.rmp.rmpadjust(&machine.map, GuestPage(*guest), *size, *change);
        assert_eq!(outcome, *expected, "{what}");
        let after = [machine.entry(7), machine.entry(512)];
        assert!(outcome == done || before == after, "{what}: changed though it failed");
    }
}

#[test]
fn rmpadjust_changes_the_rights_of_one_level() {
    let mut machine = Machine::new();
    machine.validated(7, 3, Small);
    let change = adjust(0, 2, READ_WRITE, true);
    machine.rmp.rmpadjust(&machine.map, GuestPage(3), Small, change).unwrap().unwrap();
    let rights = [0, 1, 2, 3].map(|vmpl| machine.entry(7).rights(vmpl));
    assert_eq!(rights, [Rights::ALL, Rights::new(), READ_WRITE, Rights::new()]);
    assert!(machine.entry(7).vmsa());
    assert_eq!(machine.entry(7).rights(4), Rights::new(), "there is no level 4");
    assert_eq!(machine.entry(7).with_rights(4, Rights::ALL), machine.entry(7));
}

#[test]
fn only_vmpl0_says_what_a_vmsa_is() {
    for was in [false, true] {
        for vmsa in [false, true] {
            let mut machine = Machine::new();
            machine.validated(7, 3, Small);
            for change in [adjust(0, 1, READ, was), adjust(1, 2, READ, vmsa)] {
                machine.rmp.rmpadjust(&machine.map, GuestPage(3), Small, change).unwrap().unwrap();
            }
            assert_eq!(machine.entry(7).vmsa(), was);
        }
    }
}

#[test]
fn rmpquery_tells_the_rights_of_a_level_that_is_not_more_privileged() {
    let query = |rights, vmsa, size| Ok(Ok(Query { rights, vmsa, size }));
    const LENT: Setup = |machine| {
        machine.validated(7, 3, Small);
        let lent = adjust(0, 1, READ_WRITE, true);
        machine.rmp.rmpadjust(&machine.map, GuestPage(3), Small, lent).unwrap().unwrap();
    };
    let permission = Ok(Err(Code::FAIL_PERMISSION));
    let cases: &[Rmpquery] = &[
        ("VMPL0 about itself", LENT, 3, 0, 0, query(Rights::ALL, true, Small)),
        ("VMPL0 about VMPL1", LENT, 3, 0, 1, query(READ_WRITE, true, Small)),
        ("VMPL1 about itself", LENT, 3, 1, 1, query(READ_WRITE, true, Small)),
        ("VMPL1 about VMPL2", LENT, 3, 1, 2, query(Rights::new(), true, Small)),
        ("VMPL1 about VMPL0", LENT, 3, 1, 0, permission),
        ("a large page", VALIDATED_LARGE, 0, 0, 0, query(Rights::ALL, false, Large)),
        ("the middle of it", VALIDATED_LARGE, 77, 0, 0, query(Rights::ALL, false, Large)),
        ("a page that awaits PVALIDATE", SMALL, 3, 0, 1, Err(Fault::NotValidated)),
        ("no memory", |_| {}, 3, 0, 1, Err(Fault::NotAssigned)),
        ("a page of another address", REMAPPED, 4, 0, 1, Err(Fault::NotAssigned)),
    ];
    for (what, setup, guest, current, target, expected) in cases {
        let mut machine = Machine::new();
        setup(&mut machine);
        let outcome = machine.rmp.rmpquery(&machine.map, GuestPage(*guest), *current, *target);
        assert_eq!(outcome, *expected, "{what}");
    }
}
