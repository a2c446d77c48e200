//! The CPUs that carry the VPs.

/// The CPUs that carry the VPs.
pub trait Cpus {
    /// CPUID: EAX, EBX, ECX, EDX. A confidential platform answers from the table that the firmware
    /// has checked, not from the host.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> [u32; 4];
    /// Interrupts the CPU of VP `index`, so that the VP leaves the guest or its idling.
    fn kick(&self, index: u32);
    /// Waits until this CPU is interrupted, and takes the interrupt. One that already waits ends it
    /// at once.
    fn idle(&self);
    /// Whether an NMI of the host has come to this CPU since the last call.
    fn take_nmi(&self) -> bool;
}
