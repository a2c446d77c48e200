//! The MSRs that exist for the guest.

use x86::{efer, msr};

/// The kind of an MSR that exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsrKind {
    /// IA32_TSC.
    Tsc,
    /// IA32_APIC_BASE.
    ApicBase,
    /// IA32_TSC_DEADLINE.
    TscDeadline,
    /// A register of the local APIC in x2APIC mode.
    X2Apic,
    /// One of the MTRRs.
    Mtrr,
    /// IA32_PAT.
    Pat,
    /// EFER.
    Efer,
    /// SPEC_CTRL, if the guest has control over speculation.
    SpeculationControl,
    /// PRED_CMD, likewise.
    PredictionCommand,
    /// A register of the Hyper-V interface.
    Hyperv,
    /// A register of KVM's clock, which belongs to the Hyper-V interface.
    KvmClock,
    /// Reads this value; takes a write of the bits in the mask and forgets it, refuses others.
    Fixed {
        /// The value of a read.
        value: u64,
        /// Bits that a write may set or clear without effect.
        writable: u64,
    },
    /// Does not exist: #GP(0).
    Absent,
}

/// A row of the table: register, value, bits that may be written without effect, why.
type Row = (u32, u64, u64, &'static str);

/// MSRs with a constant value.
const FIXED: &[Row] = &[
    (0x17, 0, 0, "PLATFORM_ID: Linux reads it with its microcode driver"),
    (0x8b, 0x0100_0065, u64::MAX, "PATCH_LEVEL: a microcode revision that is not refused"),
    (0x179, 0, 0, "MCG_CAP: no machine-check banks"),
    (0x17a, 0, 0, "MCG_STATUS: no machine check"),
    (0x1d9, 0, 0, "DEBUGCTL: no branch records"),
    (0xc001_0000, 0, u64::MAX, "PERF_CTL0: no counters, as with KVM without a PMU"),
    (0xc001_0001, 0, u64::MAX, "PERF_CTL1"),
    (0xc001_0002, 0, u64::MAX, "PERF_CTL2"),
    (0xc001_0003, 0, u64::MAX, "PERF_CTL3"),
    (0xc001_0004, 0, u64::MAX, "PERF_CTR0"),
    (0xc001_0005, 0, u64::MAX, "PERF_CTR1"),
    (0xc001_0006, 0, u64::MAX, "PERF_CTR2"),
    (0xc001_0007, 0, u64::MAX, "PERF_CTR3"),
    (0xc001_0010, 0, 0, "SYSCFG: no memory encryption, no TOM2"),
    (0xc001_0015, 1 << 24, 1 << 24, "HWCR: the TSC counts at the P0 frequency"),
    (0xc001_001f, 0, 1 << 46, "NB_CFG: CF8 reaches extended registers; ECAM does it anyway"),
    (0xc001_0055, 0, 0, "INT_PENDING: no C1E"),
    (0xc001_1022, 0, 0, "DC_CFG"),
    (0xc001_1023, 0, 0, "BU_CFG"),
    (0xc001_1029, 1 << 1, 1 << 1, "DE_CFG: LFENCE is serialising"),
    (0xc001_102a, 0, 0, "BU_CFG2"),
];

/// The kind of the MSR `number`.
#[inline]
pub fn classify(number: u32) -> MsrKind {
    match number {
        0x800..=0x8ff => MsrKind::X2Apic,
        msr::TSC_DEADLINE => MsrKind::TscDeadline,
        msr::TSC => MsrKind::Tsc,
        msr::APIC_BASE => MsrKind::ApicBase,
        0xfe | 0x200..=0x20f | 0x250 | 0x258 | 0x259 | 0x268..=0x26f | 0x2ff => MsrKind::Mtrr,
        msr::PAT => MsrKind::Pat,
        msr::EFER => MsrKind::Efer,
        msr::SPEC_CTRL => MsrKind::SpeculationControl,
        msr::PRED_CMD => MsrKind::PredictionCommand,
        0x4000_0000..=0x4000_0fff => MsrKind::Hyperv,
        0x4b56_4d00..=0x4b56_4dff => MsrKind::KvmClock,
        _ => classify_fixed(number),
    }
}

#[cold]
fn classify_fixed(number: u32) -> MsrKind {
    let row = FIXED.iter().find(|row| row.0 == number);
    row.map_or(MsrKind::Absent, |(_, value, writable, _)| MsrKind::Fixed {
        value: *value,
        writable: *writable,
    })
}

/// The value that EFER gets when the guest writes `new`; none for #GP(0).
///
/// SVME and LMSLE do not exist. LMA is the CPU's: a write must not change it, and LME must not be
/// changed while paging is on.
pub const fn write_efer(old: u64, new: u64, paging: bool) -> Option<u64> {
    const KNOWN: u64 = efer::SCE | efer::LME | efer::LMA | efer::NXE | efer::FFXSR;
    let changed = old ^ new;
    if new & !KNOWN != 0 || changed & efer::LME != 0 && paging {
        return None;
    }
    Some(new & !efer::LMA | old & efer::LMA)
}

/// Whether PAT may hold `value`: each byte is a memory type (AMD64 APM vol. 2, section 7.8.1).
pub const fn pat_is_valid(value: u64) -> bool {
    let bytes = value.to_le_bytes();
    let mut index = 0;
    while index < 8 {
        if !matches!(bytes[index], 0 | 1 | 4..=7) {
            return false;
        }
        index += 1;
    }
    true
}
