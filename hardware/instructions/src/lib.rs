//! The instructions that reach the host or change the CPU's mode, one function each.
//!
//! Those of one kind of virtualization stand in that kind's crate.
#![no_std]

pub mod entropy;

use core::arch::asm;

use platform_api::Width;

/// IN.
pub fn port_read(port: u16, width: Width) -> u32 {
    let value: u32;
    // SAFETY: the ports are the host's virtual devices. A read has its effect there:
    // no memory of ours is concerned, except by device DMA, which has its own rules (`fw_cfg`).
    unsafe {
        match width {
            Width::Byte => asm!("in al, dx", in("dx") port, out("eax") value, options(nostack)),
            Width::Word => asm!("in ax, dx", in("dx") port, out("eax") value, options(nostack)),
            Width::Dword => asm!("in eax, dx", in("dx") port, out("eax") value, options(nostack)),
        }
    }
    value & width.mask()
}

/// OUT.
pub fn port_write(port: u16, width: Width, value: u32) {
    // SAFETY: as for `port_read`.
    unsafe {
        match width {
            Width::Byte => asm!("out dx, al", in("dx") port, in("eax") value, options(nostack)),
            Width::Word => asm!("out dx, ax", in("dx") port, in("eax") value, options(nostack)),
            Width::Dword => asm!("out dx, eax", in("dx") port, in("eax") value, options(nostack)),
        }
    }
}

/// CPUID.
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let result = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [result.eax, result.ebx, result.ecx, result.edx]
}

/// RDTSC, not before earlier loads.
#[inline]
pub fn rdtsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") high, options(nomem, nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// RDMSR.
///
/// # Safety
/// The CPU must have the register.
pub unsafe fn rdmsr(msr: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller vouches for the register; reading one changes nothing.
    unsafe { asm!("rdmsr", in("ecx") msr, out("eax") low, out("edx") high, options(nostack)) };
    u64::from(high) << 32 | u64::from(low)
}

/// WRMSR.
///
/// # Safety
/// The CPU must have the register, and Rust code must keep working with the value.
pub unsafe fn wrmsr(msr: u32, value: u64) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: the caller vouches.
    unsafe { asm!("wrmsr", in("ecx") msr, in("eax") low, in("edx") high, options(nostack)) };
}

/// RDRAND; none if the generator has no number now. The CPU must have the instruction.
pub fn rdrand() -> Option<u64> {
    let (number, valid): (u64, u8);
    // SAFETY: only the two registers and flags change.
    unsafe {
        asm!("rdrand {}", "setc {}", out(reg) number, out(reg_byte) valid,
            options(nomem, nostack));
    }
    (valid != 0).then_some(number)
}

/// RDSEED; none if the generator has no number now. The CPU must have the instruction.
pub fn rdseed() -> Option<u64> {
    let (number, valid): (u64, u8);
    // SAFETY: only the two registers and flags change.
    unsafe {
        asm!("rdseed {}", "setc {}", out(reg) number, out(reg_byte) valid,
            options(nomem, nostack));
    }
    (valid != 0).then_some(number)
}

/// STI for one moment: pending interrupts are taken.
pub fn open_interrupt_window() {
    // SAFETY: handlers keep all registers, and no lock is held where the platform calls this.
    unsafe { asm!("sti", "nop", "cli") };
}

/// STI; HLT: sleeps until an interrupt has been taken.
pub fn sleep() {
    // SAFETY: as for `open_interrupt_window`. STI holds interrupts off until HLT sleeps, so none
    // can slip in between.
    unsafe { asm!("sti", "hlt", "cli") };
}

/// HLT with interrupts off, for ever.
pub fn stop() -> ! {
    loop {
        // SAFETY: sleeps.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// Sets bits of CR4.
///
/// # Safety
/// The CPU must know the bits, and Rust code must keep working with them.
pub unsafe fn set_cr4_bits(bits: u64) {
    // SAFETY: the caller vouches.
    unsafe {
        asm!("mov {old}, cr4", "or {old}, {bits}", "mov cr4, {old}",
            old = out(reg) _, bits = in(reg) bits, options(nostack));
    }
}

/// An area in the layout of FXSAVE.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct FxArea([u8; 576]);

impl FxArea {
    /// The state after power-on: FCW 037Fh, all tags empty, MXCSR 1F80h. The XSAVE header behind
    /// the first 512 bytes says that all components have their initial state.
    pub const fn initial() -> Self {
        let mut area = [0; 576];
        area[0] = 0x7f;
        area[1] = 0x03;
        area[24] = 0x80;
        area[25] = 0x1f;
        Self(area)
    }

    /// The bytes of FXSAVE.
    pub fn bytes(&self) -> &[u8; 512] {
        const { assert!(size_of::<Self>() >= 512) };
        self.0.first_chunk().unwrap_or(&[0; 512])
    }

    /// Has `edit` change the bytes of FXSAVE. Bits of MXCSR that the CPU does not have are cleared
    /// then.
    pub fn edit(&mut self, edit: impl FnOnce(&mut [u8; 512])) {
        if let Some(bytes) = self.0.first_chunk_mut() {
            edit(bytes);
        }
        self.0[26] = 0;
        self.0[27] = 0;
    }

    /// Register `number` of the XMM registers; only the low four bits count.
    pub fn xmm(&self, number: u8) -> u128 {
        let at = Self::xmm_place(number);
        let bytes = self.0.get(at..at + 16).and_then(|bytes| bytes.try_into().ok());
        u128::from_le_bytes(bytes.unwrap_or_default())
    }

    /// Sets that register.
    pub fn set_xmm(&mut self, number: u8, value: u128) {
        let at = Self::xmm_place(number);
        for (to, from) in self.0.iter_mut().skip(at).zip(value.to_le_bytes()) {
            *to = from;
        }
    }

    fn xmm_place(number: u8) -> usize {
        160 + 16 * usize::from(number & 15)
    }
}

/// FXSAVE of the guest's FPU, which is live in the CPU while we run.
pub fn fxsave() -> FxArea {
    let mut area = FxArea([0; 576]);
    fxsave_to(&mut area);
    area
}

/// FXSAVE of the guest's FPU, to `area`.
pub fn fxsave_to(area: &mut FxArea) {
    // SAFETY: 512 writable bytes, aligned to 16; OSFXSR is set.
    unsafe { asm!("fxsave64 [{}]", in(reg) area, options(nostack)) };
}

/// FXRSTOR of the guest's FPU.
pub fn fxrstor(area: &FxArea) {
    // SAFETY: the area came from `fxsave` or is the initial one, so MXCSR has no reserved bits;
    // our own code uses no FPU register.
    unsafe { asm!("fxrstor64 [{}]", in(reg) area, options(nostack, readonly)) };
}

/// XRSTOR that gives every component in XCR0 its initial state.
///
/// # Safety
/// CR4.OSXSAVE must be set.
pub unsafe fn xrstor_initial(area: &FxArea) {
    // SAFETY: the header's XSTATE_BV is zero, so only MXCSR and the header are read.
    unsafe {
        asm!("xrstor64 [{}]", in(reg) area, in("eax") u32::MAX, in("edx") u32::MAX,
            options(nostack, readonly));
    }
}

/// XGETBV of XCR0.
///
/// # Safety
/// CR4.OSXSAVE must be set.
pub unsafe fn xgetbv() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller vouches; reading changes nothing.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// XSETBV of XCR0.
///
/// # Safety
/// CR4.OSXSAVE must be set, and the CPU must accept the value.
pub unsafe fn xsetbv(value: u64) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: the caller vouches; our own code uses none of the components.
    unsafe { asm!("xsetbv", in("ecx") 0, in("eax") low, in("edx") high, options(nostack)) };
}

/// DR0 to DR3, which no code of ours uses: they hold the guest's values.
pub fn breakpoints() -> [u64; 4] {
    let mut found = [0u64; 4];
    let [dr0, dr1, dr2, dr3] = &mut found;
    // SAFETY: reading changes nothing.
    unsafe {
        asm!(
            "mov {}, dr0",
            "mov {}, dr1",
            "mov {}, dr2",
            "mov {}, dr3",
            out(reg) * dr0,
            out(reg) * dr1,
            out(reg) * dr2,
            out(reg) * dr3,
            options(nomem, nostack, preserves_flags)
        );
    }
    found
}

/// Replaces DR0 to DR3.
pub fn set_breakpoints([dr0, dr1, dr2, dr3]: [u64; 4]) {
    // SAFETY: the registers only matter with DR7, which is ours and zero while we run.
    unsafe {
        asm!(
            "mov dr0, {}", "mov dr1, {}", "mov dr2, {}", "mov dr3, {}",
            in(reg) dr0, in(reg) dr1, in(reg) dr2, in(reg) dr3, options(nomem, nostack));
    }
}
