//! The instructions on the RMP, which AMD-V reports as undefined.

use drydock_rmp::{GuestPage, Rights, Size};
use emulator::Exception;
use snp::exit::{ExitCode, NestedPageFault};
use snp::instruction::{Outcome as Code, Permissions, opcode};
use x86::Register::{Rax, Rcx, Rdx};
use x86::{Registers, cr4, rflags, vector};

use super::fixture::{
    C, CODE, DATA, HOLE, LARGE, RIP, SHARED, UNASSIGNED, VALIDATED, World, code_segment,
};
use crate::{Disposition, Remap, VcInfo};

const UD: ExitCode = ExitCode::exception(vector::UD);
const LARGE_SIZE: u64 = 1;
const READ: Rights = Rights::new().with_read(true);
const GP: Disposition = Disposition::Exception(Exception::GENERAL_PROTECTION);

type Setup = fn(&mut World);
/// The operands, then the disposition, EAX and CF.
type Pvalidate = (&'static str, Setup, [u64; 3], Disposition, Code, bool);
const PLAIN: Setup = |_| {};

/// Executes an instruction with these operands.
fn execute(world: &mut World, code: [u8; 4], operands: [u64; 3]) -> Disposition {
    world.code(&code);
    for (register, value) in [Rax, Rcx, Rdx].into_iter().zip(operands) {
        world.set(register, value);
    }
    world.exit(UD, 0, 0)
}

/// The status flags after a code.
fn flags_of(code: Code, is_carry: bool) -> u64 {
    let mut flags = if is_carry { rflags::CF } else { 0 };
    flags |= match code {
        Code::SUCCESS => rflags::ZF | rflags::PF,
        Code::FAIL_INUSE | Code::FAIL_SIZEMISMATCH => rflags::PF,
        _ => 0,
    };
    flags
}

fn remap(gpa: u64, pages: u32, is_taken: bool) -> Disposition {
    Disposition::Remap(Remap { start: GuestPage((gpa >> 12) as u32), pages, is_taken })
}

/// Checks an instruction that completes: EAX, the flags, RIP.
fn assert_completed(world: &World, code: Code, is_carry: bool, what: &str) {
    assert_eq!(world.vp.gpr(Rax), u64::from(code.0), "{what}: EAX");
    let rest = rflags::FIXED | rflags::IF;
    assert_eq!(world.vp.rflags, rest | flags_of(code, is_carry), "{what}: flags");
    assert_eq!(world.vp.rip, RIP + 4, "{what}: RIP");
}

#[test]
fn pvalidate_completes_with_a_code_and_flags() {
    const DONE: Setup = |world| world.validate(LARGE, Size::Large);
    const VALIDATE: u64 = 1;
    let again = Disposition::Resume;
    #[rustfmt::skip]
    let cases: &[Pvalidate] = &[
        ("validates", PLAIN, [DATA, 0, VALIDATE], remap(DATA, 1, false), Code::SUCCESS, false),
        ("the middle of a page", PLAIN, [DATA + 0x123, 0, VALIDATE], remap(DATA, 1, false), Code::SUCCESS, false),
        ("rescinds", PLAIN, [VALIDATED, 0, 0], remap(VALIDATED, 1, true), Code::SUCCESS, false),
        ("validates again", PLAIN, [VALIDATED, 0, VALIDATE], again, Code::SUCCESS, true),
        ("rescinds again", PLAIN, [DATA, 0, 0], again, Code::SUCCESS, true),
        ("other bits of EDX", PLAIN, [DATA, 0, u64::MAX], remap(DATA, 1, false), Code::SUCCESS, false),
        ("the high half of RCX", PLAIN, [DATA, 1 << 32, VALIDATE], remap(DATA, 1, false), Code::SUCCESS, false),
        ("a large page", PLAIN, [LARGE, LARGE_SIZE, VALIDATE], remap(LARGE, 512, false), Code::SUCCESS, false),
        ("rescinds a large page", DONE, [LARGE, LARGE_SIZE, 0], remap(LARGE, 512, true), Code::SUCCESS, false),
        ("2 MiB at no boundary", PLAIN, [LARGE + 0x1000, LARGE_SIZE, VALIDATE], again, Code::FAIL_INPUT, false),
        ("no such size", PLAIN, [DATA, 2, VALIDATE], again, Code::FAIL_INPUT, false),
        ("2 MiB of a small page", |world| {
            world.set_leaf(DATA, C | 7);
            world.map(0, drydock_rmp::Backing::Private(drydock_rmp::SystemPage(15)));
            let (page, guest) = (drydock_rmp::SystemPage(15), GuestPage(0));
            world.space.rmp.assign(page, guest, Size::Small, false).unwrap();
        }, [DATA, LARGE_SIZE, VALIDATE], again, Code::FAIL_SIZEMISMATCH, false),
        ("without the C-bit", |world| world.set_leaf(DATA, DATA | 7), [DATA, 0, VALIDATE], remap(DATA, 1, false), Code::SUCCESS, false),
        ("without paging", |world| {
            (world.vp.cr0, world.vp.efer, world.vp.cs) = (0x11, 0, code_segment(false, true));
        }, [DATA, 0, VALIDATE], remap(DATA, 1, false), Code::SUCCESS, false),
    ];
    for (what, setup, operands, expected, code, is_carry) in cases {
        let mut world = World::new();
        setup(&mut world);
        world.vp.rflags = rflags::FIXED | rflags::IF | rflags::STATUS | rflags::RF;
        let disposition = execute(&mut world, opcode::PVALIDATE, *operands);
        assert_eq!(disposition, *expected, "{what}");
        assert_completed(&world, *code, *is_carry, what);
    }
}

#[test]
fn an_instruction_that_faults_changes_nothing() {
    let page_fault = |linear, code| Disposition::Exception(Exception::page_fault(linear, code));
    let cases: &[(&str, Setup, u64, Disposition)] = &[
        ("CPL 3", |world| world.vp.cpl = 3, DATA, GP),
        ("CPL 1", |world| world.vp.cpl = 1, DATA, GP),
        ("not canonical", PLAIN, 1 << 47, GP),
        ("not mapped", |world| world.set_leaf(DATA, 0), DATA + 5, page_fault(DATA + 5, 0)),
        ("SMAP", |world| world.vp.cr4 |= cr4::SMAP, DATA, page_fault(DATA, 1)),
        (
            "NX while it is off",
            |world| world.set_leaf(DATA, 1 << 63 | DATA | C | 7),
            DATA,
            page_fault(DATA, 9),
        ),
    ];
    for code in [opcode::PVALIDATE, opcode::RMPADJUST, opcode::RMPQUERY] {
        for (what, setup, linear, expected) in cases {
            let mut world = World::new();
            setup(&mut world);
            // A level and rights that RMPADJUST accepts, and a page to validate.
            let operands = [*linear, 0, Permissions::all(1).into_bits()];
            let before = world.vp.clone();
            assert_eq!(execute(&mut world, code, operands), *expected, "{what}, {code:x?}");
            let mut after = world.vp.clone();
            after.gprs = before.gprs;
            assert_eq!(after, before, "{what}, {code:x?}");
        }
    }
}

#[test]
fn pvalidate_is_vmpl0s_alone() {
    for vmpl in 1..4 {
        let mut world = World::new();
        world.lend(VALIDATED, Rights::ALL);
        for page in [0x1000, 0x2000, 0x3000, 0x4000, CODE, CODE + 0x1000] {
            world.lend(page, Rights::ALL);
        }
        world.features.vmpl = vmpl;
        let disposition = execute(&mut world, opcode::PVALIDATE, [VALIDATED, 0, 0]);
        // Levels 2 and 3 can not even fetch it here.
        let expected =
            if vmpl == 1 { GP } else { Disposition::Exception(Exception::INVALID_OPCODE) };
        assert_eq!(disposition, expected);
        assert_eq!(world.vp.rip, RIP);
    }
}

#[test]
fn a_page_that_is_not_the_guests_is_the_hosts_to_resolve() {
    let fault = NestedPageFault::new()
        .with_present(true)
        .with_rmp(true)
        .with_final_translation(true)
        .with_encrypted(true);
    let torn = fault.with_size_mismatch(true);
    for code in [opcode::PVALIDATE, opcode::RMPADJUST, opcode::RMPQUERY] {
        for (what, linear, expected) in [
            ("shared", SHARED, Some(fault)),
            ("not assigned", UNASSIGNED, Some(fault)),
            (
                "4 KiB of a large page",
                LARGE + 0x3000,
                Some(torn).filter(|_| code != opcode::RMPQUERY),
            ),
        ] {
            let mut world = World::new();
            world.validate(LARGE, Size::Large);
            let operands = [linear, 0, Permissions::all(1).into_bits()];
            let disposition = execute(&mut world, code, operands);
            let Some(expected) = expected else { continue };
            let Disposition::Automatic(exit) = disposition else {
                panic!("{what}: {disposition:?}")
            };
            assert_eq!(exit.code, ExitCode::NPF, "{what}");
            assert_eq!(NestedPageFault::from_bits(exit.info_1), expected, "{what}");
            assert_eq!(exit.info_2, linear | C, "{what}");
            assert_eq!(world.vp.rip, RIP, "{what}: it is to run again");
        }
    }
}

#[test]
fn an_address_without_memory_is_vc_as_for_any_access() {
    let fault = NestedPageFault::new()
        .with_present(true)
        .with_reserved_bit(true)
        .with_final_translation(true)
        .with_encrypted(true);
    for code in [opcode::PVALIDATE, opcode::RMPADJUST, opcode::RMPQUERY] {
        let mut world = World::new();
        let operands = [HOLE, 0, Permissions::all(1).into_bits()];
        let disposition = execute(&mut world, code, operands);
        let (code, info_1, info_2) = (ExitCode::NPF, fault.into_bits(), HOLE | C);
        assert_eq!(disposition, Disposition::Vc(VcInfo { code, info_1, info_2, cr2: None }));
        assert_eq!(world.vp.rip, RIP);
    }
}

#[test]
fn rights_to_a_page_that_awaits_pvalidate_are_vc() {
    for code in [opcode::RMPADJUST, opcode::RMPQUERY] {
        let mut world = World::new();
        let operands = [DATA + 4, 0, Permissions::all(1).into_bits()];
        let Disposition::Vc(info) = execute(&mut world, code, operands) else { panic!("no #VC") };
        let VcInfo { code, info_2, cr2, .. } = info;
        assert_eq!((code, info_2), (ExitCode::PAGE_NOT_VALIDATED, DATA | C));
        assert_eq!(cr2, Some(DATA + 4));
        assert_eq!(world.vp.rip, RIP);
    }
}

#[test]
fn rmpadjust_completes_with_a_code_and_flags() {
    let to = |vmpl| Permissions::new().with_vmpl(vmpl).with_read(true);
    let changed = remap(VALIDATED, 1, true);
    let again = Disposition::Resume;
    let cases = [
        ("gives a right", VALIDATED, 0, to(1), changed, Code::SUCCESS),
        ("gives all", VALIDATED, 0, Permissions::all(3), changed, Code::SUCCESS),
        ("takes all", VALIDATED, 0, Permissions::new().with_vmpl(1), changed, Code::SUCCESS),
        ("makes a VMSA", VALIDATED, 0, to(1).with_vmsa(true), changed, Code::SUCCESS),
        ("its own level", VALIDATED, 0, to(0), again, Code::FAIL_PERMISSION),
        ("no such level", VALIDATED, 0, to(4), again, Code::FAIL_INPUT),
        ("the highest number", VALIDATED, 0, to(255), again, Code::FAIL_INPUT),
        (
            "a shadow stack",
            VALIDATED,
            0,
            to(1).with_supervisor_shadow_stack(true),
            again,
            Code::FAIL_INPUT,
        ),
        (
            "execution for users alone",
            VALIDATED,
            0,
            to(1).with_user_execute(true),
            again,
            Code::FAIL_INPUT,
        ),
        (
            "for supervisors alone",
            VALIDATED,
            0,
            to(1).with_supervisor_execute(true),
            again,
            Code::FAIL_INPUT,
        ),
        ("no such size", VALIDATED, 2, to(1), again, Code::FAIL_INPUT),
        ("a large page", LARGE, LARGE_SIZE, to(1), remap(LARGE, 512, true), Code::SUCCESS),
        ("a large VMSA", LARGE, LARGE_SIZE, to(1).with_vmsa(true), again, Code::FAIL_INPUT),
    ];
    for (what, linear, size, rights, expected, code) in cases {
        let mut world = World::new();
        world.validate(LARGE, Size::Large);
        world.vp.rflags = rflags::FIXED | rflags::IF | rflags::STATUS;
        let operands = [linear, size, rights.into_bits()];
        assert_eq!(execute(&mut world, opcode::RMPADJUST, operands), expected, "{what}");
        assert_completed(&world, code, false, what);
    }
}

#[test]
fn rmpquery_answers_in_rcx_and_rdx() {
    let asked = |vmpl| Permissions::new().with_vmpl(vmpl);
    let cases = [
        ("its own rights", VALIDATED, asked(0), Code::SUCCESS, Permissions::all(0), 0),
        ("lent rights", VALIDATED, asked(1), Code::SUCCESS, asked(1).with_read(true), 0),
        ("no rights", VALIDATED, asked(2), Code::SUCCESS, asked(2), 0),
        (
            "the rights in RDX do not count",
            VALIDATED,
            Permissions::all(2),
            Code::SUCCESS,
            asked(2),
            0,
        ),
        ("a large page", LARGE + 0x5000, asked(1), Code::SUCCESS, asked(1), 1),
        ("no such level", VALIDATED, asked(4), Code::FAIL_INPUT, asked(4), 9),
    ];
    for (what, linear, operand, code, rights, size) in cases {
        let mut world = World::new();
        world.validate(LARGE, Size::Large);
        world.lend(VALIDATED, READ);
        world.vp.rflags = rflags::FIXED | rflags::IF;
        let operands = [linear, 9, operand.into_bits()];
        let disposition = execute(&mut world, opcode::RMPQUERY, operands);
        assert_eq!(disposition, Disposition::Resume, "{what}");
        assert_completed(&world, code, false, what);
        assert_eq!(Permissions::from_bits(world.vp.gpr(Rdx)), rights, "{what}");
        assert_eq!(world.vp.gpr(Rcx), size, "{what}");
    }
}

#[test]
fn other_undefined_code_stays_undefined() {
    let undefined = Disposition::Exception(Exception::INVALID_OPCODE);
    for code in [
        [0x0f, 0x0b, 0x90, 0x90],
        opcode::RMPUPDATE,
        opcode::PSMASH,
        [0x66, 0x0f, 0x01, 0xff],
        [0xf2, 0x0f, 0x01, 0xfd],
    ] {
        let mut world = World::new();
        assert_eq!(execute(&mut world, code, [DATA, 0, 1]), undefined, "{code:x?}");
        assert_eq!(world.vp.rip, RIP);
    }
    let mut world = World::new();
    world.vp.rip = CODE + 0xffd;
    world.set_leaf(CODE + 0x1000, 0);
    world.code(&opcode::PVALIDATE);
    assert_eq!(world.exit(UD, 0, 0), undefined, "its end is on a page that is not there");
}
