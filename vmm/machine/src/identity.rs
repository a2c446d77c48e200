//! The identity of the machine: the UUID of its SMBIOS tables.
//!
//! The host may say it. Else it follows from the identity of the paravisor's state, so that it
//! stays as long as the state does, and without a state it is a random one that stays as long as
//! the VM.

use platform_api::{Entropy, Files, StateDisk, Time};
use state_store::SECTOR;
use tpm_crypto::hash::HashAlgorithm;

/// The label under which a UUID is derived.
const LABEL: &[u8] = b"paravane machine uuid 1\0";
/// A UUID made of random bits (RFC 9562, 5.4).
const RANDOM: u8 = 4;
/// A UUID made as its maker likes (RFC 9562, 5.8).
const CUSTOM: u8 = 8;

/// The machine's identity, which resets do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The machine's UUID, in the byte order of RFC 9562.
    pub(crate) uuid: [u8; 16],
    /// The identity of a store that is made on a blank disk.
    pub(crate) store: [u8; 16],
}

impl Identity {
    /// Takes the identity from the host's UUID or state disk, or makes a random one.
    pub(crate) fn new(host: &(impl Files + StateDisk + Entropy + Time)) -> Self {
        let mut sector = [0; SECTOR];
        let has_disk = host.state_disk_sectors().is_some();
        let is_read = has_disk && host.read_state_disk(0, &mut sector).is_ok();
        let store = if is_read { state_store::identity(&sector) } else { None };
        let store = store.unwrap_or_else(|| random(host));
        let uuid = host.uuid().unwrap_or_else(|| {
            if has_disk { derived(&store) } else { with_version(store, RANDOM) }
        });
        Self { uuid, store }
    }
}

/// The UUID of the machine that has the state with this identity. It does not reveal the identity.
fn derived(store: &[u8; 16]) -> [u8; 16] {
    with_version(digest(&[LABEL, store]), CUSTOM)
}

/// Random bytes. Where the CPU has none, they only differ from machine to machine and from start to
/// start, which a name needs and a key does not.
fn random(host: &(impl Entropy + Time)) -> [u8; 16] {
    let mut bytes = [0; 16];
    if host.entropy(&mut bytes) {
        return bytes;
    }
    let clocks = [host.tsc().0, host.wall_clock(), host.tsc_frequency()].map(u64::to_le_bytes);
    digest(&[LABEL, clocks.as_flattened()])
}

fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let digest = HashAlgorithm::Sha256.hash_parts(parts);
    digest.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// Version and variant in their places (RFC 9562, 4.1 and 4.2).
fn with_version(mut bytes: [u8; 16], version: u8) -> [u8; 16] {
    let [_, _, _, _, _, _, high, _, variant, ..] = &mut bytes;
    *high = *high & 0x0f | version << 4;
    *variant = *variant & 0x3f | 0x80;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_stand_where_readers_look_for_them() {
        let text = |bytes: [u8; 16]| bytes.map(|byte| std::format!("{byte:02x}")).concat();
        assert_eq!(text(with_version([0xff; 16], RANDOM)), "ffffffffffff4fffbfffffffffffffff");
        assert_eq!(text(with_version([0; 16], CUSTOM)), "00000000000080008000000000000000");
    }

    #[test]
    fn a_state_has_one_uuid_and_each_its_own() {
        assert_eq!(derived(&[1; 16]), derived(&[1; 16]));
        assert_ne!(derived(&[1; 16]), derived(&[2; 16]));
        assert_ne!(derived(&[1; 16]), [1; 16]);
    }
}
