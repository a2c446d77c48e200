//! Interrupts by every way: IPIs, priorities, NMIs, timers, the 8259 pair, the IOAPIC.
#![no_std]
#![no_main]

mod devices;
mod ipi;
mod local;
mod recorder;
mod timer;

use guest::{Apic, Report, cpu};

guest::main!(interrupts);

fn interrupts(report: &mut Report) {
    recorder::install();
    devices::mask_all();
    report.case("start-again", ipi::start_again);
    let modes = [(Apic::Page, "xapic"), (Apic::Msr, "x2apic")];
    let offered = cpu::cpuid(1, 0)[2] & 1 << 21 != 0;
    for (apic, mode) in modes.into_iter().filter(|(apic, _)| *apic == Apic::Page || offered) {
        apic.switch_on();
        recorder::set_apic(apic);
        ipi::cases(report, apic, mode);
        local::cases(report, apic, mode);
        timer::cases(report, apic, mode);
        // Ways that do not depend on the mode are tried in both, as EOI differs.
        devices::cases(report, apic, mode);
    }
}
