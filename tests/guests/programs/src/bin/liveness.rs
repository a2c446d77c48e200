//! VP 1 misbehaves; VP 0 keeps nine tenths of the progress that it makes beside a quiet VP 1.
//!
//! In a quiet period VP 1 computes, so that it occupies a CPU as in a storm. The host shares its
//! CPUs, and may be slower for seconds. So each storm is compared with a quiet period right before
//! it, several times, and the median of the ratios counts.
#![no_std]
#![no_main]

use guest::{Apic, Failure, Frame, Report, cpu, ensure, icr, println, set_handler, smp, time};

/// How often each storm is compared with a quiet time.
const COMPARISONS: usize = 25;
/// Rounds of each, of which the best counts.
const ROUNDS: usize = 2;
const ENOUGH_PERCENT: u64 = 90;
const SPAN: u64 = time::PM_HZ / 40;
const VECTOR: u8 = 0x71;
/// How many iterations pass between two looks at the clock, which exits.
const CHUNK: u64 = 200_000;

/// The endless loops of VP 1.
const STORMS: [(&str, fn()); 11] = [
    ("interrupts-off", spin),
    ("halt-interrupts-off", || cpu::stop()),
    ("apic-timer", apic_timer),
    ("deadline-past", deadline_past),
    ("pit", pit),
    ("ipi-to-self", || ipi_storm(1, icr::TO_SELF | VECTOR as u32)),
    // VP 0 has interrupts off: the first stays pending there, and the others are that one.
    ("ipi-to-the-other", || ipi_storm(0, VECTOR.into())),
    ("nmi-to-self", nmi_to_self),
    ("ports", ports),
    ("cpuid", cpuid),
    ("debug-exceptions", trap_flag),
];

guest::main!(liveness);

fn liveness(report: &mut Report) {
    Apic::Page.switch_on();
    if smp::count() < 2 {
        return report.case("one-vp", || Ok(()));
    }
    set_handler(1, Some(nothing));
    set_handler(2, Some(nothing));
    set_handler(VECTOR, Some(end));
    for (name, storm) in STORMS {
        report.case(name, || compare(name, storm));
    }
}

fn compare(name: &str, storm: fn()) -> Result<(), Failure> {
    let mut percents = [0; COMPARISONS];
    for percent in &mut percents {
        let quiet = beside(spin)?;
        *percent = beside(storm)? * 100 / quiet;
    }
    percents.sort_unstable();
    let median = percents[COMPARISONS / 2];
    println!("count liveness.{name}.percent {median}");
    ensure!(median >= ENOUGH_PERCENT, "of the quiet progress, in percent: {percents:?}");
    Ok(())
}

/// VP 0's best progress while VP 1 does `work`.
fn beside(work: fn()) -> Result<u64, Failure> {
    let apic = Apic::current();
    ensure!(smp::start_processor(apic, 1, work), "VP 1 did not start");
    time::wait_micros(2_000);
    let best = (0..ROUNDS).map(|_| progress()).max().unwrap_or(0);
    stop_pit();
    apic.send(1, icr::INIT | icr::ASSERT);
    time::wait_micros(1_000);
    Ok(best)
}

/// Loop iterations in a fixed span, per million PM ticks.
fn progress() -> u64 {
    let start = time::pm_timer();
    let mut iterations = 0;
    loop {
        compute();
        iterations += CHUNK;
        let elapsed = time::pm_since(start);
        if elapsed >= SPAN {
            return iterations * 1_000_000 / elapsed;
        }
    }
}

fn compute() {
    // SAFETY: counts down in a register.
    unsafe {
        core::arch::asm!("2:", "dec {}", "jnz 2b", inout(reg) CHUNK => _, options(nomem, nostack))
    };
}

fn nothing(_: &mut Frame) {}

fn end(_: &mut Frame) {
    Apic::current().end();
}

fn spin() {
    loop {
        compute();
    }
}

/// Periodic, with a count of one.
fn apic_timer() {
    let apic = Apic::Page.switch_on();
    apic.write(Apic::DIVIDE, 0b1011);
    apic.write(Apic::TIMER, Apic::PERIODIC | u32::from(VECTOR));
    apic.write(Apic::INITIAL, 1);
    cpu::enable_interrupts();
    spin();
}

/// A TSC deadline that has passed, again and again.
fn deadline_past() {
    let apic = Apic::Page.switch_on();
    apic.write(Apic::TIMER, Apic::DEADLINE | u32::from(VECTOR));
    cpu::enable_interrupts();
    loop {
        cpu::wrmsr(0x6e0, 1);
    }
}

/// Channel 0 with a count of two, the least of mode 2, through the IOAPIC to VP 1.
fn pit() {
    const IOAPIC: u64 = 0xfec0_0000;
    Apic::Page.switch_on();
    for (index, value) in [(0x15, 1 << 24), (0x14, u32::from(VECTOR))] {
        cpu::write32(IOAPIC, index);
        cpu::write32(IOAPIC + 0x10, value);
    }
    for (port, value) in [(0x43, 0x34), (0x40, 2), (0x40, 0)] {
        cpu::out8(port, value);
    }
    cpu::enable_interrupts();
    spin();
}

fn stop_pit() {
    cpu::out8(0x43, 0x30);
}

fn ipi_storm(to: u32, command: u32) {
    let apic = Apic::Msr.switch_on();
    cpu::enable_interrupts();
    loop {
        apic.send(to, command);
    }
}

fn nmi_to_self() {
    let apic = Apic::Msr.switch_on();
    loop {
        apic.send(1, icr::NMI);
    }
}

fn ports() {
    loop {
        cpu::in8(0x92);
        cpu::out8(0x80, 0);
        cpu::in8(0x71);
    }
}

fn cpuid() {
    loop {
        cpu::cpuid(0, 0);
    }
}

fn trap_flag() {
    // SAFETY: each instruction is followed by the handler, which returns.
    unsafe { core::arch::asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "2:", "jmp 2b") };
}
