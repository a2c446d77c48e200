//! Events whose delivery a #VC cuts short, at VMPL0: none is lost, and none comes twice.
#![no_std]
#![no_main]

use core::sync::atomic::Ordering::SeqCst;

use snp::instruction::PageSize;
use snp_guest::exceptions::{self, COUNTS, REPAIRS};
use snp_guest::ghcb::wrmsr;
use snp_guest::memory::{FREE, read};
use snp_guest::{Report, attempt, cpu};
use x86::{msr, vector};

snp_guest::main!(cases);

/// Registers of the local APIC in x2APIC mode (AMD64 APM vol. 2, table 16-6).
const APIC_BASE_X2: u64 = 0xfee0_0000 | 1 << 11 | 1 << 10 | 1 << 8;
const SPURIOUS: u32 = msr::X2APIC + 0xf;
const COMMAND: u32 = msr::X2APIC + 0x30;
const SELF: u64 = 0b01 << 18;
const NMI: u64 = 0b100 << 8;
const INTERRUPT: u8 = 0x51;
const PAGE: u64 = 4096;
/// Where the entry code maps nothing.
const UNMAPPED: u64 = 1 << 45;

fn cases(report: &mut Report) {
    for page in [FREE, FREE + PAGE] {
        // SAFETY: the memory is the cases'.
        unsafe { sev_guest::pvalidate(page, PageSize::SIZE_4K, true) };
    }
    report.is("apic.x2apic", wrmsr(msr::APIC_BASE, APIC_BASE_X2), (0, 0));
    report.is("apic.on", wrmsr(SPURIOUS, 0x1ff), (0, 0));
    interrupt(report);
    nmi(report);
    page_fault(report);
}

extern "C" fn read_at(address: u64) -> u64 {
    // SAFETY: an attempt's.
    unsafe { read(address) }
}

/// Puts the interrupt table into two pages, of which the second one starts with the entry of
/// `boundary`, and rescinds the page `lost`. The next #VC validates that again; its own entry must be
/// in the other page.
fn split_table(boundary: u8, lost: u64) {
    let base = FREE + PAGE - 16 * u64::from(boundary);
    // SAFETY: the memory is the cases'; no exception comes before #VC has validated the page again.
    unsafe {
        exceptions::copy_table(base);
        exceptions::use_table(base);
        sev_guest::pvalidate(lost, PageSize::SIZE_4K, false);
    }
    exceptions::repair(lost);
}

fn whole_table() {
    let (base, _) = exceptions::table();
    // SAFETY: the usual table.
    unsafe { exceptions::use_table(base) };
}

fn taken(vector: u8) -> u32 {
    COUNTS.get(usize::from(vector)).map_or(0, |count| count.load(SeqCst))
}

fn repairs() -> u32 {
    REPAIRS.load(SeqCst)
}

/// An interrupt that the host has injected.
fn interrupt(report: &mut Report) {
    wrmsr(COMMAND, SELF | u64::from(INTERRUPT));
    split_table(INTERRUPT, FREE + PAGE);
    cpu::open();
    report.is("interrupt.cut-short", repairs(), 1);
    report.is("interrupt.comes-once", taken(INTERRUPT), 1);
    wrmsr(msr::X2APIC_EOI, 0);
    cpu::open();
    report.is("interrupt.is-over", taken(INTERRUPT), 1);
    whole_table();
}

/// An NMI.
fn nmi(report: &mut Report) {
    split_table(vector::VC, FREE);
    wrmsr(COMMAND, NMI);
    report.is("nmi.cut-short", repairs(), 2);
    report.is("nmi.comes-once", taken(vector::NMI), 1);
    wrmsr(COMMAND, NMI);
    report.is("nmi.another-one-comes", (repairs(), taken(vector::NMI)), (2, 2));
    whole_table();
}

/// A fault: its instruction runs again, and raises it again.
fn page_fault(report: &mut Report) {
    split_table(vector::VC, FREE);
    let fault = attempt(read_at, UNMAPPED).map_err(|fault| (fault.vector, fault.cr2));
    report.is("page-fault.comes", fault, Err((vector::PF, UNMAPPED)));
    report.is("page-fault.cut-short", repairs(), 3);
    // A second one outside of an attempt would end the guest.
    wrmsr(msr::X2APIC_EOI, 0);
    report.is("page-fault.comes-once", attempt(read_at, FREE + PAGE).is_ok(), true);
    whole_table();
}
