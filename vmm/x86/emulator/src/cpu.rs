//! The guest's registers as the emulator sees them.

/// A general-purpose register, numbered as in instruction encodings (APM vol. 3, 1.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the architecture's")]
#[repr(u8)]
pub enum Register {
    Rax,
    Rcx,
    Rdx,
    Rbx,
    Rsp,
    Rbp,
    Rsi,
    Rdi,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
}

impl Register {
    /// The register with this number; only the low four bits count.
    pub const fn from_number(number: u8) -> Self {
        match number & 15 {
            0 => Self::Rax,
            1 => Self::Rcx,
            2 => Self::Rdx,
            3 => Self::Rbx,
            4 => Self::Rsp,
            5 => Self::Rbp,
            6 => Self::Rsi,
            7 => Self::Rdi,
            8 => Self::R8,
            9 => Self::R9,
            10 => Self::R10,
            11 => Self::R11,
            12 => Self::R12,
            13 => Self::R13,
            14 => Self::R14,
            _ => Self::R15,
        }
    }
}

/// A segment register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the architecture's")]
pub enum SegmentRegister {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
}

/// A segment register with its hidden part, as a VMCB holds it (APM vol. 2, appendix B).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Visible selector.
    pub selector: u16,
    /// Descriptor bits 40–47 in bits 0–7 and 52–55 in bits 8–11: type, S, DPL, P, AVL, L, D/B, G.
    pub attributes: u16,
    /// Last valid offset in bytes, the granularity already applied.
    pub limit: u32,
    /// Linear base address.
    pub base: u64,
}

impl Segment {
    const WRITABLE_OR_READABLE: u16 = 1 << 1;
    const EXPAND_DOWN: u16 = 1 << 2;
    const CODE: u16 = 1 << 3;
    const PRESENT: u16 = 1 << 7;
    const LONG: u16 = 1 << 9;
    const DEFAULT_BIG: u16 = 1 << 10;

    const fn has(&self, bit: u16) -> bool {
        self.attributes & bit != 0
    }

    /// Whether it is 64-bit code (L).
    pub const fn is_long(&self) -> bool {
        self.has(Self::LONG)
    }

    /// Whether default operand or stack size is 32 bits (D/B).
    pub const fn is_big(&self) -> bool {
        self.has(Self::DEFAULT_BIG)
    }

    /// Whether a non-null, present descriptor was loaded.
    pub const fn is_present(&self) -> bool {
        self.has(Self::PRESENT)
    }

    /// Whether data may be read through it.
    pub const fn is_readable(&self) -> bool {
        !self.has(Self::CODE) || self.has(Self::WRITABLE_OR_READABLE)
    }

    /// Whether data may be written through it.
    pub const fn is_writable(&self) -> bool {
        !self.has(Self::CODE) && self.has(Self::WRITABLE_OR_READABLE)
    }

    /// Whether valid offsets lie above the limit.
    pub const fn is_expand_down(&self) -> bool {
        !self.has(Self::CODE) && self.has(Self::EXPAND_DOWN)
    }
}

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

/// Default operand size of the code that runs, with what follows from it.
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
    /// What the code segment and the control registers select (APM vol. 2, 1.3).
    pub fn of(cpu: &impl Cpu) -> Self {
        let code = cpu.segment(SegmentRegister::Cs);
        if cpu.efer() & efer::LMA != 0 && code.is_long() {
            Self::Bits64
        } else if code.is_big() && cpu.rflags() & rflags::VM == 0 {
            Self::Bits32
        } else {
            Self::Bits16
        }
    }
}

/// Registers of the VP whose instruction is emulated.
///
/// Plain storage: no call has a side effect beyond its register.
pub trait Cpu {
    /// Whole 64-bit general-purpose register.
    fn gpr(&self, register: Register) -> u64;
    /// Replaces a whole general-purpose register.
    fn set_gpr(&mut self, register: Register, value: u64);
    /// Offset of the instruction in CS.
    fn rip(&self) -> u64;
    /// Replaces RIP.
    fn set_rip(&mut self, value: u64);
    /// RFLAGS.
    fn rflags(&self) -> u64;
    /// Replaces RFLAGS.
    fn set_rflags(&mut self, value: u64);
    /// A segment register with its hidden part.
    fn segment(&self, register: SegmentRegister) -> Segment;
    /// CR0.
    fn cr0(&self) -> u64;
    /// CR3.
    fn cr3(&self) -> u64;
    /// CR4.
    fn cr4(&self) -> u64;
    /// EFER as the guest sees it.
    fn efer(&self) -> u64;
    /// Current privilege level, 0 to 3; 3 in virtual-8086 mode, 0 in real mode.
    fn cpl(&self) -> u8;
    /// SSE register `number`, 0 to 15.
    fn xmm(&self, number: u8) -> u128;
    /// Replaces the low 128 bits of SSE register `number`, 0 to 15.
    fn set_xmm(&mut self, number: u8, value: u128);
}

/// RFLAGS bits (APM vol. 2, 3.1.6).
pub mod rflags {
    /// Carry.
    pub const CF: u64 = 1 << 0;
    /// Parity of the low byte.
    pub const PF: u64 = 1 << 2;
    /// Carry out of bit 3.
    pub const AF: u64 = 1 << 4;
    /// Zero.
    pub const ZF: u64 = 1 << 6;
    /// Sign.
    pub const SF: u64 = 1 << 7;
    /// Trap after each instruction.
    pub const TF: u64 = 1 << 8;
    /// String instructions go downwards.
    pub const DF: u64 = 1 << 10;
    /// Signed overflow.
    pub const OF: u64 = 1 << 11;
    /// Instruction breakpoints are off for one instruction.
    pub const RF: u64 = 1 << 16;
    /// Virtual-8086 mode.
    pub const VM: u64 = 1 << 17;
    /// Alignment check, or access to user pages under SMAP.
    pub const AC: u64 = 1 << 18;
    /// All that arithmetic instructions define.
    pub const STATUS: u64 = CF | PF | AF | ZF | SF | OF;
}

/// CR0 bits (APM vol. 2, 3.1.1).
pub mod cr0 {
    /// Protected mode.
    pub const PE: u64 = 1 << 0;
    /// x87 and SSE are to be emulated by software.
    pub const EM: u64 = 1 << 2;
    /// Task switched: first x87 or SSE use gives #NM.
    pub const TS: u64 = 1 << 3;
    /// Supervisor obeys read-only pages.
    pub const WP: u64 = 1 << 16;
    /// Alignment check is possible.
    pub const AM: u64 = 1 << 18;
    /// Paging.
    pub const PG: u64 = 1 << 31;
}

/// CR4 bits (APM vol. 2, 3.1.3).
pub mod cr4 {
    /// 4 MiB pages in 32-bit paging.
    pub const PSE: u64 = 1 << 4;
    /// 64-bit page-table entries.
    pub const PAE: u64 = 1 << 5;
    /// The OS saves SSE state.
    pub const OSFXSR: u64 = 1 << 9;
    /// Users may not read descriptor-table and task registers nor CR0.
    pub const UMIP: u64 = 1 << 11;
    /// 57-bit linear addresses.
    pub const LA57: u64 = 1 << 12;
    /// Supervisor may not execute user pages.
    pub const SMEP: u64 = 1 << 20;
    /// Supervisor may not access user pages.
    pub const SMAP: u64 = 1 << 21;
}

/// EFER bits (APM vol. 2, 3.1.7).
pub mod efer {
    /// Long mode is active.
    pub const LMA: u64 = 1 << 10;
    /// No-execute pages.
    pub const NXE: u64 = 1 << 11;
}
