//! Writes of the registers that set the mode.

use emulator::Exception;
use snp::exit::ExitCode;
use x86::{cr0, cr4, efer};

use super::fixture::{RIP, World, code_segment};
use crate::{Disposition, Mode};

const GP: Disposition = Disposition::Exception(Exception::GENERAL_PROTECTION);
const ON: u64 = cr0::PE | cr0::ET;
const PAGING: u64 = ON | cr0::PG;
/// MOV CR0, RAX.
const MOV: [u8; 3] = [0x0f, 0x22, 0xc0];

type Setup = fn(&mut World);
/// The operand, then CR0 and EFER after it unless it is refused.
type WriteCr0 = (&'static str, Setup, u64, Option<(u64, u64)>);
/// 64-bit mode.
const LONG: Setup = |_| {};
/// Compatibility mode.
const COMPATIBLE: Setup = |world| world.vp.cs = code_segment(false, true);
/// Protected mode of 32 bits without paging, ready for long mode.
const READY: Setup = |world| {
    (world.vp.cr0, world.vp.efer, world.vp.cs) = (ON, efer::LME, code_segment(false, true));
};
/// The same, with legacy mode ahead.
const LEGACY: Setup = |world| {
    READY(world);
    world.vp.efer = 0;
};

#[test]
fn a_write_of_cr0_is_checked() {
    const WITHOUT_PAE: Setup = |world| {
        READY(world);
        world.vp.cr4 = 0;
    };
    const LONG_SEGMENT: Setup = |world| {
        READY(world);
        world.vp.cs = code_segment(true, false);
    };
    #[rustfmt::skip]
    let cases: &[WriteCr0] = &[
        ("long mode starts", READY, PAGING, Some((PAGING, efer::LME | efer::LMA))),
        ("without PAE", WITHOUT_PAE, PAGING, None),
        ("with a 64-bit segment", LONG_SEGMENT, PAGING, None),
        ("paging in legacy mode", LEGACY, PAGING, Some((PAGING, 0))),
        ("long mode ends", COMPATIBLE, ON, Some((ON, efer::LME | efer::SVME))),
        ("from 64-bit mode", LONG, ON, None),
        ("other bits in 64-bit mode", LONG, PAGING | cr0::WP, Some((PAGING | cr0::WP, efer::LME | efer::LMA | efer::SVME))),
        ("paging without protection", READY, cr0::PG | cr0::ET, None),
        ("protection ends", LEGACY, cr0::ET, Some((cr0::ET, 0))),
        ("NW without CD", LONG, PAGING | cr0::NW, None),
        ("NW with CD", LEGACY, ON | cr0::NW | cr0::CD, Some((ON | cr0::NW | cr0::CD, 0))),
        ("CD alone", LEGACY, ON | cr0::CD, Some((ON | cr0::CD, 0))),
        ("ET is always set", LEGACY, cr0::PE, Some((ON, 0))),
        ("bit 32", LONG, PAGING | 1 << 32, None),
        ("bit 63", LONG, PAGING | 1 << 63, None),
        ("code of 32 bits has 32 bits", COMPATIBLE, 1 << 40 | ON, Some((ON, efer::LME | efer::SVME))),
    ];
    for (what, setup, value, expected) in cases {
        let mut world = World::new();
        setup(&mut world);
        world.code(&MOV);
        world.vp.gprs[0] = *value;
        let before = world.vp.clone();
        let disposition = world.exit(ExitCode::CR0_SEL_WRITE, 0, 0);
        match expected {
            Some((cr0, efer)) => {
                assert_eq!(disposition, Disposition::Resume, "{what}");
                assert_eq!((world.vp.cr0, world.vp.efer), (*cr0, *efer), "{what}");
                assert_eq!(world.vp.rip, RIP + 3, "{what}");
            }
            None => {
                assert_eq!(disposition, GP, "{what}");
                assert_eq!(world.vp, before, "{what}");
            }
        }
    }
}

#[test]
fn the_operand_is_any_register() {
    for (code, register) in [
        (&[0x0f, 0x22, 0xc3][..], 3),
        (&[0x0f, 0x22, 0xc7], 7),
        (&[0x40, 0x0f, 0x22, 0xc1], 1),
        (&[0x41, 0x0f, 0x22, 0xc0], 8),
        (&[0x41, 0x0f, 0x22, 0xc7], 15),
        (&[0x48, 0x0f, 0x22, 0xc2], 2),
        // The mod field is ignored.
        (&[0x0f, 0x22, 0x03], 3),
    ] {
        let mut world = World::new();
        world.code(code);
        world.vp.gprs[register] = PAGING | cr0::TS;
        assert_eq!(world.exit(ExitCode::CR0_SEL_WRITE, 0, 0), Disposition::Resume, "{code:x?}");
        assert_eq!(world.vp.cr0, PAGING | cr0::TS, "{code:x?}");
        assert_eq!(world.vp.rip, RIP + code.len() as u64, "{code:x?}");
    }
}

#[test]
fn cr8_takes_four_bits() {
    for (value, cr8) in [(0, Some(0)), (15, Some(15)), (16, None), (1 << 63, None)] {
        let mut world = World::new();
        world.code(&[0x44, 0x0f, 0x22, 0xc3]);
        world.vp.gprs[3] = value;
        let disposition = world.exit(ExitCode::cr_write(8), 0, 0);
        assert_eq!(disposition, if cr8.is_some() { Disposition::Resume } else { GP }, "{value:#x}");
        assert_eq!(world.vp.cr8, cr8.unwrap_or(0), "{value:#x}");
        assert_eq!(world.vp.rip, RIP + if cr8.is_some() { 4 } else { 0 }, "{value:#x}");
    }
}

#[test]
fn code_of_32_bits_has_no_rex() {
    let mut world = World::new();
    READY(&mut world);
    // INC ECX, where 64-bit code has REX.B.
    world.code(&[0x41, 0x0f, 0x22, 0xc0]);
    let undefined = Disposition::Exception(Exception::INVALID_OPCODE);
    assert_eq!(world.exit(ExitCode::CR0_SEL_WRITE, 0, 0), undefined);
}

#[test]
fn lmsw_sets_four_bits_and_does_not_clear_pe() {
    for (old, source, expected) in [
        (cr0::ET, 0xffff, cr0::ET | 0xf),
        (cr0::ET, 0, cr0::ET),
        (ON | 0xe, 0, ON),
        (ON, cr0::TS, ON | cr0::TS),
        (ON, u64::MAX << 4, ON),
        (ON | cr0::WP | cr0::AM, 0, ON | cr0::WP | cr0::AM),
    ] {
        let mut world = World::new();
        LEGACY(&mut world);
        world.vp.cr0 = old;
        world.code(&[0x0f, 0x01, 0xf3]);
        world.vp.gprs[3] = source;
        assert_eq!(world.exit(ExitCode::CR0_SEL_WRITE, 0, 0), Disposition::Resume);
        assert_eq!((world.vp.cr0, world.vp.rip), (expected, RIP + 3), "{old:#x}, {source:#x}");
    }
}

#[test]
fn a_write_of_cr4_is_checked() {
    #[rustfmt::skip]
    let cases: &[(&str, Setup, u64, bool)] = &[
        ("nothing", LEGACY, 0, true),
        ("PAE", LEGACY, cr4::PAE, true),
        ("all below UMIP", LEGACY, 0x7ff, true),
        ("UMIP, LA57", LEGACY, cr4::UMIP | cr4::LA57, true),
        ("FSGSBASE, OSXSAVE, SMEP, SMAP", LEGACY, 1 << 16 | cr4::OSXSAVE | cr4::SMEP | cr4::SMAP, true),
        ("bit 13, Intel's VMXE", LEGACY, 1 << 13, false),
        ("bit 14, Intel's SMXE", LEGACY, 1 << 14, false),
        ("bit 15", LEGACY, 1 << 15, false),
        ("PCIDE out of long mode", LEGACY, 1 << 17, false),
        ("bit 19", LEGACY, 1 << 19, false),
        ("bit 22, protection keys", LEGACY, 1 << 22, false),
        ("bit 31", LEGACY, 1 << 31, false),
        ("bit 32 of 64-bit code", LONG, 1 << 32 | cr4::PAE, false),
        ("bit 32 of 32-bit code", LEGACY, 1 << 32 | cr4::PAE, true),
        ("without PAE in long mode", LONG, 0, false),
        ("PCIDE in long mode", LONG, 1 << 17 | cr4::PAE, true),
    ];
    for (what, setup, value, is_fine) in cases {
        let mut world = World::new();
        setup(&mut world);
        world.code(&[0x0f, 0x22, 0xe1]);
        world.vp.gprs[1] = *value;
        let before = world.vp.clone();
        let disposition = world.exit(ExitCode::cr_write(4), 0, 0);
        if *is_fine {
            assert_eq!(disposition, Disposition::Resume, "{what}");
            assert_eq!((world.vp.cr4, world.vp.rip), (*value & 0xffff_ffff, RIP + 3), "{what}");
        } else {
            assert_eq!(disposition, GP, "{what}");
            assert_eq!(world.vp, before, "{what}");
        }
    }
}

#[test]
fn code_that_has_changed_is_not_taken_for_a_write() {
    let undefined = Disposition::Exception(Exception::INVALID_OPCODE);
    for (exit, code) in [
        (ExitCode::CR0_SEL_WRITE, [0x0f, 0x22, 0xe0]),
        (ExitCode::CR0_SEL_WRITE, [0x0f, 0x20, 0xc0]),
        (ExitCode::cr_write(4), MOV),
        (ExitCode::cr_write(4), [0x0f, 0x01, 0xf0]),
        (ExitCode::cr_write(4), [0x90; 3]),
    ] {
        let mut world = World::new();
        world.code(&code);
        let before = world.vp.clone();
        assert_eq!(world.exit(exit, 0, 0), undefined, "{code:x?}");
        assert_eq!(world.vp, before);
    }
}

#[test]
fn addresses_tell_only_with_entries_that_have_room() {
    for (what, cr0, cr4, efer, mode) in [
        ("real mode", cr0::ET, 0, 0, Mode::AllPrivate),
        ("protected mode", ON, cr4::PAE, 0, Mode::AllPrivate),
        ("about to enter long mode", ON, cr4::PAE, efer::LME, Mode::AllPrivate),
        ("32-bit paging", PAGING, 0, 0, Mode::AllPrivate),
        ("PAE", PAGING, cr4::PAE, 0, Mode::Encrypted),
        ("long mode", PAGING, cr4::PAE, efer::LME | efer::LMA, Mode::Encrypted),
    ] {
        let mut world = World::new();
        (world.vp.cr0, world.vp.cr4, world.vp.efer) = (cr0, cr4, efer);
        assert_eq!(Mode::of(&world.vp), mode, "{what}");
    }
}
