//! The end of a VM that can not be started.

use host_wire::linux_start::REASON_SET;
use snp::msr_protocol::Termination;

pub(crate) use host_wire::linux_start::Reason;

/// Ends the VM.
pub(crate) fn with(reason: Reason) -> ! {
    sev_guest::terminate(Termination { set: REASON_SET, reason: reason as u8 })
}
