//! Registers with illegal values.

use guest::{Apic, Failure, Registers, Report, attempt_bytes, cpu, ensure_eq, outcome};

use crate::svm::{read_msr, write_msr};

const PROTECTION: Option<u8> = Some(13);
const APIC_BASE: u32 = 0x1b;
const EFER: u32 = 0xc000_0080;
const PAT: u32 = 0x277;
const OSXSAVE: u64 = 1 << 18;

pub fn cases(report: &mut Report) {
    report.case("xsetbv", xsetbv);
    report.case("efer", efer);
    report.case("memory-types", memory_types);
    report.case("apic-base", apic_base);
}

fn xsetbv() -> Result<(), Failure> {
    let [_, _, ecx, _] = cpu::cpuid(1, 0);
    let set = |register: u64, value: u64| {
        let (rax, rdx) = (value & 0xffff_ffff, value >> 32);
        let mut registers = Registers { rcx: register, rax, rdx, ..Registers::default() };
        outcome(attempt_bytes(&[0x0f, 0x01, 0xd1], &mut registers))
    };
    if ecx & 1 << 26 == 0 {
        ensure_eq!(set(0, 1), Some(6), "XSETBV without XSAVE");
        return Ok(());
    }
    let cr4 = cpu::cr4();
    cpu::set_cr4(cr4 & !OSXSAVE);
    ensure_eq!(set(0, 1), Some(6), "XSETBV without OSXSAVE");
    cpu::set_cr4(cr4 | OSXSAVE);
    let [allowed, ..] = cpu::cpuid(0xd, 0);
    for value in [0, 2, 5, 6, 9, 1 << 5 | 1, 1 << 62 | 1, u64::MAX] {
        ensure_eq!(set(0, value), PROTECTION, "XCR0 = {value:#x}");
    }
    for register in [1, 2, 0xffff_ffff] {
        ensure_eq!(set(register, 1), PROTECTION, "XCR {register:#x}");
    }
    for value in [3, u64::from(allowed), 1] {
        ensure_eq!(set(0, value), None, "XCR0 = {value:#x}");
    }
    cpu::set_cr4(cr4);
    Ok(())
}

fn efer() -> Result<(), Failure> {
    let old = cpu::rdmsr(EFER);
    // LME cleared under paging; reserved bits; LMSLE, TCE and the higher ones, which CPUID denies.
    let wrong = [old & !(1 << 8), old | 1 << 1, old | 1 << 9, old | 1 << 13, old | 1 << 15]
        .into_iter()
        .chain((16..64).map(|bit| old | 1 << bit));
    for value in wrong {
        ensure_eq!(write_msr(EFER, value), PROTECTION, "EFER = {value:#x}");
        ensure_eq!(cpu::rdmsr(EFER), old, "EFER after {value:#x}");
    }
    Ok(())
}

fn memory_types() -> Result<(), Failure> {
    let old = cpu::rdmsr(PAT);
    for value in [2, 3, 8, 0x0200, 0xff << 56] {
        ensure_eq!(write_msr(PAT, value), PROTECTION, "PAT = {value:#x}");
    }
    ensure_eq!(cpu::rdmsr(PAT), old, "PAT");
    ensure_eq!(write_msr(0xfe, 0), PROTECTION, "MTRRcap is read-only");
    for value in [2, 3, 7, 1 << 12, 1 << 8] {
        ensure_eq!(write_msr(0x2ff, value), PROTECTION, "MTRRdefType = {value:#x}");
    }
    for (number, value) in [(0x200, 2), (0x200, 1 << 52), (0x201, 1), (0x250, 7), (0x26f, 2 << 56)]
    {
        ensure_eq!(write_msr(number, value), PROTECTION, "MTRR {number:#x} = {value:#x}");
    }
    let default = cpu::rdmsr(0x2ff);
    ensure_eq!(write_msr(0x2ff, default & !(1 << 11)), None, "MTRRs off");
    ensure_eq!(cpu::rdmsr(0x2ff), default & !(1 << 11), "MTRRdefType");
    cpu::wrmsr(0x2ff, default);
    Ok(())
}

fn apic_base() -> Result<(), Failure> {
    const ENABLE: u64 = 1 << 11;
    const X2APIC: u64 = 1 << 10;
    let old = cpu::rdmsr(APIC_BASE);
    for value in [old | 1, old | 1 << 9, old | 1 << 52, old & !ENABLE | X2APIC] {
        ensure_eq!(write_msr(APIC_BASE, value), PROTECTION, "APIC_BASE = {value:#x}");
    }
    Apic::Msr.switch_on();
    let now = cpu::rdmsr(APIC_BASE);
    ensure_eq!(write_msr(APIC_BASE, now & !X2APIC), PROTECTION, "x2APIC to xAPIC");
    // ID, version are read-only; no such registers; reserved bits; SVR reserved.
    for (number, value) in
        [(0x802, 0), (0x803, 0), (0x80d, 0), (0x80e, 0), (0x831, 0), (0x80b, 1), (0x83f, 0x100)]
    {
        ensure_eq!(write_msr(number, value), PROTECTION, "MSR {number:#x} = {value:#x}");
    }
    for number in [0x80b, 0x80e, 0x831, 0x83f, 0x840, 0x8ff, 0x800] {
        ensure_eq!(read_msr(number), Err(13), "MSR {number:#x}");
    }
    Apic::Page.switch_on();
    ensure_eq!(read_msr(0x802), Err(13), "x2APIC register in xAPIC mode");
    ensure_eq!(cpu::rdmsr(APIC_BASE), old, "APIC_BASE");
    Ok(())
}
