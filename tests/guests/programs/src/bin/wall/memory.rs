//! The paravisor's memory: reads all-ones, takes no writes, runs nothing.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use guest::machine::Range;
use guest::paging::{self, LARGE, OPEN};
use guest::{
    Apic, Elsewhere, Failure, Registers, Report, attempt_bytes, attempt_elsewhere, cpu, ensure,
    ensure_eq, outcome, selector, smp,
};

/// Virtual addresses for mappings of our own.
const ALIAS: u64 = 0x100_0000_0000;
const UNDEFINED: u8 = 6;
const PAGE_FAULT: u8 = 14;

static OWN_START: AtomicU64 = AtomicU64::new(0);
static OWN_END: AtomicU64 = AtomicU64::new(0);
static WRONG: AtomicU32 = AtomicU32::new(0);

pub fn cases(report: &mut Report, own: Range) {
    OWN_START.store(own.start, Ordering::Relaxed);
    OWN_END.store(own.end, Ordering::Relaxed);
    report.case("own-memory-read-write", || sweep(own.start, own.end));
    report.case("own-memory-4k-page", || {
        for offset in (0..own.end - own.start).step_by(0x1_0000) {
            paging::map(paging::root(), ALIAS, 4096, (own.start + offset) | OPEN);
            sweep(ALIAS, ALIAS + 4096)?;
        }
        Ok(())
    });
    report.case("own-memory-1g-page", || {
        let entry = own.start & !0x3fff_ffff | OPEN | LARGE;
        paging::map(paging::root(), ALIAS + (1 << 30), 1 << 30, entry);
        let at = ALIAS + (1 << 30) + (own.start & 0x3fff_ffff);
        sweep(at, at + (own.end - own.start))
    });
    report.case("own-memory-locked", || locked(own));
    report.case("own-memory-strings", || strings(own));
    report.case("own-memory-border", || border(own));
    report.case("own-memory-execute", || execute(own));
    report.case("own-memory-privilege-3", || user(own));
    report.case("own-memory-page-tables", || page_tables(own));
    report.case("own-memory-stack", || stack(own));
    report.case("own-memory-from-all", || from_all(own));
}

/// Reads and writes at steps, first and last bytes included.
fn sweep(start: u64, end: u64) -> Result<(), Failure> {
    let steps = (start..end).step_by(0x3ffc.min((end - start) as usize / 4));
    for at in steps.chain([end - 8]) {
        ensure_eq!(cpu::read32(at), u32::MAX, "{at:#x}");
        ensure_eq!(cpu::read64(at & !7), u64::MAX, "{at:#x}, 8 bytes");
        cpu::write32(at, 0);
        cpu::write64(at & !7, 0x1234_5678_9abc_def0);
        ensure_eq!(cpu::read32(at), u32::MAX, "{at:#x} after writes");
    }
    Ok(())
}

fn locked(own: Range) -> Result<(), Failure> {
    // XADD, BTS, OR, CMPXCHG, XCHG, CMPXCHG8B, INC, each at [RDI].
    let codes: [&[u8]; 7] = [
        &[0xf0, 0x0f, 0xc1, 0x07],
        &[0xf0, 0x0f, 0xba, 0x2f, 3],
        &[0xf0, 0x09, 0x07],
        &[0xf0, 0x0f, 0xb1, 0x0f],
        &[0x87, 0x07],
        &[0xf0, 0x0f, 0xc7, 0x0f],
        &[0xf0, 0xff, 0x07],
    ];
    for code in codes {
        for at in [own.start, own.start + 0x8000, own.end - 16] {
            let mut registers =
                Registers { rax: 0xffff_ffff, rdi: at, rcx: 0x55, ..Registers::default() };
            let result = attempt_bytes(code, &mut registers);
            ensure_eq!(outcome(result), None, "{code:x?}");
            ensure_eq!(cpu::read32(at), u32::MAX, "{at:#x} after {code:x?}");
        }
    }
    // CMPXCHG16B is #GP where the CPU has none.
    let mut registers = Registers { rdi: own.start, ..Registers::default() };
    let _ = attempt_bytes(&[0xf0, 0x48, 0x0f, 0xc7, 0x0f], &mut registers);
    ensure_eq!(cpu::read32(own.start), u32::MAX, "after CMPXCHG16B");
    Ok(())
}

fn strings(own: Range) -> Result<(), Failure> {
    let mut buffer = [0x5a5a_5a5au32; 1024];
    let address = buffer.as_mut_ptr() as u64;
    let run = |code: &[u8], rsi: u64, rdi: u64, rcx: u64| {
        let mut registers = Registers { rsi, rdi, rcx, ..Registers::default() };
        let result = attempt_bytes(code, &mut registers);
        (outcome(result), registers.rcx)
    };
    // REP MOVSB out, REP MOVSD in, REP STOSQ in, from place to place; REP LODSB.
    ensure_eq!(run(&[0xf3, 0xa4], own.start, address, 4096), (None, 0), "REP MOVSB out");
    for index in 0..1024 {
        ensure_eq!(cpu::read32(address + index * 4), u32::MAX, "what MOVSB brought");
    }
    for index in 0..1024 {
        cpu::write32(address + index * 4, 0x1111_1111);
    }
    ensure_eq!(run(&[0xf3, 0xa5], address, own.start, 1024), (None, 0), "REP MOVSD in");
    ensure_eq!(run(&[0xf3, 0x48, 0xab], 0, own.start, 512), (None, 0), "REP STOSQ");
    ensure_eq!(run(&[0xf3, 0xa4], own.start, own.start + 0x4000, 512), (None, 0), "within");
    ensure_eq!(run(&[0xf3, 0xac], own.start, 0, 512), (None, 0), "REP LODSB");
    sweep(own.start, own.start + 0x1_0000)?;
    // INS and OUTS with the memory as their buffer.
    for code in [[0xf3, 0x6c], [0xf3, 0x6e]] {
        let mut registers = Registers {
            rdx: 0x92,
            rcx: 16,
            rdi: own.start,
            rsi: own.start + 1,
            ..Registers::default()
        };
        if code[1] == 0x6e {
            registers.rdx = 0xe0;
        }
        ensure_eq!(outcome(attempt_bytes(&code, &mut registers)), None, "{code:x?}");
    }
    sweep(own.start, own.start + 0x1000)
}

/// Accesses that start in RAM and end in the paravisor's memory.
fn border(own: Range) -> Result<(), Failure> {
    let before = cpu::read32(own.start - 4);
    let found = cpu::read64(own.start - 4);
    ensure_eq!(found, u64::MAX << 32 | u64::from(before), "8 bytes across the border");
    cpu::write64(own.start - 4, !u64::from(before) & 0xffff_ffff);
    ensure_eq!(cpu::read32(own.start - 4), !before, "RAM before the border");
    ensure_eq!(cpu::read32(own.start), u32::MAX, "behind the border");
    cpu::write32(own.start - 4, before);
    Ok(())
}

fn execute(own: Range) -> Result<(), Failure> {
    // JMP RAX, at RIPs within and across the border.
    for at in [own.start, own.start + 0x800, own.end - 2, own.end - 0x1000] {
        let mut registers = Registers { rax: at, ..Registers::default() };
        let fault = attempt_bytes(&[0xff, 0xe0], &mut registers).err().unwrap_or_default();
        ensure_eq!(fault.vector, UNDEFINED, "running {at:#x}");
        ensure_eq!(fault.rip, at, "place of the fault");
    }
    Ok(())
}

fn user(own: Range) -> Result<(), Failure> {
    let mut stack = [0u64; 64];
    let rsp = stack.as_mut_ptr_range().end as u64;
    let place = Elsewhere { cs: selector::USER_TEXT_64, ss: selector::USER_DATA, rsp, rflags: 2 };
    // MOV EAX, [RSI]; MOV [RSI], EDI; MOV EBX, [RSI]; INT 80h.
    let code: [u8; 8] = [0x8b, 0x06, 0x89, 0x3e, 0x8b, 0x1e, 0xcd, 0x80];
    let mut registers = Registers { rsi: own.start, ..Registers::default() };
    let end = attempt_elsewhere(&place, code.as_ptr() as u64, &mut registers);
    ensure_eq!(end.vector, 0x80, "end");
    ensure_eq!((registers.rax, registers.rbx), (0xffff_ffff, 0xffff_ffff), "reads");
    Ok(())
}

/// Tables of each level in the paravisor's memory: their entries are all-ones, which has reserved
/// bits set.
fn page_tables(own: Range) -> Result<(), Failure> {
    const PRESENT_RESERVED: u64 = 0b1001;
    for (level, size) in [(1, 1 << 21), (2, 1 << 30), (3, 1u64 << 39)] {
        let address = ALIAS * 2 + level * (1 << 40);
        paging::map(paging::root(), address, size, own.start | OPEN);
        for (code, write) in [(&[0x8b, 0x06], 0), (&[0x89, 0x06], 2)] {
            let mut registers = Registers { rsi: address, ..Registers::default() };
            let fault = attempt_bytes(code, &mut registers).err().unwrap_or_default();
            ensure_eq!(fault.vector, PAGE_FAULT, "table of level {level}");
            ensure_eq!(fault.error_code, PRESENT_RESERVED | write, "level {level}: error code");
            ensure_eq!(fault.cr2, address, "level {level}: CR2");
        }
        paging::map(paging::root(), address, size, 0);
    }
    sweep(own.start, own.start + 0x1000)
}

/// A stack there: pushes are lost, pops give all-ones.
fn stack(own: Range) -> Result<(), Failure> {
    // XCHG RSP, RDI; PUSH RAX; POP RBX; XCHG RSP, RDI.
    let code = [0x48, 0x87, 0xfc, 0x50, 0x5b, 0x48, 0x87, 0xfc];
    let rdi = own.start + 0x800;
    let mut registers = Registers { rdi, ..Registers::default() };
    ensure_eq!(outcome(attempt_bytes(&code, &mut registers)), None, "PUSH, POP");
    ensure_eq!(registers.rbx, u64::MAX, "what POP gave");
    ensure_eq!(registers.rdi, rdi, "RSP afterwards");
    Ok(())
}

/// The accesses that all processors make at the same time.
fn hammer() {
    let (start, end) = (OWN_START.load(Ordering::Relaxed), OWN_END.load(Ordering::Relaxed));
    for round in 0..4u64 {
        for at in (start + round * 8..end).step_by(0x2ff8) {
            cpu::write64(at, round);
            // SAFETY: the address is mapped, and what is behind it takes no writes.
            unsafe { asm!("lock inc dword ptr [{}]", in(reg) at, options(nostack)) };
            if cpu::read64(at) != u64::MAX {
                WRONG.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn from_all(own: Range) -> Result<(), Failure> {
    let apic = Apic::current();
    for index in 1..smp::count() {
        ensure!(smp::start_processor(apic, index, hammer), "VP {index} did not start");
    }
    hammer();
    for index in 1..smp::count() {
        let done = guest::time::wait_until(10_000, || smp::has_finished(index));
        ensure!(done, "VP {index} did not finish");
    }
    ensure_eq!(WRONG.load(Ordering::Relaxed), 0, "reads other than all-ones");
    sweep(own.start, own.end)
}
