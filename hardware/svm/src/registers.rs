//! A virtual processor's registers.

use instructions::{fxrstor, fxsave};
use x86::{Register, Registers, Segment, SegmentRegister, SystemRegisters, efer, msr};

use crate::vcpu::{TLB_FLUSH_ALL, Vcpu};
use crate::vmcb::{control, save, virtual_interrupt};

impl Registers for Vcpu {
    #[inline]
    fn gpr(&self, register: Register) -> u64 {
        if register == Register::Rax {
            self.vmcb.read_u64(save::RAX)
        } else if register == Register::Rsp {
            self.vmcb.read_u64(save::RSP)
        } else {
            self.registers.0[register as usize]
        }
    }

    #[inline]
    fn set_gpr(&mut self, register: Register, value: u64) {
        if register == Register::Rax {
            self.vmcb.write_u64(save::RAX, value);
        } else if register == Register::Rsp {
            self.vmcb.write_u64(save::RSP, value);
        } else {
            self.registers.0[register as usize] = value;
        }
    }

    #[inline]
    fn rip(&self) -> u64 {
        self.vmcb.read_u64(save::RIP)
    }

    #[inline]
    fn set_rip(&mut self, rip: u64) {
        self.vmcb.write_u64(save::RIP, rip);
        self.vmcb.write_u64(control::INTERRUPT_SHADOW, 0);
    }

    #[inline]
    fn rflags(&self) -> u64 {
        self.vmcb.read_u64(save::RFLAGS)
    }

    fn set_rflags(&mut self, rflags: u64) {
        self.vmcb.write_u64(save::RFLAGS, rflags);
    }

    fn segment(&self, register: SegmentRegister) -> Segment {
        self.vmcb.segment(register)
    }

    #[inline]
    fn cr0(&self) -> u64 {
        self.vmcb.read_u64(save::CR0)
    }

    #[inline]
    fn cr3(&self) -> u64 {
        self.vmcb.read_u64(save::CR3)
    }

    #[inline]
    fn cr4(&self) -> u64 {
        self.vmcb.read_u64(save::CR4)
    }

    #[inline]
    fn efer(&self) -> u64 {
        self.vmcb.read_u64(save::EFER) & !efer::SVME
    }

    fn cpl(&self) -> u8 {
        self.vmcb.read_u8(save::CPL)
    }

    fn xmm(&self, number: u8) -> u128 {
        fxsave().xmm(number)
    }

    fn set_xmm(&mut self, number: u8, value: u128) {
        let mut area = fxsave();
        area.set_xmm(number, value);
        fxrstor(&area);
    }
}

impl SystemRegisters for Vcpu {
    fn set_efer(&mut self, efer: u64) {
        self.vmcb.write_u64(save::EFER, efer | efer::SVME);
        self.vmcb.write_u8(control::TLB_CONTROL, TLB_FLUSH_ALL);
    }

    fn debug_registers(&self) -> (u64, u64) {
        (self.vmcb.read_u64(save::DR6), self.vmcb.read_u64(save::DR7))
    }

    fn set_dr6(&mut self, dr6: u64) {
        self.vmcb.write_u64(save::DR6, dr6);
    }

    fn set_cr2(&mut self, cr2: u64) {
        self.vmcb.write_u64(save::CR2, cr2);
    }

    #[inline]
    fn cr8(&self) -> u8 {
        (self.vmcb.read_u32(control::VIRTUAL_INTERRUPT) & virtual_interrupt::TPR_MASK) as u8
    }

    fn set_cr8(&mut self, class: u8) {
        let old = self.vmcb.read_u32(control::VIRTUAL_INTERRUPT) & !virtual_interrupt::TPR_MASK;
        self.vmcb.write_u32(control::VIRTUAL_INTERRUPT, old | u32::from(class & 15));
    }

    fn pat(&self) -> u64 {
        self.vmcb.read_u64(save::GUEST_PAT)
    }

    fn set_pat(&mut self, pat: u64) {
        self.vmcb.write_u64(save::GUEST_PAT, pat);
        self.vmcb.write_u8(control::TLB_CONTROL, TLB_FLUSH_ALL);
    }

    fn xcr0(&self) -> u64 {
        if !self.features.xsave {
            return 1;
        }
        // SAFETY: CR4.OSXSAVE is set where the CPU has XSAVE. The register is the guest's.
        unsafe { instructions::xgetbv() }
    }

    fn set_xcr0(&mut self, xcr0: u64) {
        if self.features.xsave {
            // SAFETY: the caller has checked the value against what the CPU offers.
            unsafe { instructions::xsetbv(xcr0) };
        }
    }
}

impl Vcpu {
    /// SPEC_CTRL, which holds while the guest runs (AMD64 APM vol. 2, section 3.2.9).
    pub fn speculation_control(&self) -> u64 {
        self.speculation_control
    }

    /// Sets SPEC_CTRL; the caller has checked the value.
    pub fn set_speculation_control(&mut self, control: u64) {
        self.speculation_control = control;
    }

    /// PRED_CMD.IBPB: branches of before predict none after. The caller knows that the CPU has it.
    pub fn forget_branches(&mut self) {
        const IBPB: u64 = 1 << 0;
        // SAFETY: the caller knows that the CPU has the command, which changes no value.
        unsafe { instructions::wrmsr(msr::PRED_CMD, IBPB) };
    }

    /// The guest's TSC minus the host's.
    pub fn tsc_offset(&self) -> u64 {
        self.vmcb.read_u64(control::TSC_OFFSET)
    }

    /// Sets the guest's TSC minus the host's.
    pub fn set_tsc_offset(&mut self, offset: u64) {
        self.vmcb.write_u64(control::TSC_OFFSET, offset);
    }
}
