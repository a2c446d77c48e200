//! Names of the registers with the bits that each one implements.
//!
//! "SDM" is the Intel SDM volume 3, chapter 11 (APIC); "APM" is the AMD APM volume 2, chapter 16.
//! A register has one index for both interfaces: page offset divided by 16, which is also the MSR
//! number minus 800h (SDM 11.12.1.2).

use bitflags::bitflags;

/// First MSR of the x2APIC range (SDM 11.12.1.2).
pub const X2APIC_MSR_FIRST: u32 = 0x800;
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

/// Registers that both interfaces read.
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

/// Registers that RDMSR reads in x2APIC mode (SDM table 11-6).
pub(crate) const X2APIC_READABLE: u64 = READABLE;

/// Registers that WRMSR writes in x2APIC mode (SDM table 11-6).
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
pub(crate) const VERSION_VALUE: u32 = 0x0005_0014;

/// First vector that an interrupt may have (SDM 11.5.2).
pub(crate) const FIRST_LEGAL_VECTOR: u8 = 16;

/// IA32_APIC_BASE: this is the bootstrap processor (SDM 11.4.4).
pub const BASE_BSP: u64 = 1 << 8;
/// IA32_APIC_BASE: x2APIC mode (SDM 11.12.1).
pub const BASE_EXTD: u64 = 1 << 10;
/// IA32_APIC_BASE: global enable (SDM 11.4.3).
pub const BASE_EN: u64 = 1 << 11;
/// Where the register page is after reset (SDM 11.4.1).
pub const DEFAULT_PAGE: u64 = 0xFEE0_0000;

/// SVR: software enable (SDM 11.9).
pub(crate) const SVR_ENABLE: u32 = 1 << 8;
/// SVR bits that hold what is written. Bit 9, focus checking, is kept without an effect as on AMD
/// (APM 16.4.7); bit 12 is absent because the version register denies it.
pub(crate) const SVR_BITS: u32 = 0x3FF;
/// SVR after reset (SDM 11.4.7.1).
pub(crate) const SVR_RESET: u32 = 0xFF;

/// DFR bits 27:0 read as ones (SDM 11.6.2.2).
pub(crate) const DFR_ONES: u32 = 0x0FFF_FFFF;
/// DFR model of the flat logical destination mode.
pub(crate) const DFR_FLAT: u8 = 0xF;
/// DFR model of the cluster logical destination mode.
pub(crate) const DFR_CLUSTER: u8 = 0x0;

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

/// LVT: delivery status, always idle here.
pub(crate) const LVT_STATUS: u32 = 1 << 12;
/// LVT: the pin is active low.
pub(crate) const LVT_POLARITY: u32 = 1 << 13;
/// LVT: remote IRR.
pub(crate) const LVT_REMOTE_IRR: u32 = 1 << 14;
/// LVT: the pin is level-triggered.
pub(crate) const LVT_LEVEL: u32 = 1 << 15;
/// LVT: masked.
pub(crate) const LVT_MASKED: u32 = 1 << 16;
/// LVT timer: where the mode stands.
pub(crate) const LVT_TIMER_MODE_SHIFT: u32 = 17;
/// LVT and ICR: the delivery mode.
pub(crate) const DELIVERY_MODE: u32 = 0x700;

/// LVT bits that hold what is written, by entry (SDM figure 11-8).
pub(crate) const LVT_BITS: [u32; LVT_COUNT] = [
    0x0007_00FF, // timer: vector, mask, mode
    0x0001_07FF, // thermal: vector, delivery mode, mask
    0x0001_07FF, // performance
    0x0001_A7FF, // LINT0: also polarity, trigger mode
    0x0001_A7FF, // LINT1
    0x0001_00FF, // error
];
/// LVT bits that software may write without an effect: they are read-only, not reserved.
pub(crate) const LVT_READ_ONLY: [u32; LVT_COUNT] = [
    LVT_STATUS,
    LVT_STATUS,
    LVT_STATUS,
    LVT_STATUS | LVT_REMOTE_IRR,
    LVT_STATUS | LVT_REMOTE_IRR,
    LVT_STATUS,
];

/// ICR bits 31:0 that hold what is written (SDM figure 11-12).
pub(crate) const ICR_LOW_BITS: u32 = 0x000C_CFFF;
/// ICR delivery status: not reserved, yet dropped, in both modes (SDM 11.12.9).
pub(crate) const ICR_STATUS: u32 = 1 << 12;
/// ICR: logical destination mode.
pub(crate) const ICR_LOGICAL: u32 = 1 << 11;
/// ICR: level is assert.
pub(crate) const ICR_ASSERT: u32 = 1 << 14;
/// ICR: trigger mode is level.
pub(crate) const ICR_LEVEL: u32 = 1 << 15;
/// ICR bits 63:32 that hold what is written in xAPIC mode.
pub(crate) const ICR_XAPIC_HIGH: u32 = 0xFF00_0000;

/// Divide configuration bits 3, 1, 0 (SDM figure 11-10).
pub(crate) const DIVIDE_BITS: u32 = 0b1011;

bitflags! {
    /// Errors that the APIC detects (SDM 11.5.3).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ErrorStatus: u32 {
        /// A message with a vector below 16 was to be sent.
        const SEND_ILLEGAL_VECTOR = 1 << 5;
        /// An interrupt with a vector below 16 arrived, also from the local vector table.
        const RECEIVE_ILLEGAL_VECTOR = 1 << 6;
        /// An access to the xAPIC page named no register.
        const ILLEGAL_REGISTER_ADDRESS = 1 << 7;
    }
}
