//! The local APIC, by its page or by its MSRs.

use crate::cpu;

const APIC_BASE: u32 = 0x1b;
const ENABLE: u64 = 1 << 11;
const X2APIC: u64 = 1 << 10;
const PAGE: u64 = 0xfee0_0000;

/// Bits of the interrupt command register.
pub mod icr {
    /// Fixed vector.
    pub const FIXED: u32 = 0;
    /// Fixed vector to one of the targets.
    pub const LOWEST: u32 = 1 << 8;
    /// NMI.
    pub const NMI: u32 = 4 << 8;
    /// INIT.
    pub const INIT: u32 = 5 << 8;
    /// SIPI.
    pub const STARTUP: u32 = 6 << 8;
    /// Logical destination.
    pub const LOGICAL: u32 = 1 << 11;
    /// Assert.
    pub const ASSERT: u32 = 1 << 14;
    /// Level triggered.
    pub const LEVEL: u32 = 1 << 15;
    /// To itself.
    pub const TO_SELF: u32 = 1 << 18;
    /// To all.
    pub const TO_ALL: u32 = 2 << 18;
    /// To all others.
    pub const TO_OTHERS: u32 = 3 << 18;
}

/// The way to the registers. Offsets are those of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apic {
    /// By the page.
    Page,
    /// By MSRs.
    Msr,
}

impl Apic {
    /// Offset of the ID.
    pub const ID: u32 = 0x20;
    /// Offset of the version.
    pub const VERSION: u32 = 0x30;
    /// Offset of the task priority.
    pub const TPR: u32 = 0x80;
    /// Offset of the processor priority.
    pub const PPR: u32 = 0xa0;
    /// Offset of the end of interrupt.
    pub const EOI: u32 = 0xb0;
    /// Offset of the logical destination.
    pub const LDR: u32 = 0xd0;
    /// Offset of the destination format.
    pub const DFR: u32 = 0xe0;
    /// Offset of the spurious interrupt vector.
    pub const SVR: u32 = 0xf0;
    /// Offset of the first in-service register.
    pub const ISR: u32 = 0x100;
    /// Offset of the first request register.
    pub const IRR: u32 = 0x200;
    /// Offset of the error status.
    pub const ESR: u32 = 0x280;
    /// Offset of the interrupt command.
    pub const ICR: u32 = 0x300;
    /// Offset of the timer's vector.
    pub const TIMER: u32 = 0x320;
    /// Offset of LINT0's vector.
    pub const LINT0: u32 = 0x350;
    /// Offset of LINT1's vector.
    pub const LINT1: u32 = 0x360;
    /// Offset of the error's vector.
    pub const ERROR: u32 = 0x370;
    /// Offset of the timer's initial count.
    pub const INITIAL: u32 = 0x380;
    /// Offset of the timer's current count.
    pub const CURRENT: u32 = 0x390;
    /// Offset of the timer's divider.
    pub const DIVIDE: u32 = 0x3e0;
    /// Masks an entry of the local vector table.
    pub const MASKED: u32 = 1 << 16;
    /// Timer mode: periodic.
    pub const PERIODIC: u32 = 1 << 17;
    /// Timer mode: TSC deadline.
    pub const DEADLINE: u32 = 2 << 17;

    /// The mode that this processor's APIC is in.
    pub fn current() -> Self {
        if cpu::rdmsr(APIC_BASE) & X2APIC == 0 { Self::Page } else { Self::Msr }
    }

    /// Puts this processor's APIC into the mode. The way back from x2APIC leads over "disabled".
    pub fn switch_on(self) -> Self {
        let base = cpu::rdmsr(APIC_BASE) & !(X2APIC | ENABLE);
        let now = Self::current();
        match self {
            Self::Page if now == Self::Page => cpu::wrmsr(APIC_BASE, base | ENABLE),
            Self::Page => {
                cpu::wrmsr(APIC_BASE, base);
                cpu::wrmsr(APIC_BASE, base | ENABLE);
            }
            Self::Msr => {
                cpu::wrmsr(APIC_BASE, base | ENABLE | if now == Self::Msr { X2APIC } else { 0 });
                cpu::wrmsr(APIC_BASE, base | ENABLE | X2APIC);
            }
        }
        self.write(Self::SVR, 0x1ff);
        self
    }

    /// Reads a register.
    pub fn read(self, offset: u32) -> u32 {
        match self {
            Self::Page => cpu::read32(PAGE + u64::from(offset)),
            Self::Msr => cpu::rdmsr(0x800 + (offset >> 4)) as u32,
        }
    }

    /// Writes a register.
    pub fn write(self, offset: u32, value: u32) {
        match self {
            Self::Page => cpu::write32(PAGE + u64::from(offset), value),
            Self::Msr => cpu::wrmsr(0x800 + (offset >> 4), value.into()),
        }
    }

    /// Ends the interrupt in service.
    pub fn end(self) {
        self.write(Self::EOI, 0);
    }

    /// This processor's APIC ID.
    pub fn id(self) -> u32 {
        let id = self.read(Self::ID);
        if self == Self::Page { id >> 24 } else { id }
    }

    /// Sends an interrupt.
    pub fn send(self, target: u32, command: u32) {
        match self {
            Self::Page => {
                self.write(Self::ICR + 0x10, target << 24);
                self.write(Self::ICR, command);
            }
            Self::Msr => cpu::wrmsr(0x830, u64::from(target) << 32 | u64::from(command)),
        }
    }
}
