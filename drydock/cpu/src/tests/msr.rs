//! The MSRs that are the CPU's own.

use emulator::Exception;
use snp::exit::ExitCode;
use snp::features::{SevFeatures, msr as sev};
use x86::Register::{Rax, Rcx, Rdx};
use x86::{Registers, cr0, efer, msr};

use super::fixture::{RIP, World};
use crate::{Disposition, VcInfo};

const RDMSR: [u8; 2] = [0x0f, 0x32];
const WRMSR: [u8; 2] = [0x0f, 0x30];
const GP: Disposition = Disposition::Exception(Exception::GENERAL_PROTECTION);

type Setup = fn(&mut World);
const PLAIN: Setup = |_| {};
const VTOM: Setup = |world| {
    world.features.sev.set_vtom(true);
    world.features.addressing.virtual_tom = Some(0x12_3456_7800_0000);
};

fn read(world: &mut World, number: u32) -> Disposition {
    world.code(&RDMSR);
    world.set(Rcx, 0xdead_beef_0000_0000 | u64::from(number));
    (world.vp.gprs[0], world.vp.gprs[2]) = (u64::MAX, u64::MAX);
    world.exit(ExitCode::MSR, 0, 0)
}

fn write(world: &mut World, number: u32, value: u64) -> Disposition {
    world.code(&WRMSR);
    world.set(Rcx, u64::from(number));
    world.set(Rax, 0xffff_ffff_0000_0000 | value);
    world.set(Rdx, 0xffff_ffff_0000_0000 | value >> 32);
    world.exit(ExitCode::MSR, 1, 0)
}

#[test]
fn the_cpus_own_registers_are_read_without_an_exit() {
    let cases: &[(&str, Setup, u32, u64)] = &[
        ("GHCB", |world| world.features.ghcb_msr = 0x1_2345_6000, sev::GHCB, 0x1_2345_6000),
        ("SEV_STATUS", PLAIN, sev::SEV_STATUS, 0b111),
        (
            "SEV_STATUS with features",
            |world| {
                world.features.sev = SevFeatures::new().with_snp_active(true).with_reflect_vc(true);
            },
            sev::SEV_STATUS,
            0b1_0111,
        ),
        ("VIRTUAL_TOM", VTOM, sev::VIRTUAL_TOM, 0x12_3456_7800_0000),
        (
            "GUEST_TSC_FREQ",
            |world| world.features.sev.set_secure_tsc(true),
            sev::GUEST_TSC_FREQ,
            2500,
        ),
        ("EFER", PLAIN, msr::EFER, efer::LME | efer::LMA | efer::SVME),
        ("PAT", |world| world.vp.pat = msr::PAT_RESET, msr::PAT, msr::PAT_RESET),
    ];
    for (what, setup, number, value) in cases {
        let mut world = World::new();
        setup(&mut world);
        assert_eq!(read(&mut world, *number), Disposition::Resume, "{what}");
        let halves = (world.vp.gpr(Rax), world.vp.gpr(Rdx));
        assert_eq!(halves, (value & 0xffff_ffff, value >> 32), "{what}");
        assert_eq!(world.vp.rip, RIP + 2, "{what}");
    }
}

#[test]
fn other_registers_are_vc() {
    for (number, is_write) in [
        (msr::TSC, false),
        (msr::TSC, true),
        (msr::APIC_BASE, false),
        (msr::X2APIC_EOI, true),
        (sev::GUEST_TSC_FREQ, false),
        (sev::RMP_BASE, false),
        (sev::SYSCFG, true),
        (msr::VM_HSAVE_PA, true),
    ] {
        let mut world = World::new();
        let disposition =
            if is_write { write(&mut world, number, 0) } else { read(&mut world, number) };
        let info =
            VcInfo { code: ExitCode::MSR, info_1: u64::from(is_write), info_2: 0, cr2: None };
        assert_eq!(disposition, Disposition::Vc(info), "{number:#x}");
        assert_eq!(world.vp.rip, RIP);
        assert_eq!(world.vp.gpr(Rcx) as u32, number);
    }
}

#[test]
fn the_ghcb_msr_is_the_levels_own() {
    let mut world = World::new();
    assert_eq!(write(&mut world, sev::GHCB, 0x8000_0001_0000_0002), Disposition::Resume);
    assert_eq!(world.features.ghcb_msr, 0x8000_0001_0000_0002);
    assert_eq!(world.vp.rip, RIP + 2);
}

#[test]
fn writes_are_checked() {
    let all_kinds = 0x0706_0504_0100_0706;
    let base = efer::LME | efer::LMA | efer::SVME;
    #[rustfmt::skip]
    let cases: &[(&str, Setup, u32, u64, bool)] = &[
        ("SEV_STATUS is read-only", PLAIN, sev::SEV_STATUS, 7, false),
        ("GUEST_TSC_FREQ is read-only", PLAIN, sev::GUEST_TSC_FREQ, 1, false),
        ("VIRTUAL_TOM without the feature", PLAIN, sev::VIRTUAL_TOM, 0, false),
        ("VIRTUAL_TOM", VTOM, sev::VIRTUAL_TOM, 0x4000_0000, true),
        ("PAT", PLAIN, msr::PAT, all_kinds, true),
        ("PAT with kind 2", PLAIN, msr::PAT, 2 << 56, false),
        ("PAT with kind 3", PLAIN, msr::PAT, 3, false),
        ("PAT with kind 8", PLAIN, msr::PAT, 8 << 8, false),
        ("EFER as it is", PLAIN, msr::EFER, base, true),
        ("EFER with NXE, SCE", PLAIN, msr::EFER, base | efer::NXE | efer::SCE, true),
        ("EFER with a reserved bit", PLAIN, msr::EFER, base | 1 << 1, false),
        ("EFER with bit 63", PLAIN, msr::EFER, base | 1 << 63, false),
        ("EFER without LME while paging", PLAIN, msr::EFER, base & !efer::LME, false),
        ("EFER with LME while paging", |world| world.vp.efer = 0, msr::EFER, efer::LME, false),
        ("EFER without LME, no paging", |world| world.vp.cr0 &= !cr0::PG, msr::EFER, 0, true),
    ];
    for (what, setup, number, value, is_fine) in cases {
        let mut world = World::new();
        setup(&mut world);
        let before = world.vp.clone();
        let disposition = write(&mut world, *number, *value);
        assert_eq!(disposition, if *is_fine { Disposition::Resume } else { GP }, "{what}");
        if !*is_fine {
            let kept = (world.vp.efer, world.vp.pat, world.vp.rip);
            assert_eq!(kept, (before.efer, before.pat, RIP), "{what}");
        }
    }
}

#[test]
fn lma_is_read_only() {
    for (old, written) in [(efer::LMA, 0), (0, efer::LMA)] {
        let mut world = World::new();
        world.vp.efer = old | efer::LME;
        // Code is found without paging, where LMA makes no difference.
        (world.vp.cr0, world.vp.cs) = (cr0::PE, super::fixture::code_segment(false, true));
        let value = written | efer::LME | efer::NXE;
        assert_eq!(write(&mut world, msr::EFER, value), Disposition::Resume);
        assert_eq!(world.vp.efer, old | efer::LME | efer::NXE);
    }
}

#[test]
fn virtual_tom_has_a_granularity_of_2_mib() {
    let mut world = World::new();
    VTOM(&mut world);
    assert_eq!(write(&mut world, sev::VIRTUAL_TOM, 0x4fff_ffff), Disposition::Resume);
    assert_eq!(world.features.addressing.virtual_tom, Some(0x4fe0_0000));
}
