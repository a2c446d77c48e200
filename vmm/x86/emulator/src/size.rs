//! Sizes of operands, addresses and code.

use x86::{Registers, SegmentRegister, efer, rflags};

/// Size of an operand or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// 1 byte.
    Byte,
    /// 2 bytes.
    Word,
    /// 4 bytes.
    Doubleword,
    /// 8 bytes.
    Quadword,
    /// 16 bytes.
    Octword,
}

impl Size {
    /// Size in bytes.
    pub const fn bytes(self) -> u8 {
        1 << self.log2()
    }

    /// Logarithm of the size in bytes.
    pub const fn log2(self) -> u8 {
        match self {
            Self::Byte => 0,
            Self::Word => 1,
            Self::Doubleword => 2,
            Self::Quadword => 3,
            Self::Octword => 4,
        }
    }

    /// Size in bits.
    pub const fn bits(self) -> u32 {
        8 << self.log2()
    }

    /// The bits of a general-purpose register that a value of this size fills.
    pub const fn mask(self) -> u64 {
        match self {
            Self::Byte => 0xFF,
            Self::Word => 0xFFFF,
            Self::Doubleword => 0xFFFF_FFFF,
            Self::Quadword | Self::Octword => u64::MAX,
        }
    }

    /// `value`, of this size, extended with its sign to 64 bits.
    pub const fn sign_extend(self, value: u64) -> u64 {
        match self {
            Self::Byte => value as u8 as i8 as u64,
            Self::Word => value as u16 as i16 as u64,
            Self::Doubleword => value as u32 as i32 as u64,
            Self::Quadword | Self::Octword => value,
        }
    }
}

/// Default operand size of the running code, with the sizes derived from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeSize {
    /// Real mode, virtual-8086 mode, or a 16-bit code segment.
    Bits16,
    /// A 32-bit code segment, in legacy or compatibility mode.
    Bits32,
    /// 64-bit mode.
    Bits64,
}

impl CodeSize {
    /// The size that the code segment and the control registers select (APM vol. 2, 1.3).
    pub fn of(cpu: &impl Registers) -> Self {
        let code = cpu.segment(SegmentRegister::Cs);
        if cpu.efer() & efer::LMA != 0 && code.attributes.is_long() {
            Self::Bits64
        } else if code.attributes.is_big() && cpu.rflags() & rflags::VM == 0 {
            Self::Bits32
        } else {
            Self::Bits16
        }
    }
}
