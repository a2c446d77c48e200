//! Lists of page state changes.

extern crate std;

use std::vec;
use std::vec::Vec;

use drydock_rmp::Size::{Large, Small};
use snp::exit::ExitCode;
use snp::ghcb::{Field, Ghcb, InputError, SHARED_BUFFER_OFFSET};
use snp::page_state::{Entry, Header, MAX_ENTRIES, Operation, Outcome};
use zerocopy::{FromBytes, IntoBytes};

use super::fixture::{GHCB, Machine, SCRATCH, request};
use crate::PageState::{Private, Shared};
use crate::testing::{Change, PAGES};

const BUFFER: u64 = GHCB + SHARED_BUFFER_OFFSET as u64;
const FAILED: Outcome = Outcome::hypervisor_error(1);

fn entry(gfn: u64, operation: Operation, is_2m: bool) -> Entry {
    Entry::new().with_gfn(gfn).with_operation(operation).with_is_2m(is_2m)
}

fn header(cur_entry: u16, end_entry: u16) -> Header {
    Header { cur_entry, end_entry, reserved: 0 }
}

fn list(header: Header, entries: &[Entry]) -> Ghcb {
    let mut ghcb = request(ExitCode::PAGE_STATE_CHANGE, &[(Field::SW_SCRATCH, BUFFER)]);
    let bytes = [header.as_bytes(), entries.as_bytes()].concat();
    ghcb.shared_buffer[..bytes.len()].copy_from_slice(&bytes);
    ghcb
}

/// Submits a list: SW_EXITINFO2, the header afterwards, the changes.
fn run(machine: &mut Machine, ghcb: &Ghcb) -> (u64, Header, Vec<Change>) {
    let reply = machine.submit(ghcb);
    let information = reply.get(Field::SW_EXITINFO2).unwrap();
    reply.done(information, &[]);
    let (header, rest) = Header::read_from_prefix(&reply.0.shared_buffer).unwrap();
    assert_eq!(rest, &ghcb.shared_buffer[8..], "the host writes the header alone");
    (information, header, machine.outside().changes.lock().unwrap().drain(..).collect())
}

#[test]
fn each_operation_changes_a_page() {
    let entries = [
        entry(7, Operation::PRIVATE, false),
        entry(512, Operation::SHARED, true),
        entry(8, Operation::SHARED, false),
        entry(1024, Operation::PRIVATE, true),
        entry(1536, Operation::PSMASH, true),
        entry(0, Operation::UNSMASH, true),
    ];
    let changes = vec![
        Change::To(Private, 7, Small),
        Change::To(Shared, 512, Large),
        Change::To(Shared, 8, Small),
        Change::To(Private, 1024, Large),
        Change::Split(1536),
    ];
    let mut machine = Machine::new();
    let result = run(&mut machine, &list(header(0, 5), &entries));
    assert_eq!(result, (0, header(6, 5), changes));
}

#[test]
fn a_list_ends_at_the_entry_that_fails_and_is_resumed_there() {
    let entries = [
        entry(7, Operation::PRIVATE, false),
        entry(PAGES.into(), Operation::PRIVATE, false),
        entry(9, Operation::PRIVATE, false),
    ];
    let mut machine = Machine::new();
    let result = run(&mut machine, &list(header(0, 2), &entries));
    assert_eq!(result, (FAILED.0, header(1, 2), vec![Change::To(Private, 7, Small)]));
    let result = run(&mut machine, &list(header(2, 2), &entries));
    assert_eq!(result, (0, header(3, 2), vec![Change::To(Private, 9, Small)]));
}

#[test]
fn an_invalid_entry_changes_nothing() {
    let fine = entry(7, Operation::SHARED, false);
    for (what, bad, outcome) in [
        ("no operation", entry(8, Operation(0), false), Outcome::INVALID_ENTRY),
        ("unknown operation", entry(8, Operation(5), false), Outcome::INVALID_ENTRY),
        ("2 MiB at no boundary", entry(8, Operation::PRIVATE, true), Outcome::INVALID_ENTRY),
        (
            "more done than there is",
            entry(8, Operation::PRIVATE, false).with_cur_page(2),
            Outcome::INVALID_ENTRY,
        ),
        ("beyond 32 bits", entry(1 << 32, Operation::PRIVATE, false), FAILED),
        ("the highest page", entry((1 << 40) - 1, Operation::SHARED, false), FAILED),
        ("the highest large page", entry((1 << 40) - 512, Operation::PRIVATE, true), FAILED),
        ("no such page to split", entry(PAGES.into(), Operation::PSMASH, true), FAILED),
    ] {
        let mut machine = Machine::new();
        let result = run(&mut machine, &list(header(0, 2), &[fine, bad, fine]));
        let expected = (outcome.0, header(1, 2), vec![Change::To(Shared, 7, Small)]);
        assert_eq!(result, expected, "{what}");
    }
}

#[test]
fn an_invalid_header_changes_nothing() {
    for (current, end) in
        [(1, 0), (0, MAX_ENTRIES as u16), (MAX_ENTRIES as u16, MAX_ENTRIES as u16), (0, 0xffff)]
    {
        let mut machine = Machine::new();
        let bad = header(current, end);
        let result = run(&mut machine, &list(bad, &[entry(7, Operation::PRIVATE, false)]));
        assert_eq!(result, (Outcome::INVALID_HEADER.0, bad, vec![]));
    }
}

#[test]
fn the_longest_list_is_done() {
    let entries: Vec<_> =
        (0..MAX_ENTRIES as u64).map(|gfn| entry(gfn, Operation::PRIVATE, false)).collect();
    let last = MAX_ENTRIES as u16 - 1;
    let mut machine = Machine::new();
    let (information, after, changes) = run(&mut machine, &list(header(0, last), &entries));
    assert_eq!((information, after, changes.len()), (0, header(last + 1, last), MAX_ENTRIES));
    let (information, after, changes) = run(&mut machine, &list(header(last, last), &entries));
    assert_eq!((information, after, changes.len()), (0, header(last + 1, last), 1));
}

#[test]
fn the_list_is_in_the_ghcbs_buffer() {
    for place in [SCRATCH, BUFFER + 8, GHCB, 0, u64::MAX] {
        let mut machine = Machine::new();
        let mut ghcb = list(header(0, 0), &[entry(7, Operation::PRIVATE, false)]);
        ghcb.set(Field::SW_SCRATCH, place);
        machine.submit(&ghcb).malformed(InputError::INVALID_SCRATCH_AREA);
        assert_eq!(*machine.outside().changes.lock().unwrap(), []);
    }
}

#[test]
fn a_page_that_can_not_change_is_told() {
    let mut machine = Machine::new();
    *machine.outside().stubborn.lock().unwrap() = Some(8);
    let entries = [7, 8].map(|gfn| entry(gfn, Operation::SHARED, false));
    let result = run(&mut machine, &list(header(0, 1), &entries));
    assert_eq!(result, (FAILED.0, header(1, 1), vec![Change::To(Shared, 7, Small)]));
}
