//! A virtual processor's state in the form of SEV-ES: the save area.
//!
//! Its first part has the layout of the control block's own save area (AMD64 APM vol. 2, tables B-2
//! and B-4); general-purpose registers and the FPU follow.

use instructions::{FxArea, fxrstor, fxsave_to};
use platform_api::Event;
use snp::vmsa::Vmsa;
use x86::{EventRegisters, ModeRegisters, Register, Registers, Segment, SegmentRegister, efer};
use zerocopy::{FromBytes, IntoBytes};

use crate::events;
use crate::intercepts;
use crate::interrupts::Waiting;
use crate::nmi::NmiMask;
use crate::vcpu::{TLB_FLUSH_ALL, Vcpu};
use crate::vmcb::{control, save, virtual_interrupt};

/// Bytes that the two layouts share: up to the last-branch registers.
const SHARED: usize = 0x298;
/// The tag word of a stack without registers in use.
const ALL_EMPTY: u16 = 0xffff;
/// Bits of MXCSR; FXRSTOR refuses others.
const MXCSR_BITS: u32 = 0xffff;

/// General-purpose registers in the order of the save area from 308h on, RSP's place aside.
const ORDER: [Register; 14] = [
    Register::Rcx,
    Register::Rdx,
    Register::Rbx,
    Register::Rbp,
    Register::Rsi,
    Register::Rdi,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

impl Vcpu {
    /// Replaces the whole state by that in `area`, which the caller has checked as VMRUN does. What
    /// the control block says of events stays. `fpu` is room for the FPU's state.
    ///
    /// Translations stay as long as the registers that they depend on do: the save area is the one
    /// that was stored last, or the caller calls [`Vcpu::forget_translations`].
    pub fn load(&mut self, area: &Vmsa, fpu: &mut FxArea) {
        let paging = [
            (save::EFER, area.efer | efer::SVME),
            (save::CR0, area.cr0),
            (save::CR3, area.cr3),
            (save::CR4, area.cr4),
            (save::GUEST_PAT, area.g_pat),
        ];
        if paging.into_iter().any(|(offset, value)| self.vmcb.read_u64(offset) != value) {
            self.forget_translations();
        }
        if let Some(shared) = area.as_bytes().first_chunk::<SHARED>() {
            self.vmcb.write_bytes(save::SEGMENTS, shared);
        }
        // The level's place is reserved in the control block's save area.
        self.vmcb.write_u8(save::CPL - 1, 0);
        self.vmcb.write_u64(save::EFER, area.efer | efer::SVME);
        for (register, value) in ORDER.into_iter().zip(general(area)) {
            self.set_gpr(register, value);
        }
        to_fxsave(area, fpu);
        fxrstor(fpu);
    }

    /// Drops events on their way, masks and shadows: another save area is to be loaded.
    pub fn forget_events(&mut self) {
        self.vmcb.write_u64(control::EVENT_INJECTION, 0);
        self.vmcb.write_u64(control::INTERRUPT_SHADOW, 0);
        self.vmcb.write_u32(control::VIRTUAL_INTERRUPT, virtual_interrupt::MASKING);
        self.intercept(intercepts::IRET, false);
        self.intercept(intercepts::VIRTUAL_INTERRUPT, true);
        (self.nmi, self.waiting, self.displaced) = (NmiMask::Open, Waiting::Nothing, None);
        (self.shut_down, self.holds_back) = (false, false);
    }

    /// The event that is to be delivered at the next entry, other than an offered interrupt.
    pub fn injected(&self) -> Option<Event> {
        match self.waiting {
            Waiting::Injected(vector) => Some(Event::Interrupt(vector)),
            Waiting::Nothing | Waiting::Offer(_) | Waiting::Window => {
                events::decode(self.vmcb.read_u64(control::EVENT_INJECTION))
            }
        }
    }

    /// Has the guest start in an interrupt shadow, or not.
    pub fn set_interrupt_shadow(&mut self, shadow: bool) {
        self.vmcb.write_u64(control::INTERRUPT_SHADOW, shadow.into());
    }

    /// Has NMIs masked until the guest's next IRET, or not.
    pub fn set_nmi_masked(&mut self, is_masked: bool) {
        self.nmi = if is_masked { NmiMask::InService } else { NmiMask::Open };
        self.intercept(intercepts::IRET, is_masked);
    }

    /// Whether a virtual interrupt is on offer or in a window's place.
    pub fn offers(&self) -> bool {
        self.waiting != Waiting::Nothing
    }

    /// Stores the state to `area`; what the CPU does not switch stays as it is. `fpu` is room for
    /// the FPU's state.
    pub fn store(&self, area: &mut Vmsa, fpu: &mut FxArea) {
        let vmpl = area.vmpl;
        if let Some(shared) = area.as_mut_bytes().first_chunk_mut::<SHARED>() {
            self.vmcb.read_bytes(save::SEGMENTS, shared);
        }
        area.vmpl = vmpl;
        for (place, register) in general_mut(area).into_iter().zip(ORDER) {
            *place = self.gpr(register);
        }
        fxsave_to(fpu);
        from_fxsave(fpu, area);
    }

    /// Has the nested page tables at `root` confine the guest from the next entry on.
    pub fn set_nested_root(&mut self, root: u64) {
        if self.vmcb.read_u64(control::NESTED_CR3) != root {
            self.vmcb.write_u64(control::NESTED_CR3, root);
            self.forget_translations();
        }
    }

    /// Drops the guest's translations at the next entry.
    pub fn forget_translations(&mut self) {
        self.vmcb.write_u8(control::TLB_CONTROL, TLB_FLUSH_ALL);
    }

    /// Has #UD exit, and changes of CR0 beyond TS and MP, beside what always exits.
    pub fn intercept_undefined_and_modes(&mut self) {
        const UNDEFINED: u32 = 1 << x86::vector::UD;
        let exceptions = self.vmcb.read_u32(control::INTERCEPT_EXCEPTIONS);
        self.vmcb.write_u32(control::INTERCEPT_EXCEPTIONS, exceptions | UNDEFINED);
        self.intercept(intercepts::CR0_SELECTIVE, true);
    }

    /// Has writes of CR4 exit, or no longer.
    pub fn intercept_cr4(&mut self, on: bool) {
        self.intercept_control_write(4, on);
    }

    /// EXITINFO1, EXITINFO2 and EXITINTINFO of the last exit.
    pub fn exit_information(&self) -> [u64; 3] {
        [control::EXIT_INFO_1, control::EXIT_INFO_2, control::EXIT_INTERRUPT_INFO]
            .map(|offset| self.vmcb.read_u64(offset))
    }
}

impl EventRegisters for Vcpu {
    fn set_segment(&mut self, register: SegmentRegister, segment: Segment) {
        self.vmcb.set_segment(register, &segment);
    }

    fn set_cpl(&mut self, cpl: u8) {
        self.vmcb.write_u8(save::CPL, cpl);
    }
}

impl ModeRegisters for Vcpu {
    fn set_cr0(&mut self, cr0: u64) {
        self.vmcb.write_u64(save::CR0, cr0);
        self.forget_translations();
    }

    fn set_cr4(&mut self, cr4: u64) {
        self.vmcb.write_u64(save::CR4, cr4);
        self.forget_translations();
    }
}

fn general(area: &Vmsa) -> [u64; 14] {
    [
        area.rcx, area.rdx, area.rbx, area.rbp, area.rsi, area.rdi, area.r8, area.r9, area.r10,
        area.r11, area.r12, area.r13, area.r14, area.r15,
    ]
}

fn general_mut(area: &mut Vmsa) -> [&mut u64; 14] {
    let Vmsa { rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, .. } = area;
    [rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15]
}

/// The FPU's part of the first 512 bytes of FXSAVE (AMD64 APM vol. 1, section 11.4.4).
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
struct Fxsave {
    control: u16,
    status: u16,
    /// One bit a physical register: it is not empty.
    tags: u8,
    reserved_1: u8,
    opcode: u16,
    instruction: u64,
    data: u64,
    mxcsr: u32,
    mxcsr_mask: u32,
    /// ST0 to ST7, of 16 bytes each.
    registers: [[u8; 16]; 8],
    xmm: [u8; 256],
    reserved_2: [u8; 96],
}

fn to_fxsave(area: &Vmsa, fxsave: &mut FxArea) {
    fxsave.edit(|bytes| {
        let Ok(image) = Fxsave::mut_from_bytes(bytes) else { return };
        for (to, from) in image.registers.iter_mut().zip(area.x87_registers.as_chunks::<10>().0) {
            if let Some(to) = to.first_chunk_mut() {
                *to = *from;
            }
        }
        let used = |index: u32| (area.x87_ftw >> (2 * index) & 0b11) != 0b11;
        image.tags = match area.x87_ftw {
            ALL_EMPTY => 0,
            _ => (0..8).filter(|index| used(*index)).fold(0, |tags, index| tags | 1 << index),
        };
        image.control = area.x87_fcw;
        image.status = area.x87_fsw;
        image.opcode = area.x87_fop & 0x7ff;
        image.instruction = area.x87_rip;
        image.data = area.x87_dp;
        image.mxcsr = area.mxcsr & MXCSR_BITS;
        image.xmm = area.xmm;
    });
}

fn from_fxsave(fxsave: &FxArea, area: &mut Vmsa) {
    let Ok(image) = Fxsave::ref_from_bytes(fxsave.bytes()) else { return };
    area.x87_fcw = image.control;
    area.x87_fsw = image.status;
    area.x87_fop = image.opcode;
    area.x87_rip = image.instruction;
    area.x87_dp = image.data;
    area.mxcsr = image.mxcsr;
    area.xmm = image.xmm;
    area.x87_ftw = if image.tags == 0 { ALL_EMPTY } else { tags(image) };
    let registers = area.x87_registers.as_chunks_mut::<10>().0;
    for (to, from) in registers.iter_mut().zip(&image.registers) {
        if let Some(from) = from.first_chunk() {
            *to = *from;
        }
    }
}

/// The tag word of an image in which registers are in use.
fn tags(image: &Fxsave) -> u16 {
    let top = u32::from(image.status >> 11 & 7);
    let mut tags = 0;
    for index in 0..8 {
        // The image has registers by their distance from the top of the stack.
        let place = (index + 8 - top) % 8;
        let register = image.registers.get(place as usize).copied().unwrap_or_default();
        let tag = if image.tags >> index & 1 == 0 { 0b11 } else { tag(&register) };
        tags |= tag << (2 * index);
    }
    tags
}

/// The tag of a register that is not empty: valid, zero or special (AMD64 APM vol. 1, section
/// 6.2.4).
fn tag(register: &[u8; 16]) -> u16 {
    let value = u128::from_le_bytes(*register);
    let (fraction, exponent) = (value as u64, value >> 64 & 0x7fff);
    match (exponent, fraction) {
        (0, 0) => 0b01,
        (1..=0x7ffe, _) if fraction >> 63 != 0 => 0b00,
        _ => 0b10,
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn the_fpu_survives_both_forms() {
        let mut area = Vmsa::new_zeroed();
        // Two registers on the stack, of which one is zero, the other one 1.5.
        (area.x87_fcw, area.x87_fsw, area.mxcsr) = (0x37f, 6 << 11, 0x1f80);
        area.x87_ftw = 0b01_00_11_11_11_11_11_11;
        area.x87_registers[..10].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0x3f]);
        area.xmm = core::array::from_fn(|index| index as u8);
        (area.x87_rip, area.x87_dp, area.x87_fop) = (0x1234, 0x5678, 0x1d9);
        let mut fxsave = FxArea::initial();
        for tags in [area.x87_ftw, ALL_EMPTY] {
            area.x87_ftw = tags;
            to_fxsave(&area, &mut fxsave);
            let mut back = Vmsa::new_zeroed();
            from_fxsave(&fxsave, &mut back);
            assert_eq!(back, area);
        }
    }

    #[test]
    fn reserved_bits_of_mxcsr_do_not_reach_the_cpu() {
        let mut area = Vmsa::new_zeroed();
        area.mxcsr = u32::MAX;
        let mut fxsave = FxArea::initial();
        to_fxsave(&area, &mut fxsave);
        let image = Fxsave::read_from_bytes(fxsave.bytes()).unwrap();
        assert_eq!(image.mxcsr, MXCSR_BITS);
    }
}
