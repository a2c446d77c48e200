//! The VP's registers as the instruction emulator wants them.

use emulator::{Cpu, Register, Segment, SegmentRegister};
use platform_api::{GuestVp, SegmentRegister as PlatformSegment};

/// A VP of any platform.
#[derive(Debug)]
pub(crate) struct Registers<'a, V>(pub(crate) &'a mut V);

impl<V: GuestVp> Cpu for Registers<'_, V> {
    #[inline]
    fn gpr(&self, register: Register) -> u64 {
        self.0.gpr(register as u8)
    }

    #[inline]
    fn set_gpr(&mut self, register: Register, value: u64) {
        self.0.set_gpr(register as u8, value);
    }

    #[inline]
    fn rip(&self) -> u64 {
        self.0.rip()
    }

    fn set_rip(&mut self, value: u64) {
        self.0.set_rip(value);
    }

    fn rflags(&self) -> u64 {
        self.0.rflags()
    }

    fn set_rflags(&mut self, value: u64) {
        self.0.set_rflags(value);
    }

    #[inline]
    fn segment(&self, register: SegmentRegister) -> Segment {
        let register = match register {
            SegmentRegister::Es => PlatformSegment::Es,
            SegmentRegister::Cs => PlatformSegment::Cs,
            SegmentRegister::Ss => PlatformSegment::Ss,
            SegmentRegister::Ds => PlatformSegment::Ds,
            SegmentRegister::Fs => PlatformSegment::Fs,
            SegmentRegister::Gs => PlatformSegment::Gs,
        };
        let segment = self.0.segment(register);
        Segment {
            selector: segment.selector,
            attributes: segment.attributes,
            limit: segment.limit,
            base: segment.base,
        }
    }

    #[inline]
    fn cr0(&self) -> u64 {
        self.0.cr0()
    }

    #[inline]
    fn cr3(&self) -> u64 {
        self.0.cr3()
    }

    #[inline]
    fn cr4(&self) -> u64 {
        self.0.cr4()
    }

    #[inline]
    fn efer(&self) -> u64 {
        self.0.efer()
    }

    fn cpl(&self) -> u8 {
        self.0.cpl()
    }

    fn xmm(&self, number: u8) -> u128 {
        self.0.xmm(number)
    }

    fn set_xmm(&mut self, number: u8, value: u128) {
        self.0.set_xmm(number, value);
    }
}
