//! Nested page faults of the emulating CPU.

use drydock_rmp::{GuestPage, Rights};
use emulator::Exception;
use snp::exit::{ExitCode, NestedPageFault};
use x86::Register;

use super::fixture::{
    C, CODE, DATA, HOLE, LARGE, RIP, SHARED, UNASSIGNED, VALIDATED, World, code_segment,
};
use crate::{Disposition, Remap, VcInfo};

type Setup = fn(&mut World);
const PLAIN: Setup = |_| {};
const NO_PAGING: Setup = |world| {
    (world.vp.cr0, world.vp.efer, world.vp.cs) = (0x11, 0, code_segment(false, true));
};
/// Level 1 may read the validated page.
const LENT: Setup = |world| {
    world.lend(VALIDATED, Rights::new().with_read(true));
    world.features.vmpl = 1;
};
const LENT_ALL: Setup = |world| {
    world.lend(VALIDATED, Rights::ALL);
    world.features.vmpl = 1;
};
const TOP_ABOVE: Setup = |world| world.features.addressing.virtual_tom = Some(1 << 39);
const TOP_AT_SHARED: Setup = |world| world.features.addressing.virtual_tom = Some(SHARED);
const TOP_AT_VALIDATED: Setup = |world| world.features.addressing.virtual_tom = Some(VALIDATED);

const FAULT: NestedPageFault = NestedPageFault::new().with_user(true);
const READ: NestedPageFault = FAULT.with_final_translation(true);
const WRITE: NestedPageFault = READ.with_write(true);
const FETCH: NestedPageFault = READ.with_fetch(true);
const WALK: NestedPageFault = FAULT.with_table_walk(true);

fn exit(setup: Setup, fault: NestedPageFault, address: u64) -> Disposition {
    let mut world = World::new();
    setup(&mut world);
    let before = world.vp.clone();
    let disposition = world.exit(ExitCode::NPF, fault.into_bits(), address);
    assert_eq!(world.vp, before, "no register changes");
    disposition
}

#[test]
fn a_page_that_is_reached_is_mapped() {
    let mapped = |gpa: u64| {
        let start = GuestPage((gpa >> 12) as u32);
        Disposition::Remap(Remap { start, pages: 1, is_taken: false })
    };
    let alias = Disposition::Alias { gpa: VALIDATED };
    let cases: &[(&str, Setup, NestedPageFault, u64, Disposition)] = &[
        ("private data", PLAIN, WRITE, VALIDATED | C, mapped(VALIDATED)),
        ("shared data", PLAIN, WRITE, SHARED, mapped(SHARED)),
        ("a fetch with C-bit", PLAIN, FETCH, VALIDATED | C, mapped(VALIDATED)),
        ("a walk with C-bit", PLAIN, WALK, VALIDATED | C, mapped(VALIDATED)),
        ("a fetch without C-bit", PLAIN, FETCH, VALIDATED, alias),
        ("a walk without C-bit", PLAIN, WALK, VALIDATED, alias),
        ("data without paging", NO_PAGING, READ, VALIDATED, mapped(VALIDATED)),
        ("a fetch without paging", NO_PAGING, FETCH, VALIDATED, mapped(VALIDATED)),
        ("data below the top", TOP_ABOVE, WRITE, VALIDATED, mapped(VALIDATED)),
        ("a fetch below the top", TOP_ABOVE, FETCH, VALIDATED, mapped(VALIDATED)),
        ("a walk below the top", TOP_ABOVE, WALK, VALIDATED, mapped(VALIDATED)),
        ("shared data at the top", TOP_AT_SHARED, WRITE, SHARED, mapped(SHARED)),
        ("a walk above the top", TOP_AT_VALIDATED, WALK, VALIDATED, alias),
        ("a level reads what it may", LENT, READ, VALIDATED | C, mapped(VALIDATED)),
        ("a level executes what it may", LENT_ALL, FETCH, VALIDATED, alias),
    ];
    for (what, setup, fault, address, expected) in cases {
        assert_eq!(exit(*setup, *fault, *address), *expected, "{what}");
    }
}

#[test]
fn a_page_in_another_state_is_the_hosts_to_resolve() {
    let cases: &[(&str, Setup, NestedPageFault, u64, bool, bool)] = &[
        ("private access, shared page", PLAIN, READ, SHARED | C, true, false),
        ("shared access, private page", PLAIN, READ, VALIDATED, false, false),
        ("a walk into a shared page", PLAIN, WALK, SHARED, true, false),
        ("a page that is not assigned", PLAIN, WRITE, UNASSIGNED | C, true, false),
        ("no paging, shared page", NO_PAGING, READ, SHARED, true, false),
        ("above the top, private page", TOP_AT_VALIDATED, READ, VALIDATED, false, false),
        ("below the top, shared page", TOP_ABOVE, READ, SHARED, true, false),
        ("a level writes what it may read", LENT, WRITE, VALIDATED | C, true, true),
        ("a level executes what it may read", LENT, FETCH, VALIDATED, true, true),
        ("a level reads nothing of VMPL0's", LENT, READ, CODE | C, true, true),
    ];
    for (what, setup, fault, address, is_private, is_vmpl) in cases {
        let disposition = exit(*setup, *fault, *address);
        let Disposition::Automatic(exit) = disposition else { panic!("{what}: {disposition:?}") };
        let told = fault.with_present(true).with_rmp(true);
        let told = told.with_encrypted(*is_private).with_vmpl(*is_vmpl);
        assert_eq!((exit.code, exit.info_2), (ExitCode::NPF, *address), "{what}");
        assert_eq!(NestedPageFault::from_bits(exit.info_1), told, "{what}");
        let reason =
            VcInfo { code: exit.code, info_1: exit.info_1, info_2: exit.info_2, cr2: None };
        assert_eq!(exit.reason, reason, "{what}");
    }
}

#[test]
fn a_page_that_awaits_pvalidate_is_vc() {
    for (what, setup, fault, address, cr2) in [
        ("data", PLAIN, READ, DATA | C, None),
        ("a write", PLAIN, WRITE, DATA | C | 0x123, None),
        ("a walk", PLAIN, WALK, DATA, None),
        ("a fetch", PLAIN, FETCH, DATA, Some(RIP)),
        ("no paging", NO_PAGING, READ, DATA, None),
        ("below the top", TOP_ABOVE, READ, DATA, None),
        ("a large page", PLAIN, READ, (LARGE + 0x5000) | C, None),
        ("another level", LENT, READ, DATA | C, None),
    ] {
        let disposition = exit(setup, fault, address);
        let info_1 = fault.with_encrypted(true).with_rmp(true).into_bits();
        let code = ExitCode::PAGE_NOT_VALIDATED;
        assert_eq!(
            disposition,
            Disposition::Vc(VcInfo { code, info_1, info_2: address, cr2 }),
            "{what}"
        );
    }
}

#[test]
fn an_address_without_memory_is_a_device_to_the_guest() {
    for (what, setup, fault, address, is_private) in [
        ("a shared read", PLAIN, READ, HOLE, false),
        ("a shared write", PLAIN, WRITE, 0xfee0_0300, false),
        ("a private read", PLAIN, READ, HOLE | C, true),
        ("without paging", NO_PAGING, READ, 0xfee0_0020, true),
        ("below the top", TOP_ABOVE, WRITE, 0xfec0_0000, true),
        ("above the top", TOP_AT_SHARED, WRITE, 0xfec0_0000, false),
        ("beyond all pages", PLAIN, READ, 1 << 45, false),
    ] {
        let disposition = exit(setup, fault, address);
        let told = fault.with_present(true).with_reserved_bit(true).with_encrypted(is_private);
        let info =
            VcInfo { code: ExitCode::NPF, info_1: told.into_bits(), info_2: address, cr2: None };
        assert_eq!(disposition, Disposition::Vc(info), "{what}");
    }
}

/// MOV between EAX and the memory at RBX, with a virtual top of memory above all pages.
fn access_below_the_top(
    setup: Setup,
    code: &[u8],
    rbx: u64,
    fault: NestedPageFault,
) -> Disposition {
    let mut world = World::new();
    world.clear_c_bits();
    TOP_ABOVE(&mut world);
    setup(&mut world);
    world.code(code);
    world.set(Register::Rbx, rbx);
    world.exit(ExitCode::NPF, fault.into_bits(), VALIDATED | C)
}

#[test]
fn the_c_bit_is_reserved_below_a_virtual_top_of_memory() {
    const LOAD: &[u8] = &[0x8b, 0x03];
    const STORE: &[u8] = &[0x89, 0x03];
    let leaf: Setup = |world| world.set_leaf(VALIDATED, VALIDATED | C | 7);
    let code: Setup = |world| world.set_leaf(CODE, CODE | C | 7);
    let table: Setup = |world| world.set_entry(0x3000, 0, 0x4000 | C | 7);
    let at = VALIDATED + 0x120;
    // Present, write, user, reserved, fetch: bits 0 to 4.
    for (what, setup, bytes, fault, linear, error_code) in [
        ("a read", leaf, LOAD, READ, at, 0b0_1001),
        ("a write", leaf, STORE, WRITE, at, 0b0_1011),
        ("a fetch", code, LOAD, FETCH, RIP, 0b1_1001),
        ("a walk for a fetch", table, LOAD, WALK, RIP, 0b1_1001),
    ] {
        let mut disposition = access_below_the_top(setup, bytes, at, fault);
        if let Disposition::Exception(exception) = &mut disposition {
            // Without EFER.NXE a fetch is told from a read by nothing.
            exception.error_code = exception.error_code.map(|code| code | error_code & 0x10);
        }
        let expected = Exception::page_fault(linear, error_code);
        assert_eq!(disposition, Disposition::Exception(expected), "{what}");
    }
    // The tables set no such bit: another access of the CPU's own has.
    let disposition = access_below_the_top(|_| {}, LOAD, at, READ);
    let host = Disposition::automatic(ExitCode::NPF, READ.into_bits(), VALIDATED | C);
    assert_eq!(disposition, host);
}
