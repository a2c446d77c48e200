//! 64-bit mode and compatibility mode.

use guest::{
    Elsewhere, Failure, Registers, Report, attempt_bytes, attempt_elsewhere, cpu, ensure_eq, modes,
    selector,
};

use crate::{COUNT, IOREGSEL, TPR, VERSION};

/// A form: its name, code, value in the register before, RAX before; value after, RAX after.
/// RDI and RSI hold the register's address, RCX is 1, RBX is 4.
type Form = (&'static str, &'static [u8], u32, u64, u32, u64);

/// On the timer's initial count, which holds 32 bits.
const FORMS: [Form; 34] = [
    ("mov load", &[0x8b, 0x07], 0x1234_5678, 0, 0x1234_5678, 0x1234_5678),
    ("mov store", &[0x89, 0x07], 0, 0x89ab_cdef, 0x89ab_cdef, 0x89ab_cdef),
    ("mov store immediate", &[0xc7, 0x07, 4, 3, 2, 1], 0, 0, 0x0102_0304, 0),
    ("mov with displacement", &[0x8b, 0x47, 0x00], 7, 0, 7, 7),
    ("mov with index", &[0x8b, 0x44, 0x9f, 0xf0], 9, 0, 9, 9),
    ("mov r8d", &[0x44, 0x8b, 0x07, 0x44, 0x89, 0xc0], 3, 0, 3, 3),
    ("movzx byte", &[0x0f, 0xb6, 0x07], 0x1234_56f8, 0, 0x1234_56f8, 0xf8),
    ("movzx word", &[0x0f, 0xb7, 0x07], 0x1234_f678, 0, 0x1234_f678, 0xf678),
    ("movsx byte", &[0x48, 0x0f, 0xbe, 0x07], 0xf8, 0, 0xf8, 0xffff_ffff_ffff_fff8),
    ("movsxd", &[0x48, 0x63, 0x07], 0x8000_0000, 0, 0x8000_0000, 0xffff_ffff_8000_0000),
    ("and", &[0x21, 0x07], 0xff00_ff00, 0x0ff0_0ff0, 0x0f00_0f00, 0x0ff0_0ff0),
    ("or", &[0x09, 0x07], 0xf0, 0x0f, 0xff, 0x0f),
    ("xor", &[0x31, 0x07], 0xff, 0x0f, 0xf0, 0x0f),
    ("add", &[0x01, 0x07], 40, 2, 42, 2),
    ("sub", &[0x29, 0x07], 44, 2, 42, 2),
    ("or immediate", &[0x83, 0x0f, 0x01], 0x10, 0, 0x11, 0),
    ("add register", &[0x03, 0x07], 40, 2, 40, 42),
    ("inc", &[0xff, 0x07], 41, 0, 42, 0),
    ("dec", &[0xff, 0x0f], 43, 0, 42, 0),
    ("not", &[0xf7, 0x17], 0xffff_0000, 0, 0xffff, 0),
    ("neg", &[0xf7, 0x1f], 1, 0, 0xffff_ffff, 0),
    ("shl", &[0xc1, 0x27, 4], 0x11, 0, 0x110, 0),
    ("lock or", &[0xf0, 0x09, 0x07], 0xf0, 0x0f, 0xff, 0x0f),
    ("xchg", &[0x87, 0x07], 5, 6, 6, 5),
    ("xadd", &[0xf0, 0x0f, 0xc1, 0x07], 40, 2, 42, 40),
    ("cmpxchg equal", &[0xf0, 0x0f, 0xb1, 0x1f], 7, 7, 4, 7),
    ("cmpxchg unequal", &[0x0f, 0xb1, 0x1f], 7, 8, 7, 7),
    ("bts", &[0x0f, 0xba, 0x2f, 3], 0, 0, 8, 0),
    ("btr", &[0x0f, 0xba, 0x37, 3], 0xff, 0, 0xf7, 0),
    ("push, pop", &[0xff, 0x37, 0x58], 0x77, 0, 0x77, 0x77),
    ("stosd", &[0xab], 0, 0x55, 0x55, 0x55),
    ("lodsd", &[0xad], 0x66, 0, 0x66, 0x66),
    ("test, setz", &[0xf7, 0x07, 1, 0, 0, 0, 0x0f, 0x94, 0xc0], 2, 0, 2, 1),
    ("cmp, setc", &[0x39, 0x07, 0x0f, 0x92, 0xc0], 2, 3, 2, 1),
];

pub fn cases(report: &mut Report) {
    report.case("mmio-64-bit", || FORMS.iter().try_for_each(form));
    report.case("mmio-64-bit-strings", strings);
    report.case("mmio-64-bit-sse", sse);
    report.case("mmio-64-bit-offset-form", offset_form);
    report.case("mmio-64-bit-read-only", read_only);
    report.case("mmio-ioapic", ioapic);
    report.case("mmio-compatibility-32", || compatibility(selector::TEXT_32, &LEGACY));
    report.case("mmio-privilege-3", || compatibility(selector::USER_TEXT_64, &LEGACY));
    report.case("mmio-privilege-3-32", || compatibility(selector::USER_TEXT_32, &LEGACY));
}

/// As PUSH of memory takes 8 bytes here, which the page does not answer, only its low half counts.
fn form((name, code, before, rax, after, rax_after): &Form) -> Result<(), Failure> {
    cpu::write32(COUNT, *before);
    let mut registers =
        Registers { rax: *rax, rbx: 4, rcx: 1, rdi: COUNT, rsi: COUNT, ..Registers::default() };
    let result = attempt_bytes(code, &mut registers);
    ensure_eq!(result.map_err(|fault| fault.vector), Ok(()), "{name}");
    ensure_eq!(cpu::read32(COUNT), *after, "{name}: the register");
    let mask = if *name == "push, pop" { 0xffff_ffff } else { u64::MAX };
    ensure_eq!(registers.rax & mask, *rax_after, "{name}: RAX");
    Ok(())
}

/// String instructions with and without REP, in both directions, between RAM and the device.
fn strings() -> Result<(), Failure> {
    let buffer = [0xa1u32, 0xa2, 0xa3, 0xa4];
    let address = buffer.as_ptr() as u64;
    let run = |code: &[u8], rsi: u64, rdi: u64, rcx: u64| {
        let mut registers = Registers { rsi, rdi, rcx, rax: 0x77, ..Registers::default() };
        attempt_bytes(code, &mut registers).map_err(|fault| fault.vector)?;
        Ok::<_, u8>((registers.rsi, registers.rdi, registers.rcx))
    };
    ensure_eq!(run(&[0xa5], address, COUNT, 0), Ok((address + 4, COUNT + 4, 0)), "MOVSD in");
    ensure_eq!(cpu::read32(COUNT), 0xa1, "MOVSD in");
    let out = run(&[0xa5], COUNT, address + 4, 0);
    ensure_eq!(out, Ok((COUNT + 4, address + 8, 0)), "MOVSD out");
    ensure_eq!(cpu::read32(address + 4), 0xa1, "MOVSD out");
    // Four double words of the version and what follows.
    let out = run(&[0xf3, 0xa5], VERSION, address, 4);
    ensure_eq!(out, Ok((VERSION + 16, address + 16, 0)), "REP MOVSD out");
    ensure_eq!(cpu::read32(address), cpu::read32(VERSION), "REP MOVSD out");
    let back = run(&[0xfd, 0xf3, 0xab, 0xfc], 0, COUNT, 1);
    ensure_eq!(back, Ok((0, COUNT - 4, 0)), "STD; REP STOSD");
    ensure_eq!(cpu::read32(COUNT), 0x77, "STD; REP STOSD");
    ensure_eq!(run(&[0xf3, 0xab], 0, COUNT, 0), Ok((0, COUNT, 0)), "REP STOSD, none");
    let none = run(&[0xf3, 0xad], VERSION, 0, 3);
    ensure_eq!(none, Ok((VERSION + 12, 0, 0)), "REP LODSD");
    Ok(())
}

/// MOVD, MOVUPS load and store through XMM0.
fn sse() -> Result<(), Failure> {
    cpu::write32(COUNT, 0x4242);
    let mut registers = Registers { rdi: COUNT, ..Registers::default() };
    // MOVD XMM0, [RDI]; MOVD EAX, XMM0.
    let code = [0x66, 0x0f, 0x6e, 0x07, 0x66, 0x0f, 0x7e, 0xc0];
    let result = attempt_bytes(&code, &mut registers).map_err(|fault| fault.vector);
    ensure_eq!(result, Ok(()), "MOVD load");
    ensure_eq!(registers.rax, 0x4242, "MOVD load");
    // MOVD XMM0, EAX; MOVD [RDI], XMM0.
    registers.rax = 0x4343;
    let code = [0x66, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0x7e, 0x07];
    let result = attempt_bytes(&code, &mut registers).map_err(|fault| fault.vector);
    ensure_eq!(result, Ok(()), "MOVD store");
    ensure_eq!(cpu::read32(COUNT), 0x4343, "MOVD store");
    // MOVUPS XMM0, [RDI]; MOVD EAX, XMM0.
    let code = [0x0f, 0x10, 0x07, 0x66, 0x0f, 0x7e, 0xc0];
    let result = attempt_bytes(&code, &mut registers).map_err(|fault| fault.vector);
    ensure_eq!(result, Ok(()), "MOVUPS load");
    ensure_eq!(registers.rax, 0x4343, "MOVUPS load");
    Ok(())
}

/// MOV EAX, [moffs64] and back.
fn offset_form() -> Result<(), Failure> {
    cpu::write32(COUNT, 0x99);
    let mut code = [0xa1, 0, 0, 0, 0, 0, 0, 0, 0];
    code[1..].copy_from_slice(&COUNT.to_le_bytes());
    let mut registers = Registers::default();
    let result = attempt_bytes(&code, &mut registers).map_err(|fault| fault.vector);
    ensure_eq!((result, registers.rax), (Ok(()), 0x99), "load");
    code[0] = 0xa3;
    registers.rax = 0x9a;
    let result = attempt_bytes(&code, &mut registers).map_err(|fault| fault.vector);
    ensure_eq!((result, cpu::read32(COUNT)), (Ok(()), 0x9a), "store");
    Ok(())
}

fn read_only() -> Result<(), Failure> {
    let version = cpu::read32(VERSION);
    cpu::write32(VERSION, !version);
    ensure_eq!(cpu::read32(VERSION), version, "version");
    cpu::write32(TPR, 0xffff_ff40);
    ensure_eq!(cpu::read32(TPR), 0x40, "task priority");
    cpu::write32(TPR, 0);
    Ok(())
}

fn ioapic() -> Result<(), Failure> {
    cpu::write32(IOREGSEL, 0x11);
    cpu::write32(IOREGSEL + 0x10, 0xab00_0000);
    ensure_eq!(cpu::read32(IOREGSEL), 0x11, "register select");
    ensure_eq!(cpu::read32(IOREGSEL + 0x10), 0xab00_0000, "entry 0, upper half");
    cpu::write32(IOREGSEL, 1);
    ensure_eq!(cpu::read32(IOREGSEL + 0x10) >> 16 & 0xff, 23, "last entry");
    Ok(())
}

/// Code that means the same in 32-bit and 64-bit mode; ESI and EDI hold the address.
type Plain = (&'static str, &'static [u8], u32, u32);

const LEGACY: [Plain; 6] = [
    ("mov load", &[0x8b, 0x07], 0x1234_5678, 0x1234_5678),
    ("movzx", &[0x0f, 0xb7, 0x07], 0x1234_5678, 0x5678),
    ("lodsd", &[0xad], 0x55, 0x55),
    ("xchg", &[0x87, 0x07], 0x66, 0x66),
    ("lock xadd", &[0xf0, 0x0f, 0xc1, 0x07], 0x77, 0x77),
    ("sub register", &[0x2b, 0x07], 1, 0xffff_ffff),
];

fn compatibility(cs: u16, forms: &[Plain]) -> Result<(), Failure> {
    let mut stack = [0u64; 64];
    let rsp = stack.as_mut_ptr_range().end as u64;
    let ss = if cs & 3 == 3 { selector::USER_DATA } else { selector::DATA };
    for (name, code, before, eax) in forms {
        cpu::write32(COUNT, *before);
        for (at, byte) in (modes::SNIPPET..).zip(code.iter().chain(&[0xcd, 0x80])) {
            // SAFETY: the page is kept for code that tests try.
            unsafe { (at as *mut u8).write_volatile(*byte) };
        }
        let place = Elsewhere { cs, ss, rsp, rflags: 2 };
        let mut registers = Registers { rdi: COUNT, rsi: COUNT, ..Registers::default() };
        let end = attempt_elsewhere(&place, modes::SNIPPET, &mut registers);
        ensure_eq!(end.vector, 0x80, "{name}");
        ensure_eq!(registers.rax as u32, *eax, "{name}: EAX");
    }
    Ok(())
}
