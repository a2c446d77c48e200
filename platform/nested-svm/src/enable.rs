//! SVM switched on, on one CPU.

use crate::instructions;

const EFER: u32 = 0xc000_0080;
/// EFER.SVME: hidden from the guest, always set for us.
pub(crate) const EFER_SVME: u64 = 1 << 12;

/// Turns SVM on, on this CPU.
///
/// # Safety
/// `host_save` must be a page of ours, used for this only.
pub(crate) unsafe fn enable(host_save: u64, xsave: bool) {
    const VM_HSAVE_PA: u32 = 0xc001_0117;
    const OSFXSR_OSXMMEXCPT: u64 = 0b11 << 9;
    /// Without it, a machine check would shut the CPU down without a word.
    const MCE: u64 = 1 << 6;
    const OSXSAVE: u64 = 1 << 18;
    // SAFETY: the platform has checked that the CPU has SVM.
    let efer = unsafe { instructions::rdmsr(EFER) };
    // SAFETY: as above; SVME changes nothing by itself.
    unsafe { instructions::wrmsr(EFER, efer | EFER_SVME) };
    // SAFETY: the caller gives the page.
    unsafe { instructions::wrmsr(VM_HSAVE_PA, host_save) };
    let bits = MCE | OSFXSR_OSXMMEXCPT | if xsave { OSXSAVE } else { 0 };
    // SAFETY: every 64-bit CPU has the first three, and the last goes with XSAVE.
    unsafe { instructions::set_cr4_bits(bits) };
}
