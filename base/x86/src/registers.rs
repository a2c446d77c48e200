//! The registers of a virtual processor, wherever they are stored.

use crate::{Segment, SegmentRegister};

/// A general-purpose register, numbered as in instruction encodings (AMD64 APM vol. 3, section
/// 1.4.3).
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

/// The registers that instructions use.
///
/// An implementor is plain storage: no call has a side effect beyond its register, except where it
/// says so.
pub trait Registers {
    /// A whole general-purpose register.
    fn gpr(&self, register: Register) -> u64;
    /// Replaces a whole general-purpose register.
    fn set_gpr(&mut self, register: Register, value: u64);
    /// RIP: the offset in CS.
    fn rip(&self) -> u64;
    /// Replaces RIP. An interrupt shadow ends.
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
    /// XMM register `number`; only the low four bits count.
    fn xmm(&self, number: u8) -> u128;
    /// Replaces the low 128 bits of that register.
    fn set_xmm(&mut self, number: u8, value: u128);
}

/// The other registers of a virtual processor. The caller of a setter has checked the value.
pub trait SystemRegisters: Registers {
    /// Replaces EFER as the guest sees it.
    fn set_efer(&mut self, efer: u64);
    /// DR6 and DR7.
    fn debug_registers(&self) -> (u64, u64);
    /// Replaces DR6, as a #DB that is given on needs.
    fn set_dr6(&mut self, dr6: u64);
    /// Replaces CR2.
    fn set_cr2(&mut self, cr2: u64);
    /// CR8, the task priority class that the guest sees.
    fn cr8(&self) -> u8;
    /// Replaces CR8.
    fn set_cr8(&mut self, class: u8);
    /// The page-attribute table.
    fn pat(&self) -> u64;
    /// Replaces the page-attribute table.
    fn set_pat(&mut self, pat: u64);
    /// XCR0.
    fn xcr0(&self) -> u64;
    /// Replaces XCR0.
    fn set_xcr0(&mut self, xcr0: u64);
}

/// The registers that the delivery of an event replaces, besides those of [`Registers`].
pub trait EventRegisters: Registers {
    /// Replaces a segment register with its hidden part.
    fn set_segment(&mut self, register: SegmentRegister, segment: Segment);
    /// Replaces the current privilege level.
    fn set_cpl(&mut self, cpl: u8);
}

/// The registers that set the mode of a virtual processor. The caller of a setter has checked the
/// value.
pub trait ModeRegisters: SystemRegisters + EventRegisters {
    /// Replaces CR0.
    fn set_cr0(&mut self, cr0: u64);
    /// Replaces CR4.
    fn set_cr4(&mut self, cr4: u64);
}
