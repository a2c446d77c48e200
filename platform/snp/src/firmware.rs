//! The firmware, to which the host carries messages.

use core::mem::offset_of;

use guest_memory::PAGE_SIZE;
use host_wire::linux_start as layout;
use host_wire::paravisor_image::Reason;
use snp::message::{MessageType, ReportRequest, ReportResponse};
use snp::secrets::{SecretsPage, VMPCK_SIZE};
use snp::status::Status;
use vmpl0::firmware::{Channel, PAGE, keeps_the_host_out};
use zerocopy::FromZeros;

use crate::calls::{CpuPages, with_transfer_area};
use crate::vp::OWN_LEVEL;

/// Asks the firmware for our own report, and refuses a launch whose policy lets the host in. The host
/// has chosen the policy, which is no part of the measurement.
///
/// # Errors
/// [`Reason::Policy`].
pub(crate) fn check_policy() -> Result<(), Reason> {
    let place = layout::SECRETS as usize + offset_of!(SecretsPage, vmpck);
    // SAFETY: the page was launched at this address, which our tables map; nothing writes it. The
    // first key is that of our own level.
    let key = unsafe { &*(place as *const [u8; VMPCK_SIZE]) };
    let request = ReportRequest { vmpl: OWN_LEVEL.into(), ..ReportRequest::new_zeroed() };
    let answer = Channel::new(key, OWN_LEVEL).ask(MessageType::REPORT_REQ, &request, carry);
    let ReportResponse { status, report, .. } = answer.map_err(|_| Reason::Policy)?;
    let is_ours = Status(status) == Status::SUCCESS && report.vmpl == u32::from(OWN_LEVEL);
    if is_ours && keeps_the_host_out(report.policy) { Ok(()) } else { Err(Reason::Policy) }
}

/// Has the host carry a request to the firmware, and the answer back.
fn carry(request: &[u8; PAGE], answer: &mut [u8; PAGE]) -> bool {
    const _: () = assert!(PAGE as u64 == PAGE_SIZE);
    with_transfer_area(|area| {
        let response = area + PAGE_SIZE;
        for (offset, byte) in request.iter().enumerate() {
            // SAFETY: the area has more than two pages, which are shared, mapped, and ours for now.
            unsafe { ((area as usize + offset) as *mut u8).write_volatile(*byte) };
        }
        let is_done = CpuPages::own().is_some_and(|pages| pages.guest_request(area, response));
        for (offset, byte) in answer.iter_mut().enumerate() {
            // SAFETY: as above.
            *byte = unsafe { ((response as usize + offset) as *const u8).read_volatile() };
        }
        is_done
    })
}
