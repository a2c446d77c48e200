//! The local APIC's timer.

use guest::{Apic, Failure, Report, cpu, ensure, ensure_eq, time};

use crate::ipi::name;
use crate::recorder::{clear, count, wait_for};

const VECTOR: u8 = 0x81;
const TSC_DEADLINE: u32 = 0x6e0;
const BY_ONE: u32 = 0b1011;
const BY_16: u32 = 0b0011;
const MILLISECOND: u64 = time::PM_HZ / 1000;

pub fn cases(report: &mut Report, apic: Apic, mode: &str) {
    report.case(&name("timer-one-shot", mode), || one_shot(apic));
    report.case(&name("timer-periodic", mode), || periodic(apic));
    report.case(&name("timer-masked", mode), || masked(apic));
    if cpu::cpuid(1, 0)[2] & 1 << 24 != 0 {
        report.case(&name("timer-deadline", mode), || deadline(apic));
        report.case(&name("timer-among-exits", mode), || among_exits(apic));
    }
    apic.write(Apic::TIMER, Apic::MASKED);
}

/// Timer ticks per millisecond at divider 1.
fn rate(apic: Apic) -> u32 {
    apic.write(Apic::DIVIDE, BY_ONE);
    apic.write(Apic::TIMER, Apic::MASKED);
    apic.write(Apic::INITIAL, u32::MAX);
    let (elapsed, ticks) = time::progress(10, || u64::from(u32::MAX - apic.read(Apic::CURRENT)));
    apic.write(Apic::INITIAL, 0);
    (ticks * MILLISECOND / elapsed) as u32
}

fn one_shot(apic: Apic) -> Result<(), Failure> {
    let rate = rate(apic);
    for (divider, factor) in [(BY_ONE, 1), (BY_16, 16)] {
        apic.write(Apic::DIVIDE, divider);
        apic.write(Apic::TIMER, VECTOR.into());
        in_time(200, || {
            clear();
            let start = time::pm_timer();
            apic.write(Apic::INITIAL, 20 * rate / factor);
            let left = apic.read(Apic::CURRENT);
            let so_far = time::pm_since(start);
            ensure!(left > 0 || so_far > 19 * MILLISECOND, "the count is over at once");
            ensure!(wait_for(VECTOR, 1), "no interrupt, divided by {factor}");
            let elapsed = time::pm_since(start);
            ensure!(elapsed > 19 * MILLISECOND, "20 ms are over after {elapsed} PM ticks");
            Ok(elapsed)
        })?;
        ensure_eq!(apic.read(Apic::CURRENT), 0, "the count afterwards");
        time::wait_micros(1_000);
        ensure_eq!(count(0, VECTOR), 1, "interrupts");
    }
    Ok(())
}

fn periodic(apic: Apic) -> Result<(), Failure> {
    let rate = rate(apic);
    apic.write(Apic::DIVIDE, BY_ONE);
    apic.write(Apic::TIMER, Apic::PERIODIC | u32::from(VECTOR));
    in_time(500, || {
        clear();
        let start = time::pm_timer();
        apic.write(Apic::INITIAL, 5 * rate);
        ensure!(wait_for(VECTOR, 20), "only {} interrupts", count(0, VECTOR));
        let elapsed = time::pm_since(start);
        apic.write(Apic::INITIAL, 0);
        ensure!(elapsed > 94 * MILLISECOND, "20 periods of 5 ms in {elapsed} PM ticks");
        cpu::open_interrupts_briefly();
        Ok(elapsed)
    })?;
    cpu::open_interrupts_briefly();
    clear();
    cpu::enable_interrupts();
    time::wait_micros(20_000);
    cpu::disable_interrupts();
    ensure_eq!(count(0, VECTOR), 0, "interrupts after count 0");
    Ok(())
}

/// Does `what`, which says how long it took, until it was quick enough: the host may hold the VM up at
/// any time, but not each time.
fn in_time(millis: u64, what: impl Fn() -> Result<u64, Failure>) -> Result<(), Failure> {
    const ATTEMPTS: u32 = 20;
    let mut elapsed = 0;
    for _ in 0..ATTEMPTS {
        elapsed = what()?;
        if elapsed < millis * MILLISECOND {
            return Ok(());
        }
    }
    ensure!(false, "{elapsed} PM ticks, and as late each time before");
    Ok(())
}

fn masked(apic: Apic) -> Result<(), Failure> {
    clear();
    apic.write(Apic::TIMER, Apic::MASKED | u32::from(VECTOR));
    apic.write(Apic::INITIAL, 1000);
    cpu::enable_interrupts();
    time::wait_micros(5_000);
    cpu::disable_interrupts();
    ensure_eq!(count(0, VECTOR), 0, "interrupts");
    ensure_eq!(apic.read(Apic::CURRENT), 0, "the count");
    Ok(())
}

fn deadline(apic: Apic) -> Result<(), Failure> {
    let millisecond = time::tsc_hz() / 1000;
    apic.write(Apic::TIMER, Apic::DEADLINE | u32::from(VECTOR));
    clear();
    let end = cpu::rdtsc() + 10 * millisecond;
    cpu::wrmsr(TSC_DEADLINE, end);
    let armed = cpu::rdmsr(TSC_DEADLINE);
    ensure!(armed == end || cpu::rdtsc() >= end, "the deadline: {armed:#x}, not {end:#x}");
    ensure!(wait_for(VECTOR, 1), "no interrupt");
    let now = cpu::rdtsc();
    ensure_eq!(count(0, VECTOR), 1, "interrupts");
    ensure!(now >= end, "{} TSC ticks too early", end - now);
    ensure_eq!(cpu::rdmsr(TSC_DEADLINE), 0, "the deadline afterwards");
    clear();
    // In the past: at once. Zero: never.
    cpu::wrmsr(TSC_DEADLINE, 1);
    ensure!(wait_for(VECTOR, 1), "a deadline in the past");
    // A host that is slow may let the deadline pass before it is taken back: then try again.
    loop {
        let end = cpu::rdtsc() + 5 * millisecond;
        cpu::wrmsr(TSC_DEADLINE, end);
        cpu::wrmsr(TSC_DEADLINE, 0);
        if cpu::rdtsc() < end {
            break;
        }
        cpu::enable_interrupts();
        time::wait_micros(1_000);
        cpu::disable_interrupts();
    }
    clear();
    cpu::enable_interrupts();
    time::wait_micros(10_000);
    cpu::disable_interrupts();
    ensure_eq!(count(0, VECTOR), 0, "interrupts after deadline 0");
    Ok(())
}

/// The host's interrupts for the deadlines arrive while the guest exits over and over: none is lost.
fn among_exits(apic: Apic) -> Result<(), Failure> {
    const DEADLINES: u32 = 2_000;
    const ENOUGH: u32 = 1_000_000;
    let millisecond = time::tsc_hz() / 1000;
    apic.write(Apic::TIMER, Apic::DEADLINE | u32::from(VECTOR));
    clear();
    cpu::enable_interrupts();
    for number in 1..=DEADLINES {
        // From 1 to 128 microseconds, so that they meet every part of an exit.
        let end = cpu::rdtsc() + millisecond / 1000 * (1 + u64::from(number % 128));
        cpu::wrmsr(TSC_DEADLINE, end);
        let came = || {
            cpu::cpuid(0, 0);
            count(0, VECTOR) >= number
        };
        let mut exits = 0;
        while !came() {
            exits += 1;
            ensure!(exits < ENOUGH, "deadline {number} passed without an interrupt");
        }
    }
    cpu::disable_interrupts();
    Ok(())
}
