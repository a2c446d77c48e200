//! The cost of exits in instructions: run it with one processor under `-icount shift=0,sleep=off`,
//! where RDTSC counts retired instructions.
#![no_std]
#![no_main]

use guest::{Apic, Report, cpu, ensure_eq, println, tpm};

const ROUNDS: usize = 100;
const TSC_DEADLINE: u32 = 0x6e0;
/// TPM commands, from their start to their response.
const COMMANDS: [(&str, &[u8]); 3] = [
    ("tpm.pcr-extend", &tpm::PCR_EXTEND),
    ("tpm.pcr-read", &tpm::PCR_READ),
    ("tpm.get-random", &tpm::GET_RANDOM),
];

guest::main!(cost);

fn cost(report: &mut Report) {
    let empty = measure(|| {});
    println!("count cost.empty {}", empty.median);
    print(
        "cpuid",
        empty,
        measure(|| {
            cpu::cpuid(1, 0);
        }),
    );
    let page = Apic::Page.switch_on();
    print(
        "xapic-read",
        empty,
        measure(|| {
            page.read(Apic::VERSION);
        }),
    );
    print("xapic-eoi", empty, measure(|| page.end()));
    let apic = Apic::Msr.switch_on();
    print("x2apic-eoi", empty, measure(|| apic.end()));
    apic.write(Apic::TIMER, Apic::DEADLINE | 0x40);
    // Far enough that it does not come while we measure, and another one each time.
    let mut deadline = cpu::rdtsc() + (1 << 32);
    print(
        "deadline",
        empty,
        measure(|| {
            deadline += 1 << 20;
            cpu::wrmsr(TSC_DEADLINE, deadline);
        }),
    );
    cpu::wrmsr(TSC_DEADLINE, 0);
    print(
        "port",
        empty,
        measure(|| {
            cpu::in8(0x92);
        }),
    );
    for (name, command) in COMMANDS {
        tpm::claim();
        tpm::put(command);
        print(
            name,
            empty,
            measure(|| {
                tpm::start();
                while tpm::is_running() {}
            }),
        );
        report.case(name, || {
            ensure_eq!(tpm::response().code(), 0, "the response's code");
            Ok(())
        });
    }
    report.case("cost", || Ok(()));
}

#[derive(Clone, Copy)]
struct Cost {
    minimum: u64,
    median: u64,
}

fn measure(mut work: impl FnMut()) -> Cost {
    let mut rounds = [0; ROUNDS];
    for round in &mut rounds {
        let start = cpu::rdtsc();
        work();
        *round = cpu::rdtsc() - start;
    }
    rounds.sort_unstable();
    Cost { minimum: rounds[0], median: rounds[ROUNDS / 2] }
}

fn print(name: &str, empty: Cost, found: Cost) {
    println!("count cost.{name} {}", found.median - empty.median);
    println!("count cost.{name}.minimum {}", found.minimum - empty.minimum);
}
