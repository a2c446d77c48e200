use p384::ecdsa::signature::hazmat::PrehashVerifier;
use p384::ecdsa::{self, VerifyingKey};
use sha2::{Digest, Sha384};
use snp::message::{KeySelection, MessageType, ReportFlags, ReportRequest, ReportResponse};
use snp::report::{AttestationReport, FirmwareVersion, SignatureAlgorithm, TcbVersion};
use snp::status::Status;
use zerocopy::{FromZeros, IntoBytes};

use super::fixture::{Client, POLICY, platform, running};

fn request(vmpl: u32) -> ReportRequest {
    ReportRequest { report_data: [0xd0; 64], vmpl, ..ReportRequest::new_zeroed() }
}

fn call(vmpck: u8, request: &ReportRequest) -> ReportResponse {
    Client::new(vmpck).call(&mut running(), MessageType::REPORT_REQ, request)
}

fn is_signed(report: &AttestationReport) -> bool {
    let key = platform().public_key();
    let mut point = [4; 97];
    point[1..49].copy_from_slice(&key.x.to_be_bytes().unwrap());
    point[49..].copy_from_slice(&key.y.to_be_bytes().unwrap());
    let key = VerifyingKey::from_sec1_bytes(&point).unwrap();
    let (r, s) = (report.signature.r.to_be_bytes(), report.signature.s.to_be_bytes());
    let signature = ecdsa::Signature::from_scalars(r.unwrap(), s.unwrap()).unwrap();
    let digest = Sha384::digest(&report.as_bytes()[..0x2a0]);
    key.verify_prehash(&digest, &signature).is_ok()
}

#[test]
fn a_report_describes_vm_and_platform() {
    let response = call(1, &request(2));
    assert_eq!((response.status, response.report_size), (0, 1184));
    let report = response.report;
    assert_eq!(report.version, 3);
    assert_eq!(report.policy, POLICY);
    assert_eq!(report.vmpl, 2);
    assert_eq!(report.signature_algorithm, SignatureAlgorithm::ECDSA_P384_SHA384);
    assert_eq!(report.report_data, [0xd0; 64]);
    assert_eq!(report.measurement, running().measurement());
    assert_eq!(report.host_data, [0x40; 32]);
    assert_eq!(report.report_id, [0xb0; 32]);
    assert_eq!(report.report_id_ma, [0xff; 32]);
    assert_eq!(report.current_tcb, TcbVersion::milan(5, 0, 25, 0xdc));
    assert_eq!(report.launch_tcb, report.current_tcb);
    assert_eq!(report.committed_tcb, TcbVersion::milan(4, 0, 24, 0xdb));
    assert_eq!(report.reported_tcb, TcbVersion::milan(3, 0, 23, 0xda));
    assert_eq!((report.cpuid_family, report.cpuid_model, report.cpuid_stepping), (0x19, 1, 1));
    assert_eq!(report.chip_id, [0xc1; 64]);
    let version = FirmwareVersion { build: 8, minor: 55, major: 1, reserved: 0 };
    assert_eq!((report.current_version, report.committed_version), (version, version));
    assert!(is_signed(&report));
}

#[test]
fn every_signed_byte_is_signed() {
    let report = call(0, &request(0)).report;
    assert!(is_signed(&report));
    for place in (0..0x2a0).step_by(7) {
        let mut bent = report;
        bent.as_mut_bytes()[place] ^= 1;
        assert!(!is_signed(&bent), "byte {place:#x}");
    }
}

#[test]
fn a_sender_names_no_level_above_its_own() {
    for vmpck in 0..4_u8 {
        for vmpl in [0, 1, 2, 3, 4, 0x100, u32::MAX] {
            let response = call(vmpck, &request(vmpl));
            let allowed = vmpl >= u32::from(vmpck) && vmpl <= 3;
            let expected = if allowed { Status::SUCCESS } else { Status::INVALID_PARAM };
            assert_eq!(Status(response.status), expected, "key {vmpck}, level {vmpl}");
            if !allowed {
                assert_eq!(response.report_size, 0);
                assert!(response.report.as_bytes().iter().all(|byte| *byte == 0));
            }
        }
    }
}

#[test]
fn a_report_is_signed_by_a_key_that_exists() {
    let with_flags = |flags| ReportRequest { flags, ..request(0) };
    let key = |key| ReportFlags::new().with_key(key);
    let table = [
        (key(KeySelection::AVAILABLE), Status::SUCCESS),
        (key(KeySelection::VCEK), Status::SUCCESS),
        (key(KeySelection::VLEK), Status::INVALID_KEY),
        (key(KeySelection(3)), Status::INVALID_PARAM),
        (ReportFlags::from_bits(4), Status::INVALID_PARAM),
        (ReportFlags::from_bits(1 << 31), Status::INVALID_PARAM),
    ];
    for (flags, expected) in table {
        assert_eq!(Status(call(0, &with_flags(flags)).status), expected, "{flags:?}");
    }
    let mut reserved = request(0);
    reserved.reserved_48[23] = 1;
    assert_eq!(Status(call(0, &reserved).status), Status::INVALID_PARAM);
}

#[test]
fn the_cpus_signature_has_three_parts() {
    assert_eq!(crate::report::signature(0x00a0_0f11), (0x19, 0x01, 1));
    assert_eq!(crate::report::signature(0x00b0_0f21), (0x1a, 0x02, 1));
    assert_eq!(crate::report::signature(0x00a1_0f12), (0x19, 0x11, 2));
    assert_eq!(crate::report::signature(0x0000_0663), (6, 6, 3));
    assert_eq!(crate::report::signature(u32::MAX), (14, 0xff, 15));
}
