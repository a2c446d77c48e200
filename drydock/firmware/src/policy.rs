//! The check of a VM's policy against the platform.

use snp::report::Policy;
use snp::status::Status;

use crate::platform::PlatformState;

/// Accepts a policy that the platform satisfies (SNP firmware ABI 56860, "SNP_LAUNCH_START").
///
/// `MIGRATE_MA`, `DEBUG`, `SINGLE_SOCKET` and `PAGE_SWAP_DISABLE` restrict or allow commands that
/// this firmware does not have.
pub(crate) fn check(policy: Policy, platform: &PlatformState) -> Result<(), Status> {
    let unknown = policy.into_bits() & !Policy::KNOWN.into_bits();
    if !policy.reserved_one() || unknown != 0 {
        return Err(Status::INVALID_PARAM);
    }
    let version = platform.version;
    let info = platform.info;
    let violated = (policy.abi_major(), policy.abi_minor()) > (version.major, version.minor)
        || info.smt() && !policy.smt()
        || policy.rapl_dis() && !info.rapl_dis()
        || policy.ciphertext_hiding() && !info.ciphertext_hiding()
        // Emulated memory is not encrypted at all, so the strongest requirement is refused.
        || policy.mem_aes_256_xts();
    if violated { Err(Status::POLICY_FAILURE) } else { Ok(()) }
}
