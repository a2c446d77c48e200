//! Nothing of the host's firmware is left in memory, and the holes behave.
//!
//! With `video=N` on the command line it only accesses video memory N times, so that the runner can
//! compare the exits of two runs.
#![no_std]
#![no_main]

use guest::machine::{self, RAM, Range};
use guest::{Failure, Report, cpu, ensure_eq, fail};

const PAGE: u64 = 4096;
const ROMS: Range = Range { start: 0xc_0000, end: 0x10_0000, kind: 0 };
const VIDEO: Range = Range { start: 0xa_0000, end: 0xc_0000, kind: 0 };
/// Ranges below 1 MiB that the guest itself or its loader has filled: real-mode vectors, the part
/// for other operating modes, and the loader's structures.
const LOW: [Range; 2] =
    [Range { start: 0, end: 0x1_0000, kind: 0 }, Range { start: 0x9_8000, end: 0xa_0000, kind: 0 }];
/// Where our own anchors and SMBIOS structures lie.
const ANCHORS: Range = Range { start: 0xf_0000, end: 0xf_1000, kind: 0 };
const OEM: &[u8; 6] = b"PARAVN";

/// Texts that firmware leaves, each byte with its top bit set: this image must not hold them.
const TRACES: [&[u8]; 17] = [
    &hidden(*b"SeaBIOS"),
    &hidden(*b"QEMU"),
    &hidden(*b"BOCHS"),
    &hidden(*b"Bochs"),
    &hidden(*b"BXPC"),
    &hidden(*b"iPXE"),
    &hidden(*b"etc/e820"),
    &hidden(*b"opt/org.para"),
    &hidden(*b"vgabios"),
    &hidden(*b"_MP_"),
    &hidden(*b"$PIR"),
    &hidden(*b"_32_"),
    &hidden(*b"$PnP"),
    &hidden(*b"_SM3_"),
    &hidden(*b"_DMI_"),
    &hidden(*b"_SM_"),
    &hidden(*b"RSD PTR "),
];

/// ACPI signatures, which may only stand before our own OEM ID.
const TABLES: [&[u8]; 8] = [
    &hidden(*b"FACP"),
    &hidden(*b"DSDT"),
    &hidden(*b"SSDT"),
    &hidden(*b"APIC"),
    &hidden(*b"HPET"),
    &hidden(*b"MCFG"),
    &hidden(*b"RSDT"),
    &hidden(*b"XSDT"),
];

const fn hidden<const N: usize>(text: [u8; N]) -> [u8; N] {
    let mut hidden = text;
    let mut index = 0;
    while index < N {
        hidden[index] |= 0x80;
        index += 1;
    }
    hidden
}

guest::main!(leftovers);

fn leftovers(report: &mut Report) {
    if let Some(count) = machine::option("video").and_then(|count| count.parse().ok()) {
        return report.case("video-accesses", || video(count));
    }
    report.case("firmware-in-ram", || {
        machine::map().iter().filter(|range| readable(range)).try_for_each(search)
    });
    report.case("firmware-in-roms", || search(&ROMS));
    report.case("free-ram-is-zero", free_ram);
    report.case("keyboard-controller", || {
        ensure_eq!(cpu::in8(0x64), 0, "port 64h");
        Ok(())
    });
    report.case("video-memory", || video(64));
    // At VMPL1 no memory is there, and the host has none to give.
    let has_video = !machine::is_confidential();
    if !has_video {
        report.case("video-memory-is-absent", || {
            ensure_eq!(cpu::read32(VIDEO.start), u32::MAX, "what is read there");
            Ok(())
        });
    }
    let memory = if has_video { Range { start: VIDEO.start, ..ROMS } } else { ROMS };
    report.case("one-answer-to-ports", || one_answer(&memory));
    report.case("code-in-the-holes", || code(&memory));
}

/// RAM and ACPI tables.
fn readable(range: &Range) -> bool {
    matches!(range.kind, RAM | 3 | 4)
}

fn byte(at: u64) -> u8 {
    let value: u8;
    // SAFETY: all memory is mapped to itself; address zero is memory like any other here.
    unsafe {
        core::arch::asm!("mov {value}, [{at}]", at = in(reg) at, value = out(reg_byte) value,
            options(nostack, preserves_flags, readonly));
    }
    value
}

fn word(at: u64) -> u64 {
    let value: u64;
    // SAFETY: as for `byte`.
    unsafe {
        core::arch::asm!("mov {value}, [{at}]", at = in(reg) at, value = out(reg) value,
            options(nostack, preserves_flags, readonly));
    }
    value
}

fn search(range: &Range) -> Result<(), Failure> {
    for start in (range.start..range.end).step_by(8) {
        if word(start) == 0 {
            continue;
        }
        for at in start..start + 8 {
            search_at(at, range.end)?;
        }
    }
    Ok(())
}

fn search_at(at: u64, end: u64) -> Result<(), Failure> {
    let stands = |text: &[u8]| {
        at + text.len() as u64 <= end
            && (at..).zip(text).all(|(at, wanted)| byte(at) | 0x80 == *wanted && byte(at) < 0x80)
    };
    let is_anchor = (ANCHORS.start..ANCHORS.end).contains(&at);
    if let Some(text) = TRACES.iter().find(|text| stands(text))
        && !(is_anchor && matches!(text[1] & 0x7f, b'S' | b'D'))
    {
        fail!("{} at {at:#x}", shown(text, &mut [0; 16]));
    }
    if let Some(text) = TABLES.iter().find(|text| stands(text)) {
        let ours = (at + 10..).zip(OEM).all(|(at, wanted)| byte(at) == *wanted);
        // Lists of signatures may stand in other tables' code; a table's length is plausible.
        let length = word(at) >> 32;
        if !ours && (36..1 << 20).contains(&length) {
            fail!("{} of another maker at {at:#x}", shown(text, &mut [0; 16]));
        }
    }
    Ok(())
}

fn shown<'a>(text: &[u8], buffer: &'a mut [u8; 16]) -> &'a str {
    for (to, from) in buffer.iter_mut().zip(text) {
        *to = from & 0x7f;
    }
    core::str::from_utf8(buffer.get(..text.len()).unwrap_or_default()).unwrap_or_default()
}

/// Unallocated RAM is empty: it has no data of the firmware or of the paravisor.
fn free_ram() -> Result<(), Failure> {
    let image = machine::image();
    let known =
        |at: u64| LOW.iter().chain([&image]).any(|range| (range.start..range.end).contains(&at));
    for range in machine::map().iter().filter(|range| range.kind == RAM) {
        for page in (range.start..range.end).step_by(PAGE as usize).filter(|page| !known(*page)) {
            let full = (page..page + PAGE).step_by(8).find(|at| word(*at) != 0);
            if let Some(at) = full {
                fail!("{at:#x} holds {:#x}", word(at));
            }
        }
    }
    Ok(())
}

/// The scratch register of the second serial port, which keeps the byte written to it.
const SCRATCH: u16 = 0x2ff;

/// In the holes below 1 MiB, an emulated instruction reads the bytes that the CPU has written, and
/// vice versa.
fn one_answer(memory: &Range) -> Result<(), Failure> {
    for at in (memory.start..memory.end).step_by(0x3ff8) {
        let before = word(at);
        cpu::write32(at, 0x1234_5678);
        // SAFETY: OUTSB and INSB of one byte in unused memory.
        unsafe {
            core::arch::asm!("outsb", in("dx") SCRATCH, inout("rsi") at + 1 => _);
        }
        ensure_eq!(cpu::in8(SCRATCH), 0x56, "what OUTSB read");
        cpu::out8(SCRATCH, 0x9a);
        // SAFETY: as above.
        unsafe {
            core::arch::asm!("insb", in("dx") SCRATCH, inout("rdi") at + 2 => _);
        }
        ensure_eq!(cpu::read32(at), 0x129a_5678, "what INSB wrote");
        cpu::write32(at, before as u32);
    }
    Ok(())
}

/// Code in the holes reads a device's register: the paravisor fetches it from where the CPU did.
fn code(memory: &Range) -> Result<(), Failure> {
    /// The version register of the local APIC.
    const REGISTER: u64 = 0xfee0_0030;
    let expected = cpu::read32(REGISTER);
    let places = [VIDEO.start, VIDEO.end - 8, ROMS.start];
    for at in places.into_iter().filter(|at| (memory.start..memory.end).contains(at)) {
        let before = word(at);
        // MOV EAX, [RDI]; RET.
        cpu::write32(at, 0x00c3_078b);
        let value: u32;
        // SAFETY: the code reads one register, and returns.
        unsafe {
            core::arch::asm!("call {at}", at = in(reg) at, in("rdi") REGISTER,
                out("eax") value);
        }
        cpu::write32(at, before as u32);
        ensure_eq!(value, expected, "version of the local APIC");
    }
    Ok(())
}

/// Accesses all over video memory.
fn video(count: u64) -> Result<(), Failure> {
    let places = (VIDEO.start..VIDEO.end).step_by(0x1ff8).cycle();
    for (at, value) in places.zip(0..count) {
        cpu::write32(at, value as u32);
        cpu::read32(at);
    }
    Ok(())
}
