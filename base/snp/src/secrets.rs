//! The page of secrets that the firmware puts into a VM at launch.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::layout::assert_offsets;

/// Bytes of a VM platform communication key (VMPCK).
pub const VMPCK_SIZE: usize = 32;

/// Number of keys: one for each privilege level.
pub const VMPCK_COUNT: usize = 4;

/// The version of the page that has all fields below.
pub const VERSION: u32 = 3;

/// The page (SNP firmware ABI 56860, "Secrets page"), with the parts that the guest's own conventions
/// define: message counts, AP jump table (GHCB specification 56421) and SVSM (SVSM
/// specification 58019).
#[repr(C)]
#[derive(Clone, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SecretsPage {
    /// Version of the page.
    pub version: u32,
    /// Bit 0, IMI_EN: the VM was started from an initial migration image.
    pub flags: u32,
    /// Family, model and stepping of the CPU.
    pub fms: u32,
    /// Zero.
    pub reserved_00c: u32,
    /// The OS-visible workarounds that the CPU needs, as the hypervisor states them.
    pub gosvw: [u8; 16],
    /// The keys of the levels, VMPCK0 first.
    pub vmpck: [[u8; VMPCK_SIZE]; VMPCK_COUNT],
    /// For each key, how many messages were exchanged with it; the guest counts.
    pub message_counts: [u32; VMPCK_COUNT],
    /// GPA of the AP jump table; the guest's.
    pub ap_jump_table: u64,
    /// The guest's.
    pub guest_area_0b8: [u8; 72],
    /// A bit for each quadword of a save area that register protection masks.
    pub vmsa_tweak_bitmap: [u8; 64],
    /// GPA of the SVSM; the SVSM sets this and the next four fields.
    pub svsm_base: u64,
    /// Bytes of the SVSM; 0 for no SVSM.
    pub svsm_size: u64,
    /// GPA of the calling area of VP 0.
    pub svsm_caa: u64,
    /// Highest version of the SVSM's core protocol.
    pub svsm_max_version: u32,
    /// Privilege level of the guest.
    pub svsm_guest_vmpl: u8,
    /// Zero.
    pub reserved_15d: [u8; 3],
    /// How much slower the TSC is than its nominal frequency (Secure TSC).
    pub tsc_factor: u32,
    /// Zero.
    pub reserved_164: [u8; 3740],
}

const _: () = assert!(size_of::<SecretsPage>() == 0x1000);
assert_offsets!(SecretsPage:
    fms = 0x008, gosvw = 0x010, vmpck = 0x020, message_counts = 0x0a0, ap_jump_table = 0x0b0,
    guest_area_0b8 = 0x0b8, vmsa_tweak_bitmap = 0x100, svsm_base = 0x140, svsm_size = 0x148,
    svsm_caa = 0x150, svsm_max_version = 0x158, svsm_guest_vmpl = 0x15c, tsc_factor = 0x160,
    reserved_164 = 0x164,
);

impl SecretsPage {
    /// [`Self::flags`]: started from an initial migration image.
    pub const IMI_EN: u32 = 1 << 0;
}

impl core::fmt::Debug for SecretsPage {
    /// Shows no secret.
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter
            .debug_struct("SecretsPage")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
