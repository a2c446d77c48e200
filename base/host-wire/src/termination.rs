//! Words for the reasons with which an SEV-SNP guest ends its VM.
//!
//! A guest gives a set and a reason within it (GHCB protocol 56421, section 2.3.1, termination
//! request).

use crate::{linux_start, paravisor_image};

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
        paravisor_image::REASON_SET => {
            let mut all = paravisor_image::Reason::ALL.into_iter();
            all.find(|known| *known as u8 == reason).map(paravisor_image::Reason::words)
        }
        _ => None,
    }
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
}
