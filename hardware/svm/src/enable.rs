//! SVM switched on, on one CPU.

use x86::{cr4, efer, msr};

/// Turns SVM on, on this CPU.
///
/// # Safety
/// `host_save` must be a page of ours, used for this only.
pub unsafe fn enable(host_save: u64, xsave: bool) {
    // SAFETY: the platform has checked that the CPU has SVM.
    let efer = unsafe { instructions::rdmsr(msr::EFER) };
    // SAFETY: as above; SVME changes nothing by itself.
    unsafe { instructions::wrmsr(msr::EFER, efer | efer::SVME) };
    // SAFETY: the caller gives the page.
    unsafe { instructions::wrmsr(msr::VM_HSAVE_PA, host_save) };
    // Without MCE, a machine check would shut the CPU down without a word.
    let bits = cr4::MCE | cr4::OSFXSR | cr4::OSXMMEXCPT | if xsave { cr4::OSXSAVE } else { 0 };
    // SAFETY: every 64-bit CPU has the first three, and the last goes with XSAVE.
    unsafe { instructions::set_cr4_bits(bits) };
}
