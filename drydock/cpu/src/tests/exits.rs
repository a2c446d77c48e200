//! The disposition of each exit (AMD64 APM vol. 2, table 15-33).

use snp::exit::ExitCode;
use x86::vector;

use super::fixture::{RIP, World};
use crate::{AutomaticExit, Disposition, VcInfo};

fn automatic(code: ExitCode) -> Disposition {
    let reason = VcInfo { code, info_1: 5, info_2: 6, cr2: None };
    Disposition::Automatic(AutomaticExit { code, info_1: 5, info_2: 6, reason })
}

#[test]
fn automatic_exits_go_to_the_host() {
    for code in [
        ExitCode::INTR,
        ExitCode::NMI,
        ExitCode::SMI,
        ExitCode::INIT,
        ExitCode::VINTR,
        ExitCode::PAUSE,
        ExitCode::SHUTDOWN,
        ExitCode::BUSLOCK,
        ExitCode::IDLE_HLT,
        ExitCode::INVALID,
        ExitCode::BUSY,
        ExitCode::IDLE_REQUIRED,
        ExitCode::INVALID_PMC,
        ExitCode::EFER_WRITE_TRAP,
        ExitCode::cr_write_trap(0),
        ExitCode::cr_write_trap(4),
        ExitCode::cr_write_trap(8),
        ExitCode::cr_write_trap(15),
        ExitCode::exception(vector::MC),
    ] {
        let mut world = World::new();
        assert_eq!(world.exit(code, 5, 6), automatic(code), "{code:?}");
        assert_eq!(world.vp, World::new().vp, "{code:?}: registers");
    }
}

#[test]
fn an_invalid_state_has_one_code_whichever_cpu_finds_it() {
    let mut world = World::new();
    let found = world.exit(ExitCode(u32::MAX.into()), 5, 6);
    assert_eq!(found, automatic(ExitCode::INVALID));
}

#[test]
fn exits_that_show_registers_are_vc() {
    for code in [
        ExitCode::IOIO,
        ExitCode::CPUID,
        ExitCode::RDTSC,
        ExitCode::RDTSCP,
        ExitCode::RDPMC,
        ExitCode::INVD,
        ExitCode::WBINVD,
        ExitCode::MONITOR,
        ExitCode::MWAIT,
        ExitCode::XSETBV,
        ExitCode::VMRUN,
        ExitCode::VMLOAD,
        ExitCode::VMSAVE,
        ExitCode::STGI,
        ExitCode::CLGI,
        ExitCode::SKINIT,
        ExitCode::INVLPGA,
        ExitCode::TASK_SWITCH,
        ExitCode::dr_read(7),
        ExitCode::dr_write(7),
        ExitCode::cr_read(0),
        ExitCode::exception(vector::DB),
        ExitCode::exception(vector::BP),
        ExitCode(0x3ff),
    ] {
        let mut world = World::new();
        let info = VcInfo { code, info_1: 5, info_2: 6, cr2: None };
        assert_eq!(world.exit(code, 5, 6), Disposition::Vc(info), "{code:?}");
        assert_eq!(world.vp, World::new().vp, "{code:?}: registers");
    }
}

#[test]
fn hlt_has_completed_when_the_host_gets_it() {
    for (code, length) in [(&[0xf4][..], 1), (&[0x66, 0xf4], 2)] {
        let mut world = World::new();
        world.code(code);
        assert_eq!(world.exit(ExitCode::HLT, 5, 6), automatic(ExitCode::HLT));
        assert_eq!(world.vp.rip, RIP + length);
    }
}

#[test]
fn hlt_runs_again_if_the_code_has_changed() {
    let mut world = World::new();
    world.code(&[0x90]);
    assert_eq!(world.exit(ExitCode::HLT, 0, 0), Disposition::Resume);
    assert_eq!(world.vp.rip, RIP);
}
