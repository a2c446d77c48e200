//! What files of other builders have: memory at 512 GiB, where COCONUT-SVSM's kernel lies, and memory
//! that is shared from the start.
#![no_std]
#![no_main]

use snp::exit::{ExitCode, IoInfo};
use snp::ghcb::{Field, SHARED_BUFFER_OFFSET};
use snp::instruction::{Outcome, PageSize};
use snp::msr_protocol::{Answer, Request};
use snp::page_state::Operation;
use snp_guest::ghcb::{self, request};
use snp_guest::memory::{FAR, FAR_SHARED, SHARED, map_far, read, write};
use snp_guest::{Report, attempt};

snp_guest::main!(cases);

/// Where the file requires 4 MiB.
const GPA: u64 = 1 << 39;
const PAGE: u64 = 4096;

extern "C" fn read_at(address: u64) -> u64 {
    // SAFETY: an attempt's.
    unsafe { read(address) }
}

fn pvalidate(address: u64, size: PageSize, validate: bool) -> (Outcome, bool) {
    // SAFETY: the memory is the cases'.
    let done = unsafe { sev_guest::pvalidate(address, size, validate) };
    (done.outcome, done.changed)
}

fn set_state(gpa: u64, operation: Operation) -> bool {
    let request = Request::PageState { gfn: gpa >> 12, operation };
    // SAFETY: the memory is the cases'.
    unsafe { sev_guest::request(request) == Ok(Answer::PageState { error: 0 }) }
}

fn cases(report: &mut Report) {
    by_the_file(report);
    // SAFETY: the memory is the cases'.
    unsafe { map_far(GPA) };
    let ok = (Outcome::SUCCESS, true);
    report.is("far.not-validated-yet", attempt(read_at, FAR).is_err(), true);
    for large in 0..2 {
        let place = FAR + (large << 21);
        report.is("far.accepted-in-large-pages", pvalidate(place, PageSize::SIZE_2M, true), ok);
    }
    // SAFETY: the pages are accepted.
    unsafe { write(FAR + 0x20_3008, 0x1122) };
    report.is("far.is-memory", attempt(read_at, FAR + 0x20_3008), Ok(0x1122));
    let page = FAR + PAGE;
    report.is("far.rescinded", pvalidate(page, PageSize::SIZE_4K, false), ok);
    report.is("far.shared", set_state(GPA + PAGE, Operation::SHARED), true);
    signature(report);
    report.is("far.neighbour-stays", attempt(read_at, FAR + 0x20_3008), Ok(0x1122));
    report.is("far.private-again", set_state(GPA + PAGE, Operation::PRIVATE), true);
    report.is("far.accepted-again", pvalidate(page, PageSize::SIZE_4K, true), ok);
    let is_seen = attempt(read_at, page).is_ok_and(|value| value == SIGNATURE);
    report.is("far.without-what-was-shared", is_seen, false);
    report.is("far.ends", set_state(GPA + (4 << 20), Operation::SHARED), false);
}

/// What the file has at 1 MiB, where Drydock puts the file itself as it loads it: a shared page, a range for
/// errors, the places of devices.
fn by_the_file(report: &mut Report) {
    const PLACE: u64 = 1 << 20;
    let shared = PLACE + SHARED;
    report.is("file.shared-page", attempt(read_at, shared + 0xff8), Ok(0x5a5a_5a5a_5a5a_5a5a));
    write_signature(PLACE);
    report.is("file.shared-page-is-the-host-s", attempt(read_at, shared), Ok(SIGNATURE | HIGH));
    report.is("file.error-range-is-empty", attempt(read_at, shared + PAGE), Ok(0));
    write_signature(PLACE + PAGE);
    report.is("file.error-range-is-the-host-s", attempt(read_at, shared + PAGE), Ok(SIGNATURE));
    let ranges = [0x20, 0x28, 0x30, 0x38].map(|at| attempt(read_at, PLACE + 2 * PAGE + at));
    let magic = attempt(read_at, PLACE + 2 * PAGE + 0x100).map(|word| (word as u32).swap_bytes());
    report.is("file.device-tree", magic, Ok(0xd00d_feed));
    report.is("file.devices", ranges, [Ok(0xc_0000), Ok(0x3_ec00), Ok(0), Ok(0)]);
}

/// fw_cfg's signature.
const SIGNATURE: u64 = u32::from_le_bytes(*b"QEMU") as u64;
/// The bytes of the shared page behind it.
const HIGH: u64 = 0x5a5a_5a5a << 32;

/// The host writes fw_cfg's signature to the shared page, and the guest finds it there.
fn signature(report: &mut Report) {
    write_signature(GPA + PAGE);
    report.is("far.the-host-writes-there", attempt(read_at, FAR_SHARED + PAGE), Ok(SIGNATURE));
}

/// The host writes fw_cfg's signature to `gpa`, if that is shared memory.
fn write_signature(gpa: u64) {
    let at = ghcb::address() + SHARED_BUFFER_OFFSET as u64 + 0x400;
    let mut bytes = [0; 0x410];
    bytes[0x400..0x404].copy_from_slice(&(1_u32 << 3 | 1 << 1).to_be_bytes());
    bytes[0x404..0x408].copy_from_slice(&4_u32.to_be_bytes());
    bytes[0x408..0x410].copy_from_slice(&gpa.to_be_bytes());
    let info = IoInfo::new().with_port(0x518).with_is_32_bit(true).into_bits();
    let low = u64::from((at as u32).swap_bytes());
    request(ExitCode::IOIO, info, 0, &[(Field::RAX, low)], &bytes);
}
