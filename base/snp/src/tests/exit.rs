use crate::exit::{
    ApCreation, ApCreationRequest, ExitCode, HypervisorFeatures, IoInfo, NestedPageFault,
};

#[test]
fn codes_that_have_a_number_are_computed() {
    assert_eq!(ExitCode::cr_read(8), ExitCode(0x08));
    assert_eq!(ExitCode::cr_write(15), ExitCode(0x1f));
    assert_eq!(ExitCode::dr_read(7), ExitCode(0x27));
    assert_eq!(ExitCode::dr_write(7), ExitCode(0x37));
    assert_eq!(ExitCode::exception(14), ExitCode(0x4e));
    assert_eq!(ExitCode::cr_write_trap(4), ExitCode(0x94));
    assert_eq!(ExitCode::VC, ExitCode(0x5d));
    assert_eq!(ExitCode::HV, ExitCode(0x5c));
    assert_eq!(ExitCode::exception(0xff), ExitCode(0x5f));
}

/// The codes from 60h on, without gap.
const INTERCEPTS: [ExitCode; 48] = [
    ExitCode::INTR,
    ExitCode::NMI,
    ExitCode::SMI,
    ExitCode::INIT,
    ExitCode::VINTR,
    ExitCode::CR0_SEL_WRITE,
    ExitCode::IDTR_READ,
    ExitCode::GDTR_READ,
    ExitCode::LDTR_READ,
    ExitCode::TR_READ,
    ExitCode::IDTR_WRITE,
    ExitCode::GDTR_WRITE,
    ExitCode::LDTR_WRITE,
    ExitCode::TR_WRITE,
    ExitCode::RDTSC,
    ExitCode::RDPMC,
    ExitCode::PUSHF,
    ExitCode::POPF,
    ExitCode::CPUID,
    ExitCode::RSM,
    ExitCode::IRET,
    ExitCode::SWINT,
    ExitCode::INVD,
    ExitCode::PAUSE,
    ExitCode::HLT,
    ExitCode::INVLPG,
    ExitCode::INVLPGA,
    ExitCode::IOIO,
    ExitCode::MSR,
    ExitCode::TASK_SWITCH,
    ExitCode::FERR_FREEZE,
    ExitCode::SHUTDOWN,
    ExitCode::VMRUN,
    ExitCode::VMMCALL,
    ExitCode::VMLOAD,
    ExitCode::VMSAVE,
    ExitCode::STGI,
    ExitCode::CLGI,
    ExitCode::SKINIT,
    ExitCode::RDTSCP,
    ExitCode::ICEBP,
    ExitCode::WBINVD,
    ExitCode::MONITOR,
    ExitCode::MWAIT,
    ExitCode::MWAIT_CONDITIONAL,
    ExitCode::XSETBV,
    ExitCode::RDPRU,
    ExitCode::EFER_WRITE_TRAP,
];

#[test]
fn intercepts_are_numbered_in_the_architectures_order() {
    for (number, code) in (0x60..).zip(INTERCEPTS) {
        assert_eq!(code, ExitCode(number));
    }
    assert_eq!(ExitCode::cr_write_trap(0), ExitCode(0x90));
    let later = [
        ExitCode::INVLPGB,
        ExitCode::ILLEGAL_INVLPGB,
        ExitCode::INVPCID,
        ExitCode::MCOMMIT,
        ExitCode::TLBSYNC,
        ExitCode::BUSLOCK,
        ExitCode::IDLE_HLT,
    ];
    for (number, code) in (0xa0..).zip(later) {
        assert_eq!(code, ExitCode(number));
    }
    let nested = [
        ExitCode::NPF,
        ExitCode::AVIC_INCOMPLETE_IPI,
        ExitCode::AVIC_NOACCEL,
        ExitCode::VMGEXIT,
        ExitCode::PAGE_NOT_VALIDATED,
    ];
    for (number, code) in (0x400..).zip(nested) {
        assert_eq!(code, ExitCode(number));
    }
}

#[test]
fn events_of_software_are_numbered_from_8000_0000h() {
    let first = [
        ExitCode::MMIO_READ,
        ExitCode::MMIO_WRITE,
        ExitCode::NMI_COMPLETE,
        ExitCode::AP_RESET_HOLD,
        ExitCode::AP_JUMP_TABLE,
    ];
    for (number, code) in (0x8000_0001..).zip(first) {
        assert_eq!(code, ExitCode(number));
    }
    let snp = [
        ExitCode::PAGE_STATE_CHANGE,
        ExitCode::GUEST_REQUEST,
        ExitCode::EXTENDED_GUEST_REQUEST,
        ExitCode::AP_CREATION,
        ExitCode::HV_DOORBELL_PAGE,
        ExitCode::HV_IPI,
        ExitCode::HV_TIMER,
        ExitCode::APIC_IDS,
        ExitCode::RUN_VMPL,
    ];
    for (number, code) in (0x8000_0010..).zip(snp) {
        assert_eq!(code, ExitCode(number));
    }
    assert_eq!(ExitCode::HYPERVISOR_FEATURES, ExitCode(0x8000_fffd));
    assert_eq!(ExitCode::TERMINATION_REQUEST, ExitCode(0x8000_fffe));
    assert_eq!(ExitCode::UNSUPPORTED_EVENT, ExitCode(0x8000_ffff));
}

#[test]
fn failures_of_vmrun_are_negative() {
    assert_eq!(ExitCode::INVALID, ExitCode(-1_i64 as u64));
    assert_eq!(ExitCode::BUSY, ExitCode(-2_i64 as u64));
    assert_eq!(ExitCode::IDLE_REQUIRED, ExitCode(-3_i64 as u64));
}

#[test]
fn a_port_access_has_its_bits() {
    // IN AX, DX with 64-bit addresses from port 3F8h.
    let info = IoInfo::from_bits(0x03f8_0221);
    assert!(info.is_in() && info.is_16_bit() && info.address_64());
    assert!(!info.is_string() && !info.is_repeated() && !info.is_8_bit() && !info.is_32_bit());
    assert_eq!(info.port(), 0x3f8);
    // REP OUTSB from FS.
    let info = IoInfo::new()
        .with_is_string(true)
        .with_is_repeated(true)
        .with_is_8_bit(true)
        .with_segment(4)
        .with_port(0x80);
    assert_eq!(info.into_bits(), 0x0080_101c);
}

#[test]
fn a_nested_page_fault_has_its_bits() {
    assert_eq!(NestedPageFault::new().with_reserved_bit(true).into_bits(), 1 << 3);
    assert_eq!(NestedPageFault::new().with_shadow_stack(true).into_bits(), 1 << 6);
    assert_eq!(NestedPageFault::new().with_rmp(true).into_bits(), 1 << 31);
    assert_eq!(NestedPageFault::new().with_final_translation(true).into_bits(), 1 << 32);
    assert_eq!(NestedPageFault::new().with_table_walk(true).into_bits(), 1 << 33);
    assert_eq!(NestedPageFault::new().with_encrypted(true).into_bits(), 1 << 34);
    assert_eq!(NestedPageFault::new().with_size_mismatch(true).into_bits(), 1 << 35);
    assert_eq!(NestedPageFault::new().with_vmpl(true).into_bits(), 1 << 36);
    assert_eq!(NestedPageFault::new().with_supervisor_shadow_stack(true).into_bits(), 1 << 37);
}

#[test]
fn ap_creation_names_vp_level_and_request() {
    let creation =
        ApCreation::new().with_request(ApCreationRequest::CREATE).with_vmpl(2).with_apic_id(0x1234);
    assert_eq!(creation.into_bits(), 0x1234_0002_0001);
    assert_eq!(ApCreation::from_bits(0x77).request(), ApCreationRequest(0x77));
}

#[test]
fn hypervisor_features_have_their_bits() {
    assert_eq!(HypervisorFeatures::new().with_snp(true).into_bits(), 1 << 0);
    assert_eq!(HypervisorFeatures::new().with_ap_creation(true).into_bits(), 1 << 1);
    assert_eq!(HypervisorFeatures::new().with_restricted_injection(true).into_bits(), 1 << 2);
    assert_eq!(HypervisorFeatures::new().with_restricted_injection_timer(true).into_bits(), 8);
    assert_eq!(HypervisorFeatures::new().with_apic_id_list(true).into_bits(), 1 << 4);
    assert_eq!(HypervisorFeatures::new().with_multi_vmpl(true).into_bits(), 1 << 5);
    assert_eq!(HypervisorFeatures::new().with_page_state_change(true).into_bits(), 1 << 6);
    assert_eq!(HypervisorFeatures::new().with_extended_interrupts(true).into_bits(), 1 << 7);
}
