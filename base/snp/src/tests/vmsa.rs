use igvm::snp_defs::SevVmsa;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::exit::ExitCode;
use crate::features::{SevFeatures, SevStatus};
use crate::vmsa::{EventInj, EventType, VintrCtrl, Vmsa};

/// A page in which each byte differs from its neighbours and from those a segment away.
fn patterned() -> [u8; 4096] {
    core::array::from_fn(|index| (index * 7 + index / 251) as u8)
}

#[test]
fn the_save_area_has_the_layout_of_the_igvm_crate() {
    let ours = Vmsa::read_from_bytes(&patterned()).unwrap();
    let theirs = SevVmsa::read_from_bytes(&patterned()[..size_of::<SevVmsa>()]).unwrap();
    assert_eq!(ours.cs.as_bytes(), theirs.cs.as_bytes());
    assert_eq!(ours.gdtr.as_bytes(), theirs.gdtr.as_bytes());
    assert_eq!(ours.tr.as_bytes(), theirs.tr.as_bytes());
    assert_eq!(ours.vmpl, theirs.vmpl);
    assert_eq!(ours.cpl, theirs.cpl);
    let pairs = [
        (ours.efer, theirs.efer),
        (ours.xss, theirs.xss),
        (ours.cr4, theirs.cr4),
        (ours.cr3, theirs.cr3),
        (ours.cr0, theirs.cr0),
        (ours.dr7, theirs.dr7),
        (ours.dr6, theirs.dr6),
        (ours.rflags, theirs.rflags),
        (ours.rip, theirs.rip),
        (ours.dr0, theirs.dr0),
        (ours.dr3_addr_mask, theirs.dr3_addr_mask),
        (ours.rsp, theirs.rsp),
        (ours.s_cet, theirs.s_cet),
        (ours.isst_addr, theirs.interrupt_ssp_table_addr),
        (ours.rax, theirs.rax),
        (ours.sfmask, theirs.sfmask),
        (ours.kernel_gs_base, theirs.kernel_gs_base),
        (ours.sysenter_eip, theirs.sysenter_eip),
        (ours.cr2, theirs.cr2),
        (ours.g_pat, theirs.pat),
        (ours.dbgctl, theirs.dbgctl),
        (ours.last_excp_to, theirs.last_excp_to_ip),
        (ours.spec_ctrl, theirs.spec_ctrl),
        (ours.rcx, theirs.rcx),
        (ours.rbx, theirs.rbx),
        (ours.rbp, theirs.rbp),
        (ours.r15, theirs.r15),
        (ours.guest_exit_info_1, theirs.exit_info1),
        (ours.guest_exit_info_2, theirs.exit_info2),
        (ours.guest_exit_int_info.into_bits(), theirs.exit_int_info),
        (ours.guest_nrip, theirs.next_rip),
        (ours.sev_features.into_bits(), theirs.sev_features.into_bits()),
        (ours.vintr_ctrl.into_bits(), theirs.v_intr_cntrl.0),
        (ours.guest_exit_code.0, theirs.guest_error_code),
        (ours.virtual_tom, theirs.virtual_tom),
        (ours.tlb_id, theirs.tlb_id),
        (ours.pcpu_id, theirs.pcpu_id),
        (ours.event_inj.into_bits(), theirs.event_inject.0),
        (ours.xcr0, theirs.xcr0),
        (ours.x87_dp, theirs.x87dp),
        (ours.x87_rip, theirs.x87_rip),
    ];
    for (index, (ours, theirs)) in pairs.into_iter().enumerate() {
        assert_eq!(ours, theirs, "pair {index}");
    }
    assert_eq!(ours.mxcsr, theirs.mxcsr);
    assert_eq!(ours.x87_fcw, theirs.x87_fcw);
    assert_eq!(ours.xmm.as_bytes(), theirs.xmm_registers.as_bytes());
    assert_eq!(ours.ymm_hi.as_bytes(), theirs.ymm_registers.as_bytes());
}

#[test]
fn a_save_area_keeps_all_its_bytes() {
    let area = Vmsa::read_from_bytes(&patterned()).unwrap();
    assert_eq!(area.as_bytes(), patterned());
    assert!(Vmsa::read_from_bytes(&patterned()[1..]).is_err());
    assert!(Vmsa::new_zeroed().as_bytes().iter().all(|byte| *byte == 0));
}

#[test]
fn interrupt_control_has_its_bits() {
    assert_eq!(VintrCtrl::new().with_tpr(0xab).into_bits(), 0xab);
    assert_eq!(VintrCtrl::new().with_irq(true).into_bits(), 1 << 8);
    assert_eq!(VintrCtrl::new().with_gif(true).into_bits(), 1 << 9);
    assert_eq!(VintrCtrl::new().with_shadow(true).into_bits(), 1 << 10);
    assert_eq!(VintrCtrl::new().with_nmi(true).into_bits(), 1 << 11);
    assert_eq!(VintrCtrl::new().with_nmi_mask(true).into_bits(), 1 << 12);
    assert_eq!(VintrCtrl::new().with_priority(15).into_bits(), 0xf << 16);
    assert_eq!(VintrCtrl::new().with_ignore_tpr(true).into_bits(), 1 << 20);
    assert_eq!(VintrCtrl::new().with_nmi_enable(true).into_bits(), 1 << 26);
    assert_eq!(VintrCtrl::new().with_vector(0x42).into_bits(), 0x42 << 32);
    assert_eq!(VintrCtrl::new().with_busy(true).into_bits(), 1 << 63);
}

#[test]
fn an_event_has_its_bits_and_keeps_an_unknown_type() {
    let event = EventInj::new()
        .with_vector(14)
        .with_event_type(EventType::EXCEPTION)
        .with_has_error_code(true)
        .with_valid(true)
        .with_error_code(0x1234_5678);
    assert_eq!(event.into_bits(), 0x1234_5678_8000_0b0e);
    assert_eq!(EventInj::from_bits(0x8000_0700).event_type(), EventType(7));
}

#[test]
fn status_is_the_features_behind_two_older_bits() {
    let features = SevFeatures::new().with_snp_active(true).with_vtom(true).with_secure_tsc(true);
    let status = SevStatus::of_features(features);
    assert_eq!(status.0, 1 << 11 | 1 << 3 | 0b111);
    assert_eq!(status.features(), features);
    assert!(status.is_snp());
    assert!(!SevStatus(0b011).is_snp());
    assert!(!SevStatus(0b101).is_snp());
}

#[test]
fn features_have_their_bits_and_unknown_ones_are_told() {
    let bits = [
        (SevFeatures::new().with_snp_active(true), 0),
        (SevFeatures::new().with_vtom(true), 1),
        (SevFeatures::new().with_reflect_vc(true), 2),
        (SevFeatures::new().with_restricted_injection(true), 3),
        (SevFeatures::new().with_alternate_injection(true), 4),
        (SevFeatures::new().with_debug_swap(true), 5),
        (SevFeatures::new().with_prevent_host_ibs(true), 6),
        (SevFeatures::new().with_btb_isolation(true), 7),
        (SevFeatures::new().with_vmpl_sss(true), 8),
        (SevFeatures::new().with_secure_tsc(true), 9),
        (SevFeatures::new().with_vmgexit_parameter(true), 10),
        (SevFeatures::new().with_pmc_virtualization(true), 11),
        (SevFeatures::new().with_ibs_virtualization(true), 12),
        (SevFeatures::new().with_vmsa_reg_prot(true), 14),
        (SevFeatures::new().with_smt_protection(true), 15),
        (SevFeatures::new().with_secure_avic(true), 16),
        (SevFeatures::new().with_ibpb_on_entry(true), 21),
    ];
    let mut known = 0;
    for (features, bit) in bits {
        assert_eq!(features.into_bits(), 1 << bit);
        known |= 1 << bit;
    }
    assert_eq!(SevFeatures::KNOWN.into_bits(), known);
    assert_eq!(SevFeatures::from_bits(known | 1 << 13 | 1 << 40).unknown(), 1 << 13 | 1 << 40);
}

#[test]
fn an_unknown_exit_code_is_kept() {
    let mut area = Vmsa::new_zeroed();
    area.guest_exit_code = ExitCode(0x1_2345);
    let copy = Vmsa::read_from_bytes(area.as_bytes()).unwrap();
    assert_eq!(copy.guest_exit_code, ExitCode(0x1_2345));
}

#[test]
fn protection_masks_the_named_words_and_no_other() {
    let plain = Vmsa::read_from_bytes(&patterned()).unwrap();
    let mut area = plain.clone();
    area.reg_prot_nonce = 0x0123_4567_89ab_cdef;
    let mut bitmap = [0; 64];
    // RIP at 178h is word 47, RAX at 1F8h is word 63.
    (bitmap[5], bitmap[7]) = (0x80, 0x80);
    area.toggle_protection(&bitmap);
    assert_eq!(area.rip, plain.rip ^ 0x0123_4567_89ab_cdef);
    assert_eq!(area.rax, plain.rax ^ 0x0123_4567_89ab_cdef);
    assert_eq!((area.rflags, area.dr0, area.star), (plain.rflags, plain.dr0, plain.star));
    area.toggle_protection(&bitmap);
    area.reg_prot_nonce = plain.reg_prot_nonce;
    assert_eq!(area.as_bytes(), plain.as_bytes());
}
