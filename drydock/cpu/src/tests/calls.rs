//! VMGEXIT against VMMCALL: AMD-V reports both alike.

use snp::exit::ExitCode;
use snp::instruction::opcode;

use super::fixture::{CODE, RIP, World, code_segment};
use crate::{AutomaticExit, Disposition, VcInfo};

const VMMCALL: [u8; 3] = [0x0f, 0x01, 0xd9];

fn vmgexit() -> Disposition {
    let reason = VcInfo { code: ExitCode::VMGEXIT, info_1: 0, info_2: 0, cr2: None };
    Disposition::Automatic(AutomaticExit { code: ExitCode::VMGEXIT, info_1: 0, info_2: 0, reason })
}

fn vmmcall() -> Disposition {
    Disposition::Vc(VcInfo { code: ExitCode::VMMCALL, info_1: 0, info_2: 0, cr2: None })
}

#[test]
fn vmgexit_is_an_exit_behind_the_instruction() {
    for code in [opcode::VMGEXIT, opcode::VMGEXIT_REPNE] {
        for cpl in [0, 3] {
            // The start of the page, its middle, its end, and across the end.
            for rip in [CODE, RIP, CODE + 0xffc, CODE + 0xffd, CODE + 0xfff] {
                let mut world = World::new();
                (world.vp.rip, world.vp.cpl) = (rip, cpl);
                world.code(&code);
                assert_eq!(world.exit(ExitCode::VMMCALL, 0, 0), vmgexit(), "{code:x?} at {rip:#x}");
                assert_eq!(world.vp.rip, rip + 4);
            }
        }
    }
}

#[test]
fn vmmcall_is_vc_at_the_instruction() {
    for (what, rip, code) in [
        ("without a prefix", RIP, &VMMCALL[..]),
        ("with a segment prefix", RIP, &[0x2e, 0x0f, 0x01, 0xd9]),
        ("before another prefix", RIP, &[0x0f, 0x01, 0xd9, 0xf3]),
        ("at the end of the page", CODE + 0xffd, &VMMCALL),
    ] {
        let mut world = World::new();
        world.vp.rip = rip;
        world.code(code);
        assert_eq!(world.exit(ExitCode::VMMCALL, 0, 0), vmmcall(), "{what}");
        assert_eq!(world.vp.rip, rip, "{what}");
    }
}

#[test]
fn vmmcall_needs_no_page_behind_it() {
    let mut world = World::new();
    world.vp.rip = CODE + 0xffd;
    world.code(&VMMCALL);
    world.set_leaf(CODE + 0x1000, 0);
    assert_eq!(world.exit(ExitCode::VMMCALL, 0, 0), vmmcall());
}

#[test]
fn code_at_the_end_of_the_address_space_is_read() {
    for distance in 0..6 {
        let mut world = World::new();
        world.vp.rip = u64::MAX - distance;
        let expected = if distance >= 3 { vmgexit() } else { vmmcall() };
        // Only what fits into the page is written; the rest would lie at address zero.
        let code = &opcode::VMGEXIT[..4.min(distance as usize + 1)];
        world.code(code);
        assert_eq!(world.exit(ExitCode::VMMCALL, 0, 0), expected, "{distance} before the end");
    }
}

#[test]
fn code_of_32_bits_starts_at_the_base_of_cs() {
    let mut world = World::new();
    world.vp.cs = code_segment(false, true);
    world.vp.cs.base = CODE;
    world.vp.rip = 0x100;
    world.write_private(RIP, &opcode::VMGEXIT);
    assert_eq!(world.exit(ExitCode::VMMCALL, 0, 0), vmgexit());
    assert_eq!(world.vp.rip, 0x104);
}

#[test]
fn code_without_paging_is_private() {
    let mut world = World::new();
    (world.vp.cr0, world.vp.efer, world.vp.cs) = (0x11, 0, code_segment(false, true));
    world.code(&opcode::VMGEXIT);
    assert_eq!(world.exit(ExitCode::VMMCALL, 0, 0), vmgexit());
}

#[test]
fn code_is_private_whatever_the_c_bit() {
    let mut world = World::new();
    world.set_leaf(CODE, CODE | 7);
    world.code(&opcode::VMGEXIT);
    assert_eq!(world.exit(ExitCode::VMMCALL, 0, 0), vmgexit());
}
