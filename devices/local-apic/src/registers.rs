//! The registers of the APIC with their fields.
//!
//! "SDM" is the Intel SDM volume 3, chapter 11 (APIC); "APM" is the AMD APM volume 2, chapter 16. A
//! register has the same index in both interfaces: its page offset divided by 16, which equals its
//! MSR number minus 800h (SDM 11.12.1.2).

use bitfield_struct::bitfield;
use bitflags::bitflags;

/// First MSR of the x2APIC range (SDM 11.12.1.2).
pub(crate) const X2APIC_MSR_FIRST: u32 = 0x800;
/// Number of register indices that either interface defines (SDM table 11-6).
pub(crate) const REGISTER_COUNT: u32 = 0x40;

/// Local APIC ID (SDM 11.4.6).
pub(crate) const ID: u8 = 0x02;
/// Version (SDM 11.4.8).
pub(crate) const VERSION: u8 = 0x03;
/// Task priority (SDM 11.8.3.1).
pub(crate) const TPR: u8 = 0x08;
/// Arbitration priority, xAPIC only (APM 16.6.4).
pub(crate) const APR: u8 = 0x09;
/// Processor priority (SDM 11.8.3.1).
pub(crate) const PPR: u8 = 0x0A;
/// End of interrupt (SDM 11.8.5).
pub(crate) const EOI: u8 = 0x0B;
/// Remote read, xAPIC only (SDM table 11-1).
pub(crate) const REMOTE_READ: u8 = 0x0C;
/// Logical destination (SDM 11.6.2.2).
pub(crate) const LDR: u8 = 0x0D;
/// Destination format, xAPIC only (SDM 11.6.2.2).
pub(crate) const DFR: u8 = 0x0E;
/// Spurious interrupt vector (SDM 11.9).
pub(crate) const SVR: u8 = 0x0F;
/// First of eight in-service registers (SDM 11.8.4).
pub(crate) const ISR_FIRST: u8 = 0x10;
/// Last in-service register.
pub(crate) const ISR_LAST: u8 = 0x17;
/// First of eight trigger mode registers (SDM 11.8.4).
pub(crate) const TMR_FIRST: u8 = 0x18;
/// Last trigger mode register.
pub(crate) const TMR_LAST: u8 = 0x1F;
/// First of eight interrupt request registers (SDM 11.8.4).
pub(crate) const IRR_FIRST: u8 = 0x20;
/// Last interrupt request register.
pub(crate) const IRR_LAST: u8 = 0x27;
/// Error status (SDM 11.5.3).
pub(crate) const ESR: u8 = 0x28;
/// Interrupt command, bits 31:0 in xAPIC mode, all 64 bits in x2APIC mode (SDM 11.6.1, 11.12.9).
pub(crate) const ICR: u8 = 0x30;
/// Interrupt command bits 63:32, xAPIC only (SDM 11.6.1).
pub(crate) const ICR_HIGH: u8 = 0x31;
/// First entry of the local vector table (SDM 11.5.1).
pub(crate) const LVT_FIRST: u8 = 0x32;
/// Last entry of the local vector table.
pub(crate) const LVT_LAST: u8 = 0x37;
/// Timer initial count (SDM 11.5.4).
pub(crate) const INITIAL_COUNT: u8 = 0x38;
/// Timer current count (SDM 11.5.4).
pub(crate) const CURRENT_COUNT: u8 = 0x39;
/// Timer divide configuration (SDM 11.5.4).
pub(crate) const DIVIDE: u8 = 0x3E;
/// Self IPI, x2APIC only (SDM 11.12.11).
pub(crate) const SELF_IPI: u8 = 0x3F;

/// Bits `first..=last` of a set of register indices.
const fn span(first: u8, last: u8) -> u64 {
    (u64::MAX >> (63 - (last - first))) << first
}

const fn one(index: u8) -> u64 {
    1 << index
}

/// Registers that are readable through both interfaces.
const READABLE: u64 = one(ID)
    | one(VERSION)
    | one(TPR)
    | one(PPR)
    | one(LDR)
    | one(SVR)
    | span(ISR_FIRST, IRR_LAST)
    | one(ESR)
    | one(ICR)
    | span(LVT_FIRST, LVT_LAST)
    | one(INITIAL_COUNT)
    | one(CURRENT_COUNT)
    | one(DIVIDE);

/// Registers that RDMSR can read in x2APIC mode (SDM table 11-6).
pub(crate) const X2APIC_READABLE: u64 = READABLE;

/// Registers that WRMSR can write in x2APIC mode (SDM table 11-6).
pub(crate) const X2APIC_WRITABLE: u64 = one(TPR)
    | one(EOI)
    | one(SVR)
    | one(ESR)
    | one(ICR)
    | span(LVT_FIRST, LVT_LAST)
    | one(INITIAL_COUNT)
    | one(DIVIDE)
    | one(SELF_IPI);

/// Registers that exist in the xAPIC page (SDM table 11-1); any other access is an error.
pub(crate) const XAPIC_PRESENT: u64 =
    READABLE | one(APR) | one(EOI) | one(REMOTE_READ) | one(DFR) | one(ICR_HIGH);

/// Version 14h with six LVT entries, without EOI-broadcast suppression (SDM 11.4.8). The seventh
/// entry would be CMCI; there are no corrected machine checks to report here.
pub(crate) const VERSION_VALUE: u32 = (LVT_COUNT as u32 - 1) << 16 | 0x14;

/// Lowest legal vector of an interrupt (SDM 11.5.2).
pub(crate) const FIRST_LEGAL_VECTOR: u8 = 16;

/// IA32_APIC_BASE (SDM 11.4.4, 11.12.1).
#[bitfield(u64)]
pub(crate) struct ApicBase {
    _reserved: u8,
    /// This is the bootstrap processor.
    pub(crate) bsp: bool,
    _reserved: bool,
    /// x2APIC mode.
    pub(crate) extd: bool,
    /// Global enable.
    pub(crate) en: bool,
    /// Bits 63:12 of the register page's address.
    #[bits(52)]
    _page: u64,
}

/// Address of the register page after reset (SDM 11.4.1).
pub(crate) const DEFAULT_PAGE: u64 = 0xFEE0_0000;

/// Spurious-interrupt vector register (SDM 11.9).
#[bitfield(u32)]
pub(crate) struct SpuriousVector {
    /// The vector of a spurious interrupt.
    pub(crate) vector: u8,
    /// Software enable.
    pub(crate) enable: bool,
    /// Focus checking: stored without an effect, as on AMD (APM 16.4.7).
    pub(crate) focus_checking: bool,
    /// Includes bit 12, EOI-broadcast suppression, which the version register says is absent.
    #[bits(22)]
    _reserved: u32,
}

/// Writable bits of the SVR.
pub(crate) const SVR_BITS: u32 =
    SpuriousVector::new().with_vector(0xFF).with_enable(true).with_focus_checking(true).into_bits();
/// SVR after reset (SDM 11.4.7.1).
pub(crate) const SVR_RESET: u32 = SpuriousVector::new().with_vector(0xFF).into_bits();

/// Logical destination register in xAPIC mode (SDM 11.6.2.2).
#[bitfield(u32)]
pub(crate) struct LogicalDestination {
    #[bits(24)]
    _reserved: u32,
    pub(crate) logical_id: u8,
}

/// Destination format register (SDM 11.6.2.2).
#[bitfield(u32)]
pub(crate) struct DestinationFormat {
    /// These bits read as ones.
    #[bits(28, default = 0x0FFF_FFFF)]
    _ones: u32,
    #[bits(4)]
    pub(crate) model: u8,
}

/// DFR model of the flat logical destination mode.
pub(crate) const DFR_FLAT: u8 = 0xF;
/// DFR model of the cluster logical destination mode.
pub(crate) const DFR_CLUSTER: u8 = 0x0;

/// The delivery mode in bits 10:8 of the ICR (SDM 11.6.1) and of an LVT entry (SDM 11.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryMode {
    Fixed = 0,
    /// Reserved in an LVT entry.
    LowestPriority = 1,
    Smi = 2,
    Reserved = 3,
    Nmi = 4,
    Init = 5,
    /// Reserved in an LVT entry.
    StartUp = 6,
    /// Reserved in the ICR.
    ExtInt = 7,
}

impl DeliveryMode {
    const fn from_bits(bits: u8) -> Self {
        match bits & 7 {
            0 => Self::Fixed,
            1 => Self::LowestPriority,
            2 => Self::Smi,
            3 => Self::Reserved,
            4 => Self::Nmi,
            5 => Self::Init,
            6 => Self::StartUp,
            _ => Self::ExtInt,
        }
    }

    const fn into_bits(self) -> u8 {
        self as u8
    }
}

/// The timer mode in bits 18:17 of the LVT timer entry (SDM figure 11-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimerMode {
    OneShot = 0,
    Periodic = 1,
    TscDeadline = 2,
    /// The timer does not count in this mode.
    Reserved = 3,
}

impl TimerMode {
    const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::OneShot,
            1 => Self::Periodic,
            2 => Self::TscDeadline,
            _ => Self::Reserved,
        }
    }

    const fn into_bits(self) -> u8 {
        self as u8
    }

    /// Whether the count registers are in use.
    pub(crate) const fn counts(self) -> bool {
        matches!(self, Self::OneShot | Self::Periodic)
    }
}

/// An entry of the local vector table (SDM 11.5.1, figure 11-8).
#[bitfield(u32)]
pub(crate) struct LvtEntry {
    pub(crate) vector: u8,
    #[bits(3)]
    pub(crate) delivery_mode: DeliveryMode,
    _reserved: bool,
    /// Delivery status, always idle here.
    pub(crate) delivery_status: bool,
    /// Polarity: the pin is active low.
    pub(crate) active_low: bool,
    pub(crate) remote_irr: bool,
    /// Trigger mode: the pin is level-triggered.
    pub(crate) level: bool,
    pub(crate) masked: bool,
    #[bits(2)]
    pub(crate) timer_mode: TimerMode,
    #[bits(13)]
    _reserved: u16,
}

impl LvtEntry {
    /// Whether the interrupt is fixed and level-triggered: remote IRR has a meaning for no other
    /// (SDM 11.5.1).
    pub(crate) const fn uses_remote_irr(self) -> bool {
        self.level() && matches!(self.delivery_mode(), DeliveryMode::Fixed)
    }
}

/// LVT: index of the timer entry in the table (SDM figure 11-8, in register order).
pub(crate) const LVT_TIMER: usize = 0;
/// LVT: index of the LINT0 entry.
pub(crate) const LVT_LINT0: usize = 3;
/// LVT: index of the LINT1 entry.
pub(crate) const LVT_LINT1: usize = 4;
/// LVT: index of the error entry.
pub(crate) const LVT_ERROR: usize = 5;
/// LVT: number of entries.
pub(crate) const LVT_COUNT: usize = 6;

/// LVT entry after reset (SDM 11.4.7.1).
pub(crate) const LVT_RESET: u32 = LvtEntry::new().with_masked(true).into_bits();

/// Writable bits of the LVT, by entry (SDM figure 11-8).
pub(crate) const LVT_BITS: [u32; LVT_COUNT] = [
    0x0007_00FF, // timer: vector, mask, mode
    0x0001_07FF, // thermal: vector, delivery mode, mask
    0x0001_07FF, // performance
    0x0001_A7FF, // LINT0: also polarity, trigger mode
    0x0001_A7FF, // LINT1
    0x0001_00FF, // error
];

const LVT_STATUS: LvtEntry = LvtEntry::new().with_delivery_status(true);
const LINT_STATUS: LvtEntry = LVT_STATUS.with_remote_irr(true);
/// Read-only bits of the LVT, by entry. They are not reserved: writes to them are ignored.
pub(crate) const LVT_READ_ONLY: [u32; LVT_COUNT] = [
    LVT_STATUS.into_bits(),
    LVT_STATUS.into_bits(),
    LVT_STATUS.into_bits(),
    LINT_STATUS.into_bits(),
    LINT_STATUS.into_bits(),
    LVT_STATUS.into_bits(),
];

/// The destination shorthand of an IPI (SDM 11.6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shorthand {
    /// The destination field is used.
    None = 0,
    ToSelf = 1,
    AllIncludingSelf = 2,
    AllExcludingSelf = 3,
}

impl Shorthand {
    const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::None,
            1 => Self::ToSelf,
            2 => Self::AllIncludingSelf,
            _ => Self::AllExcludingSelf,
        }
    }

    const fn into_bits(self) -> u8 {
        self as u8
    }
}

/// Interrupt command register (SDM 11.6.1, figure 11-12; 11.12.9).
#[bitfield(u64)]
pub(crate) struct InterruptCommand {
    pub(crate) vector: u8,
    #[bits(3)]
    pub(crate) delivery_mode: DeliveryMode,
    /// Destination mode: logical.
    pub(crate) logical: bool,
    /// Delivery status: not reserved in either mode, but writes to it are ignored.
    pub(crate) delivery_status: bool,
    _reserved: bool,
    /// Level: assert.
    pub(crate) assert: bool,
    /// Trigger mode: level.
    pub(crate) level: bool,
    #[bits(2)]
    _reserved: u8,
    #[bits(2)]
    pub(crate) shorthand: Shorthand,
    #[bits(12)]
    _reserved: u16,
    /// All bits in x2APIC mode, only bits 31:24 in xAPIC mode.
    pub(crate) destination: u32,
}

/// Writable bits of ICR bits 31:0 (SDM figure 11-12).
pub(crate) const ICR_LOW_BITS: u32 = 0x000C_CFFF;
/// Writable bits of ICR bits 63:32 in xAPIC mode.
pub(crate) const ICR_XAPIC_HIGH: u32 = 0xFF00_0000;
/// Bits of the ICR that WRMSR may set in x2APIC mode.
pub(crate) const ICR_X2APIC_BITS: u64 = InterruptCommand::from_bits(ICR_LOW_BITS as u64)
    .with_delivery_status(true)
    .with_destination(u32::MAX)
    .into_bits();

/// Divide configuration register (SDM figure 11-10).
#[bitfield(u32)]
pub(crate) struct DivideConfiguration {
    #[bits(2)]
    pub(crate) low: u32,
    _reserved: bool,
    pub(crate) high: bool,
    #[bits(28)]
    _reserved: u32,
}

impl DivideConfiguration {
    /// Binary logarithm of the divisor. Codes 0 to 6 mean 2 to 128, and code 7 means 1.
    pub(crate) const fn shift(self) -> u32 {
        let code = (self.high() as u32) << 2 | self.low();
        (code + 1) & 7
    }
}

/// Writable bits of the divide configuration.
pub(crate) const DIVIDE_BITS: u32 = 0b1011;

bitflags! {
    /// Errors that the APIC detects (SDM 11.5.3).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ErrorStatus: u32 {
        /// An IPI with a vector below 16 was requested.
        const SEND_ILLEGAL_VECTOR = 1 << 5;
        /// An interrupt with a vector below 16 arrived, possibly from the local vector table.
        const RECEIVE_ILLEGAL_VECTOR = 1 << 6;
        /// An access to the xAPIC page was not to a register.
        const ILLEGAL_REGISTER_ADDRESS = 1 << 7;
    }
}
