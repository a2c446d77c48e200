//! The registers that a VP starts with.

use snp::features::SevFeatures;
use snp::vmsa::{Segment, Vmsa};
use zerocopy::FromZeros;

/// EFER.SVME: a save area without it can not be run.
const EFER_SVME: u64 = 1 << 12;
/// CR0.PE, NE, ET.
const CR0: u64 = 1 << 0 | 1 << 5 | 1 << 4;
/// CR4.MCE.
const CR4: u64 = 1 << 6;
const PAT_RESET: u64 = 0x0007_0406_0007_0406;

const fn segment(selector: u16, attributes: u16, limit: u32) -> Segment {
    Segment { selector, attributes, limit, base: 0 }
}

/// 32-bit protected mode with flat segments and without paging, at `rip`. All memory is private in
/// this mode, so the place of the C-bit does not matter.
pub fn protected_mode(rip: u64) -> Vmsa {
    let code = segment(0x10, 0xc9b, u32::MAX);
    let data = segment(0x18, 0xc93, u32::MAX);
    let mut vmsa = Vmsa::new_zeroed();
    (vmsa.cs, vmsa.rip) = (code, rip);
    (vmsa.ds, vmsa.es, vmsa.ss, vmsa.fs, vmsa.gs) = (data, data, data, data, data);
    vmsa.gdtr = segment(0, 0, 0xffff);
    vmsa.idtr = segment(0, 0, 0xffff);
    vmsa.ldtr = segment(0, 0x82, 0xffff);
    vmsa.tr = segment(0, 0x8b, 0xffff);
    (vmsa.cr0, vmsa.cr4, vmsa.efer) = (CR0, CR4, EFER_SVME);
    (vmsa.rflags, vmsa.dr6, vmsa.dr7) = (2, 0xffff_0ff0, 0x400);
    (vmsa.g_pat, vmsa.xcr0) = (PAT_RESET, 1);
    (vmsa.mxcsr, vmsa.x87_fcw, vmsa.x87_ftw) = (0x1f80, 0x37f, 0xffff);
    vmsa.sev_features = SevFeatures::new().with_snp_active(true);
    vmsa
}

/// Replaces the SEV_FEATURES of a VP.
pub fn set_features(vmsa: &mut Vmsa, features: SevFeatures) {
    vmsa.sev_features = features.with_snp_active(true);
}
