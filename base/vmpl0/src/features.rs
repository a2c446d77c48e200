//! The SEV features of both levels: those that were launched, and those that the guest gets.

use snp::features::{SevFeatures, SevStatus};

/// Features with which the paravisor may be launched, beside SNPActive and RestrictedInjection,
/// which it must have. All but Secure TSC change nothing that it does.
const MAY_HAVE: SevFeatures = SevFeatures::new()
    .with_debug_swap(true)
    .with_prevent_host_ibs(true)
    .with_btb_isolation(true)
    .with_secure_tsc(true)
    .with_vmsa_reg_prot(true)
    .with_smt_protection(true)
    .with_ibpb_on_entry(true);
const MUST_HAVE: SevFeatures =
    SevFeatures::new().with_snp_active(true).with_restricted_injection(true);

/// Whether the paravisor can rely on what runs with this status, which no host can change. A host
/// that launches it with other features changes its measurement, too; this ends the VM before a
/// secret exists.
pub const fn fits(status: SevStatus) -> bool {
    let features = status.features().into_bits();
    let most = MAY_HAVE.into_bits() | MUST_HAVE.into_bits();
    status.is_snp()
        && features & MUST_HAVE.into_bits() == MUST_HAVE.into_bits()
        && features & !most == 0
}

/// The guest's features on a CPU with this EAX of CPUID Fn8000_001F (AMD64 APM vol. 3, appendix
/// E.4.17), below a paravisor with the features `own`. `is_masked` tells whether registers can be
/// masked in its save area.
pub const fn of_guest(encryption: u32, own: SevFeatures, is_masked: bool) -> SevFeatures {
    const DEBUG_SWAP: u32 = 1 << 14;
    const PREVENT_HOST_IBS: u32 = 1 << 15;
    SevFeatures::new()
        .with_snp_active(true)
        .with_vtom(true)
        .with_reflect_vc(true)
        .with_alternate_injection(true)
        .with_debug_swap(encryption & DEBUG_SWAP != 0)
        .with_prevent_host_ibs(encryption & PREVENT_HOST_IBS != 0)
        .with_vmsa_reg_prot(is_masked)
        .with_secure_tsc(own.secure_tsc())
        // CPUID has no bits for these: what our level was launched with, the CPU has.
        .with_btb_isolation(own.btb_isolation())
        .with_smt_protection(own.smt_protection())
        .with_ibpb_on_entry(own.ibpb_on_entry())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_with_other_features_is_refused() {
        let status = |features: SevFeatures| SevStatus::of_features(features);
        assert!(fits(status(MUST_HAVE)));
        for bit in 0..62 {
            let one = SevFeatures::from_bits(1 << bit);
            let has = |set: SevFeatures| set.into_bits() & one.into_bits() != 0;
            let more = status(SevFeatures::from_bits(MUST_HAVE.into_bits() | one.into_bits()));
            assert_eq!(fits(more), has(MAY_HAVE) || has(MUST_HAVE), "bit {bit} more");
            let less = status(SevFeatures::from_bits(MUST_HAVE.into_bits() & !one.into_bits()));
            assert_eq!(fits(less), !has(MUST_HAVE), "bit {bit} less");
        }
        // The older features are part of SEV-SNP.
        assert!(!fits(SevStatus(status(MUST_HAVE).0 & !SevStatus::SEV_ES)));
    }

    #[test]
    fn the_guest_gets_each_protection_that_is_offered() {
        let plain = SevFeatures::new()
            .with_snp_active(true)
            .with_vtom(true)
            .with_reflect_vc(true)
            .with_alternate_injection(true);
        assert_eq!(of_guest(0, MUST_HAVE, false), plain);
        assert_eq!(of_guest(1 << 14, MUST_HAVE, false), plain.with_debug_swap(true));
        assert_eq!(of_guest(1 << 15, MUST_HAVE, false), plain.with_prevent_host_ibs(true));
        assert_eq!(of_guest(0, MUST_HAVE, true), plain.with_vmsa_reg_prot(true));
        let own = MUST_HAVE.with_btb_isolation(true).with_smt_protection(true);
        let wanted = plain.with_btb_isolation(true).with_smt_protection(true);
        assert_eq!(
            of_guest(0, own.with_ibpb_on_entry(true), false),
            wanted.with_ibpb_on_entry(true)
        );
        let own = own.with_secure_tsc(true);
        assert!(of_guest(0, own, false).secure_tsc(), "all levels have one clock");
        // Restricted and alternate injection exclude each other.
        assert!(!of_guest(u32::MAX, own, true).restricted_injection());
    }
}
