//! Priorities, masks and NMIs on one VP.

use core::sync::atomic::{AtomicU32, Ordering};

use guest::{Apic, Failure, Report, cpu, ensure, ensure_eq, icr, time};

use crate::ipi::name;
use crate::recorder::{apic, clear, count, order, set_hook};

const HIGH: u8 = 0x91;
const MIDDLE: u8 = 0x71;
const LOW: u8 = 0x51;

static SEEN: AtomicU32 = AtomicU32::new(0);

pub fn cases(report: &mut Report, apic: Apic, mode: &str) {
    report.case(&name("priority-order", mode), || priority_order(apic));
    report.case(&name("nesting", mode), || nesting(apic));
    report.case(&name("task-priority", mode), || open_after(apic, task_priority(apic)));
    report.case(&name("cr8", mode), || open_after(apic, cr8(apic)));
    report.case(&name("in-service", mode), || in_service(apic));
    report.case(&name("nmi-masked-until-iret", mode), || nested_nmi(apic));
    report.case(&name("nmi-wakes", mode), || nmi_wakes(apic));
    report.case(&name("halt-wakes", mode), || halt_wakes(apic));
    report.case(&name("software-disable", mode), || software_disable(apic));
    set_hook(None);
}

fn to_self(apic: Apic, vector: u8) {
    apic.send(0, icr::TO_SELF | u32::from(vector));
}

/// Leaves no priority behind, whatever the outcome.
fn open_after(apic: Apic, outcome: Result<(), Failure>) -> Result<(), Failure> {
    apic.write(Apic::TPR, 0);
    cpu::open_interrupts_briefly();
    outcome
}

/// Pending interrupts are delivered highest first.
fn priority_order(apic: Apic) -> Result<(), Failure> {
    clear();
    for vector in [LOW, HIGH, MIDDLE] {
        to_self(apic, vector);
    }
    cpu::open_interrupts_briefly();
    ensure_eq!(order(), [HIGH, MIDDLE, LOW, 0], "order");
    Ok(())
}

/// While MIDDLE is in service, HIGH comes and LOW does not.
fn nesting(apic: Apic) -> Result<(), Failure> {
    clear();
    set_hook(Some(|vector| {
        if vector == MIDDLE {
            to_self(self::apic(), LOW);
            to_self(self::apic(), HIGH);
            cpu::open_interrupts_briefly();
            SEEN.store(count(0, HIGH) << 8 | count(0, LOW), Ordering::Release);
        }
    }));
    to_self(apic, MIDDLE);
    cpu::open_interrupts_briefly();
    set_hook(None);
    cpu::open_interrupts_briefly();
    ensure_eq!(SEEN.load(Ordering::Acquire), 0x100, "HIGH and LOW within MIDDLE");
    ensure_eq!(order(), [MIDDLE, HIGH, LOW, 0], "order");
    Ok(())
}

fn task_priority(apic: Apic) -> Result<(), Failure> {
    clear();
    apic.write(Apic::TPR, 0x70);
    ensure_eq!(cpu::cr8(), 7, "CR8 after TPR");
    ensure_eq!(apic.read(Apic::PPR) & 0xf0, 0x70, "PPR");
    for vector in [LOW, MIDDLE, HIGH] {
        to_self(apic, vector);
    }
    cpu::open_interrupts_briefly();
    ensure_eq!(order(), [HIGH, 0, 0, 0], "above the task priority");
    apic.write(Apic::TPR, 0x60);
    cpu::open_interrupts_briefly();
    ensure_eq!(order(), [HIGH, MIDDLE, 0, 0], "with TPR lowered");
    apic.write(Apic::TPR, 0);
    cpu::open_interrupts_briefly();
    ensure_eq!(order(), [HIGH, MIDDLE, LOW, 0], "with TPR zero");
    Ok(())
}

fn cr8(apic: Apic) -> Result<(), Failure> {
    clear();
    cpu::set_cr8(9);
    ensure_eq!(apic.read(Apic::TPR), 0x90, "TPR after CR8");
    to_self(apic, HIGH);
    to_self(apic, LOW);
    cpu::open_interrupts_briefly();
    ensure_eq!(order(), [0; 4], "nothing above CR8");
    cpu::set_cr8(5);
    cpu::open_interrupts_briefly();
    ensure_eq!(order(), [HIGH, 0, 0, 0], "with CR8 lowered");
    // CR8 is lowered with interrupts enabled: pending interrupts are delivered at once.
    cpu::enable_interrupts();
    cpu::set_cr8(0);
    time::wait_micros(200);
    cpu::disable_interrupts();
    ensure_eq!(order(), [HIGH, LOW, 0, 0], "with CR8 zero");
    // CR8 moves while an interrupt waits for IF alone.
    clear();
    to_self(apic, MIDDLE);
    for class in [9, 1, 15, 0] {
        cpu::set_cr8(class);
        ensure_eq!(cpu::cr8(), class, "CR8 while an interrupt waits");
    }
    ensure_eq!(order(), [0; 4], "with interrupts off");
    cpu::open_interrupts_briefly();
    ensure_eq!(order(), [MIDDLE, 0, 0, 0], "with interrupts on");
    Ok(())
}

fn in_service(apic: Apic) -> Result<(), Failure> {
    clear();
    let place = |first: u32| first + u32::from(MIDDLE >> 5) * 0x10;
    let bit = 1 << (MIDDLE & 31);
    to_self(apic, MIDDLE);
    ensure_eq!(apic.read(place(Apic::IRR)) & bit, bit, "IRR before");
    set_hook(Some(|_| {
        let apic = self::apic();
        let at = u32::from(MIDDLE >> 5) * 0x10;
        let bits = [apic.read(Apic::ISR + at), apic.read(Apic::IRR + at)];
        let seen = bits.map(|word| word >> (MIDDLE & 31) & 1);
        SEEN.store(seen[0] << 1 | seen[1], Ordering::Release);
    }));
    cpu::open_interrupts_briefly();
    set_hook(None);
    ensure_eq!(SEEN.load(Ordering::Acquire), 0b10, "ISR, IRR in the handler");
    ensure_eq!(apic.read(place(Apic::ISR)) & bit, 0, "ISR after EOI");
    Ok(())
}

/// A second NMI waits for the first one's IRET; a third is the same as the second.
fn nested_nmi(apic: Apic) -> Result<(), Failure> {
    clear();
    SEEN.store(0, Ordering::Release);
    set_hook(Some(|vector| {
        if vector == 2 && count(0, 2) == 1 {
            self::apic().send(0, icr::NMI);
            self::apic().send(0, icr::NMI);
            time::wait_micros(500);
            SEEN.store(count(0, 2), Ordering::Release);
        }
    }));
    apic.send(0, icr::NMI);
    time::wait_micros(500);
    set_hook(None);
    ensure_eq!(SEEN.load(Ordering::Acquire), 1, "NMIs within the first");
    ensure_eq!(count(0, 2), 2, "NMIs in the end");
    Ok(())
}

/// An NMI ends HLT with interrupts off.
fn nmi_wakes(apic: Apic) -> Result<(), Failure> {
    clear();
    // The timer's entry delivers no NMI, LINT1's pin nobody drives: NMI to itself, then HLT would
    // sleep for ever if the NMI were not taken first or did not wake.
    for _ in 0..20 {
        apic.send(0, icr::NMI);
    }
    ensure!(count(0, 2) >= 1, "no NMI with interrupts off");
    Ok(())
}

/// STI; HLT with an interrupt that arrives before, at or after: never lost.
fn halt_wakes(apic: Apic) -> Result<(), Failure> {
    clear();
    apic.write(Apic::DIVIDE, 0b1011);
    apic.write(Apic::TIMER, u32::from(MIDDLE));
    for round in 0..200u32 {
        // From "at once" to a tenth of a millisecond.
        let start = time::pm_timer();
        apic.write(Apic::INITIAL, 1 + round * 500);
        while count(0, MIDDLE) <= round {
            cpu::wait_for_interrupt();
        }
        // One that is lost comes with the next interrupt of the host, seconds later.
        ensure!(time::pm_since(start) < 3 * time::PM_HZ, "round {round} took seconds");
    }
    apic.write(Apic::TIMER, Apic::MASKED);
    Ok(())
}

/// A disabled APIC masks its local vector table, and takes no IPIs.
fn software_disable(apic: Apic) -> Result<(), Failure> {
    clear();
    apic.write(Apic::SVR, 0xff);
    ensure!(apic.read(Apic::TIMER) & Apic::MASKED != 0, "LVT stays open");
    apic.write(Apic::TIMER, u32::from(MIDDLE));
    ensure!(apic.read(Apic::TIMER) & Apic::MASKED != 0, "LVT opens while disabled");
    apic.write(Apic::SVR, 0x1ff);
    to_self(apic, MIDDLE);
    cpu::open_interrupts_briefly();
    ensure_eq!(count(0, MIDDLE), 1, "an IPI after it is enabled again");
    Ok(())
}
