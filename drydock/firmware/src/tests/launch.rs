use snp::digest::{LaunchDigest, LowerPermissions, Page};
use snp::report::{PlatformInfo, Policy};
use snp::secrets::SecretsPage;
use snp::status::Status;
use zerocopy::FromBytes;

use super::fixture::{self, NO_IDENTITY, POLICY, add, launching, platform};
use crate::{ChipSecret, Guest, Platform, PlatformState, Start, Update};

fn start(policy: Policy, info: PlatformInfo) -> Result<(), Status> {
    let state = PlatformState { info, ..fixture::state() };
    let platform = Platform::new(state, ChipSecret([0; 32]), &[1; 48]).unwrap();
    let start = Start { policy, ..fixture::start() };
    Guest::launch_start(&platform, start, fixture::entropy()).map(|_| ())
}

#[test]
fn a_policy_decides_whether_the_platform_may_launch() {
    let none = PlatformInfo::new();
    let base = POLICY.with_smt(false);
    let table = [
        (base, none, Ok(())),
        (POLICY, PlatformInfo::new().with_smt(true), Ok(())),
        (base, PlatformInfo::new().with_smt(true), Err(Status::POLICY_FAILURE)),
        (base.with_reserved_one(false), none, Err(Status::INVALID_PARAM)),
        (Policy::from_bits(POLICY.into_bits() | 1 << 26), none, Err(Status::INVALID_PARAM)),
        (Policy::from_bits(POLICY.into_bits() | 1 << 63), none, Err(Status::INVALID_PARAM)),
        (base.with_abi_major(1).with_abi_minor(55), none, Ok(())),
        (base.with_abi_minor(255), none, Ok(())),
        (base.with_abi_major(1).with_abi_minor(56), none, Err(Status::POLICY_FAILURE)),
        (base.with_abi_major(2), none, Err(Status::POLICY_FAILURE)),
        (base.with_debug(true).with_migrate_ma(true), none, Ok(())),
        (base.with_single_socket(true).with_page_swap_disable(true), none, Ok(())),
        (base.with_rapl_dis(true), none, Err(Status::POLICY_FAILURE)),
        (base.with_rapl_dis(true), PlatformInfo::new().with_rapl_dis(true), Ok(())),
        (base.with_ciphertext_hiding(true), none, Err(Status::POLICY_FAILURE)),
        (base.with_mem_aes_256_xts(true), none, Err(Status::POLICY_FAILURE)),
    ];
    for (policy, info, expected) in table {
        assert_eq!(start(policy, info), expected, "{policy:?} {info:?}");
    }
    let hiding = PlatformInfo::new().with_ciphertext_hiding(true);
    assert_eq!(start(base.with_ciphertext_hiding(true), hiding), Ok(()));
}

#[test]
fn a_signing_key_is_a_scalar_of_the_curve() {
    assert!(Platform::new(fixture::state(), ChipSecret([0; 32]), &[0; 48]).is_none());
    assert!(Platform::new(fixture::state(), ChipSecret([0; 32]), &[0xff; 48]).is_none());
}

#[test]
fn the_digest_follows_the_pages() {
    let mut guest = launching();
    let mut pages = [[0xff; 4096]; 2];
    let [zero, secrets] = &mut pages;
    add(&mut guest, Update::Normal(&[1; 4096]), 0x1000).unwrap();
    add(&mut guest, Update::Zero(zero), 0x2000).unwrap();
    add(&mut guest, Update::Unmeasured, 0x3000).unwrap();
    add(&mut guest, Update::Secrets(secrets), 0x4000).unwrap();
    let permissions = LowerPermissions { vmpl1: 3, ..LowerPermissions::default() };
    guest.launch_update(&platform(), Update::Vmsa(&[2; 4096]), 0x5000, permissions).unwrap();
    assert_eq!(*zero, [0; 4096]);

    let mut digest = LaunchDigest::EMPTY;
    digest.add(Page::Normal(&[1; 4096]), 0x1000);
    digest.add(Page::Zero, 0x2000);
    digest.add(Page::Unmeasured, 0x3000);
    digest.add(Page::Secrets, 0x4000);
    digest.add_with_permissions(Page::Vmsa(&[2; 4096]), 0x5000, permissions);
    assert_eq!(guest.measurement(), digest.0);
}

#[test]
fn the_secrets_page_has_keys_and_parameters() {
    let mut bytes = [0xff; 4096];
    add(&mut launching(), Update::Secrets(&mut bytes), 0x1000).unwrap();
    let page = SecretsPage::read_from_bytes(&bytes).unwrap();
    assert_eq!((page.version, page.flags), (3, 0));
    assert_eq!(page.fms, 0x00a0_0f11);
    assert_eq!(page.gosvw, [0x77; 16]);
    assert_eq!(page.vmsa_tweak_bitmap, [0x66; 64]);
    assert_eq!(page.vmpck, fixture::entropy().vmpck);
    assert_eq!(page.tsc_factor, 200);
    assert_eq!(page.svsm_size, 0);
    assert!(page.reserved_164.iter().all(|byte| *byte == 0));
}

#[test]
fn a_page_that_is_refused_is_not_measured() {
    let mut guest = launching();
    assert_eq!(add(&mut guest, Update::Unmeasured, 0x1001), Err(Status::INVALID_ADDRESS));
    for permissions in [
        LowerPermissions { vmpl1: 0x20, ..LowerPermissions::default() },
        LowerPermissions { vmpl2: 0x40, ..LowerPermissions::default() },
        LowerPermissions { vmpl3: 0x80, ..LowerPermissions::default() },
    ] {
        let result = guest.launch_update(&platform(), Update::Unmeasured, 0x1000, permissions);
        assert_eq!(result, Err(Status::INVALID_PARAM));
    }
    assert_eq!(guest.measurement(), [0; 48]);
}

#[test]
fn each_command_has_its_state() {
    let mut guest = launching();
    let mut response = [0; 4096];
    let request = guest.request(&platform(), &[0; 4096], &mut response);
    assert_eq!(request, Err(Status::INVALID_GUEST_STATE));
    guest.launch_finish(&NO_IDENTITY).unwrap();
    assert_eq!(guest.launch_finish(&NO_IDENTITY), Err(Status::INVALID_GUEST_STATE));
    let update = add(&mut guest, Update::Unmeasured, 0x1000);
    assert_eq!(update, Err(Status::INVALID_GUEST_STATE));
}
