//! A guest at a lower level that tries everything.

use drydock_rmp::{Rights, SystemPage};
use proptest::prelude::*;
use snp::exit::ExitCode;
use snp::instruction::opcode;
use x86::{Register, Registers, vector};

use super::fixture::{C, CODE, DATA, HOLE, LARGE, RIP, SHARED, UNASSIGNED, VALIDATED, World};

/// The page of VMPL0 that level 1 may read and write.
const LENT: u64 = VALIDATED;
/// The tables and the code, which level 1 has all rights to.
const OWN: [u64; 6] = [0x1000, 0x2000, 0x3000, 0x4000, CODE, CODE + 0x1000];
/// A page of VMPL0's that level 1 may not touch.
const SECRET: u64 = 0xb000;

fn code() -> impl Strategy<Value = [u8; 4]> {
    prop_oneof![
        Just(opcode::PVALIDATE),
        Just(opcode::RMPADJUST),
        Just(opcode::RMPQUERY),
        Just(opcode::VMGEXIT),
        Just([0x0f, 0x22, 0xc0, 0x90]),
        Just([0x41, 0x0f, 0x22, 0xe0]),
        Just([0x0f, 0x01, 0xf0, 0x90]),
        Just([0x0f, 0x30, 0x90, 0x90]),
        any::<[u8; 4]>(),
    ]
}

fn exit() -> impl Strategy<Value = ExitCode> {
    prop_oneof![
        3 => Just(ExitCode::exception(vector::UD)),
        1 => Just(ExitCode::VMMCALL),
        1 => Just(ExitCode::MSR),
        1 => Just(ExitCode::HLT),
        1 => Just(ExitCode::CR0_SEL_WRITE),
        1 => Just(ExitCode::cr_write(4)),
        1 => Just(ExitCode::NPF),
        1 => (0..0x404_u64).prop_map(ExitCode),
    ]
}

fn value() -> impl Strategy<Value = u64> {
    let address = prop::sample::select(
        &[LENT, SECRET, DATA, SHARED, HOLE, UNASSIGNED, LARGE, CODE, C | LENT, C | SECRET][..],
    );
    prop_oneof![3 => address, 2 => 0..0x2000_u64, 1 => any::<u64>(), 1 => Just(u64::MAX)]
}

fn rip() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(RIP), 1 => CODE + 0xff8..=CODE + 0xfff, 1 => u64::MAX - 8..=u64::MAX]
}

/// Level 1 with its own tables and code, one page that is lent to it, and one that is not.
fn world() -> World {
    let mut world = World::new();
    world.own(SECRET);
    OWN.into_iter().for_each(|page| world.lend(page, Rights::ALL));
    world.lend(LENT, Rights::new().with_read(true).with_write(true));
    world.write_private(SECRET, &[0x5a; 16]);
    world.features.vmpl = 1;
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_instruction_of_a_lower_level_gains_rights(
        (code, exit) in (code(), exit()),
        gprs in prop::array::uniform16(value()),
        (rip, cpl) in (rip(), prop::sample::select(&[0, 0, 0, 3][..])),
        (table, entry) in (0..4_u64, any::<u64>()),
        (info_1, info_2) in (any::<u64>(), value()),
    ) {
        let mut world = world();
        (world.vp.rip, world.vp.cpl, world.vp.gprs) = (rip, cpl, gprs);
        if rip < 0x1_0000 || rip & 0xfff < 0xffd {
            world.code(&code);
        }
        if world.vp.gpr(Register::R15) == u64::MAX {
            world.set_entry(OWN[table as usize], 0, entry);
        }
        let pages = [LENT, SECRET, DATA, UNASSIGNED, CODE].map(|gpa| SystemPage((gpa >> 12) as u32));
        let before = pages.map(|page| world.space.rmp.entry(page).unwrap().1);
        let _ = world.exit(exit, info_1, info_2);
        for (page, old) in pages.into_iter().zip(before) {
            let (_, new) = world.space.rmp.entry(page).unwrap();
            let unchanged = [0, 1].map(|vmpl| new.rights(vmpl) == old.rights(vmpl));
            prop_assert_eq!(unchanged, [true; 2]);
            let flags = (new.assigned(), new.validated(), new.vmsa(), new.guest());
            prop_assert_eq!(flags, (old.assigned(), old.validated(), old.vmsa(), old.guest()));
            for vmpl in [2, 3] {
                prop_assert!(old.rights(1).include(new.rights(vmpl)), "more than it had itself");
            }
        }
        prop_assert_eq!(world.private(SECRET), 0x5a);
    }
}
