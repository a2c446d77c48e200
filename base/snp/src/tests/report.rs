use zerocopy::{FromZeros, IntoBytes};

use crate::report::{
    AttestationReport, FirmwareVersion, IdAuthentication, Integer, KeyInfo, PlatformInfo, Policy,
    TcbVersion,
};

#[test]
fn a_policy_has_its_bits() {
    // The policy that QEMU takes by default.
    assert_eq!(Policy::new().with_smt(true).with_reserved_one(true).into_bits(), 0x3_0000);
    assert_eq!(Policy::new().with_abi_major(1).with_abi_minor(0x37).into_bits(), 0x137);
    let bits = [
        (Policy::new().with_migrate_ma(true), 18),
        (Policy::new().with_debug(true), 19),
        (Policy::new().with_single_socket(true), 20),
        (Policy::new().with_cxl_allow(true), 21),
        (Policy::new().with_mem_aes_256_xts(true), 22),
        (Policy::new().with_rapl_dis(true), 23),
        (Policy::new().with_ciphertext_hiding(true), 24),
        (Policy::new().with_page_swap_disable(true), 25),
    ];
    for (policy, bit) in bits {
        assert_eq!(policy.into_bits(), 1 << bit);
    }
    assert_eq!(Policy::KNOWN.into_bits(), 0x3ff_ffff);
}

#[test]
fn a_tcb_is_older_only_if_no_component_is_newer() {
    let tcb = TcbVersion::milan(4, 0, 24, 0xdb);
    assert_eq!(tcb.0, [4, 0, 0, 0, 0, 0, 24, 0xdb]);
    assert_eq!(TcbVersion::turin(1, 2, 3, 4, 5).0, [1, 2, 3, 4, 0, 0, 0, 5]);
    assert!(tcb.is_at_most(tcb));
    assert!(TcbVersion::default().is_at_most(tcb));
    assert!(!tcb.is_at_most(TcbVersion::milan(3, 9, 99, 0xff)));
    assert!(!tcb.is_at_most(TcbVersion::milan(4, 0, 24, 0xda)));
}

#[test]
fn an_integer_is_little_endian_and_padded() {
    let mut bytes = [0; 48];
    bytes[0] = 0xaa;
    bytes[47] = 0x55;
    let integer = Integer::from_be_bytes(&bytes);
    assert_eq!((integer.0[0], integer.0[47]), (0x55, 0xaa));
    assert_eq!(integer.to_be_bytes(), Some(bytes));
    for index in 48..72 {
        let mut too_large = integer;
        too_large.0[index] = 1;
        assert_eq!(too_large.to_be_bytes(), None);
    }
}

#[test]
fn flags_have_their_bits() {
    assert_eq!(KeyInfo::new().with_author_key(true).into_bits(), 1);
    assert_eq!(KeyInfo::new().with_mask_chip_key(true).into_bits(), 2);
    assert_eq!(KeyInfo::new().with_signing_key(7).into_bits(), 7 << 2);
    assert_eq!(PlatformInfo::new().with_smt(true).into_bits(), 1 << 0);
    assert_eq!(PlatformInfo::new().with_tsme(true).into_bits(), 1 << 1);
    assert_eq!(PlatformInfo::new().with_ecc(true).into_bits(), 1 << 2);
    assert_eq!(PlatformInfo::new().with_rapl_dis(true).into_bits(), 1 << 3);
    assert_eq!(PlatformInfo::new().with_ciphertext_hiding(true).into_bits(), 1 << 4);
    assert_eq!(PlatformInfo::new().with_alias_check_complete(true).into_bits(), 1 << 5);
    assert_eq!(PlatformInfo::new().with_tio(true).into_bits(), 1 << 7);
}

#[test]
fn fields_stand_where_verifiers_read_them() {
    let mut report = AttestationReport::new_zeroed();
    report.version = 3;
    report.vmpl = 2;
    report.report_data = [0xd1; 64];
    report.measurement = [0xd2; 48];
    report.chip_id = [0xd3; 64];
    report.current_version = FirmwareVersion { build: 8, minor: 55, major: 1, reserved: 0 };
    report.signature.r.0[0] = 0xd4;
    report.signature.s.0[0] = 0xd5;
    let bytes = report.as_bytes();
    assert_eq!(bytes[0..4], [3, 0, 0, 0]);
    assert_eq!(bytes[0x30], 2);
    assert_eq!(bytes[0x50..0x90], [0xd1; 64]);
    assert_eq!(bytes[0x90..0xc0], [0xd2; 48]);
    assert_eq!(bytes[0x1a0..0x1e0], [0xd3; 64]);
    assert_eq!(bytes[0x1e8..0x1eb], [8, 55, 1]);
    assert_eq!((bytes[0x2a0], bytes[0x2e8]), (0xd4, 0xd5));
    assert_eq!(AttestationReport::SIGNED.end, 0x2a0);
}

#[test]
fn keys_and_signatures_of_an_identity_do_not_overlap() {
    let mut identity = IdAuthentication::new_zeroed();
    identity.id_key.y.0[71] = 1;
    identity.author_key.reserved[879] = 2;
    let bytes = identity.as_bytes();
    assert_eq!((bytes[0x240 + 4 + 143], bytes[0xc83]), (1, 2));
    assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 2);
}
