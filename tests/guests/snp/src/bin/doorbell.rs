//! Restricted injection: the doorbell page and #HV.
#![no_std]
#![no_main]

use snp::doorbell::{PENDING_EVENTS, PendingEvents};
use snp::exit::{DoorbellRequest, ExitCode};
use snp::features::{SevFeatures, SevStatus};
use snp::ghcb::{InputError, Status};
use snp::instruction::PageSize;
use snp_guest::exceptions::{self, COUNTS, REPAIRS};
use snp_guest::ghcb::wrmsr;
use snp_guest::memory::{FREE, SHARED};
use snp_guest::{Report, cpu, ghcb};
use x86::{msr, vector};

use core::sync::atomic::Ordering::SeqCst;

snp_guest::main!(cases);

#[repr(C, align(4096))]
struct Page([u8; 4096]);
static mut DOORBELL: Page = Page([0; 4096]);

/// Registers of the local APIC in x2APIC mode (AMD64 APM vol. 2, table 16-6).
const APIC_BASE_X2: u64 = 0xfee0_0000 | 1 << 11 | 1 << 10 | 1 << 8;
const SPURIOUS: u32 = msr::X2APIC + 0xf;
const COMMAND: u32 = msr::X2APIC + 0x30;
const TIMER: u32 = msr::X2APIC + 0x32;
const INITIAL_COUNT: u32 = msr::X2APIC + 0x38;
const DIVIDE: u32 = msr::X2APIC + 0x3e;
const SELF: u64 = 0b01 << 18;
const NMI: u64 = 0b100 << 8;

fn cases(report: &mut Report) {
    // SAFETY: every SEV-SNP CPU has it.
    let status = SevStatus(unsafe { cpu::rdmsr(snp::features::msr::SEV_STATUS) });
    let features = SevFeatures::new().with_snp_active(true).with_restricted_injection(true);
    report.is("15.34.10.restricted-injection", status, SevStatus::of_features(features));
    page(report);
    enable_apic(report);
    interrupts(report);
    one_signal(report);
    cut_short(report);
    sleep(report);
}

/// A #HV whose delivery a #VC cuts short comes again, once: the page with its entry of the interrupt
/// table is not validated.
fn cut_short(report: &mut Report) {
    // The page has the entries up to 28, #HV's, and the next one those from 29, #VC's, on.
    let base = FREE + 0x1000 - 16 * u64::from(vector::VC);
    let before = (signals(), REPAIRS.load(SeqCst));
    for page in [FREE, FREE + 0x1000] {
        // SAFETY: the memory is the cases'.
        unsafe { sev_guest::pvalidate(page, PageSize::SIZE_4K, true) };
    }
    // SAFETY: as above; no exception comes before #VC has validated the page again.
    unsafe {
        exceptions::copy_table(base);
        exceptions::use_table(base);
        sev_guest::pvalidate(FREE, PageSize::SIZE_4K, false);
    }
    exceptions::repair(FREE);
    wrmsr(COMMAND, SELF | 0x85);
    let after = (signals(), REPAIRS.load(SeqCst));
    report.is("doorbell.cut-short-comes-once", after, (before.0 + 1, before.1 + 1));
    report.is("doorbell.cut-short-has-its-vector", take().vector(), 0x85);
    wrmsr(msr::X2APIC_EOI, 0);
    let (table, _) = exceptions::table();
    // SAFETY: the usual table.
    unsafe { exceptions::use_table(table) };
}

fn address() -> u64 {
    (&raw const DOORBELL) as u64
}

fn ask(request: DoorbellRequest, page: u64) -> (u32, u64) {
    ghcb::request(ExitCode::HV_DOORBELL_PAGE, request.0, page, &[], &[]).status()
}

/// GHCB specification, #HV doorbell page.
fn page(report: &mut Report) {
    let invalid = (Status::MALFORMED.0, InputError::INVALID_INPUT.0);
    report.is("doorbell.private-page", ask(DoorbellRequest::SET, address()), invalid);
    // SAFETY: the page is for this.
    unsafe { ghcb::share(address()) };
    report.is("doorbell.in-a-page", ask(DoorbellRequest::SET, address() + 8), invalid);
    report.is("doorbell.unknown-request", ask(DoorbellRequest(9), address()), invalid);
    report.is("doorbell.set", ask(DoorbellRequest::SET, address()), (0, address()));
    report.is("doorbell.query", ask(DoorbellRequest::QUERY, 0), (0, address()));
}

fn enable_apic(report: &mut Report) {
    report.is("apic.x2apic", wrmsr(msr::APIC_BASE, APIC_BASE_X2), (0, 0));
    report.is("apic.on", wrmsr(SPURIOUS, 0x1ff), (0, 0));
}

fn signals() -> u32 {
    COUNTS.get(usize::from(vector::HV)).map_or(0, |count| count.load(SeqCst))
}

/// Takes the events out of the page, as a handler does.
fn take() -> PendingEvents {
    let place = (address() + SHARED + PENDING_EVENTS as u64) as *mut u16;
    // SAFETY: the page is mapped there; the host writes it while we are out only.
    unsafe {
        let events = place.read_volatile();
        place.write_volatile(0);
        PendingEvents::from_bits(events)
    }
}

fn interrupts(report: &mut Report) {
    let before = signals();
    wrmsr(COMMAND, SELF | 0x71);
    let events = take();
    report.is("doorbell.signal", signals(), before + 1);
    report.is("doorbell.vector", (events.vector(), events.no_further_signal()), (0x71, true));
    wrmsr(COMMAND, SELF | 0x72);
    report.is("doorbell.no-second-vector-of-a-class-in-service", take().vector(), 0);
    wrmsr(msr::X2APIC_EOI, 0);
    report.is("doorbell.after-the-end", take().vector(), 0x72);
    wrmsr(msr::X2APIC_EOI, 0);
    wrmsr(COMMAND, NMI);
    let events = take();
    report.is("doorbell.nmi", (events.nmi(), events.vector()), (true, 0));
    let nmis = COUNTS.get(usize::from(vector::NMI)).map_or(0, |count| count.load(SeqCst));
    report.is("doorbell.nmi-is-not-injected", nmis, 0);
}

/// While the guest has not cleared NoFurtherSignal, no #HV comes.
fn one_signal(report: &mut Report) {
    let before = signals();
    wrmsr(COMMAND, SELF | 0x81);
    wrmsr(COMMAND, NMI);
    report.is("doorbell.one-signal", signals(), before + 1);
    let events = take();
    report.is("doorbell.both-events", (events.vector(), events.nmi()), (0x81, true));
    wrmsr(msr::X2APIC_EOI, 0);
}

/// HLT with interrupts disabled ends by an event: the doorbell knows no interrupt flag.
fn sleep(report: &mut Report) {
    wrmsr(DIVIDE, 0b1011);
    wrmsr(TIMER, 0x91);
    wrmsr(INITIAL_COUNT, 5_000_000);
    // SAFETY: the timer ends it.
    unsafe { core::arch::asm!("hlt") };
    report.is("doorbell.wakes", take().vector(), 0x91);
    wrmsr(msr::X2APIC_EOI, 0);
    report.is("doorbell.clear", ask(DoorbellRequest::CLEAR, 0), (0, 0));
    let before = signals();
    wrmsr(COMMAND, SELF | 0xa1);
    report.is("doorbell.cleared", signals(), before);
}
