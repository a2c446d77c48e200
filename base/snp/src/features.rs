//! The SEV features of a VP, as its save area asks for them or the CPU reports them.

use bitfield_struct::bitfield;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// MSR numbers (AMD64 APM vol. 2, sections 15.34.10, 15.35.7 and 15.36.8).
pub mod msr {
    /// SYSCFG on the host: enables memory encryption and SNP.
    pub const SYSCFG: u32 = 0xc001_0010;
    /// The GHCB: a GPA, or a message of the [MSR protocol](crate::msr_protocol).
    pub const GHCB: u32 = 0xc001_0130;
    /// [`SevStatus`](super::SevStatus), which no hypervisor can intercept.
    pub const SEV_STATUS: u32 = 0xc001_0131;
    /// First byte of the RMP on the host.
    pub const RMP_BASE: u32 = 0xc001_0132;
    /// Last byte of the RMP on the host.
    pub const RMP_END: u32 = 0xc001_0133;
    /// The guest's Secure TSC frequency in MHz.
    pub const GUEST_TSC_FREQ: u32 = 0xc001_0134;
    /// The virtual top of memory of the running VP.
    pub const VIRTUAL_TOM: u32 = 0xc001_0135;
    /// The guest's Secure AVIC control.
    pub const SECURE_AVIC_CONTROL: u32 = 0xc001_0138;
}

/// SEV_FEATURES, at 3B0h of the save area (AMD64 APM vol. 2, table B-4).
#[bitfield(u64)]
#[derive(PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SevFeatures {
    /// SNPActive: the VP runs with SEV-SNP.
    pub snp_active: bool,
    /// vTOM: a boundary instead of the C-bit tells private from shared memory.
    pub vtom: bool,
    /// ReflectVC: a #VC becomes an automatic exit.
    pub reflect_vc: bool,
    /// RestrictedInjection: #HV is the only event that the hypervisor can inject.
    pub restricted_injection: bool,
    /// AlternateInjection: events and interrupts come from the save area.
    pub alternate_injection: bool,
    /// DebugSwap: the breakpoint registers are swapped as well.
    pub debug_swap: bool,
    /// PreventHostIBS: the host can not sample instructions of the VP.
    pub prevent_host_ibs: bool,
    /// BTBIsolation: branch predictors are isolated from the host.
    pub btb_isolation: bool,
    /// VmplSSS: permissions have a bit for supervisor shadow stacks.
    pub vmpl_sss: bool,
    /// SecureTSC: the TSC is out of the hypervisor's reach.
    pub secure_tsc: bool,
    /// VmgexitParameter: VMGEXIT passes RAX to the hypervisor.
    pub vmgexit_parameter: bool,
    /// PmcVirtualization: performance counters are virtualized.
    pub pmc_virtualization: bool,
    /// IBSVirtualization: instruction sampling is virtualized.
    pub ibs_virtualization: bool,
    __: bool,
    /// VmsaRegProt: registers in the save area are masked with a nonce.
    pub vmsa_reg_prot: bool,
    /// SmtProtection: the sibling thread must be idle while the VP runs.
    pub smt_protection: bool,
    /// SecureAvic: the APIC page is guest memory.
    pub secure_avic: bool,
    #[bits(4)]
    __: u8,
    /// IbpbOnEntry: branch predictions are flushed at each entry.
    pub ibpb_on_entry: bool,
    #[bits(42)]
    __: u64,
}

impl SevFeatures {
    /// All bits that have a name here.
    pub const KNOWN: Self = Self::from_bits(0x0021_dfff);

    /// The bits that have no name here. A guest must refuse to run with one that it does not know.
    pub const fn unknown(self) -> u64 {
        self.into_bits() & !Self::KNOWN.into_bits()
    }
}

/// SEV_STATUS: the features that the running VP has (AMD64 APM vol. 2, section 15.34.10).
///
/// Bits 0 and 1 name the older features; the bits of [`SevFeatures`] follow from bit 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SevStatus(pub u64);

impl SevStatus {
    /// SEV is on.
    pub const SEV: u64 = 1 << 0;
    /// SEV-ES is on.
    pub const SEV_ES: u64 = 1 << 1;
    /// SEV-SNP is on.
    pub const SEV_SNP: u64 = 1 << Self::FEATURES_SHIFT;
    const FEATURES_SHIFT: u32 = 2;

    /// The status that a VP with these features reads.
    pub const fn of_features(features: SevFeatures) -> Self {
        Self(features.into_bits() << Self::FEATURES_SHIFT | Self::SEV | Self::SEV_ES)
    }

    /// The features of the VP that reads this.
    pub const fn features(self) -> SevFeatures {
        SevFeatures::from_bits(self.0 >> Self::FEATURES_SHIFT)
    }

    /// SEV, SEV-ES and SEV-SNP are all on.
    pub const fn is_snp(self) -> bool {
        const ALL: u64 = SevStatus::SEV | SevStatus::SEV_ES | SevStatus::SEV_SNP;
        self.0 & ALL == ALL
    }
}
