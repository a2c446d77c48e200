//! What SEV-SNP's rules about memory look like from VMPL0.
#![no_std]
#![no_main]

use snp::exit::ExitCode;
use snp::instruction::{Outcome, PageSize, Permissions};
use snp::msr_protocol::{Answer, Request};
use snp::page_state::Operation;
use snp_guest::memory::{FREE, SHARED, c_bit, flush, map_small, read, write};
use snp_guest::{Fault, Report, attempt};
use x86::vector;

snp_guest::main!(cases);

const LARGE: u64 = 2 << 20;
const PAGE: u64 = 4096;

fn cases(report: &mut Report) {
    not_validated(report);
    large_pages(report);
    small_pages(report);
    splitting(report);
    sharing(report);
    permissions(report);
    encryption(report);
}

extern "C" fn read_at(address: u64) -> u64 {
    // SAFETY: an attempt's.
    unsafe { read(address) }
}

extern "C" fn write_at(address: u64) -> u64 {
    // SAFETY: an attempt's; the memory is the cases'.
    unsafe { write(address, 0x5a5a) };
    0
}

/// PVALIDATE, and whether CF was clear.
fn pvalidate(address: u64, size: PageSize, validate: bool) -> (Outcome, bool) {
    // SAFETY: the memory is the cases'.
    let done = unsafe { sev_guest::pvalidate(address, size, validate) };
    (done.outcome, done.changed)
}

fn set_state(address: u64, operation: Operation) -> bool {
    let request = Request::PageState { gfn: address >> 12, operation };
    // SAFETY: the memory is the cases'.
    unsafe { sev_guest::request(request) == Ok(Answer::PageState { error: 0 }) }
}

const NOT_VALIDATED: u64 = ExitCode::PAGE_NOT_VALIDATED.0;

/// APM vol. 2, 15.36.10: #VC with the exit code and CR2.
fn not_validated(report: &mut Report) {
    let fault = |address| Err(Fault { vector: vector::VC, error: NOT_VALIDATED, cr2: address });
    let address = FREE + 0x1008;
    report.is("15.36.10.read-of-a-page-not-validated", attempt(read_at, address), fault(address));
    report.is("15.36.10.write-of-a-page-not-validated", attempt(write_at, address), fault(address));
}

/// APM vol. 3, PVALIDATE, for 2 MiB.
fn large_pages(report: &mut Report) {
    let (ok, large) = (Outcome::SUCCESS, PageSize::SIZE_2M);
    report.is("pvalidate.large", pvalidate(FREE, large, true), (ok, true));
    report.is("pvalidate.large-again", pvalidate(FREE, large, true), (ok, false));
    report.is("pvalidate.large-is-memory", attempt(write_at, FREE + LARGE - 8), Ok(0));
    report.is(
        "pvalidate.large-keeps-what-is-written",
        attempt(read_at, FREE + LARGE - 8),
        Ok(0x5a5a),
    );
    let misaligned = pvalidate(FREE + PAGE, large, true);
    report.is("pvalidate.large-misaligned", misaligned, (Outcome::FAIL_INPUT, misaligned.1));
    let strange = pvalidate(FREE, PageSize(2), true);
    report.is("pvalidate.unknown-size", strange, (Outcome::FAIL_INPUT, strange.1));
    report.is("pvalidate.large-rescinded", pvalidate(FREE, large, false), (ok, true));
    report.is("pvalidate.large-rescinded-again", pvalidate(FREE, large, false), (ok, false));
    let gone = attempt(read_at, FREE).map_err(|fault| (fault.vector, fault.error));
    report.is("pvalidate.large-gone", gone, Err((vector::VC, NOT_VALIDATED)));
    report.is("pvalidate.large-back", pvalidate(FREE, large, true), (ok, true));
}

/// APM vol. 3, PVALIDATE, for 4 KiB: the host splits an entry of 2 MiB.
fn small_pages(report: &mut Report) {
    let (ok, small) = (Outcome::SUCCESS, PageSize::SIZE_4K);
    let place = FREE + LARGE;
    // SAFETY: the range is the cases'.
    unsafe { map_small(place) };
    report.is("pvalidate.small-in-a-large-entry", pvalidate(place + PAGE, small, true), (ok, true));
    report.is("pvalidate.small-again", pvalidate(place + PAGE, small, true), (ok, false));
    report.is("pvalidate.small-is-memory", attempt(write_at, place + PAGE), Ok(0));
    let beside = attempt(read_at, place + 2 * PAGE).map_err(|fault| (fault.vector, fault.cr2));
    report.is("pvalidate.small-and-not-its-neighbour", beside, Err((vector::VC, place + 2 * PAGE)));
    let large = pvalidate(place, PageSize::SIZE_2M, true);
    let mismatch = (Outcome::FAIL_SIZEMISMATCH, large.1);
    report.is("pvalidate.large-over-small-entries", large, mismatch);
    report.is("pvalidate.small-rescinded", pvalidate(place + PAGE, small, false), (ok, true));
}

/// A validated entry of 2 MiB that is split stays validated, and keeps its content.
fn splitting(report: &mut Report) {
    // SAFETY: the range is the cases', and validated.
    unsafe { write(FREE + 5 * PAGE, 77) };
    let small = pvalidate(FREE + 6 * PAGE, PageSize::SIZE_4K, false);
    report.is("split.one-page-rescinded", small, (Outcome::SUCCESS, true));
    report.is("split.its-neighbour-stays", attempt(read_at, FREE + 5 * PAGE), Ok(77));
    let back = pvalidate(FREE + 6 * PAGE, PageSize::SIZE_4K, true);
    report.is("split.one-page-back", back, (Outcome::SUCCESS, true));
}

/// GHCB specification, page state changes, and what an access to the other kind of page does.
fn sharing(report: &mut Report) {
    let page = FREE + 8 * PAGE;
    // SAFETY: the page is the cases', and validated.
    unsafe { write(page, 0x1111) };
    report.is(
        "share.rescinded",
        pvalidate(page, PageSize::SIZE_4K, false),
        (Outcome::SUCCESS, true),
    );
    report.is("share.by-the-host", set_state(page, Operation::SHARED), true);
    report.is("share.is-memory", attempt(write_at, page + SHARED), Ok(0));
    report.is("share.is-other-memory", attempt(read_at, page + SHARED), Ok(0x5a5a));
    report.is("share.back", set_state(page, Operation::PRIVATE), true);
    let awaits = attempt(read_at, page).map_err(|fault| (fault.vector, fault.error));
    report.is("share.back-awaits-pvalidate", awaits, Err((vector::VC, NOT_VALIDATED)));
    report.is(
        "share.validated-again",
        pvalidate(page, PageSize::SIZE_4K, true),
        (Outcome::SUCCESS, true),
    );
    let has_secret = attempt(read_at, page).is_ok_and(|value| value == 0x5a5a);
    report.is("share.back-without-what-was-shared", has_secret, false);
    report.is("share.unknown-operation", set_state(page, Operation(9)), false);
    report.is("share.beyond-the-memory", set_state(1 << 38, Operation::SHARED), false);
}

/// APM vol. 3, RMPADJUST and RMPQUERY.
fn permissions(report: &mut Report) {
    let small = PageSize::SIZE_4K;
    let page = FREE + 10 * PAGE;
    let adjust = |address, size, permissions| {
        // SAFETY: no other level runs.
        unsafe { sev_guest::rmpadjust(address, size, permissions) }
    };
    let all = Permissions::all(1);
    report.is("rmpadjust.all-rights", adjust(page, small, all), Outcome::SUCCESS);
    report.is("rmpquery.all-rights", sev_guest::rmpquery(page, 1), Ok((all, small)));
    let none = Permissions::new().with_vmpl(2);
    report.is("rmpquery.another-level", sev_guest::rmpquery(page, 2), Ok((none, small)));
    let read_only = Permissions::new().with_vmpl(1).with_read(true);
    report.is("rmpadjust.fewer-rights", adjust(page, small, read_only), Outcome::SUCCESS);
    report.is("rmpquery.fewer-rights", sev_guest::rmpquery(page, 1), Ok((read_only, small)));
    let own = Permissions::all(0);
    report.is("rmpadjust.own-level", adjust(page, small, own), Outcome::FAIL_PERMISSION);
    let unknown = Permissions::all(4);
    report.is("rmpadjust.no-such-level", adjust(page, small, unknown), Outcome::FAIL_INPUT);
    report.is("rmpadjust.unknown-size", adjust(page, PageSize(7), all), Outcome::FAIL_INPUT);
    let large = adjust(FREE, PageSize::SIZE_2M, all);
    report.is("rmpadjust.large-over-small-entries", large, Outcome::FAIL_SIZEMISMATCH);
    let vmsa = Permissions::new().with_vmpl(1).with_vmsa(true);
    report.is("rmpadjust.save-area", adjust(page, small, vmsa), Outcome::SUCCESS);
    report.is("rmpquery.save-area", sev_guest::rmpquery(page, 1), Ok((vmsa, small)));
    pvalidate(page, small, false);
    let gone = attempt(adjust_at, page).map_err(|fault| (fault.vector, fault.error, fault.cr2));
    report.is("rmpadjust.not-validated", gone, Err((vector::VC, NOT_VALIDATED, page)));
    pvalidate(page, small, true);
    let forgotten = Permissions::new().with_vmpl(1);
    report.is(
        "pvalidate.takes-rights-and-save-area",
        sev_guest::rmpquery(page, 1),
        Ok((forgotten, small)),
    );
}

extern "C" fn adjust_at(address: u64) -> u64 {
    // SAFETY: no other level runs.
    u64::from(unsafe { sev_guest::rmpadjust(address, PageSize::SIZE_4K, Permissions::all(1)) }.0)
}

/// APM vol. 2, 15.34.5: walks and fetches are private whatever the C-bit.
fn encryption(report: &mut Report) {
    let place = FREE + 2 * LARGE;
    pvalidate(place, PageSize::SIZE_2M, true);
    // SAFETY: the range is the cases'.
    let entries = unsafe { map_small(place) };
    // SAFETY: as above. RET.
    unsafe { write(place, 0xc3) };
    // The page's own entry has no C-bit now: data is shared there, code is not.
    // SAFETY: within the table.
    unsafe { entries.write_volatile(entries.read_volatile() & !c_bit()) };
    flush();
    report.is("15.34.5.fetch-without-c-bit", attempt(call_at, place).is_ok(), true);
    // SAFETY: as above.
    unsafe { entries.write_volatile(entries.read_volatile() | c_bit()) };
    // The entry that leads to the table has none: walks do not mind.
    flush();
    report.is(
        "15.34.5.data-with-c-bit",
        attempt(read_at, place).map(|value| value & 0xff),
        Ok(0xc3),
    );
    let cr3: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, cr3", out(reg) cr3, options(nomem, nostack)) };
    report.is("15.34.5.walks-without-c-bit", cr3 & c_bit(), 0);
}

extern "C" fn call_at(address: u64) -> u64 {
    // SAFETY: the page has a RET.
    let code = unsafe { core::mem::transmute::<u64, extern "C" fn()>(address) };
    code();
    0
}
