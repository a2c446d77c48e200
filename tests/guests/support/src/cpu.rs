//! Single instructions. A guest owns its whole machine, so these are safe to call here: they can
//! only affect the guest itself.

use core::arch::asm;
use core::arch::x86_64::__cpuid_count;

macro_rules! ports {
    ($($input:ident $output:ident $int:ty, $register:tt;)*) => {$(
        /// Reads a port.
        pub fn $input(port: u16) -> $int {
            let value: $int;
            // SAFETY: changes nothing in memory.
            unsafe { asm!(concat!("in ", $register, ", dx"), in("dx") port,
                out($register) value, options(nostack, preserves_flags)) };
            value
        }

        /// Writes a port.
        pub fn $output(port: u16, value: $int) {
            // SAFETY: no device here writes to memory.
            unsafe { asm!(concat!("out dx, ", $register), in("dx") port,
                in($register) value, options(nostack, preserves_flags)) };
        }
    )*};
}

ports! {
    in8 out8 u8, "al";
    in16 out16 u16, "ax";
    in32 out32 u32, "eax";
}

/// Reads an MSR that exists.
pub fn rdmsr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading has no effect on memory.
    unsafe {
        asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high,
        options(nostack, preserves_flags))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes an MSR that exists and takes the value.
pub fn wrmsr(number: u32, value: u64) {
    // SAFETY: the guest's own affair.
    unsafe {
        asm!("wrmsr", in("ecx") number, in("eax") value as u32,
        in("edx") (value >> 32) as u32, options(nostack, preserves_flags))
    };
}

/// CPUID: EAX, EBX, ECX, EDX.
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let answer = __cpuid_count(leaf, subleaf);
    [answer.eax, answer.ebx, answer.ecx, answer.edx]
}

/// The time-stamp counter, read after all earlier instructions.
pub fn rdtsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter.
    unsafe {
        asm!("lfence", "rdtsc", out("eax") low, out("edx") high,
        options(nostack, preserves_flags))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Lets interrupts in.
pub fn enable_interrupts() {
    // SAFETY: handlers keep all registers.
    unsafe { asm!("sti", options(nostack)) };
}

/// Keeps interrupts out.
pub fn disable_interrupts() {
    // SAFETY: no memory is touched.
    unsafe { asm!("cli", options(nostack)) };
}

/// STI; HLT; CLI: waits for one interrupt at least.
pub fn wait_for_interrupt() {
    // SAFETY: handlers keep all registers.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// Lets interrupts in for a moment.
pub fn open_interrupts_briefly() {
    // SAFETY: handlers keep all registers.
    unsafe { asm!("sti", "nop", "nop", "cli", options(nostack)) };
}

/// Stops forever, except for NMI and INIT.
pub fn stop() -> ! {
    loop {
        // SAFETY: nothing runs after it.
        unsafe { asm!("cli", "hlt", options(nostack)) };
    }
}

macro_rules! control_registers {
    ($($read:ident $write:ident $name:literal;)*) => {$(
        #[doc = concat!("Reads ", $name, ".")]
        pub fn $read() -> u64 {
            let value: u64;
            // SAFETY: reading has no effect.
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) value,
                options(nostack, preserves_flags)) };
            value
        }

        #[doc = concat!("Writes ", $name, ".")]
        pub fn $write(value: u64) {
            // SAFETY: the guest's own affair.
            unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) value, options(nostack)) };
        }
    )*};
}

control_registers! {
    cr0 set_cr0 "cr0";
    cr2 set_cr2 "cr2";
    cr3 set_cr3 "cr3";
    cr4 set_cr4 "cr4";
    cr8 set_cr8 "cr8";
    dr0 set_dr0 "dr0";
    dr6 set_dr6 "dr6";
    dr7 set_dr7 "dr7";
}

/// Reads memory or a device at an address that is mapped.
pub fn read32(address: u64) -> u32 {
    // SAFETY: the whole address space is identity-mapped, and the guest owns all of it.
    unsafe { (address as *const u32).read_volatile() }
}

/// Writes memory or a device at an address that is mapped.
pub fn write32(address: u64, value: u32) {
    // SAFETY: as for the read; callers write to devices or to memory that is theirs.
    unsafe { (address as *mut u32).write_volatile(value) }
}

/// Reads 8 bytes.
pub fn read64(address: u64) -> u64 {
    // SAFETY: as for `read32`.
    unsafe { (address as *const u64).read_volatile() }
}

/// Writes 8 bytes.
pub fn write64(address: u64, value: u64) {
    // SAFETY: as for `write32`.
    unsafe { (address as *mut u64).write_volatile(value) }
}

/// Forgets the translation of one page.
pub fn invlpg(address: u64) {
    // SAFETY: a TLB entry less.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack)) };
}

/// Loads the interrupt descriptor table register.
pub fn load_idt(base: u64, limit: u16) {
    let pointer = Pointer { limit, base };
    // SAFETY: what the table holds is the guest's own affair.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack, readonly)) };
}

/// Loads the global descriptor table register.
pub fn load_gdt(base: u64, limit: u16) {
    let pointer = Pointer { limit, base };
    // SAFETY: what the table holds is the guest's own affair.
    unsafe { asm!("lgdt [{}]", in(reg) &raw const pointer, options(nostack, readonly)) };
}

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}
