//! Devices' interrupts through the 8259 pair and the IOAPIC.

use guest::{Apic, Failure, Report, cpu, ensure, ensure_eq, time};

use crate::ipi::name;
use crate::recorder::{clear, count, set_hook, wait_for};

const IOAPIC: u64 = 0xfec0_0000;
const PIT_PIN: u32 = 2;
const COM2_PIN: u32 = 3;
const RTC_PIN: u32 = 8;
const MASKED: u32 = 1 << 16;
const LEVEL: u32 = 1 << 15;
const REMOTE_IRR: u32 = 1 << 14;
const LOGICAL: u32 = 1 << 11;
const VECTOR: u8 = 0x62;
const COM2: u16 = 0x2f8;

/// All inputs of both controllers.
pub fn mask_all() {
    for port in [0x21, 0xa1] {
        cpu::out8(port, 0xff);
    }
    for pin in 0..24 {
        set_pin(pin, MASKED, 0);
    }
}

pub fn cases(report: &mut Report, apic: Apic, mode: &str) {
    report.case(&name("pit-8259", mode), || pit_by_pic(apic));
    report.case(&name("pit-ioapic", mode), pit_by_ioapic);
    report.case(&name("rtc-periodic", mode), rtc_periodic);
    report.case(&name("rtc-update", mode), rtc_update);
    report.case(&name("ioapic-level", mode), level);
    report.case(&name("ioapic-logical", mode), || logical(apic));
    report.case(&name("pm-timer", mode), pm_timer);
    mask_all();
}

fn register(index: u32) -> u32 {
    cpu::write32(IOAPIC, index);
    cpu::read32(IOAPIC + 0x10)
}

fn set_register(index: u32, value: u32) {
    cpu::write32(IOAPIC, index);
    cpu::write32(IOAPIC + 0x10, value);
}

fn set_pin(pin: u32, low: u32, target: u32) {
    set_register(0x11 + pin * 2, target << 24);
    set_register(0x10 + pin * 2, low);
}

/// 1 kHz, square wave or rate generator.
fn start_pit(mode: u8) {
    const DIVISOR: u16 = 1193;
    cpu::out8(0x43, 0x30 | mode << 1);
    cpu::out8(0x40, DIVISOR as u8);
    cpu::out8(0x40, (DIVISOR >> 8) as u8);
}

/// Mode 0 with no count: silent.
fn stop_pit() {
    cpu::out8(0x43, 0x30);
}

fn pit_by_pic(apic: Apic) -> Result<(), Failure> {
    for (base, vector, cascade) in [(0x20, 0x20, 4), (0xa0, 0x28, 2)] {
        cpu::out8(base, 0x11);
        cpu::out8(base + 1, vector);
        cpu::out8(base + 1, cascade);
        cpu::out8(base + 1, 1);
        cpu::out8(base + 1, 0xff);
    }
    let lint0 = apic.read(Apic::LINT0);
    apic.write(Apic::LINT0, 0x700);
    clear();
    set_hook(Some(|vector| {
        if vector == 0x20 {
            cpu::out8(0x20, 0x20);
        }
    }));
    start_pit(2);
    cpu::out8(0x21, 0xfe);
    let came = wait_for(0x20, 20);
    cpu::out8(0x21, 0xff);
    stop_pit();
    set_hook(None);
    let before = count(0, 0x20);
    cpu::enable_interrupts();
    time::wait_micros(5_000);
    cpu::disable_interrupts();
    apic.write(Apic::LINT0, lint0);
    ensure!(came, "only {before} interrupts");
    ensure!(count(0, 0x20) <= before + 1, "interrupts while masked");
    Ok(())
}

fn pit_by_ioapic() -> Result<(), Failure> {
    for mode in [2, 3] {
        clear();
        set_pin(PIT_PIN, VECTOR.into(), 0);
        let start = time::pm_timer();
        start_pit(mode);
        let came = wait_for(VECTOR, 20);
        let elapsed = time::pm_since(start);
        stop_pit();
        set_pin(PIT_PIN, MASKED, 0);
        ensure!(came, "only {} interrupts in mode {mode}", count(0, VECTOR));
        ensure!(elapsed > time::PM_HZ * 18 / 1000, "20 periods of 1 ms in {elapsed} PM ticks");
    }
    Ok(())
}

fn cmos(index: u8) -> u8 {
    cpu::out8(0x70, index);
    cpu::in8(0x71)
}

fn set_cmos(index: u8, value: u8) {
    cpu::out8(0x70, index);
    cpu::out8(0x71, value);
}

fn read_status_c(vector: u8) {
    if vector == VECTOR {
        cmos(0x0c);
    }
}

/// Uses the RTC's interrupt of register B bit `enable` until it has come `times` times.
fn rtc(enable: u8, times: u32) -> bool {
    clear();
    set_hook(Some(read_status_c));
    let old = cmos(0x0b);
    set_cmos(0x0b, old & 0x8f | enable);
    set_pin(RTC_PIN, VECTOR.into(), 0);
    // Last: an edge that came while the pin was masked is lost, and the line stays high until this.
    cmos(0x0c);
    let came = wait_for(VECTOR, times);
    set_cmos(0x0b, old & 0x8f);
    cmos(0x0c);
    set_pin(RTC_PIN, MASKED, 0);
    set_hook(None);
    came
}

fn rtc_periodic() -> Result<(), Failure> {
    // 256 Hz.
    set_cmos(0x0a, 0x28);
    let start = time::pm_timer();
    let came = rtc(1 << 6, 20);
    let elapsed = time::pm_since(start);
    set_cmos(0x0a, 0x26);
    ensure!(came, "only {} interrupts", count(0, VECTOR));
    ensure!(elapsed > time::PM_HZ * 70 / 1000, "20 periods of 3.9 ms in {elapsed} PM ticks");
    Ok(())
}

/// The end of an update, and an alarm for every second.
fn rtc_update() -> Result<(), Failure> {
    ensure!(rtc(1 << 4, 1), "no interrupt at the end of an update");
    for alarm in [1, 3, 5] {
        set_cmos(alarm, 0xff);
    }
    ensure!(rtc(1 << 5, 1), "no alarm");
    Ok(())
}

/// A level that stays high is delivered again after each EOI; remote IRR is set until then.
fn level() -> Result<(), Failure> {
    clear();
    set_pin(COM2_PIN, LEVEL | u32::from(VECTOR), 0);
    set_hook(Some(|vector| {
        if vector == VECTOR && count(0, VECTOR) == 5 {
            cpu::out8(COM2 + 1, 0);
        }
    }));
    cpu::out8(COM2 + 4, 8);
    // The transmitter is empty: the interrupt is there as soon as it is enabled.
    cpu::out8(COM2 + 1, 2);
    ensure_eq!(register(0x10 + COM2_PIN * 2) & REMOTE_IRR, REMOTE_IRR, "remote IRR");
    let came = wait_for(VECTOR, 5);
    cpu::enable_interrupts();
    time::wait_micros(2_000);
    cpu::disable_interrupts();
    set_hook(None);
    cpu::out8(COM2 + 1, 0);
    let entry = register(0x10 + COM2_PIN * 2);
    set_pin(COM2_PIN, MASKED, 0);
    ensure!(came, "only {} interrupts", count(0, VECTOR));
    ensure_eq!(count(0, VECTOR), 5, "interrupts");
    ensure_eq!(entry & REMOTE_IRR, 0, "remote IRR afterwards");
    Ok(())
}

fn logical(apic: Apic) -> Result<(), Failure> {
    if apic == Apic::Page {
        apic.write(Apic::DFR, u32::MAX);
        apic.write(Apic::LDR, 1 << 24);
    }
    clear();
    set_pin(COM2_PIN, LOGICAL | u32::from(VECTOR), 1);
    cpu::out8(COM2 + 4, 8);
    cpu::out8(COM2 + 1, 2);
    let came = wait_for(VECTOR, 1);
    cpu::out8(COM2 + 1, 0);
    set_pin(COM2_PIN, MASKED, 0);
    ensure!(came, "no interrupt");
    ensure_eq!(count(0, VECTOR), 1, "an edge comes once");
    Ok(())
}

fn pm_timer() -> Result<(), Failure> {
    let mut last = time::pm_timer();
    for _ in 0..2_000 {
        let now = time::pm_timer();
        ensure!(now.wrapping_sub(last) < 1 << 31, "{last:#x}, then {now:#x}");
        last = now;
    }
    ensure_eq!(cpu::in16(0x604) & 1, 1, "SCI_EN");
    Ok(())
}
