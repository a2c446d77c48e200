//! The checks of VMRUN.

use snp::features::SevFeatures;
use snp::vmsa::Vmsa;
use x86::{cr0, cr4, efer};
use zerocopy::FromZeros;

use crate::save_area::{EMULATED, PCPU_ID, Unfit, check, keeps_translations};

/// 64-bit mode at VMPL1.
fn area() -> Vmsa {
    let mut area = Vmsa::new_zeroed();
    area.vmpl = 1;
    area.efer = efer::SVME | efer::LME | efer::LMA;
    (area.cr0, area.cr4) = (cr0::PE | cr0::PG, cr4::PAE);
    area.cs.attributes = 1 << 9;
    area.sev_features = SevFeatures::new().with_snp_active(true);
    area
}

#[test]
fn a_save_area_is_run_or_refused() {
    type Change = fn(&mut Vmsa);
    let (fine, invalid, busy) = (Ok(()), Err(Unfit::Invalid), Err(Unfit::Busy));
    #[rustfmt::skip]
    let cases: &[(&str, Change, Result<(), Unfit>)] = &[
        ("64-bit mode", |_| {}, fine),
        ("reset", |area| { (area.cr0, area.cr4, area.efer, area.cs.attributes) = (cr0::ET, 0, efer::SVME, 0x9b) }, fine),
        ("compatibility mode", |area| area.cs.attributes = 1 << 10, fine),
        ("LME without paging", |area| { (area.cr0, area.cr4) = (cr0::PE, 0) }, fine),
        ("L and D without long mode", |area| { (area.efer, area.cs.attributes) = (efer::SVME, 3 << 9) }, fine),
        ("CD and NW", |area| area.cr0 |= cr0::CD | cr0::NW, fine),
        ("reflected #VC", |area| area.sev_features.set_reflect_vc(true), fine),
        ("restricted injection", |area| area.sev_features.set_restricted_injection(true), fine),
        ("alternate injection", |area| area.sev_features.set_alternate_injection(true), fine),
        ("both injections", |area| {
            area.sev_features.set_restricted_injection(true);
            area.sev_features.set_alternate_injection(true);
        }, invalid),
        ("without SNP", |area| area.sev_features.set_snp_active(false), invalid),
        ("a feature that is not emulated", |area| area.sev_features.set_ibs_virtualization(true), invalid),
        ("an unknown feature", |area| area.sev_features = SevFeatures::from_bits(1 | 1 << 63), invalid),
        ("a less privileged level", |area| area.vmpl = 2, invalid),
        ("a more privileged level", |area| area.vmpl = 0, invalid),
        ("without SVME", |area| area.efer &= !efer::SVME, invalid),
        ("NW without CD", |area| area.cr0 |= cr0::NW, invalid),
        ("CR0 bit 32", |area| area.cr0 |= 1 << 32, invalid),
        ("CR4 bit 32", |area| area.cr4 |= 1 << 32, invalid),
        ("DR6 bit 32", |area| area.dr6 |= 1 << 32, invalid),
        ("DR7 bit 63", |area| area.dr7 |= 1 << 63, invalid),
        ("long mode without PAE", |area| area.cr4 = 0, invalid),
        ("long mode without PE", |area| area.cr0 = cr0::PG, invalid),
        ("L and D in long mode", |area| area.cs.attributes = 3 << 9, invalid),
        ("busy", |area| area.vintr_ctrl.set_busy(true), busy),
        ("busy and invalid", |area| { area.vintr_ctrl.set_busy(true); area.efer = 0 }, busy),
    ];
    for (what, change, expected) in cases {
        let mut area = area();
        change(&mut area);
        assert_eq!(check(&area, 1), *expected, "{what}");
    }
}

#[test]
fn drydock_emulates_these_features() {
    let all = SevFeatures::new()
        .with_snp_active(true)
        .with_vtom(true)
        .with_reflect_vc(true)
        .with_restricted_injection(true)
        .with_alternate_injection(true)
        .with_debug_swap(true)
        .with_prevent_host_ibs(true)
        .with_btb_isolation(true)
        .with_secure_tsc(true)
        .with_vmsa_reg_prot(true);
    assert_eq!(EMULATED, all);
}

#[test]
fn each_feature_is_run_only_if_it_is_emulated() {
    for bit in 1..64 {
        let mut area = area();
        area.sev_features = SevFeatures::from_bits(1 | 1 << bit);
        let is_emulated = EMULATED.into_bits() >> bit & 1 != 0;
        let expected = if is_emulated { Ok(()) } else { Err(Unfit::Invalid) };
        assert_eq!(check(&area, 1), expected, "bit {bit}");
    }
}

#[test]
fn translations_are_those_of_one_save_area_on_one_cpu() {
    let mut area = area();
    area.pcpu_id = PCPU_ID;
    assert!(keeps_translations(&area, 3, 3));
    assert!(
        !keeps_translations(&area, 3, 4),
        "another save area, or one that came from another VP"
    );
    assert!(!keeps_translations(&area, 0, 4), "the first one");
    for id in [0, PCPU_ID + 1, u64::MAX] {
        area.pcpu_id = id;
        assert!(!keeps_translations(&area, 3, 3), "software has changed it to {id:#x}");
    }
}
