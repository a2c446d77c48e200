//! The CPUID leaves of the Hyper-V interface.

/// The highest leaf.
pub const MAX_LEAF: u32 = 0x4000_0006;

/// Partition privileges (TLFS 4.2.2): exactly those that [`crate::Partition`] implements.
mod privilege {
    pub(super) const REFERENCE_COUNTER: u32 = 1 << 1;
    pub(super) const HYPERCALL_MSRS: u32 = 1 << 5;
    pub(super) const VP_INDEX: u32 = 1 << 6;
    pub(super) const REFERENCE_TSC: u32 = 1 << 9;
    pub(super) const FREQUENCY_MSRS: u32 = 1 << 11;
    pub(super) const TSC_INVARIANT: u32 = 1 << 15;
}

/// Features, EDX of leaf 4000_0003: the frequency registers exist.
const FREQUENCY_REGISTERS: u32 = 1 << 8;
/// Hints, EAX of leaf 4000_0004: use relaxed timing, as a VP may be delayed at any time.
const RELAXED_TIMING: u32 = 1 << 5;
/// Hints, EBX of leaf 4000_0004: never notify the hypervisor of spinning.
const NO_SPIN_NOTIFICATION: u32 = u32::MAX;

/// EAX, EBX, ECX and EDX of `leaf`; `None` outside the interface (TLFS 2.4).
pub const fn leaf(leaf: u32, vps: u32) -> Option<[u32; 4]> {
    Some(match leaf {
        0x4000_0000 => [MAX_LEAF, word(b"Micr"), word(b"osof"), word(b"t Hv")],
        0x4000_0001 => [word(b"Hv#1"), 0, 0, 0],
        // Build number, then major and minor version, of the release that the TLFS describes.
        0x4000_0002 => [20_348, 10 << 16, 0, 0],
        0x4000_0003 => {
            let privileges = privilege::REFERENCE_COUNTER
                | privilege::HYPERCALL_MSRS
                | privilege::VP_INDEX
                | privilege::REFERENCE_TSC
                | privilege::FREQUENCY_MSRS
                | privilege::TSC_INVARIANT;
            [privileges, 0, 0, FREQUENCY_REGISTERS]
        }
        0x4000_0004 => [RELAXED_TIMING, NO_SPIN_NOTIFICATION, 0, 0],
        0x4000_0005 => [vps, vps, 0, 0],
        0x4000_0006 => [0; 4],
        _ => return None,
    })
}

const fn word(text: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*text)
}
