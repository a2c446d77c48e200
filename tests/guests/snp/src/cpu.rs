//! Instructions that cases are about, one function each.

use core::arch::asm;

/// CPUID.
pub fn cpuid(leaf: u32) -> [u32; 4] {
    let found = core::arch::x86_64::__cpuid_count(leaf, 0);
    [found.eax, found.ebx, found.ecx, found.edx]
}

/// RDMSR.
///
/// # Safety
/// The register exists, or the read is an attempt's.
pub unsafe fn rdmsr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller vouches.
    unsafe {
        asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high, options(nostack));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// WRMSR.
///
/// # Safety
/// The guest works on with the value.
pub unsafe fn wrmsr(number: u32, value: u64) {
    // SAFETY: the caller vouches.
    unsafe {
        asm!("wrmsr", in("ecx") number, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack));
    }
}

/// Enables interrupts for a moment.
pub fn open() {
    // SAFETY: the handlers keep all registers.
    unsafe { asm!("sti", "nop", "nop", "cli") };
}

/// STI; HLT; CLI.
pub fn sleep() {
    // SAFETY: as for `open`.
    unsafe { asm!("sti", "hlt", "cli") };
}

/// DR1.
pub fn dr1() -> u64 {
    let value;
    // SAFETY: reading changes nothing.
    unsafe { asm!("mov {}, dr1", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Sets DR1, which means nothing while DR7 enables no breakpoint.
pub fn set_dr1(value: u64) {
    // SAFETY: as above; nothing here sets DR7.
    unsafe { asm!("mov dr1, {}", in(reg) value, options(nomem, nostack)) };
}

/// The time-stamp counter.
pub fn rdtsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter; the fence keeps it in its place.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nostack)) };
    u64::from(high) << 32 | u64::from(low)
}
