//! Numbers and reset values of model-specific registers.

/// IA32_APIC_BASE.
pub const APIC_BASE: u32 = 0x1b;
/// The time-stamp counter.
pub const TSC: u32 = 0x10;
/// SPEC_CTRL (AMD64 APM vol. 2, section 3.2.9).
pub const SPEC_CTRL: u32 = 0x48;
/// PRED_CMD (AMD64 APM vol. 2, section 3.2.9).
pub const PRED_CMD: u32 = 0x49;
/// SYSENTER_CS.
pub const SYSENTER_CS: u32 = 0x174;
/// SYSENTER_ESP.
pub const SYSENTER_ESP: u32 = 0x175;
/// SYSENTER_EIP.
pub const SYSENTER_EIP: u32 = 0x176;
/// The page-attribute table.
pub const PAT: u32 = 0x277;
/// IA32_TSC_DEADLINE.
pub const TSC_DEADLINE: u32 = 0x6e0;
/// Registers of the local APIC in x2APIC mode: the first.
pub const X2APIC: u32 = 0x800;
/// End of interrupt, in x2APIC mode.
pub const X2APIC_EOI: u32 = X2APIC + 0xb;
/// EFER.
pub const EFER: u32 = 0xc000_0080;
/// STAR.
pub const STAR: u32 = 0xc000_0081;
/// LSTAR.
pub const LSTAR: u32 = 0xc000_0082;
/// CSTAR.
pub const CSTAR: u32 = 0xc000_0083;
/// SFMASK.
pub const SFMASK: u32 = 0xc000_0084;
/// The base of FS.
pub const FS_BASE: u32 = 0xc000_0100;
/// The base of GS.
pub const GS_BASE: u32 = 0xc000_0101;
/// The base that SWAPGS exchanges with that of GS.
pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
/// The value that RDTSCP and RDPID read.
pub const TSC_AUX: u32 = 0xc000_0103;
/// VM_CR (AMD64 APM vol. 2, section 15.30.1).
pub const VM_CR: u32 = 0xc001_0114;
/// VM_HSAVE_PA (AMD64 APM vol. 2, section 15.30.4).
pub const VM_HSAVE_PA: u32 = 0xc001_0117;

/// The page-attribute table after reset (AMD64 APM vol. 2, section 7.8.1).
pub const PAT_RESET: u64 = 0x0007_0406_0007_0406;
