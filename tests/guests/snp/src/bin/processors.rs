//! Two VPs: a page that one gives away is gone for the other.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use snp::exit::{ApCreation, ApCreationRequest, ExitCode};
use snp::features::SevFeatures;
use snp::ghcb::Field;
use snp::instruction::{Outcome, PageSize};
use snp::msr_protocol::{Answer, Request};
use snp::page_state::Operation;
use snp_guest::exceptions::NOT_VALIDATED;
use snp_guest::memory::{FREE, read, write};
use snp_guest::{Fault, Report, attempt, field, ghcb, level};
use x86::vector;

snp_guest::main!(cases);

/// The page that the second VP is to read, or zero.
static PLACE: AtomicU64 = AtomicU64::new(0);
/// The first VP has given the page away.
static IS_GONE: AtomicBool = AtomicBool::new(false);
/// How often the second VP has read the page, and how often after that.
static READS: AtomicU64 = AtomicU64::new(0);
static STALE_READS: AtomicU64 = AtomicU64::new(0);
/// The vector and error code that have ended the reads.
static FAULT: AtomicU64 = AtomicU64::new(0);
/// Enough reads for the translation to be cached.
const ENOUGH: u64 = 1000;

fn cases(report: &mut Report) {
    level::prepare(second_vp, SevFeatures::new());
    field!(vmpl = 0);
    report.is("second-vp.save-area", level::adjust(true), Outcome::SUCCESS);
    report.is("second-vp.created", create(), (0, 0));
    gone(report, "rescinded", FREE, |page| pvalidate(page, false) == Outcome::SUCCESS);
    gone(report, "shared", FREE + 0x1000, |page| {
        let request = Request::PageState { gfn: page >> 12, operation: Operation::SHARED };
        // SAFETY: the memory is the cases'.
        unsafe { sev_guest::request(request) == Ok(Answer::PageState { error: 0 }) }
    });
}

fn pvalidate(page: u64, validate: bool) -> Outcome {
    // SAFETY: the memory is the cases'.
    unsafe { sev_guest::pvalidate(page, PageSize::SIZE_4K, validate) }.outcome
}

/// Starts the second VP at level 0.
fn create() -> (u32, u64) {
    let info = ApCreation::new().with_request(ApCreationRequest::CREATE).with_apic_id(1);
    let features = SevFeatures::new().with_snp_active(true).into_bits();
    let (area, fields) = (level::area() as u64, [(Field::RAX, features)]);
    ghcb::request(ExitCode::AP_CREATION, info.into_bits(), area, &fields, &[]).status()
}

/// The second VP: reads the page until it is gone.
extern "C" fn second_vp() -> ! {
    loop {
        let place = PLACE.load(SeqCst);
        if place == 0 {
            core::hint::spin_loop();
            continue;
        }
        let is_gone = IS_GONE.load(SeqCst);
        match attempt(read_at, place) {
            Ok(_) if is_gone => STALE_READS.fetch_add(1, SeqCst),
            Ok(_) => READS.fetch_add(1, SeqCst),
            Err(Fault { vector, error, .. }) => {
                PLACE.store(0, SeqCst);
                FAULT.swap(u64::from(vector) << 32 | error, SeqCst)
            }
        };
    }
}

extern "C" fn read_at(address: u64) -> u64 {
    // SAFETY: an attempt's.
    unsafe { read(address) }
}

/// The second VP reads `page` while the first one gives it away by `give`: once that is done, no read
/// succeeds any more.
fn gone(report: &mut Report, name: &str, page: u64, give: impl Fn(u64) -> bool) {
    report.is(name, pvalidate(page, true), Outcome::SUCCESS);
    // SAFETY: the page is validated.
    unsafe { write(page, 1) };
    for counter in [&READS, &STALE_READS, &FAULT] {
        counter.store(0, SeqCst);
    }
    IS_GONE.store(false, SeqCst);
    PLACE.store(page, SeqCst);
    wait(|| READS.load(SeqCst) > ENOUGH);
    let given = give(page);
    IS_GONE.store(true, SeqCst);
    wait(|| FAULT.load(SeqCst) != 0 || STALE_READS.load(SeqCst) != 0);
    report.is(name, given, true);
    report.is(name, STALE_READS.load(SeqCst), 0);
    report.is(name, FAULT.load(SeqCst), u64::from(vector::VC) << 32 | NOT_VALIDATED);
}

fn wait(until: impl Fn() -> bool) {
    while !until() {
        core::hint::spin_loop();
    }
}
