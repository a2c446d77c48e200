//! IN, OUT, INS and OUTS in every mode, on COM2's scratch register and the 8259's masks.

use guest::modes::{self, Mode, Registers32};
use guest::{
    Elsewhere, Failure, Registers, Report, attempt_bytes, attempt_elsewhere, cpu, ensure_eq,
    selector,
};

const SCRATCH: u16 = 0x2ff;
/// The 8259's masks: in reach of the immediate forms.
const MASKS: u8 = 0x21;
/// A place below 64 KiB.
const BUFFER: u64 = 0xd000;

pub fn cases(report: &mut Report) {
    report.case("ports-64-bit", long);
    for (mode, name) in [
        (Mode::Protected32, "ports-32-bit"),
        (Mode::Pae32, "ports-32-bit-pae"),
        (Mode::Paged32, "ports-32-bit-pse"),
        (Mode::Protected16, "ports-16-bit"),
        (Mode::Paged16, "ports-16-bit-pse"),
        (Mode::Real, "ports-real"),
        (Mode::BigReal, "ports-big-real"),
    ] {
        report.case(name, || legacy(mode));
    }
    report.case("ports-privilege-3", user);
}

fn fill(bytes: &[u8]) {
    for (at, byte) in (BUFFER..).zip(bytes) {
        // SAFETY: low memory is ours.
        unsafe { (at as *mut u8).write_volatile(*byte) };
    }
}

fn long() -> Result<(), Failure> {
    let run = |code: &[u8], rax: u64, rcx: u64| {
        let mut registers = Registers {
            rax,
            rcx,
            rdx: SCRATCH.into(),
            rsi: BUFFER,
            rdi: BUFFER,
            ..Registers::default()
        };
        attempt_bytes(code, &mut registers).map_err(|fault| fault.vector)?;
        Ok::<_, u8>(registers)
    };
    ensure_eq!(run(&[0xee], 0x5a, 0).is_ok(), true, "OUT DX, AL");
    let high = 0xffff_ffff_ffff_ff00;
    ensure_eq!(run(&[0xec], high, 0).map(|r| r.rax), Ok(high | 0x5a), "IN AL, DX");
    let read = run(&[0x66, 0xed], high, 0).map(|r| r.rax >> 16);
    ensure_eq!(read, Ok(high >> 16), "IN AX, DX keeps the rest");
    ensure_eq!(run(&[0xed], high, 0).map(|r| r.rax >> 32), Ok(0), "IN EAX, DX clears");
    fill(&[1, 2, 3, 4]);
    let end = run(&[0xf3, 0x6e], 0, 4).map(|r| (r.rsi, r.rcx));
    ensure_eq!(end, Ok((BUFFER + 4, 0)), "REP OUTSB");
    ensure_eq!(cpu::in8(SCRATCH), 4, "what REP OUTSB wrote last");
    let end = run(&[0xf3, 0x6c], 0, 4).map(|r| (r.rdi, r.rcx));
    ensure_eq!(end, Ok((BUFFER + 4, 0)), "REP INSB");
    ensure_eq!(cpu::read32(BUFFER), 0x0404_0404, "what REP INSB brought");
    let end = run(&[0xfd, 0x6c, 0xfc], 0, 0).map(|r| r.rdi);
    ensure_eq!(end, Ok(BUFFER - 1), "STD; INSB");
    // An INS to a page that is not there: #PF, and RCX, RDI as they were.
    let mut registers =
        Registers { rdx: SCRATCH.into(), rcx: 3, rdi: 0x6000_0000_0000, ..Registers::default() };
    let fault = attempt_bytes(&[0xf3, 0x6c], &mut registers).err().unwrap_or_default();
    ensure_eq!((fault.vector, fault.cr2), (14, 0x6000_0000_0000), "REP INSB to nowhere");
    ensure_eq!((fault.registers.rcx, fault.registers.rdi), (3, 0x6000_0000_0000), "registers");
    Ok(())
}

fn legacy(mode: Mode) -> Result<(), Failure> {
    let run = |code: &[u8], eax: u32| {
        let at = BUFFER as u32;
        let registers = Registers32 {
            eax,
            ecx: 4,
            edx: SCRATCH.into(),
            esi: at,
            edi: at,
            ..Registers32::default()
        };
        let end = modes::run(mode, code, registers);
        if end.vector == 0x80 { Ok(end.registers) } else { Err(end.vector) }
    };
    let masks = cpu::in8(MASKS.into());
    ensure_eq!(run(&[0xee], 0x5a).is_ok(), true, "OUT DX, AL");
    ensure_eq!(run(&[0xec], 0x1111_1100).map(|r| r.eax), Ok(0x1111_115a), "IN AL, DX");
    ensure_eq!(run(&[0xe6, MASKS], 0xfb).is_ok(), true, "OUT imm8, AL");
    ensure_eq!(run(&[0xe4, MASKS], 0).map(|r| r.eax), Ok(0xfb), "IN AL, imm8");
    cpu::out8(MASKS.into(), masks);
    // The word: the default size in 16-bit code.
    let word: &[u8] = if mode.is_32_bit() { &[0x66, 0xed] } else { &[0xed] };
    let read = run(word, 0x1111_0000).map(|r| r.eax >> 16);
    ensure_eq!(read, Ok(0x1111), "IN AX, DX keeps the rest");
    fill(&[1, 2, 3, 4]);
    ensure_eq!(run(&[0xf3, 0x6e], 0).map(|r| (r.esi, r.ecx)), Ok((BUFFER as u32 + 4, 0)), "OUTSB");
    ensure_eq!(cpu::in8(SCRATCH), 4, "what REP OUTSB wrote last");
    ensure_eq!(run(&[0xf3, 0x6c], 0).map(|r| (r.edi, r.ecx)), Ok((BUFFER as u32 + 4, 0)), "INSB");
    ensure_eq!(cpu::read32(BUFFER), 0x0404_0404, "what REP INSB brought");
    Ok(())
}

/// Privilege level 3 without an I/O permission map: #GP.
fn user() -> Result<(), Failure> {
    let mut stack = [0u64; 64];
    let rsp = stack.as_mut_ptr_range().end as u64;
    let place = Elsewhere { cs: selector::USER_TEXT_64, ss: selector::USER_DATA, rsp, rflags: 2 };
    let code: [u8; 4] = [0xe4, MASKS, 0xcd, 0x80];
    let mut registers = Registers::default();
    let end = attempt_elsewhere(&place, code.as_ptr() as u64, &mut registers);
    ensure_eq!(end.vector, 13, "IN at IOPL 0");
    let place = Elsewhere { rflags: 3 << 12 | 2, ..place };
    let end = attempt_elsewhere(&place, code.as_ptr() as u64, &mut registers);
    ensure_eq!(end.vector, 0x80, "IN at IOPL 3");
    Ok(())
}
