//! The keys that a guest can have derived.
//!
//! A key is HMAC-SHA-256 of all selected properties under a root. The input has a fixed layout, so
//! that no two selections have the same input.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use snp::message::{GuestFieldSelect, KeyRequest};
use snp::status::Status;
use zerocopy::IntoBytes;

use crate::guest::Guest;
use crate::platform::Platform;
use crate::report::{check_key, check_level};

/// Separates these keys from others of the same root.
const LABEL: &[u8] = b"drydock: key derived for a guest";

/// The bits of GUEST_FIELD_SELECT and ROOT_KEY_SELECT that have a meaning.
const KNOWN_FIELDS: u64 = (1 << 6) - 1;
const KNOWN_ROOTS: u32 = (1 << 3) - 1;

/// Derives a key for a sender of a level (SNP firmware ABI 56860, "MSG_KEY_REQ").
pub(crate) fn derive(
    guest: &Guest,
    platform: &Platform,
    sender: u32,
    request: &KeyRequest,
) -> Result<[u8; 32], Status> {
    check_level(request.vmpl, sender)?;
    let unknown = request.guest_field_select.into_bits() & !KNOWN_FIELDS != 0
        || request.root_key_select.into_bits() & !KNOWN_ROOTS != 0
        || request.reserved_04 != 0;
    if unknown {
        return Err(Status::INVALID_PARAM);
    }
    if request.guest_svn > guest.owner.guest_svn
        || !request.tcb_version.is_at_most(platform.state.committed_tcb)
    {
        return Err(Status::INVALID_PARAM);
    }
    let from_vm = request.root_key_select.vmrk();
    let root = if from_vm {
        &guest.entropy.root_key
    } else {
        check_key(request.root_key_select.key())?;
        &platform.secret.0
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(root).map_err(|_| Status::HWERROR_PLATFORM)?;
    mac.update(LABEL);
    mac.update(&[u8::from(from_vm)]);
    mac.update(&request.vmpl.to_le_bytes());
    mix(&mut mac, guest, request);
    Ok(mac.finalize().into_bytes().into())
}

/// Mixes the selection, then each selected property; one that is not selected is zero.
fn mix(mac: &mut Hmac<Sha256>, guest: &Guest, request: &KeyRequest) {
    let select: GuestFieldSelect = request.guest_field_select;
    let owner = &guest.owner;
    let fields: [(bool, &[u8]); 6] = [
        (select.policy(), guest.start.policy.as_bytes()),
        (select.image_id(), &owner.image_id),
        (select.family_id(), &owner.family_id),
        (select.measurement(), &guest.digest.0),
        (select.guest_svn(), request.guest_svn.as_bytes()),
        (select.tcb_version(), request.tcb_version.as_bytes()),
    ];
    mac.update(select.as_bytes());
    for (selected, field) in fields {
        for byte in field {
            mac.update(&[if selected { *byte } else { 0 }]);
        }
    }
}
