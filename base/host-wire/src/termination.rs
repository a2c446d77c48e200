//! Meanings of the reasons with which an SEV-SNP guest ends its VM.
//!
//! A guest gives a set and a reason within it (GHCB protocol 56421, section 2.3.1, termination
//! request).

use crate::{Status, linux_start, paravisor_image};

/// The protocol's own reasons.
const PROTOCOL_SET: u8 = 0;
const PROTOCOL: [&str; 3] = [
    "no reason given",
    "the host's range of GHCB protocol versions is not supported",
    "an SEV-SNP feature that the guest needs is missing",
];

/// The reasons of Linux (arch/x86/include/asm/sev-common.h, SEV_TERM_SET_LINUX).
const LINUX_SET: u8 = 1;
const LINUX: [&str; 7] = [
    "Linux could not register its GHCB",
    "Linux could not change the state of a page",
    "Linux could not validate a page",
    "Linux does not run at VMPL 0",
    "Linux found no valid CPUID table",
    "Linux got a wrong CPUID answer from the host",
    "Linux found no secrets page",
];

/// The words for a reason, if it is known.
pub fn words(set: u8, reason: u8) -> Option<&'static str> {
    let index = usize::from(reason);
    match set {
        PROTOCOL_SET => PROTOCOL.get(index).copied(),
        LINUX_SET => LINUX.get(index).copied(),
        linux_start::REASON_SET => {
            let mut all = linux_start::Reason::ALL.into_iter();
            all.find(|known| *known as u8 == reason).map(linux_start::Reason::words)
        }
        paravisor_image::REASON_SET => of_paravisor(reason).map(paravisor_image::Reason::words),
        _ => None,
    }
}

fn of_paravisor(reason: u8) -> Option<paravisor_image::Reason> {
    paravisor_image::Reason::ALL.into_iter().find(|known| *known as u8 == reason)
}

/// The status with which our paravisor's machine has ended, if it gave one. The paravisor has told
/// the reason itself.
pub fn status_of_machine(set: u8, reason: u8) -> Option<Status> {
    (set == paravisor_image::STATUS_SET).then(|| Status::of_number(reason))?
}

/// The status that stands for a reason.
pub fn status(set: u8, reason: u8) -> Status {
    let of_paravisor = || {
        let of_set = (set == paravisor_image::REASON_SET).then(|| of_paravisor(reason))?;
        of_set.map(paravisor_image::Reason::status)
    };
    of_paravisor().unwrap_or(Status::GuestFailed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_reasons_have_words() {
        assert!(words(0, 2).is_some_and(|text| text.contains("SEV-SNP")));
        assert!(words(1, 2).is_some_and(|text| text.contains("validate")));
        assert!(words(8, 7).is_some_and(|text| text.contains("kernel")));
        assert!(words(9, 6).is_some_and(|text| text.contains("exchanged")));
        for (set, reason) in [(0, 3), (1, 200), (8, 0), (8, 9), (9, 0), (2, 0), (15, 255)] {
            assert_eq!(words(set, reason), None, "set {set}, reason {reason}");
        }
    }

    #[test]
    fn reasons_of_the_paravisor_have_the_status_of_any_platform() {
        use paravisor_image::{REASON_SET, Reason, STATUS_SET};
        for (reason, is) in [
            (Reason::Crash, Status::ParavisorCrashed),
            (Reason::NoSnp, Status::UnusableVm),
            (Reason::Measured, Status::BadConfig),
        ] {
            assert_eq!(status(REASON_SET, reason as u8), is);
            assert_eq!(status_of_machine(REASON_SET, reason as u8), None);
        }
        let bad_guest = Status::BadGuest as u8;
        assert_eq!(status_of_machine(STATUS_SET, bad_guest), Some(Status::BadGuest));
        for (set, reason) in [(0, 0), (1, 2), (8, 7), (REASON_SET, 200), (STATUS_SET, 0)] {
            assert_eq!(status(set, reason), Status::GuestFailed, "set {set}, reason {reason}");
            assert_eq!(status_of_machine(set, reason), None, "set {set}, reason {reason}");
        }
    }
}
