//! Bits of the control, flag and debug registers.

/// RFLAGS (AMD64 APM vol. 2, section 3.1.6).
pub mod rflags {
    /// Carry.
    pub const CF: u64 = 1 << 0;
    /// Always one.
    pub const FIXED: u64 = 1 << 1;
    /// Parity of the low byte.
    pub const PF: u64 = 1 << 2;
    /// Carry out of bit 3.
    pub const AF: u64 = 1 << 4;
    /// Zero.
    pub const ZF: u64 = 1 << 6;
    /// Sign.
    pub const SF: u64 = 1 << 7;
    /// The CPU traps after each instruction.
    pub const TF: u64 = 1 << 8;
    /// Interrupts are enabled.
    pub const IF: u64 = 1 << 9;
    /// String instructions go downwards.
    pub const DF: u64 = 1 << 10;
    /// Signed overflow.
    pub const OF: u64 = 1 << 11;
    /// IRET switches back to another task.
    pub const NT: u64 = 1 << 14;
    /// Instruction breakpoints are off for one instruction.
    pub const RF: u64 = 1 << 16;
    /// Virtual-8086 mode.
    pub const VM: u64 = 1 << 17;
    /// Alignment check, or access to user pages under SMAP.
    pub const AC: u64 = 1 << 18;
    /// All flags that arithmetic instructions define.
    pub const STATUS: u64 = CF | PF | AF | ZF | SF | OF;
}

/// CR0 (AMD64 APM vol. 2, section 3.1.1).
pub mod cr0 {
    /// Protected mode.
    pub const PE: u64 = 1 << 0;
    /// x87 and SSE are to be emulated by software.
    pub const EM: u64 = 1 << 2;
    /// Task switched: the first use of x87 or SSE raises #NM.
    pub const TS: u64 = 1 << 3;
    /// Always one.
    pub const ET: u64 = 1 << 4;
    /// Supervisor code obeys read-only pages.
    pub const WP: u64 = 1 << 16;
    /// Monitor coprocessor: WAIT obeys TS.
    pub const MP: u64 = 1 << 1;
    /// Numeric error: the FPU reports errors by #MF.
    pub const NE: u64 = 1 << 5;
    /// Alignment check is possible.
    pub const AM: u64 = 1 << 18;
    /// Writes bypass the caches.
    pub const NW: u64 = 1 << 29;
    /// Caches are disabled.
    pub const CD: u64 = 1 << 30;
    /// Paging.
    pub const PG: u64 = 1 << 31;
}

/// CR4 (AMD64 APM vol. 2, section 3.1.3).
pub mod cr4 {
    /// 4 MiB pages in 32-bit paging.
    pub const PSE: u64 = 1 << 4;
    /// 64-bit page-table entries.
    pub const PAE: u64 = 1 << 5;
    /// Machine checks raise #MC; without it they shut the CPU down.
    pub const MCE: u64 = 1 << 6;
    /// The OS saves SSE state.
    pub const OSFXSR: u64 = 1 << 9;
    /// The OS handles #XF.
    pub const OSXMMEXCPT: u64 = 1 << 10;
    /// Users may not read descriptor-table and task registers nor CR0.
    pub const UMIP: u64 = 1 << 11;
    /// 57-bit linear addresses.
    pub const LA57: u64 = 1 << 12;
    /// The OS uses XSAVE.
    pub const OSXSAVE: u64 = 1 << 18;
    /// Supervisor code may not execute user pages.
    pub const SMEP: u64 = 1 << 20;
    /// Supervisor code may not access user pages.
    pub const SMAP: u64 = 1 << 21;
}

/// EFER (AMD64 APM vol. 2, section 3.1.7).
pub mod efer {
    /// SYSCALL and SYSRET exist.
    pub const SCE: u64 = 1 << 0;
    /// Long mode becomes active with paging.
    pub const LME: u64 = 1 << 8;
    /// Long mode is active.
    pub const LMA: u64 = 1 << 10;
    /// No-execute pages.
    pub const NXE: u64 = 1 << 11;
    /// AMD's virtualization is enabled.
    pub const SVME: u64 = 1 << 12;
    /// FXSAVE and FXRSTOR leave the XMM registers out in 64-bit mode at CPL 0.
    pub const FFXSR: u64 = 1 << 14;
}

/// DR6 (AMD64 APM vol. 2, section 13.1.1.3).
pub mod dr6 {
    /// The value after reset: the bits that always read as one.
    pub const RESET: u64 = 0xffff_0ff0;
    /// The #DB is a single step.
    pub const BS: u64 = 1 << 14;
}

/// DR7 (AMD64 APM vol. 2, section 13.1.1.4).
pub mod dr7 {
    /// The value after reset: the bit that always reads as one.
    pub const RESET: u64 = 0x400;
}
