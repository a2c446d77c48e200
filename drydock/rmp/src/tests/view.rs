//! The pages that a level reaches.

extern crate std;

use std::vec;
use std::vec::Vec;

use super::fixture::{Machine, PAGES, READ};
use crate::Size::{Large, Small};
use crate::{Adjustment, Backing, GuestPage, Reach, Rights, Run, Size, SystemPage};

type Setup = fn(&mut Machine);

fn lend(machine: &mut Machine, guest: u32, size: Size, rights: Rights) {
    let change = Adjustment { current: 0, target: 1, rights, vmsa: false };
    machine.rmp.rmpadjust(&machine.map, GuestPage(guest), size, change).unwrap().unwrap();
}

#[test]
fn a_private_access_meets_both_tables() {
    let page = |page, rights| Reach::Page { page: SystemPage(page), rights };
    let none = Rights::new();
    #[rustfmt::skip]
    let cases: &[(&str, Setup, u32, u8, Reach)] = &[
        ("nothing", |_| {}, 3, 0, Reach::NotAssigned),
        ("beyond the map", |_| {}, PAGES, 0, Reach::NotAssigned),
        ("memory of the host's", |machine| machine.map(3, 7, 1), 3, 0, Reach::NotAssigned),
        ("shared memory", |machine| assert!(machine.map.set(GuestPage(3), Some(Backing::Shared))), 3, 0, Reach::NotAssigned),
        ("beyond the table", |machine| machine.map(3, PAGES, 1), 3, 0, Reach::NotAssigned),
        ("a new page", |machine| machine.assign(7, 3, Small), 3, 0, Reach::NotValidated),
        ("a new large page", |machine| machine.assign(512, 0, Large), 9, 0, Reach::NotValidated),
        ("a page", |machine| machine.validated(7, 3, Small), 3, 0, page(7, Rights::ALL)),
        ("a page of VMPL0's", |machine| machine.validated(7, 3, Small), 3, 1, page(7, none)),
        ("no such level", |machine| machine.validated(7, 3, Small), 3, 4, page(7, none)),
        ("the end of a large page", |machine| machine.validated(512, 0, Large), 511, 0, page(1023, Rights::ALL)),
        ("another address", |machine| { machine.validated(7, 3, Small); machine.map(4, 7, 1); }, 4, 0, Reach::NotAssigned),
        ("two pages swapped", |machine| {
            machine.validated(7, 3, Small);
            machine.validated(8, 4, Small);
            machine.map(3, 8, 1);
            machine.map(4, 7, 1);
        }, 3, 0, Reach::NotAssigned),
        ("a large page turned", |machine| { machine.validated(512, 0, Large); machine.map(0, 513, 511); }, 9, 0, Reach::NotAssigned),
    ];
    for (what, setup, guest, vmpl, expected) in cases {
        let mut machine = Machine::new();
        setup(&mut machine);
        assert_eq!(machine.view().private(GuestPage(*guest), *vmpl), *expected, "{what}");
    }
}

#[test]
fn a_shared_access_reaches_shared_memory_alone() {
    let mut machine = Machine::new();
    machine.validated(7, 3, Small);
    machine.map.set(GuestPage(4), Some(Backing::Shared));
    let shared = [2, 3, 4, PAGES].map(|page| machine.view().is_shared(GuestPage(page)));
    assert_eq!(shared, [false, false, true, false]);
}

/// The runs of a level from guest page `start` to before `end`.
fn runs(machine: &Machine, start: u32, end: u32, vmpl: u8) -> Vec<Run> {
    machine.view().runs(GuestPage(start), GuestPage(end), vmpl).collect()
}

fn run(guest: u32, pages: u32, reach: Option<(u32, Rights)>) -> Run {
    let reach = reach.map(|(page, rights)| (SystemPage(page), rights));
    Run { guest: GuestPage(guest), pages, reach }
}

#[test]
fn runs_are_as_long_as_they_can_be() {
    let mut machine = Machine::new();
    machine.validated(512, 0, Large);
    machine.validated(0, 512, Small);
    machine.validated(1, 513, Small);
    machine.validated(3, 514, Small);
    machine.assign(4, 515, Small);
    lend(&mut machine, 513, Small, READ);
    let all = |page| Some((page, Rights::ALL));
    let expected =
        vec![run(0, 512, all(512)), run(512, 2, all(0)), run(514, 1, all(3)), run(515, 509, None)];
    assert_eq!(runs(&machine, 0, PAGES, 0), expected);
    let expected = vec![run(0, 513, None), run(513, 1, Some((1, READ))), run(514, 510, None)];
    assert_eq!(runs(&machine, 0, PAGES, 1), expected);
    assert_eq!(runs(&machine, 510, 512, 0), [run(510, 2, all(1022))], "cut to the range");
    assert_eq!(runs(&machine, 5, 5, 0), []);
    assert_eq!(runs(&machine, 6, 5, 0), []);
}

#[test]
fn a_level_that_may_not_read_reaches_nothing() {
    let mut machine = Machine::new();
    machine.validated(7, 3, Small);
    lend(&mut machine, 3, Small, Rights::new().with_write(true));
    assert_eq!(runs(&machine, 3, 4, 1), [run(3, 1, None)]);
}
