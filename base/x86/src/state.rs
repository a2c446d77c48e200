//! The registers that a VP starts with.

use crate::{Attributes, Register, Segment, SegmentRegister, cr0, rflags};

/// The registers that decide how addresses are translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// CR0.
    pub cr0: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER as the guest sees it.
    pub efer: u64,
}

/// The registers that a VP starts with; all others have their reset values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VpState {
    /// General-purpose registers, by [`Register`].
    pub gpr: [u64; 16],
    /// RIP.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// Control registers.
    pub control: Control,
    /// Segment registers, by [`SegmentRegister`].
    pub segments: [Segment; 10],
}

impl VpState {
    /// The state after INIT (AMD64 APM vol. 2, table 14-1), at the reset vector. The CPU's
    /// `signature` is the value of EAX in CPUID function 1.
    pub fn init(signature: u32) -> Self {
        let attributes = Attributes::from_bits;
        let data = Segment { selector: 0, attributes: attributes(0x093), limit: 0xffff, base: 0 };
        let code =
            Segment { selector: 0xf000, attributes: attributes(0x09b), base: 0xffff_0000, ..data };
        let table = Segment { attributes: attributes(0), ..data };
        let ldtr = Segment { attributes: attributes(0x082), ..data };
        let tr = Segment { attributes: attributes(0x08b), ..data };
        let mut gpr = [0; 16];
        gpr[Register::Rdx as usize] = signature.into();
        Self {
            gpr,
            rip: 0xfff0,
            rflags: rflags::FIXED,
            control: Control { cr0: cr0::CD | cr0::NW | cr0::ET, ..Control::default() },
            segments: [data, code, data, data, data, data, ldtr, tr, table, table],
        }
    }

    /// The state after SIPI with `vector`: real mode at page `vector`.
    pub fn startup(signature: u32, vector: u8) -> Self {
        let mut state = Self::init(signature);
        state.rip = 0;
        let code = &mut state.segments[SegmentRegister::Cs as usize];
        code.selector = u16::from(vector) << 8;
        code.base = u64::from(vector) << 12;
        state
    }
}
