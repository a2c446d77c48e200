//! Protected mode of 32 and 16 bits and real mode, with and without paging.

use guest::modes::{self, Mode, Registers32};
use guest::{Failure, Report, cpu, ensure_eq};

use crate::COUNT;

const OPERAND: u8 = 0x66;
const ADDRESS: u8 = 0x67;

/// A form of 32-bit code: name, prefixes that stand before the size prefixes, the rest, whether the
/// operand size is 32 bits; register and EAX before and after. EDI and ESI hold the address.
struct Form {
    name: &'static str,
    prefix: Option<u8>,
    code: &'static [u8],
    wide: bool,
    before: (u32, u32),
    after: (u32, u32),
}

const fn form(
    name: &'static str,
    code: &'static [u8],
    before: (u32, u32),
    after: (u32, u32),
) -> Form {
    Form { name, prefix: None, code, wide: true, before, after }
}

const fn byte_form(
    name: &'static str,
    code: &'static [u8],
    before: (u32, u32),
    after: (u32, u32),
) -> Form {
    Form { name, prefix: None, code, wide: false, before, after }
}

const FORMS: [Form; 19] = [
    form("mov load", &[0x8b, 0x07], (0x1234_5678, 0), (0x1234_5678, 0x1234_5678)),
    form("mov store", &[0x89, 0x07], (0, 0x89ab_cdef), (0x89ab_cdef, 0x89ab_cdef)),
    form("mov immediate", &[0xc7, 0x07, 4, 3, 2, 1], (0, 0), (0x0102_0304, 0)),
    byte_form("mov load byte", &[0x8a, 0x07], (0x1234_5678, 0x1100), (0x1234_5678, 0x1178)),
    form("movzx byte", &[0x0f, 0xb6, 0x07], (0xf8, 0x1111_1111), (0xf8, 0xf8)),
    form("movzx word", &[0x0f, 0xb7, 0x07], (0x1234_f678, 0), (0x1234_f678, 0xf678)),
    form("and", &[0x21, 0x07], (0xff00, 0x0ff0), (0x0f00, 0x0ff0)),
    form("or", &[0x09, 0x07], (0xf0, 0x0f), (0xff, 0x0f)),
    form("xor", &[0x31, 0x07], (0xff, 0x0f), (0xf0, 0x0f)),
    form("add", &[0x01, 0x07], (40, 2), (42, 2)),
    form("adc register", &[0x13, 0x07], (40, 2), (40, 42)),
    form("xchg", &[0x87, 0x07], (5, 6), (6, 5)),
    form("cmpxchg", &[0x0f, 0xb1, 0x07], (7, 7), (7, 7)),
    form("bts", &[0x0f, 0xba, 0x2f, 3], (0, 1), (8, 1)),
    form("stosd", &[0xab], (0, 0x55), (0x55, 0x55)),
    form("lodsd", &[0xad], (0x66, 0), (0x66, 0x66)),
    form("inc", &[0xff, 0x07], (41, 0), (42, 0)),
    form("test", &[0xf7, 0x07, 1, 0, 0, 0], (2, 3), (2, 3)),
    Form {
        name: "rep stosd",
        prefix: Some(0xf3),
        code: &[0xab],
        wide: true,
        before: (0, 0x99),
        after: (0x99, 0x99),
    },
];

pub fn cases(report: &mut Report) {
    for (mode, name) in [
        (Mode::Protected32, "mmio-32-bit"),
        (Mode::Paged32, "mmio-32-bit-pse"),
        (Mode::Pae32, "mmio-32-bit-pae"),
        (Mode::Protected16, "mmio-16-bit"),
        (Mode::Paged16, "mmio-16-bit-pse"),
        (Mode::BigReal, "mmio-big-real"),
    ] {
        report.case(name, || FORMS.iter().try_for_each(|form| try_form(mode, form)));
    }
    report.case("real-mode-limit", real_limit);
    report.case("modes-cpuid", cpuid);
    report.case("modes-msr", msr);
}

fn try_form(mode: Mode, form: &Form) -> Result<(), Failure> {
    let mut code = [0x90; 24];
    let sizes = match (mode.is_32_bit(), form.wide) {
        (true, _) => [None, None],
        (false, true) => [Some(OPERAND), Some(ADDRESS)],
        (false, false) => [None, Some(ADDRESS)],
    };
    let bytes = form.prefix.into_iter().chain(sizes.into_iter().flatten());
    for (to, from) in code.iter_mut().zip(bytes.chain(form.code.iter().copied())) {
        *to = from;
    }
    cpu::write32(COUNT, form.before.0);
    let (address, eax) = (COUNT as u32, form.before.1);
    // 16-bit segments end at 64 KiB; those of protected mode are reloaded with flat ones.
    let flat: &[u8] = &[0xb9, 16, 0, 0x8e, 0xd9, 0x8e, 0xc1, 0xb9, 1, 0];
    let mut whole = [0x90; 40];
    let reload = matches!(mode, Mode::Protected16 | Mode::Paged16);
    let start = if reload { flat.len() } else { 0 };
    whole[..start].copy_from_slice(&flat[..start]);
    whole[start..start + code.len()].copy_from_slice(&code);
    let registers =
        Registers32 { eax, ecx: 1, edi: address, esi: address, ..Registers32::default() };
    let end = modes::run(mode, &whole, registers);
    let name = form.name;
    ensure_eq!(end.vector, 0x80, "{mode:?} {name}");
    ensure_eq!(cpu::read32(COUNT), form.after.0, "{mode:?} {name}: the register");
    ensure_eq!(end.registers.eax, form.after.1, "{mode:?} {name}: EAX");
    Ok(())
}

/// Real mode with its usual limits: whatever the CPU says to an address beyond 64 KiB, we go on.
fn real_limit() -> Result<(), Failure> {
    let registers = Registers32 { edi: COUNT as u32, ..Registers32::default() };
    let end = modes::run(Mode::Real, &[OPERAND, ADDRESS, 0x8b, 0x07], registers);
    guest::ensure!(matches!(end.vector, 0x80 | 13), "vector {}", end.vector);
    Ok(())
}

/// CPUID exits from every mode, with superfluous prefixes too.
fn cpuid() -> Result<(), Failure> {
    let [eax, ebx, ecx, edx] = cpu::cpuid(0, 0);
    for mode in Mode::ALL {
        for code in [&[0x0f, 0xa2][..], &[0x66, 0x0f, 0xa2], &[0x2e, 0x67, 0x66, 0x0f, 0xa2]] {
            let end = modes::run(mode, code, Registers32::default());
            ensure_eq!(
                end.vector,
                0x80,
                "{mode:?} {code:x?} error {:#x} CR2 {:#x} EIP {:#x}",
                end.error_code,
                end.cr2,
                end.ip
            );
            let found = end.registers;
            let found = [found.eax, found.ebx, found.ecx, found.edx];
            ensure_eq!(found, [eax, ebx, ecx, edx], "{mode:?} {code:x?}");
        }
    }
    Ok(())
}

/// RDMSR, and WRMSR that is refused.
fn msr() -> Result<(), Failure> {
    let base = cpu::rdmsr(0x1b);
    for mode in Mode::ALL {
        let registers = Registers32 { ecx: 0x1b, ..Registers32::default() };
        let end = modes::run(mode, &[0x0f, 0x32], registers);
        ensure_eq!(end.vector, 0x80, "{mode:?}");
        ensure_eq!(end.registers.eax, base as u32, "{mode:?}");
        let registers = Registers32 { ecx: 0xc001_0117, ..Registers32::default() };
        let end = modes::run(mode, &[0x0f, 0x30], registers);
        ensure_eq!(end.vector, 13, "{mode:?}: WRMSR VM_HSAVE_PA");
        ensure_eq!(end.ip, modes::SNIPPET as u32, "{mode:?}: place of the fault");
    }
    Ok(())
}
