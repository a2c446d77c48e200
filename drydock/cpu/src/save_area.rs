//! The checks of VMRUN on a save area.

use core::mem::offset_of;

use snp::features::SevFeatures;
use snp::vmsa::Vmsa;
use x86::{cr0, cr4, efer};

/// Why VMRUN does not run a save area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The state is invalid: exit INVALID (AMD64 APM vol. 2, section 15.5.1).
    Invalid,
    /// A reflected #VC cut a delivery short: exit BUSY (section 15.36.16).
    Busy,
}

/// PCPU_ID: the CPU whose translations a save area has. A VP stays on its CPU, so it is always the
/// same one; software that changes a save area's tables clears it (AMD64 APM vol. 2, table B-4).
pub const PCPU_ID: u64 = 1;

/// Whether the CPU may go on with the translations of the save area that it ran last, which had the
/// number `last`, as it loads the one with the number `next`.
pub const fn keeps_translations(area: &Vmsa, last: u64, next: u64) -> bool {
    last == next && area.pcpu_id == PCPU_ID
}

/// SEV_FEATURES that Drydock emulates. Two of them are kept by doing nothing: no host samples the
/// guest's instructions, and the CPU that emulates predicts no branches.
pub const EMULATED: SevFeatures = SevFeatures::new()
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

/// The words of a save area that register protection masks, as in the secrets page: RIP, RSP and
/// the general registers. Which words a CPU masks is its own choice.
pub const PROTECTED: [u8; 64] = {
    let mut bitmap = [0; 64];
    mark(&mut bitmap, offset_of!(Vmsa, rip), 1);
    mark(&mut bitmap, offset_of!(Vmsa, rsp), 1);
    mark(&mut bitmap, offset_of!(Vmsa, rax), 1);
    mark(&mut bitmap, offset_of!(Vmsa, rcx), 15);
    bitmap
};

const fn mark(bitmap: &mut [u8; 64], offset: usize, words: usize) {
    let mut word = offset / 8;
    while word < offset / 8 + words {
        bitmap[word / 8] |= 1 << (word % 8);
        word += 1;
    }
}

/// Checks what VMRUN checks (AMD64 APM vol. 2, sections 15.5.1 and 15.36.9) for level `vmpl`.
///
/// # Errors
/// [`Unfit`].
pub fn check(area: &Vmsa, vmpl: u8) -> Result<(), Unfit> {
    if area.vintr_ctrl.busy() {
        return Err(Unfit::Busy);
    }
    let features = area.sev_features;
    let strange = features.into_bits() & !EMULATED.into_bits() != 0
        || !features.snp_active()
        || features.restricted_injection() && features.alternate_injection()
        // Alternate injection takes NMIs from the save area, and reflection needs nothing else.
        || area.vmpl != vmpl;
    let long = area.efer & efer::LME != 0 && area.cr0 & cr0::PG != 0;
    let state = area.efer & efer::SVME == 0
        || area.cr0 & cr0::CD == 0 && area.cr0 & cr0::NW != 0
        || area.cr0 >> 32 != 0
        || area.cr4 >> 32 != 0
        || area.dr6 >> 32 != 0
        || area.dr7 >> 32 != 0
        || long && area.cr4 & cr4::PAE == 0
        || long && area.cr0 & cr0::PE == 0
        || long && area.cr4 & cr4::PAE != 0 && area.cs.attributes & LONG_AND_BIG == LONG_AND_BIG;
    if strange || state { Err(Unfit::Invalid) } else { Ok(()) }
}

/// L and D of a code segment.
const LONG_AND_BIG: u16 = 1 << 9 | 1 << 10;
