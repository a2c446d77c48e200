//! The log of measurements, in the crypto-agile format.
//!
//! The source is the TCG PC Client Platform Firmware Profile Specification 1.05 ("PFP"), section
//! 10. All numbers are little-endian.

use alloc::vec::Vec;

use tpm_crypto::hash::Digest;

/// The least room for a log (TCG ACPI Specification 1.3, LAML).
pub(crate) const ROOM: u64 = 64 << 10;

/// Types of events (PFP 10.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum EventType {
    /// The end of the firmware's measurements in a PCR; others follow.
    Separator = 0x4,
    /// The version of the root of trust.
    CrtmVersion = 0x8,
    /// How the platform is configured.
    PlatformConfigFlags = 0xa,
    /// An object that its digest identifies; the event's data is a name.
    CompactHash = 0xc,
    /// Something that a boot loader loads or passes on.
    Ipl = 0xd,
}

/// EV_NO_ACTION.
const NO_ACTION: u32 = 3;

/// The log.
#[derive(Debug)]
pub(crate) struct EventLog(Vec<u8>);

impl EventLog {
    /// A log for these banks, each an algorithm with its digest's size (PFP 10.4.5.1).
    pub(crate) fn new(banks: &[(u16, u16)]) -> Self {
        const CLIENT: u32 = 0;
        /// Minor and major version of the log's specification, its errata, UINTN of 64 bits.
        const VERSION: [u8; 4] = [0, 2, 105, 2];
        let mut description = Vec::from(*b"Spec ID Event03\0");
        description.extend_from_slice(&CLIENT.to_le_bytes());
        description.extend_from_slice(&VERSION);
        description.extend_from_slice(&(banks.len() as u32).to_le_bytes());
        for (algorithm, size) in banks {
            description.extend_from_slice(&algorithm.to_le_bytes());
            description.extend_from_slice(&size.to_le_bytes());
        }
        // No information of a vendor.
        description.push(0);
        // The first event has the old form, with a SHA-1 digest of zeroes.
        let mut log = Vec::from(0_u32.to_le_bytes());
        log.extend_from_slice(&NO_ACTION.to_le_bytes());
        log.extend_from_slice(&[0; 20]);
        log.extend_from_slice(&(description.len() as u32).to_le_bytes());
        log.extend_from_slice(&description);
        Self(log)
    }

    /// Adds an event (PFP 10.2.2). False if there is no room for it.
    #[must_use]
    pub(crate) fn add(
        &mut self,
        pcr: u32,
        kind: EventType,
        digests: &[(u16, Digest)],
        data: &[u8],
    ) -> bool {
        let mut event = Vec::from(pcr.to_le_bytes());
        event.extend_from_slice(&(kind as u32).to_le_bytes());
        event.extend_from_slice(&(digests.len() as u32).to_le_bytes());
        for (algorithm, digest) in digests {
            event.extend_from_slice(&algorithm.to_le_bytes());
            event.extend_from_slice(digest.as_bytes());
        }
        event.extend_from_slice(&(data.len() as u32).to_le_bytes());
        event.extend_from_slice(data);
        let fits = (self.0.len() + event.len()) as u64 <= ROOM;
        if fits {
            self.0.append(&mut event);
        }
        fits
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tpm_crypto::hash::HashAlgorithm;

    #[test]
    fn the_first_event_describes_the_log() {
        let log = EventLog::new(&[(4, 20), (11, 32)]);
        let bytes = log.bytes();
        assert_eq!(bytes[..8], [0, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(bytes[28..32], [37, 0, 0, 0]);
        assert_eq!(&bytes[32..48], b"Spec ID Event03\0");
        assert_eq!(bytes[52..56], [0, 2, 105, 2]);
        assert_eq!(bytes[56..69], [2, 0, 0, 0, 4, 0, 20, 0, 11, 0, 32, 0, 0]);
        assert_eq!(bytes.len(), 69);
    }

    #[test]
    fn events_follow_and_a_full_log_takes_no_more() {
        let mut log = EventLog::new(&[(11, 32)]);
        let start = log.bytes().len();
        let digests = [(11, HashAlgorithm::Sha256.hash(b"x"))];
        assert!(log.add(9, EventType::Ipl, &digests, b"initrd"));
        let event = &log.bytes()[start..];
        assert_eq!(event[..14], [9, 0, 0, 0, 0xd, 0, 0, 0, 1, 0, 0, 0, 11, 0]);
        assert_eq!(event[14..46], *digests[0].1.as_bytes());
        assert_eq!(event[46..], [6, 0, 0, 0, b'i', b'n', b'i', b't', b'r', b'd']);
        let before = log.bytes().to_vec();
        assert!(!log.add(9, EventType::Ipl, &digests, &[0; ROOM as usize]));
        assert_eq!(log.bytes(), before);
    }
}
