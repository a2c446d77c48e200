//! The virtual machine control block (AMD64 APM vol. 2, appendix B).

use guest_memory::PAGE_SIZE;
use x86::{Attributes, Segment, SegmentRegister};

/// Offsets into the control area (table B-1).
pub(crate) mod control {
    pub(crate) const INTERCEPT_CR_WRITES: usize = 0x002;
    pub(crate) const INTERCEPT_EXCEPTIONS: usize = 0x008;
    pub(crate) const INTERCEPT_1: usize = 0x00c;
    pub(crate) const INTERCEPT_2: usize = 0x010;
    pub(crate) const IOPM_BASE: usize = 0x040;
    pub(crate) const MSRPM_BASE: usize = 0x048;
    pub(crate) const TSC_OFFSET: usize = 0x050;
    pub(crate) const ASID: usize = 0x058;
    pub(crate) const TLB_CONTROL: usize = 0x05c;
    pub(crate) const VIRTUAL_INTERRUPT: usize = 0x060;
    pub(crate) const VIRTUAL_VECTOR: usize = 0x064;
    pub(crate) const INTERRUPT_SHADOW: usize = 0x068;
    pub(crate) const EXIT_CODE: usize = 0x070;
    pub(crate) const EXIT_INFO_1: usize = 0x078;
    pub(crate) const EXIT_INFO_2: usize = 0x080;
    pub(crate) const EXIT_INTERRUPT_INFO: usize = 0x088;
    pub(crate) const NESTED_CONTROL: usize = 0x090;
    pub(crate) const EVENT_INJECTION: usize = 0x0a8;
    pub(crate) const NESTED_CR3: usize = 0x0b0;
    pub(crate) const NEXT_RIP: usize = 0x0c8;
}

/// Offsets into the state save area (table B-2), from the start of the block.
pub(crate) mod save {
    pub(crate) const SEGMENTS: usize = 0x400;
    pub(crate) const CPL: usize = 0x4cb;
    pub(crate) const EFER: usize = 0x4d0;
    pub(crate) const CR4: usize = 0x548;
    pub(crate) const CR3: usize = 0x550;
    pub(crate) const CR0: usize = 0x558;
    pub(crate) const DR7: usize = 0x560;
    pub(crate) const DR6: usize = 0x568;
    pub(crate) const RFLAGS: usize = 0x570;
    pub(crate) const RIP: usize = 0x578;
    pub(crate) const RSP: usize = 0x5d8;
    pub(crate) const RAX: usize = 0x5f8;
    pub(crate) const CR2: usize = 0x640;
    pub(crate) const GUEST_PAT: usize = 0x668;
    /// First byte behind what this file knows.
    pub(crate) const END: usize = 0x6a0;
}

/// Bits of the word at [`control::VIRTUAL_INTERRUPT`].
pub(crate) mod virtual_interrupt {
    pub(crate) const TPR_MASK: u32 = 0xf;
    pub(crate) const PENDING: u32 = 1 << 8;
    pub(crate) const IGNORE_TPR: u32 = 1 << 20;
    pub(crate) const MASKING: u32 = 1 << 24;
    /// It is to be taken whatever the task priority.
    pub(crate) const READY: u32 = PENDING | IGNORE_TPR;
}

/// Event types in EVENTINJ (section 15.20).
pub(crate) mod event {
    pub(crate) const INTERRUPT: u64 = 0;
    pub(crate) const NMI: u64 = 2;
    pub(crate) const EXCEPTION: u64 = 3;
    pub(crate) const TYPE_SHIFT: u64 = 8;
    pub(crate) const TYPE_MASK: u64 = 7 << TYPE_SHIFT;
    pub(crate) const HAS_ERROR_CODE: u64 = 1 << 11;
    pub(crate) const VALID: u64 = 1 << 31;
}

/// Exit codes (appendix C).
pub mod exit {
    /// MOV to CR8.
    pub const WRITE_CR8: u64 = 0x18;
    /// The exception of vector 0; the others follow.
    pub const EXCEPTION: u64 = 0x40;
    /// The exception of vector 31.
    pub const EXCEPTION_LAST: u64 = 0x5f;
    /// A physical interrupt.
    pub const INTERRUPT: u64 = 0x60;
    /// A physical NMI.
    pub const NMI: u64 = 0x61;
    /// A physical SMI.
    pub const SMI: u64 = 0x62;
    /// A physical INIT.
    pub const INIT: u64 = 0x63;
    /// The guest can take an interrupt: the window that was asked for.
    pub const VIRTUAL_INTERRUPT: u64 = 0x64;
    /// RDPMC.
    pub const RDPMC: u64 = 0x6f;
    /// CPUID.
    pub const CPUID: u64 = 0x72;
    /// IRET.
    pub const IRET: u64 = 0x74;
    /// INVD.
    pub const INVD: u64 = 0x76;
    /// HLT.
    pub const HLT: u64 = 0x78;
    /// INVLPGA.
    pub const INVLPGA: u64 = 0x7a;
    /// IN, OUT, INS or OUTS.
    pub const PORT: u64 = 0x7b;
    /// RDMSR or WRMSR.
    pub const MSR: u64 = 0x7c;
    /// The CPU has shut down.
    pub const SHUTDOWN: u64 = 0x7f;
    /// VMRUN.
    pub const VMRUN: u64 = 0x80;
    /// VMMCALL.
    pub const VMMCALL: u64 = 0x81;
    /// SKINIT.
    pub const SKINIT: u64 = 0x86;
    /// ICEBP.
    pub const ICEBP: u64 = 0x88;
    /// WBINVD.
    pub const WBINVD: u64 = 0x89;
    /// MONITOR.
    pub const MONITOR: u64 = 0x8a;
    /// MWAIT.
    pub const MWAIT: u64 = 0x8b;
    /// MWAIT with an armed monitor.
    pub const MWAIT_ARMED: u64 = 0x8c;
    /// XSETBV.
    pub const XSETBV: u64 = 0x8d;
    /// RDPRU.
    pub const RDPRU: u64 = 0x8e;
    /// A nested page fault.
    pub const NESTED_PAGE_FAULT: u64 = 0x400;
    /// The state at VMRUN was invalid.
    pub const INVALID: u64 = u64::MAX;
    /// As QEMU's software CPU stores it.
    pub const INVALID_32: u64 = u32::MAX as u64;
}

/// A page that holds a control block, used through its fields by offset.
///
/// The CPU reads and writes the page during VMRUN, so accesses to fields are volatile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vmcb {
    page: u64,
}

macro_rules! accessors {
    ($($read:ident $write:ident $int:ty;)*) => {$(
        #[doc = concat!("Reads the `", stringify!($int), "` at `offset`.")]
        #[inline]
        pub(crate) fn $read(&self, offset: usize) -> $int {
            assert!(offset + size_of::<$int>() <= save::END);
            // SAFETY: `new`'s caller gave us the page; the offset lies within, and aligned, as
            // all offsets in this file are.
            unsafe { ((self.page + offset as u64) as *const $int).read_volatile() }
        }

        #[doc = concat!("Writes the `", stringify!($int), "` at `offset`.")]
        #[inline]
        pub(crate) fn $write(&mut self, offset: usize, value: $int) {
            assert!(offset + size_of::<$int>() <= save::END);
            // SAFETY: as for the read.
            unsafe { ((self.page + offset as u64) as *mut $int).write_volatile(value) }
        }
    )*};
}

impl Vmcb {
    /// Uses the zeroed page at `page`.
    ///
    /// # Safety
    /// The page must be ours, whole, mapped at its physical address, and used for this only, for
    /// ever.
    pub(crate) const unsafe fn new(page: u64) -> Self {
        debug_assert!(page.is_multiple_of(PAGE_SIZE));
        Self { page }
    }

    /// The physical address.
    pub(crate) const fn address(&self) -> u64 {
        self.page
    }

    accessors! {
        read_u8 write_u8 u8;
        read_u16 write_u16 u16;
        read_u32 write_u32 u32;
        read_u64 write_u64 u64;
    }

    /// Reads the bytes from `offset` on. The CPU is not in VMRUN, so they stay as they are.
    pub(crate) fn read_bytes(&self, offset: usize, to: &mut [u8]) {
        assert!(offset + to.len() <= save::END);
        let from = (self.page + offset as u64) as *const u8;
        // SAFETY: `new`'s caller gave us the page, and no reference into it exists; the bytes lie
        // within.
        unsafe { core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
    }

    /// Writes the bytes from `offset` on.
    pub(crate) fn write_bytes(&mut self, offset: usize, from: &[u8]) {
        assert!(offset + from.len() <= save::END);
        let to = (self.page + offset as u64) as *mut u8;
        // SAFETY: as for the read.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
    }

    /// A segment register.
    pub(crate) fn segment(&self, register: SegmentRegister) -> Segment {
        let at = segment_offset(register);
        Segment {
            selector: self.read_u16(at),
            attributes: Attributes::from_bits(self.read_u16(at + 2)),
            limit: self.read_u32(at + 4),
            base: self.read_u64(at + 8),
        }
    }

    /// Sets a segment register.
    pub(crate) fn set_segment(&mut self, register: SegmentRegister, segment: &Segment) {
        let at = segment_offset(register);
        self.write_u16(at, segment.selector);
        self.write_u16(at + 2, segment.attributes.into_bits());
        self.write_u32(at + 4, segment.limit);
        self.write_u64(at + 8, segment.base);
    }
}

/// The block keeps ES, CS, SS, DS, FS, GS, GDTR, LDTR, IDTR, TR in this order, 16 bytes each.
fn segment_offset(register: SegmentRegister) -> usize {
    let place = match register {
        SegmentRegister::Es => 0,
        SegmentRegister::Cs => 1,
        SegmentRegister::Ss => 2,
        SegmentRegister::Ds => 3,
        SegmentRegister::Fs => 4,
        SegmentRegister::Gs => 5,
        SegmentRegister::Gdtr => 6,
        SegmentRegister::Ldtr => 7,
        SegmentRegister::Idtr => 8,
        SegmentRegister::Tr => 9,
    };
    save::SEGMENTS + place * 16
}
