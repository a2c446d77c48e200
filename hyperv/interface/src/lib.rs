//! The part of the Hyper-V interface that makes a guest trust its clocks.
//!
//! If Linux finds this interface, it enables x2APIC without interrupt remapping, trusts the
//! reported frequencies of TSC and APIC timer, and keeps `tsc` as its clock source. Source:
//! Hypervisor Top-Level Functional Specification 6.0b ("TLFS"). There are no synthetic interrupts
//! and no hypercalls, and CPUID says so.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

mod cpuid;
pub mod kvm_clock;
mod partition;
mod reference_tsc;
mod state;
#[cfg(test)]
mod tests;

pub use cpuid::{MAX_LEAF, leaf};
pub use partition::{Clock, GeneralProtection, PageWrite, Partition, VpRegisters};
pub use reference_tsc::reference_tsc_page;
pub use state::{SAVED_VERSION, Saved};

/// HV_STATUS_INVALID_HYPERCALL_CODE (TLFS appendix B): the result of every hypercall.
pub const INVALID_HYPERCALL_CODE: u64 = 2;

/// MSR numbers (TLFS appendix F).
pub mod msr {
    /// HV_X64_MSR_GUEST_OS_ID.
    pub const GUEST_OS_ID: u32 = 0x4000_0000;
    /// HV_X64_MSR_HYPERCALL.
    pub const HYPERCALL: u32 = 0x4000_0001;
    /// HV_X64_MSR_VP_INDEX.
    pub const VP_INDEX: u32 = 0x4000_0002;
    /// HV_X64_MSR_TIME_REF_COUNT.
    pub const TIME_REF_COUNT: u32 = 0x4000_0020;
    /// HV_X64_MSR_REFERENCE_TSC.
    pub const REFERENCE_TSC: u32 = 0x4000_0021;
    /// HV_X64_MSR_TSC_FREQUENCY.
    pub const TSC_FREQUENCY: u32 = 0x4000_0022;
    /// HV_X64_MSR_APIC_FREQUENCY.
    pub const APIC_FREQUENCY: u32 = 0x4000_0023;
    /// HV_X64_MSR_VP_ASSIST_PAGE: Linux writes it whenever there is a hypercall page.
    pub const VP_ASSIST_PAGE: u32 = 0x4000_0073;
    /// HV_X64_MSR_TSC_INVARIANT_CONTROL.
    pub const TSC_INVARIANT_CONTROL: u32 = 0x4000_0118;
}
