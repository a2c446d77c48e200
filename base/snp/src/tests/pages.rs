use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::cpuid_page::CpuidPage;
use crate::doorbell::{Doorbell, LevelStatus, NO_EOI_REQUIRED_BIT, PendingEvents};
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
fn the_events_of_lower_levels_follow_the_first_64_bytes() {
    let mut bytes = [0; 0x100];
    bytes[0x00..0x04].copy_from_slice(&[0x31, 0x81, 1, 0b110]);
    bytes[0x40] = 0x33;
    // Vector 32 of level 2 is pending, vector 255 of level 3 in service.
    bytes[0x84] = 1;
    bytes[0xff] = 0x80;
    let doorbell = Doorbell::read_from_bytes(&bytes).unwrap();
    assert_eq!(doorbell.pending.vector(), 0x31);
    assert!(doorbell.pending.nmi() && doorbell.pending.no_further_signal());
    assert!(!doorbell.pending.machine_check());
    assert_eq!(doorbell.no_eoi_required, NO_EOI_REQUIRED_BIT);
    assert_eq!(doorbell.per_vmpl_events, 0b110);
    assert_eq!(doorbell.levels[0].status.vector(), 0x33);
    assert_eq!(doorbell.levels[1].pending[0], 1);
    assert_eq!(doorbell.levels[2].in_service[7], 1 << 31);
}

#[test]
fn the_secrets_page_has_the_parts_of_firmware_guest_and_svsm() {
    let mut bytes = [0; 4096];
    bytes[0x20..0xa0].copy_from_slice(&core::array::from_fn::<u8, 128, _>(|index| index as u8));
    bytes[0xac] = 4;
    bytes[0xb1] = 0x10;
    bytes[0x13f] = 0x80;
    bytes[0x141] = 0x20;
    bytes[0x15c] = 2;
    bytes[0x160] = 200;
    let page = SecretsPage::read_from_bytes(&bytes).unwrap();
    assert_eq!((page.vmpck[0][0], page.vmpck[1][0], page.vmpck[3][31]), (0, 32, 127));
    assert_eq!(page.message_counts, [0, 0, 0, 4]);
    assert_eq!(page.ap_jump_table, 0x1000);
    assert_eq!(page.vmsa_tweak_bitmap[63], 0x80);
    assert_eq!((page.svsm_base, page.svsm_guest_vmpl), (0x2000, 2));
    assert_eq!(page.tsc_factor, 200);
    assert_eq!(page.as_bytes(), bytes);
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
