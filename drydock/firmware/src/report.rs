//! Attestation reports.

use snp::message::{KeySelection, ReportRequest};
use snp::report::{AttestationReport, KeyInfo, SignatureAlgorithm};
use snp::secrets::VMPCK_COUNT;
use snp::status::Status;
use zerocopy::FromZeros;

use crate::guest::Guest;
use crate::platform::Platform;

/// The version of the report's layout.
const VERSION: u32 = 3;

/// REPORT_ID_MA of a VM without migration agent.
const NO_MIGRATION_AGENT: [u8; 32] = [0xff; 32];

/// Accepts a level that is not above the sender's.
pub(crate) fn check_level(requested: u32, sender: u32) -> Result<(), Status> {
    if requested < sender || requested as usize >= VMPCK_COUNT {
        return Err(Status::INVALID_PARAM);
    }
    Ok(())
}

/// Accepts a key of the chip; no other key is loaded.
pub(crate) fn check_key(selection: KeySelection) -> Result<(), Status> {
    match selection {
        KeySelection::AVAILABLE | KeySelection::VCEK => Ok(()),
        KeySelection::VLEK => Err(Status::INVALID_KEY),
        _ => Err(Status::INVALID_PARAM),
    }
}

/// Makes a signed report for a sender of a level (SNP firmware ABI 56860, "MSG_REPORT_REQ").
pub(crate) fn make(
    guest: &Guest,
    platform: &Platform,
    sender: u32,
    request: &ReportRequest,
) -> Result<AttestationReport, Status> {
    check_level(request.vmpl, sender)?;
    let unknown = request.flags.into_bits() & !0b11;
    if unknown != 0 || request.reserved_48 != [0; 24] {
        return Err(Status::INVALID_PARAM);
    }
    check_key(request.flags.key())?;
    let mut report = unsigned(guest, platform);
    report.vmpl = request.vmpl;
    report.report_data = request.report_data;
    platform.sign(&mut report)?;
    Ok(report)
}

fn unsigned(guest: &Guest, platform: &Platform) -> AttestationReport {
    let state = &platform.state;
    let owner = &guest.owner;
    let mut report = AttestationReport::new_zeroed();
    report.version = VERSION;
    report.guest_svn = owner.guest_svn;
    report.policy = guest.start.policy;
    report.family_id = owner.family_id;
    report.image_id = owner.image_id;
    report.signature_algorithm = SignatureAlgorithm::ECDSA_P384_SHA384;
    report.current_tcb = state.current_tcb;
    report.platform_info = state.info;
    report.key_info = KeyInfo::new().with_author_key(owner.author_key_enabled);
    report.measurement = guest.digest.0;
    report.host_data = guest.host_data;
    report.id_key_digest = owner.id_key_digest;
    report.author_key_digest = owner.author_key_digest;
    report.report_id = guest.entropy.report_id;
    report.report_id_ma = NO_MIGRATION_AGENT;
    report.reported_tcb = state.reported_tcb;
    (report.cpuid_family, report.cpuid_model, report.cpuid_stepping) = signature(state.fms);
    report.chip_id = state.chip_id;
    report.committed_tcb = state.committed_tcb;
    report.current_version = state.version;
    report.committed_version = state.version;
    report.launch_tcb = guest.launch_tcb;
    report
}

/// Family, model and stepping in the CPU's signature (AMD64 APM vol. 3, section E.3.2).
pub(crate) const fn signature(fms: u32) -> (u8, u8, u8) {
    let base_family = fms >> 8 & 0xf;
    let (family, extended_model) = if base_family == 0xf {
        (base_family + (fms >> 20 & 0xff), fms >> 16 & 0xf)
    } else {
        (base_family, 0)
    };
    (family as u8, (extended_model << 4 | fms >> 4 & 0xf) as u8, (fms & 0xf) as u8)
}
