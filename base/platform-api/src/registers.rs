//! The registers of a virtual processor.

/// Numbers of the general-purpose registers, as instructions encode them.
pub mod gpr {
    /// RAX.
    pub const RAX: u8 = 0;
    /// RCX.
    pub const RCX: u8 = 1;
    /// RDX.
    pub const RDX: u8 = 2;
    /// RBX.
    pub const RBX: u8 = 3;
    /// RSP.
    pub const RSP: u8 = 4;
    /// RBP.
    pub const RBP: u8 = 5;
    /// RSI.
    pub const RSI: u8 = 6;
    /// RDI.
    pub const RDI: u8 = 7;
}

/// A segment register, numbered as instructions encode them, then the system's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SegmentRegister {
    /// ES.
    Es,
    /// CS.
    Cs,
    /// SS.
    Ss,
    /// DS.
    Ds,
    /// FS.
    Fs,
    /// GS.
    Gs,
    /// LDTR.
    Ldtr,
    /// TR.
    Tr,
    /// GDTR: base and limit only.
    Gdtr,
    /// IDTR: base and limit only.
    Idtr,
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The selector.
    pub selector: u16,
    /// Descriptor bits 55:52 and 47:40 as 12 bits (AMD64 APM vol. 2, section 15.5.1).
    pub attributes: u16,
    /// The limit in bytes, expanded by granularity.
    pub limit: u32,
    /// The base address.
    pub base: u64,
}

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
    /// General-purpose registers, by their numbers.
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
    /// `signature` is what CPUID function 1 tells in EAX.
    pub fn init(signature: u32) -> Self {
        let data = Segment { selector: 0, attributes: 0x093, limit: 0xffff, base: 0 };
        let code = Segment { selector: 0xf000, attributes: 0x09b, base: 0xffff_0000, ..data };
        let table = Segment { attributes: 0, ..data };
        let ldtr = Segment { attributes: 0x082, ..data };
        let tr = Segment { attributes: 0x08b, ..data };
        let mut gpr = [0; 16];
        gpr[usize::from(gpr::RDX)] = signature.into();
        Self {
            gpr,
            rip: 0xfff0,
            rflags: 2,
            control: Control { cr0: 0x6000_0010, ..Control::default() },
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
