//! What depends on the CPU's vendor.

/// The vendor, as far as it matters to virtualization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// AMD, or one that follows it.
    Amd,
    /// Intel.
    Intel,
}

impl Vendor {
    /// By the answer of CPUID function 0: EAX, EBX, ECX, EDX, of which the last three hold the
    /// vendor's name.
    pub fn of([_, b, c, d]: [u32; 4]) -> Self {
        let name = [b, d, c].map(u32::to_le_bytes);
        if name.as_flattened() == b"GenuineIntel" { Self::Intel } else { Self::Amd }
    }

    /// The instruction by which a guest calls its hypervisor: VMMCALL (AMD64 APM vol. 3) or VMCALL
    /// (Intel SDM vol. 3C, chapter 31).
    pub const fn hypercall(self) -> [u8; 3] {
        match self {
            Self::Amd => [0x0f, 0x01, 0xd9],
            Self::Intel => [0x0f, 0x01, 0xc1],
        }
    }
}
