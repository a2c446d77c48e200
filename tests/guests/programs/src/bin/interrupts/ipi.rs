//! Interrupts between VPs.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use guest::{Apic, Failure, Report, cpu, ensure, ensure_eq, icr, processor, smp, time};

use crate::recorder::{PATIENCE, apic, clear, count};

const VECTOR: u8 = 0x61;
/// Time for an interrupt that must not come.
const QUIET_MICROS: u64 = 3_000;

static LISTENING: AtomicU32 = AtomicU32::new(0);
static CLUSTERS: AtomicBool = AtomicBool::new(false);

pub fn cases(report: &mut Report, apic: Apic, mode: &str) {
    report.case(&name("ipi-start", mode), || listen_all(apic, false));
    report.case(&name("ipi-physical", mode), || physical(apic));
    report.case(&name("ipi-shorthands", mode), || shorthands(apic));
    report.case(&name("ipi-broadcast", mode), || broadcast(apic));
    report.case(&name("ipi-nmi", mode), || nmi(apic));
    report.case(&name("ipi-lowest-priority", mode), || lowest(apic));
    if apic == Apic::Page {
        report.case("ipi-logical-flat", || logical(apic, |index| 1 << index));
        report.case("ipi-logical-cluster", || {
            listen_all(apic, true)?;
            logical(apic, |index| (index / 4) << 4 | 1 << (index % 4))
        });
    } else {
        report.case("ipi-logical-x2apic", || logical(apic, |index| 1 << index));
        report.case("ipi-self-register", self_register);
    }
    report.case(&name("ipi-illegal-vector", mode), || illegal_vector(apic));
    report.case(&name("ipi-after-init", mode), || after_init(apic));
}

/// A case's name with the APIC's mode.
pub fn name(case: &str, mode: &str) -> Name {
    let mut name = Name { text: [0; 48], length: 0 };
    for byte in case.bytes().chain(*b"-").chain(mode.bytes()) {
        name.text[name.length] = byte;
        name.length += 1;
    }
    name
}

/// A short text.
pub struct Name {
    text: [u8; 48],
    length: usize,
}

impl core::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        core::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

/// Each other VP starts and finishes, ten times.
pub fn start_again() -> Result<(), Failure> {
    for round in 0..10 {
        for index in 1..smp::count() {
            ensure!(smp::run(Apic::current(), index, || ()), "VP {index}, round {round}");
        }
    }
    Ok(())
}

/// The loop of the other VPs: wait for interrupts.
fn listen() {
    let apic = apic().switch_on();
    address(apic, processor().index as u32);
    apic.write(Apic::TPR, 0);
    LISTENING.fetch_add(1, Ordering::AcqRel);
    loop {
        cpu::wait_for_interrupt();
    }
}

/// Sets the logical address.
fn address(apic: Apic, index: u32) {
    if apic == Apic::Page {
        let clusters = CLUSTERS.load(Ordering::Acquire);
        apic.write(Apic::DFR, if clusters { 0x0fff_ffff } else { u32::MAX });
        let logical = if clusters { (index / 4) << 4 | 1 << (index % 4) } else { 1 << (index % 8) };
        apic.write(Apic::LDR, logical << 24);
    }
}

fn listen_all(apic: Apic, clusters: bool) -> Result<(), Failure> {
    CLUSTERS.store(clusters, Ordering::Release);
    LISTENING.store(0, Ordering::Release);
    address(apic, 0);
    for index in 1..smp::count() {
        ensure!(smp::start_processor(apic, index, listen), "VP {index} did not start");
        let ready = || LISTENING.load(Ordering::Acquire) as usize == index;
        ensure!(time::wait_until(PATIENCE, ready), "VP {index} does not listen");
    }
    Ok(())
}

/// Sends, and checks that exactly the VPs of `expected` (a mask) get it once.
fn expect(apic: Apic, target: u32, command: u32, vector: u8, expected: u32) -> Result<(), Failure> {
    clear();
    apic.send(target, command | if command & 0x700 == icr::NMI { 0 } else { vector.into() });
    cpu::enable_interrupts();
    let came = |index: usize| count(index, vector);
    let all = time::wait_until(PATIENCE, || {
        (0..smp::count()).all(|index| came(index) >= (expected >> index & 1))
    });
    time::wait_micros(if all { 300 } else { QUIET_MICROS });
    cpu::disable_interrupts();
    for index in 0..smp::count() {
        let wanted = expected >> index & 1;
        ensure_eq!(came(index), wanted, "target {target:#x} command {command:#x}: VP {index}");
    }
    Ok(())
}

fn everybody() -> u32 {
    (1 << smp::count()) - 1
}

fn physical(apic: Apic) -> Result<(), Failure> {
    for index in 0..smp::count() as u32 {
        expect(apic, index, icr::FIXED, VECTOR, 1 << index)?;
        expect(apic, index, icr::FIXED | icr::ASSERT, 0xf0, 1 << index)?;
    }
    // No APIC has this ID.
    expect(apic, 0x70, icr::FIXED, VECTOR, 0)
}

fn shorthands(apic: Apic) -> Result<(), Failure> {
    expect(apic, 0, icr::TO_SELF, VECTOR, 1)?;
    expect(apic, 0, icr::TO_ALL, VECTOR, everybody())?;
    expect(apic, 0, icr::TO_OTHERS, VECTOR, everybody() & !1)
}

fn broadcast(apic: Apic) -> Result<(), Failure> {
    let target = if apic == Apic::Page { 0xff } else { u32::MAX };
    expect(apic, target, icr::FIXED, VECTOR, everybody())?;
    expect(apic, target, icr::LOGICAL, VECTOR, everybody())
}

fn nmi(apic: Apic) -> Result<(), Failure> {
    for index in 0..smp::count() as u32 {
        expect(apic, index, icr::NMI, 2, 1 << index)?;
    }
    expect(apic, 0, icr::NMI | icr::TO_OTHERS, 2, everybody() & !1)
}

fn logical(apic: Apic, address: fn(u32) -> u32) -> Result<(), Failure> {
    for index in 0..smp::count().min(8) as u32 {
        let target = address(index);
        if apic == Apic::Msr && index == 0 {
            ensure_eq!(apic.read(Apic::LDR), 1, "LDR of VP 0");
        }
        expect(apic, target, icr::LOGICAL, VECTOR, 1 << index)?;
    }
    if smp::count() >= 4 && address(3) < 0x10 {
        expect(apic, 0b1010, icr::LOGICAL, VECTOR, 0b1010)?;
        expect(apic, 0b0111, icr::LOGICAL, VECTOR, 0b0111)?;
    }
    Ok(())
}

/// Exactly one VP gets it; not VP 0, whose task priority is higher.
fn lowest(apic: Apic) -> Result<(), Failure> {
    let target = if apic == Apic::Page { 0xff } else { 0xffff };
    for round in 0..8 {
        clear();
        apic.write(Apic::TPR, if smp::count() > 1 { 0x50 } else { 0 });
        apic.send(target, icr::LOWEST | icr::LOGICAL | u32::from(VECTOR));
        cpu::enable_interrupts();
        let total = || (0..smp::count()).map(|index| count(index, VECTOR)).sum::<u32>();
        time::wait_until(PATIENCE, || total() > 0);
        time::wait_micros(300);
        cpu::disable_interrupts();
        apic.write(Apic::TPR, 0);
        ensure_eq!(total(), 1, "round {round}: VPs that got it");
        ensure!(smp::count() == 1 || count(0, VECTOR) == 0, "VP 0 had a higher priority");
    }
    Ok(())
}

fn self_register() -> Result<(), Failure> {
    clear();
    cpu::wrmsr(0x83f, VECTOR.into());
    cpu::open_interrupts_briefly();
    ensure_eq!(count(0, VECTOR), 1, "VP 0");
    Ok(())
}

fn illegal_vector(apic: Apic) -> Result<(), Failure> {
    const SENT: u32 = 1 << 5;
    const RECEIVED: u32 = 1 << 6;
    apic.write(Apic::ESR, 0);
    apic.write(Apic::ESR, 0);
    apic.send(0, icr::TO_SELF | 5);
    apic.write(Apic::ESR, 0);
    let errors = apic.read(Apic::ESR);
    ensure!(errors & (SENT | RECEIVED) != 0, "ESR is {errors:#x}");
    apic.write(Apic::ESR, 0);
    ensure_eq!(apic.read(Apic::ESR), 0, "ESR after a second write");
    Ok(())
}

/// After INIT a VP takes no interrupts until SIPI, and starts afresh.
fn after_init(apic: Apic) -> Result<(), Failure> {
    for index in 1..smp::count() {
        apic.send(index as u32, icr::INIT | icr::ASSERT);
        time::wait_micros(500);
        expect(apic, index as u32, icr::FIXED, VECTOR, 0)?;
        expect(apic, index as u32, icr::NMI, 2, 0)?;
        ensure!(smp::run(apic, index, || ()), "VP {index} did not start again");
    }
    Ok(())
}
