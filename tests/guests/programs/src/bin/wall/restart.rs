//! Steps that end in a restart of the machine, which the next start finds in RAM.

use core::arch::asm;

use guest::machine::Range;
use guest::{
    Apic, Failure, Registers, Report, attempt_bytes, cpu, ensure, ensure_eq, icr, machine, outcome,
    println, smp, time,
};

/// RAM that neither the loader nor we use otherwise.
const PLACE: u64 = 0x300_0000;
const MAGIC: u64 = 0x5061_7261_7661_6e65;
/// A shutdown soon after the start would end the machine.
const OLD_ENOUGH: u64 = 1_200_000;

/// A step by name: it gets the paravisor's range and does not return.
type Step = (&'static str, fn(Range));

const STEPS: [Step; 20] = [
    ("restart-reset-control", |_| restart()),
    ("restart-keyboard", |_| cpu::out8(0x64, 0xfe)),
    ("restart-port-92", |_| cpu::out8(0x92, 1)),
    ("restart-init", |_| Apic::current().send(0, icr::INIT | icr::ASSERT)),
    ("restart-from-ap", |_| on_another(|| cpu::out8(0xcf9, 6))),
    ("shutdown", |_| triple_fault(0)),
    ("shutdown-ap", |_| on_another(|| triple_fault(0))),
    ("shutdown-idt", |own| triple_fault(own.start)),
    ("shutdown-cr3", |own| cpu::set_cr3(own.start)),
    ("shutdown-gdt", |own| descriptors_there(own.start)),
    ("shutdown-task", |own| task_there(own.start)),
    ("survive-stack-call", |own| stack_there(own.start, &[0xe8, 0, 0, 0, 0])),
    ("survive-stack-exception", |own| stack_there(own.start, &[0x0f, 0x0b])),
    ("control-paging-unprotected", |_| control_register(CR0, cpu::cr0() & !1)),
    ("control-nw-without-cd", |_| control_register(CR0, cpu::cr0() | 1 << 29)),
    ("control-cr0-upper-half", |_| control_register(CR0, cpu::cr0() | 1 << 32)),
    ("control-without-pae", |_| control_register(CR4, cpu::cr4() & !(1 << 5))),
    ("control-vmxe", |_| control_register(CR4, cpu::cr4() | 1 << 13)),
    ("control-cr4-reserved", |_| control_register(CR4, cpu::cr4() | 1 << 15)),
    ("control-cr4-upper-half", |_| control_register(CR4, cpu::cr4() | 1 << 40)),
];

/// Whether a step was under way before this start.
pub fn steps_left(report: &mut Report) -> bool {
    let under_way = cpu::read64(PLACE) == MAGIC;
    if under_way {
        report.passed = cpu::read64(PLACE + 16);
        report.failed = cpu::read64(PLACE + 24);
    }
    under_way
}

/// Starts with the first step.
pub fn begin(report: &Report) {
    cpu::write64(PLACE, MAGIC);
    take_step(report, 0);
}

/// Reports the step before this restart as passed and runs the next one.
pub fn next(report: &mut Report) {
    let step = cpu::read64(PLACE + 8) as usize;
    if let Some((name, _)) = STEPS.get(step) {
        report.case(name, clean_start);
    }
    take_step(report, step + 1);
}

fn take_step(report: &Report, step: usize) {
    let (Some((name, act)), Some(own)) = (STEPS.get(step), machine::paravisor()) else {
        return cpu::write64(PLACE, 0);
    };
    cpu::write64(PLACE + 8, step as u64);
    cpu::write64(PLACE + 16, report.passed);
    cpu::write64(PLACE + 24, report.failed);
    if name.ends_with("-ap") && smp::count() < 2 || !report.wants(name) {
        return take_step(report, step + 1);
    }
    if !name.starts_with("restart") {
        time::wait_micros(OLD_ENOUGH);
    }
    leave_traces();
    act(own);
    time::wait_micros(500_000);
    println!("test {name} FAILED: the machine went on");
    cpu::write64(PLACE, 0);
}

/// MOV CR0, RAX.
const CR0: &[u8] = &[0x0f, 0x22, 0xc0];
/// MOV CR4, RAX.
const CR4: &[u8] = &[0x0f, 0x22, 0xe0];

/// MOV to a control register of a value that must raise #GP. QEMU's software CPU accepts some of
/// them; the guest then cannot be entered again, which counts as a shutdown.
fn control_register(code: &[u8], value: u64) {
    let before = (cpu::cr0(), cpu::cr4());
    let mut registers = Registers { rax: value, ..Registers::default() };
    if outcome(attempt_bytes(code, &mut registers)) != Some(13) {
        // An exit: the value is looked at at the entry after it.
        cpu::cpuid(0, 0);
        cpu::set_cr0(before.0);
        cpu::set_cr4(before.1);
    }
    restart();
}

/// Code on a stack there: pushes are lost, so an exception may find its handler or not.
fn stack_there(base: u64, code: &[u8]) {
    // XCHG RSP, RDI; the code; XCHG RSP, RDI.
    let mut bytes = [0x90; 16];
    bytes[..3].copy_from_slice(&[0x48, 0x87, 0xfc]);
    bytes[3..3 + code.len()].copy_from_slice(code);
    bytes[13..].copy_from_slice(&[0x48, 0x87, 0xfc]);
    let mut registers = Registers { rdi: base + 0x800, ..Registers::default() };
    let _ = attempt_bytes(&bytes, &mut registers);
    restart();
}

/// It went well; on as if the machine had restarted.
fn restart() {
    cpu::out8(0xcf9, 2);
    cpu::out8(0xcf9, 6);
}

/// Registers that a restart has to clear.
fn leave_traces() {
    cpu::set_dr0(0x1234);
    // SAFETY: the target uses no SSE registers.
    unsafe { asm!("mov rax, 0x1234", "movq xmm7, rax", out("rax") _, options(nostack)) };
    cpu::out8(0x70, 0x0b);
    Apic::current().write(Apic::LINT0, 0x1_0000);
}

fn clean_start() -> Result<(), Failure> {
    let trace: u64;
    // SAFETY: reads a register.
    unsafe { asm!("movq {}, xmm7", out(reg) trace, options(nostack)) };
    ensure_eq!(trace, 0, "XMM7");
    ensure_eq!(cpu::dr0(), 0, "DR0");
    ensure_eq!(cpu::dr7(), 0x400, "DR7");
    ensure_eq!(Apic::current(), Apic::Page, "APIC mode");
    ensure_eq!(Apic::Page.read(Apic::LINT0) & 0x1_0700, 0x700, "LINT0");
    let own = machine::paravisor().map_or(0, |own| own.start);
    ensure!(own != 0 && cpu::read32(own) == u32::MAX, "the paravisor's memory");
    Ok(())
}

/// Triggers a breakpoint with no usable gate for it or for the faults that follow.
fn triple_fault(table: u64) {
    cpu::load_idt(table, if table == 0 { 0 } else { 0xfff });
    // SAFETY: it does not come back.
    unsafe { asm!("int3") };
}

/// Sets the descriptor table to `base` and loads a segment from it.
fn descriptors_there(base: u64) {
    cpu::load_gdt(base, 0xffff);
    // SAFETY: it does not come back, or to a breakpoint that finds no code segment.
    unsafe { asm!("mov es, {:e}", "int3", in(reg) 0x28u64) };
}

/// Sets the task state segment to `base`; privilege level 3 then takes an interrupt.
fn task_there(base: u64) {
    let low = 0x0000_8900_0000_0067 | (base & 0xff_ffff) << 16 | (base >> 24 & 0xff) << 56;
    let table = [
        0,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00cf_f300_0000_ffff,
        0x00af_fb00_0000_ffff,
        low,
        base >> 32,
    ];
    cpu::load_gdt(table.as_ptr() as u64, 55);
    // SAFETY: it does not come back.
    unsafe {
        asm!("ltr {task:x}", "push 0x1b", "push rsp", "push 2", "push 0x23", "lea rax, [rip + 2f]",
            "push rax", "iretq", "2: int 0x80", task = in(reg) 0x28u64, out("rax") _);
    }
}

fn on_another(work: fn()) {
    if smp::count() > 1 {
        smp::start_processor(Apic::current(), 1, work);
    } else {
        work();
    }
}
