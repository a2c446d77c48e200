//! The instructions and MSRs that SEV-SNP gives to code inside of a VM.
//!
//! One function each; what a caller does with the results is its own. All need CPL 0.
#![no_std]

mod call;
mod save_area;

use core::arch::asm;

pub use call::{Away, GhcbPage, leave_window, sleep_unless};
pub use save_area::{Bitmap, SaveArea};
use snp::features::{SevStatus, msr};
use snp::instruction::{Outcome, PageSize, Permissions};
use snp::msr_protocol::{Answer, Request, Termination, UnknownMessage};
pub use vmpl0::calls::{Call, Failed};
pub use vmpl0::memory_map;

// The entry: from the registers that an IGVM file gives a VP to `stub_main` in long mode, with 4 GiB
// mapped to themselves as private memory.
#[cfg(all(feature = "start", target_os = "none"))]
core::arch::global_asm!(include_str!("start.s"), cpuid = const host_wire::linux_start::CPUID);

/// The result of PVALIDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validated {
    /// EAX.
    pub outcome: Outcome,
    /// Whether the page had another state before.
    pub changed: bool,
}

/// PVALIDATE (AMD64 APM vol. 3): validates the page at linear `address`, or takes that back.
///
/// # Safety
/// What Rust code keeps in the page must be expected to be lost.
pub unsafe fn pvalidate(address: u64, size: PageSize, validate: bool) -> Validated {
    let (mut outcome, carry) = (address, 0u8);
    let mut carry = carry;
    // SAFETY: the caller vouches for the page's content; nothing else changes.
    unsafe {
        asm!(
            ".byte 0xf2, 0x0f, 0x01, 0xff",
            "setc {carry}",
            carry = inout(reg_byte) carry,
            inout("rax") outcome,
            in("rcx") size.0,
            in("rdx") u64::from(validate),
            options(nostack),
        );
    }
    Validated { outcome: Outcome(outcome as u32), changed: carry == 0 }
}

/// RMPADJUST (AMD64 APM vol. 3): sets what another level may do with the page at linear `address`.
///
/// # Safety
/// The page must not be one whose use by other levels can break what Rust code relies on.
pub unsafe fn rmpadjust(address: u64, size: PageSize, permissions: Permissions) -> Outcome {
    let mut outcome = address;
    // SAFETY: the caller vouches; the page's content does not change.
    unsafe {
        asm!(
            ".byte 0xf3, 0x0f, 0x01, 0xfe",
            inout("rax") outcome,
            in("rcx") size.0,
            in("rdx") permissions.into_bits(),
            options(nostack),
        );
    }
    Outcome(outcome as u32)
}

/// RMPQUERY (AMD64 APM vol. 3): what level `vmpl` may do with the page at linear `address`, and the
/// size of its entry.
///
/// # Errors
/// The code in EAX.
pub fn rmpquery(address: u64, vmpl: u8) -> Result<(Permissions, PageSize), Outcome> {
    let (mut outcome, mut permissions) = (address, u64::from(vmpl));
    let size: u64;
    // SAFETY: reads a table of the CPU's.
    unsafe {
        asm!(
            ".byte 0xf3, 0x0f, 0x01, 0xfd",
            inout("rax") outcome,
            out("rcx") size,
            inout("rdx") permissions,
            options(nostack),
        );
    }
    match Outcome(outcome as u32) {
        Outcome::SUCCESS => Ok((Permissions::from_bits(permissions), PageSize(size))),
        code => Err(code),
    }
}

/// VMGEXIT: the host answers what stands in the GHCB, or in its MSR.
///
/// # Safety
/// The request must not have the host change memory that Rust code relies on.
pub unsafe fn vmgexit() {
    // SAFETY: the caller vouches.
    unsafe { asm!("rep vmmcall", options(nostack)) };
}

/// Reads the GHCB MSR.
pub fn ghcb() -> u64 {
    read_msr(msr::GHCB)
}

/// Writes the GHCB MSR.
pub fn set_ghcb(value: u64) {
    // SAFETY: the value means something to the host alone, at the next VMGEXIT.
    unsafe {
        asm!("wrmsr", in("ecx") msr::GHCB, in("eax") value as u32,
            in("edx") (value >> 32) as u32, options(nostack));
    }
}

/// SEV_STATUS, which no host can intercept.
pub fn status() -> SevStatus {
    SevStatus(read_msr(msr::SEV_STATUS))
}

fn read_msr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the callers name registers that every SEV-SNP CPU has; reading changes nothing.
    unsafe {
        asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high, options(nostack));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Makes a request by the GHCB MSR, and gives the answer, which is the host's word.
///
/// # Errors
/// The host gave none that the protocol knows.
///
/// # Safety
/// As for [`vmgexit`].
pub unsafe fn request(request: Request) -> Result<Answer, UnknownMessage> {
    set_ghcb(request.encode());
    // SAFETY: the caller vouches.
    unsafe { vmgexit() };
    Answer::decode(ghcb())
}

/// Ends the VM with a reason.
pub fn terminate(reason: Termination) -> ! {
    loop {
        set_ghcb(Request::Terminate(reason).encode());
        // SAFETY: the host does not return, and if it does, the VM asks again.
        unsafe { vmgexit() };
    }
}
