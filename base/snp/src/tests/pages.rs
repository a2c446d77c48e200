use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::cpuid_page::CpuidPage;
use crate::doorbell::{Doorbell, LevelStatus, PendingEvents};
use crate::instruction::{Outcome, Permissions};
use crate::secrets::SecretsPage;

extern crate std;

#[test]
fn the_doorbell_has_its_bits() {
    assert_eq!(PendingEvents::new().with_vector(0x31).into_bits(), 0x31);
    assert_eq!(PendingEvents::new().with_nmi(true).into_bits(), 1 << 8);
    assert_eq!(PendingEvents::new().with_machine_check(true).into_bits(), 1 << 9);
    assert_eq!(PendingEvents::new().with_no_further_signal(true).into_bits(), 1 << 15);
    assert_eq!(LevelStatus::new().with_level_triggered(true).into_bits(), 1 << 10);
    assert_eq!(LevelStatus::new().with_multiple_vectors(true).into_bits(), 1 << 14);
    assert_eq!(LevelStatus::new().with_ipi_requested(true).into_bits(), 1 << 27);
    assert_eq!(LevelStatus::new().with_vector_31(true).into_bits(), 1 << 31);
    assert_eq!(size_of::<Doorbell>(), 0x100);
}

#[test]
fn the_cpuid_page_gives_the_entries_in_use() {
    let mut page = CpuidPage::new_zeroed();
    page.count = 2;
    page.functions[1].eax_in = 0x8000_001f;
    page.functions[1].edx = 7;
    assert_eq!(page.used().unwrap().len(), 2);
    let bytes = page.as_bytes();
    assert_eq!(bytes[0x40..0x44], 0x8000_001f_u32.to_le_bytes());
    assert_eq!(bytes[0x64], 7);
    page.count = 64;
    assert_eq!(page.used().unwrap().len(), 64);
    page.count = 65;
    assert!(page.used().is_none());
    page.count = u32::MAX;
    assert!(page.used().is_none());
}

#[test]
fn the_secrets_page_shows_no_key() {
    let page = SecretsPage::read_from_bytes(&[0xa5; 4096]).unwrap();
    let shown = std::format!("{page:?}");
    assert!(!shown.contains("a5") && !shown.contains("165, 165"), "{shown}");
}

#[test]
fn permissions_have_their_bits() {
    assert_eq!(Permissions::all(2).into_bits(), 0xf02);
    assert_eq!(Permissions::new().with_vmpl(1).with_vmsa(true).into_bits(), 0x1_0001);
    assert_eq!(Permissions::new().with_supervisor_shadow_stack(true).into_bits(), 1 << 12);
    assert_eq!(Outcome(6), Outcome::FAIL_SIZEMISMATCH);
}
