//! Memory as a level reaches it.

use drydock_rmp::Rights;
use emulator::{BusError, PhysicalMemory};
use guest_memory::{Gpa, GuestMemory};

use super::fixture::{C, DATA, HOLE, LARGE, SHARED, UNASSIGNED, VALIDATED, World};
use crate::{Place, Refusal};

const READ: Rights = Rights::new().with_read(true);
const WRITE: Rights = READ.with_write(true);

#[test]
fn an_access_gets_to_a_page_or_is_refused() {
    for (what, gpa, is_private, vmpl, needed, expected) in [
        ("private", VALIDATED + 0x123, true, 0, WRITE, Ok(0x10000 + VALIDATED + 0x123)),
        ("private, all rights", VALIDATED, true, 0, Rights::ALL, Ok(0x10000 + VALIDATED)),
        ("private, lent to read", VALIDATED, true, 1, READ, Ok(0x10000 + VALIDATED)),
        ("private, lent to read, write", VALIDATED, true, 1, WRITE, Err(Refusal::Rights)),
        ("private, not lent", VALIDATED, true, 2, READ, Err(Refusal::Rights)),
        ("private, shared access", VALIDATED, false, 0, READ, Err(Refusal::IsPrivate)),
        ("not validated", DATA, true, 0, READ, Err(Refusal::NotValidated)),
        ("not validated, shared access", DATA, false, 0, READ, Err(Refusal::IsPrivate)),
        ("not validated, large", LARGE + 0x1f_f000, true, 0, READ, Err(Refusal::NotValidated)),
        ("shared", SHARED + 8, false, 3, WRITE, Ok(SHARED + 8)),
        ("shared, private access", SHARED, true, 0, READ, Err(Refusal::NotAssigned)),
        ("not assigned", UNASSIGNED, true, 0, READ, Err(Refusal::NotAssigned)),
        ("not assigned, shared access", UNASSIGNED, false, 0, READ, Err(Refusal::IsPrivate)),
        ("no memory", HOLE, true, 0, READ, Err(Refusal::NoMemory)),
        ("no memory, shared access", HOLE, false, 0, READ, Err(Refusal::NoMemory)),
        ("beyond the map", 1 << 30, true, 0, READ, Err(Refusal::NoMemory)),
        ("beyond all numbers", u64::MAX, true, 0, READ, Err(Refusal::NoMemory)),
        ("beyond all numbers, shared", u64::MAX, false, 0, READ, Err(Refusal::NoMemory)),
    ] {
        let mut world = World::new();
        world.lend(VALIDATED, READ);
        let found = world.space.find(Place { gpa, is_private }, vmpl, needed);
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn a_level_reads_and_writes_by_its_rights() {
    let mut world = World::new();
    world.lend(VALIDATED, READ);
    for (vmpl, may_write) in [(0, true), (1, false)] {
        world.features.vmpl = vmpl;
        world.write_private(VALIDATED, &[7; 8]);
        let mut cpu = world.cpu();
        let (_, mut memory) = cpu.level_memory();
        let mut bytes = [0; 2];
        assert_eq!(memory.read(VALIDATED | C, &mut bytes), Ok(()));
        assert_eq!(bytes, [7, 7]);
        assert_eq!(memory.read_entry(VALIDATED), 0x0707_0707_0707_0707, "a walk needs no C-bit");
        let refused = Err(BusError { gpa: VALIDATED | C });
        let written = memory.write(VALIDATED | C, &[8]);
        assert_eq!(written, if may_write { Ok(()) } else { refused });
        let exchanged = memory.compare_exchange(VALIDATED | C, 7, 9, 1);
        let expected = if may_write { Ok(8) } else { Err(BusError { gpa: VALIDATED | C }) };
        assert_eq!(exchanged, expected);
        let old = u64::from(world.private(VALIDATED));
        assert_eq!(old, if may_write { 8 } else { 7 });
    }
}

#[test]
fn the_host_sees_only_writes_without_the_c_bit() {
    let mut world = World::new();
    let mut cpu = world.cpu();
    let (_, mut memory) = cpu.level_memory();
    memory.write(SHARED, &[0x55]).unwrap();
    memory.write(VALIDATED | C, &[0x66]).unwrap();
    let host = [SHARED, VALIDATED].map(|gpa| world.memory.read_u64(Gpa(gpa)).unwrap());
    assert_eq!(host, [0x55, 0]);
}

#[test]
fn a_refused_walk_reads_all_ones_and_is_told() {
    let mut world = World::new();
    let mut cpu = world.cpu();
    let (_, mut memory) = cpu.level_memory();
    assert_eq!(memory.refused, None);
    for (gpa, refusal) in [
        (SHARED, Refusal::NotAssigned),
        (DATA | C, Refusal::NotValidated),
        (HOLE | C, Refusal::NoMemory),
    ] {
        assert_eq!(memory.read_entry(gpa), u64::MAX);
        assert_eq!(memory.refused, Some((Place { gpa: gpa & !C, is_private: true }, refusal)));
        assert!(memory.exchange_entry(gpa, 0, 1, 8).is_err());
    }
}
