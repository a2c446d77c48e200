//! SVM does not exist for the guest.

use guest::modes::{self, Mode, Registers32};
use guest::{
    Elsewhere, Failure, Registers, Report, attempt_bytes, attempt_elsewhere, cpu, ensure,
    ensure_eq, fail, machine, outcome, selector,
};

const UNDEFINED: u8 = 6;
const PROTECTION: u8 = 13;
const EFER: u32 = 0xc000_0080;
const SVME: u64 = 1 << 12;

/// The instructions, with the last byte of 0F 01.
const INSTRUCTIONS: [(&str, u8); 7] = [
    ("vmrun", 0xd8),
    ("vmload", 0xda),
    ("vmsave", 0xdb),
    ("stgi", 0xdc),
    ("clgi", 0xdd),
    ("skinit", 0xde),
    ("invlpga", 0xdf),
];

/// VM_CR, IGNNE, SMM_CTL, VM_HSAVE_PA, SVM_KEY, the doorbell.
const MSRS: [u32; 6] =
    [0xc001_0114, 0xc001_0115, 0xc001_0116, 0xc001_0117, 0xc001_0118, 0xc001_011b];
/// GHCB, SEV_STATUS: in a confidential VM they are the CPU's, and nobody can take them from a guest.
const CONFIDENTIAL_MSRS: [u32; 2] = [0xc001_0130, 0xc001_0131];

pub fn cases(report: &mut Report) {
    let operand = machine::paravisor().map_or(0x10_0000, |own| own.start);
    for (name, byte) in INSTRUCTIONS {
        let code = [0x0f, 0x01, byte];
        report.case(name, || instruction(&code, operand));
    }
    report.case("svme", svme);
    report.case("svm-msrs", msrs);
    report.case("svm-cpuid", cpuid);
}

/// Tries an instruction from everywhere.
fn instruction(code: &[u8], operand: u64) -> Result<(), Failure> {
    let mut registers = Registers { rax: operand, ..Registers::default() };
    let result = attempt_bytes(code, &mut registers);
    ensure_eq!(outcome(result), Some(UNDEFINED), "64-bit");
    let mut bytes = [0; 8];
    bytes[..code.len()].copy_from_slice(code);
    bytes[code.len()..code.len() + 2].copy_from_slice(&[0xcd, 0x80]);
    let mut stack = [0u64; 64];
    let rsp = stack.as_mut_ptr_range().end as u64;
    let places = [
        ("compatibility 32-bit", selector::TEXT_32, selector::DATA),
        ("compatibility 16-bit", selector::TEXT_16, selector::DATA),
        ("privilege level 3, 64-bit", selector::USER_TEXT_64, selector::USER_DATA),
        ("privilege level 3, compatibility", selector::USER_TEXT_32, selector::USER_DATA),
    ];
    let low = low_copy(&bytes);
    for (name, cs, ss) in places {
        let place = Elsewhere { cs, ss, rsp, rflags: 2 };
        let mut registers = Registers { rax: operand, ..Registers::default() };
        let fault = attempt_elsewhere(&place, low, &mut registers);
        // A CPU with SVM checks the privilege level before it asks for the intercept.
        let expected = fault.vector == UNDEFINED || cs & 3 == 3 && fault.vector == PROTECTION;
        ensure!(expected, "{name}: vector {}", fault.vector);
        ensure_eq!(fault.rip, low, "{name}: place of the fault");
    }
    for mode in Mode::ALL {
        let registers = Registers32 { eax: operand as u32, ..Registers32::default() };
        let end = modes::run(mode, code, registers);
        ensure_eq!(end.vector, UNDEFINED, "{mode:?}");
        ensure_eq!(u64::from(end.ip), modes::SNIPPET, "{mode:?}: place of the fault");
    }
    Ok(())
}

/// Copies code to below 64 KiB, where 16-bit segments reach it.
fn low_copy(code: &[u8]) -> u64 {
    for (at, byte) in (modes::SNIPPET..).zip(code) {
        // SAFETY: the page is kept for code that tests try.
        unsafe { (at as *mut u8).write_volatile(*byte) };
    }
    modes::SNIPPET
}

fn svme() -> Result<(), Failure> {
    if machine::is_confidential() {
        // There the CPU itself keeps EFER, and the VP can not run nested guests all the same.
        return Ok(());
    }
    let efer = cpu::rdmsr(EFER);
    ensure_eq!(efer & SVME, 0, "EFER.SVME");
    ensure_eq!(write_msr(EFER, efer | SVME), Some(PROTECTION), "setting EFER.SVME");
    ensure_eq!(cpu::rdmsr(EFER), efer, "EFER afterwards");
    Ok(())
}

/// WRMSR; the vector of its fault, or none.
pub fn write_msr(number: u32, value: u64) -> Option<u8> {
    let (low, high) = (value & 0xffff_ffff, value >> 32);
    let mut registers =
        Registers { rcx: number.into(), rax: low, rdx: high, ..Registers::default() };
    outcome(attempt_bytes(&[0x0f, 0x30], &mut registers))
}

/// RDMSR; the vector of its fault, or the value.
pub fn read_msr(number: u32) -> Result<u64, u8> {
    let mut registers = Registers { rcx: number.into(), ..Registers::default() };
    match attempt_bytes(&[0x0f, 0x32], &mut registers) {
        Ok(()) => Ok(registers.rdx << 32 | registers.rax),
        Err(fault) => Err(fault.vector),
    }
}

fn msrs() -> Result<(), Failure> {
    let more = CONFIDENTIAL_MSRS.into_iter().filter(|_| !machine::is_confidential());
    for number in MSRS.into_iter().chain(more) {
        ensure_eq!(read_msr(number), Err(PROTECTION), "RDMSR {number:#x}");
        for value in [0, 1 << 4, 0x1000] {
            ensure_eq!(write_msr(number, value), Some(PROTECTION), "WRMSR {number:#x}");
        }
    }
    Ok(())
}

fn cpuid() -> Result<(), Failure> {
    let [_, _, ecx, _] = cpu::cpuid(0x8000_0001, 0);
    // SVM, extended APIC space, SKINIT.
    ensure_eq!(ecx & (1 << 2 | 1 << 3 | 1 << 12), 0, "8000_0001 ECX");
    for leaf in [0x8000_000a, 0x8000_001f, 0x8000_0020, 0x8000_0026] {
        if cpu::cpuid(leaf, 0) != [0; 4] {
            fail!("leaf {leaf:#x} is {:x?}", cpu::cpuid(leaf, 0));
        }
    }
    Ok(())
}
