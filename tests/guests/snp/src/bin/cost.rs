//! Prints what exits and accepted pages cost, in ticks of the TSC: under QEMU's `-icount` these are
//! instructions.
#![no_std]
#![no_main]

use snp::exit::ExitCode;
use snp::features::SevFeatures;
use snp::instruction::{Outcome, PageSize};
use snp_guest::memory::FREE;
use snp_guest::{Report, cpu, field, ghcb, level};

snp_guest::main!(costs);

/// Rounds of each measurement, of which the median counts.
const ROUNDS: usize = 33;
const SMALL: u64 = 0x1000;
const LARGE: u64 = 2 << 20;

fn costs(report: &mut Report) {
    let empty = measure(|_| {});
    let print = |name: &str, ticks: u64| {
        ghcb::print(format_args!("count cost.{name} {}\n", ticks.saturating_sub(empty)));
    };
    let mut accepted = 0;
    let mut accept = |address, size| {
        // SAFETY: nothing lies there.
        let validated = unsafe { sev_guest::pvalidate(address, size, true) };
        accepted += usize::from(validated.outcome == Outcome::SUCCESS);
    };
    let large = |round: usize| FREE + LARGE * (round as u64 + 1);
    print("accept-2m", measure(|round| accept(large(round), PageSize::SIZE_2M)));
    let small = |round: usize| FREE + SMALL * round as u64;
    print("accept-4k", measure(|round| accept(small(round), PageSize::SIZE_4K)));
    report.is("accepted", accepted, 2 * ROUNDS);
    print("vmgexit", measure(|_| ghcb::repeat(ExitCode::HYPERVISOR_FEATURES, 0)));
    let reflects = SevFeatures::new().with_reflect_vc(true).with_alternate_injection(true);
    report.is("set-up.program", level::permit_program(), true);
    level::prepare(other_level, reflects);
    report.is("set-up.area", level::adjust(true), Outcome::SUCCESS);
    report.is("set-up.level", level::create(level::area() as u64, reflects).0, 0);
    level::run();
    print("reflected-cpuid", measure(|_| answer()));
    report.is("reflected", level::take_exit(), ExitCode::CPUID);
}

/// Level 1: one CPUID after the other.
extern "C" fn other_level() -> ! {
    loop {
        cpu::cpuid(0);
    }
}

/// Answers level 1's CPUID, and runs the level to its next one.
fn answer() {
    (field!(rax = 0), field!(rbx = 0), field!(rcx = 0), field!(rdx = 0));
    field!(rip = field!(guest_nrip));
    field!(guest_exit_code = ExitCode::INVALID);
    ghcb::repeat(ExitCode::RUN_VMPL, level::LEVEL.into());
}

/// The median of what `body` takes; it gets the number of the round.
fn measure(mut body: impl FnMut(usize)) -> u64 {
    let mut rounds = [0; ROUNDS];
    for (number, ticks) in rounds.iter_mut().enumerate() {
        let start = cpu::rdtsc();
        body(number);
        *ticks = cpu::rdtsc() - start;
    }
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}
