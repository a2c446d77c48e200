//! The firmware, to which the host carries messages.

use core::mem::offset_of;

use guest_memory::PAGE_SIZE;
use host_wire::linux_start as layout;
use host_wire::paravisor_image::Reason;
use sev_guest::SaveArea;
use snp::features::msr;
use snp::message::{MessageType, ReportRequest, ReportResponse, TscInfoRequest, TscInfoResponse};
use snp::secrets::{SecretsPage, VMPCK_SIZE};
use snp::status::Status;
use vmpl0::firmware::{Channel, PAGE, keeps_the_host_out, tsc_frequency};
use zerocopy::FromZeros;

use crate::calls::{CpuPages, with_transfer_area};
use crate::vp::OWN_LEVEL;

/// The parameters of Secure TSC, for save areas, and the frequency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecureTsc {
    scale: u64,
    offset: u64,
    /// In Hz.
    pub(crate) frequency: u64,
}

impl SecureTsc {
    /// Gives a level the clock that all others have.
    pub(crate) fn set(&self, area: &mut SaveArea) {
        area.set_guest_tsc_scale(self.scale);
        area.set_guest_tsc_offset(self.offset);
    }
}

/// Asks the firmware for our own report, and refuses a launch whose policy lets the host in. The host
/// has chosen the policy, which is no part of the measurement. If the VM was launched with Secure
/// TSC, the firmware also tells its parameters.
///
/// # Errors
/// [`Reason::Policy`], [`Reason::Time`].
pub(crate) fn check_launch() -> Result<Option<SecureTsc>, Reason> {
    let place = layout::SECRETS as usize + offset_of!(SecretsPage, vmpck);
    // SAFETY: the page was launched at this address, which our tables map; nothing writes it. The
    // first key is that of our own level.
    let key = unsafe { &*(place as *const [u8; VMPCK_SIZE]) };
    let mut channel = Channel::new(key, OWN_LEVEL);
    let request = ReportRequest { vmpl: OWN_LEVEL.into(), ..ReportRequest::new_zeroed() };
    let answer = channel.ask(MessageType::REPORT_REQ, &request, carry);
    let ReportResponse { status, report, .. } = answer.map_err(|_| Reason::Policy)?;
    let is_ours = Status(status) == Status::SUCCESS && report.vmpl == u32::from(OWN_LEVEL);
    if !is_ours || !keeps_the_host_out(report.policy) {
        return Err(Reason::Policy);
    }
    let has_secure_tsc = sev_guest::status().features().secure_tsc();
    has_secure_tsc.then(|| secure_tsc(&mut channel)).transpose()
}

fn secure_tsc(channel: &mut Channel) -> Result<SecureTsc, Reason> {
    let request = TscInfoRequest::new_zeroed();
    let answer = channel.ask(MessageType::TSC_INFO_REQ, &request, carry);
    let TscInfoResponse { status, guest_tsc_scale, guest_tsc_offset, tsc_factor, .. } =
        answer.map_err(|_| Reason::Time)?;
    // SAFETY: a VP with Secure TSC has the register, and reading it changes nothing.
    let nominal = unsafe { instructions::rdmsr(msr::GUEST_TSC_FREQ) };
    let frequency = tsc_frequency(nominal, tsc_factor);
    if Status(status) != Status::SUCCESS || frequency == 0 {
        return Err(Reason::Time);
    }
    Ok(SecureTsc { scale: guest_tsc_scale, offset: guest_tsc_offset, frequency })
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
