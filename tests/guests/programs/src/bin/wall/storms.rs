//! Exceptions without end on one processor: another one makes progress, and ends them.

use core::sync::atomic::{AtomicU64, Ordering};

use guest::{
    Apic, Elsewhere, Failure, Frame, Registers, Report, attempt_elsewhere, cpu, ensure, icr,
    machine, processor, selector, set_handler, smp, time,
};

/// DR7: breakpoint 0 on, on writes or on reads and writes, 8 bytes.
const WATCH_WRITES: u64 = 0x0009_0402;
const WATCH_ALL: u64 = 0x000b_0402;

static TAKEN: AtomicU64 = AtomicU64::new(0);

pub fn cases(report: &mut Report) {
    if smp::count() < 2 {
        return;
    }
    // QEMU's software CPU fails an assertion of its own when the delivery of an exception meets a
    // data breakpoint (seen in 7.2), whatever runs in it.
    if machine::option("silicon").is_some() {
        report.case("endless-debug-stack-init", || storm(debug_stack, icr::INIT));
        report.case("endless-debug-stack-nmi", || storm(debug_stack, icr::NMI));
        report.case("endless-debug-idt", || storm(debug_idt, icr::INIT));
        // Which it does not know.
        report.case("endless-icebp", || storm(icebp, icr::INIT));
    }
    report.case("endless-trap-flag-nmi", || storm(trap_flag, icr::NMI));
    report.case("endless-trap-flag", || storm(trap_flag, icr::INIT));
    report.case("endless-page-faults", || storm(page_faults, icr::INIT));
    report.case("endless-alignment", || storm(alignment, icr::INIT));
    set_handler(1, None);
    set_handler(2, None);
}

/// Lets VP 1 do `work`, which does not end, then interrupts it. VP 0 must get on meanwhile, and VP
/// 1 must start again.
fn storm(work: fn(), end: u32) -> Result<(), Failure> {
    let apic = Apic::current();
    set_handler(1, Some(count));
    set_handler(2, Some(stop));
    TAKEN.store(0, Ordering::Relaxed);
    ensure!(smp::start_processor(apic, 1, work), "VP 1 did not start");
    let start = time::pm_timer();
    let mut rounds = 0u64;
    while time::pm_since(start) < time::PM_HZ / 10 {
        rounds += 1;
    }
    ensure!(rounds > 100, "VP 0 came round only {rounds} times");
    apic.send(1, end | icr::ASSERT);
    time::wait_micros(1_000);
    set_handler(1, None);
    set_handler(14, None);
    // What it does at the restart is finished by INIT, whatever the end was.
    ensure!(smp::run(apic, 1, || ()), "VP 1 did not start again");
    Ok(())
}

fn count(_: &mut Frame) {
    TAKEN.fetch_add(1, Ordering::Relaxed);
}

fn stop(_: &mut Frame) {
    cpu::stop();
}

/// A breakpoint on the stack that the delivery of #DB writes to (CVE-2015-8104).
fn debug_stack() {
    let mut stack = [0u64; 256];
    let rsp = stack.as_mut_ptr_range().end as u64 & !15;
    cpu::set_dr0(rsp - 8);
    cpu::set_dr7(WATCH_WRITES);
    loop {
        // INT1; RET, on that stack.
        let code: [u8; 10] = [0x48, 0x87, 0xfc, 0xf1, 0x50, 0x58, 0x48, 0x87, 0xfc, 0xc3];
        let mut registers = Registers { rdi: rsp, ..Registers::default() };
        let _ = guest::attempt(code.as_ptr() as u64, &mut registers);
    }
}

/// A breakpoint on the gate of #DB.
fn debug_idt() {
    let (table, _) = guest::table();
    cpu::set_dr0(table + 16);
    cpu::set_dr7(WATCH_ALL);
    loop {
        // SAFETY: the handler counts and returns.
        unsafe { core::arch::asm!(".byte 0xf1", options(nostack)) };
    }
}

/// TF stays set forever.
fn trap_flag() {
    // SAFETY: each instruction is followed by the handler, which counts and returns.
    unsafe {
        core::arch::asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "2:", "cpuid", "jmp 2b",
            out("eax") _, out("ecx") _, out("edx") _);
    }
}

fn icebp() {
    loop {
        // SAFETY: the handler counts and returns.
        unsafe { core::arch::asm!(".byte 0xf1", options(nostack)) };
    }
}

/// A page fault whose handler returns to it.
fn page_faults() {
    set_handler(14, Some(count));
    // SAFETY: nothing is mapped there; the fault is intended.
    unsafe { core::arch::asm!("mov rax, [{}]", in(reg) 0x7000_0000_0000u64, out("rax") _) };
}

/// Misaligned accesses at privilege level 3 with alignment checks on (CVE-2015-5307), where the CPU
/// has them; QEMU's software CPU does not raise #AC.
fn alignment() {
    const ALIGNMENT_MASK: u64 = 1 << 18;
    cpu::set_cr0(cpu::cr0() | ALIGNMENT_MASK);
    let mut stack = [0u64; 64];
    let rsp = stack.as_mut_ptr_range().end as u64 - 3;
    let place = Elsewhere {
        cs: selector::USER_TEXT_64,
        ss: selector::USER_DATA,
        rsp,
        rflags: ALIGNMENT_MASK | 2,
    };
    // PUSH RAX; POP RAX; INT 80h.
    let code: [u8; 4] = [0x50, 0x58, 0xcd, 0x80];
    while processor().index == 1 {
        let mut registers = Registers::default();
        let _ = attempt_elsewhere(&place, code.as_ptr() as u64, &mut registers);
    }
}
