//! A virtual processor: its control block, the way in and out, and its events.

use instructions::FxArea;
use platform_api::{Event, MemoryFault, PortAccess, Width};
use x86::{
    Combined, Register, Registers, SegmentRegister, SystemRegisters, VpState, dr6, dr7, msr, rflags,
};

use crate::entry::{self, GeneralRegisters};
use crate::events::{self, combine};
use crate::exits::{self, EXIT_KINDS};
use crate::features::Features;
use crate::intercepts;
use crate::interrupts::{UNUSED_VECTOR, Waiting};
use crate::nmi::NmiMask;
use crate::vmcb::{Vmcb, control, event, save, virtual_interrupt};

pub(crate) const TLB_FLUSH_ALL: u8 = 1;

/// A virtual processor.
#[derive(Debug)]
pub struct Vcpu {
    pub(crate) registers: GeneralRegisters,
    pub(crate) vmcb: Vmcb,
    pub(crate) host_page: u64,
    pub(crate) features: Features,
    pub(crate) nmi: NmiMask,
    /// The purpose of a pending V_IRQ.
    pub(crate) waiting: Waiting,
    /// The machine wants to see writes of CR8.
    pub(crate) watches_task_priority: bool,
    /// An interrupt or NMI whose delivery an exception cut short: it comes after the exception.
    pub(crate) displaced: Option<Event>,
    /// The displaced event waits for the first exit of the exception's handler.
    pub(crate) holds_back: bool,
    pub(crate) shut_down: bool,
    /// SPEC_CTRL while the guest runs; zero on a CPU without the register.
    pub(crate) speculation_control: u64,
    pub(crate) counts: [u64; EXIT_KINDS],
}

/// Physical addresses of the pages that a VP works with.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    /// The control block.
    pub vmcb: u64,
    /// The state that VMLOAD brings back after an exit.
    pub host: u64,
    /// The I/O permission map, which VPs share.
    pub port_map: u64,
    /// The MSR permission map, which VPs share.
    pub msr_map: u64,
    /// The root of the nested page tables, which VPs share.
    pub nested_root: u64,
    /// The address-space identifier: one for each control block that a CPU runs, from 1 on.
    pub asid: u32,
}

impl Vcpu {
    /// Makes the VP of this CPU.
    ///
    /// # Safety
    /// The pages must be ours, zeroed but for the shared maps and tables, and used for this VP
    /// only; `host` must hold this CPU's state by VMSAVE.
    pub unsafe fn new(pages: Pages, features: Features) -> Self {
        // SAFETY: the caller gives the page.
        let mut vmcb = unsafe { Vmcb::new(pages.vmcb) };
        vmcb.write_u32(control::INTERCEPT_EXCEPTIONS, intercepts::EXCEPTIONS);
        vmcb.write_u32(control::INTERCEPT_1, intercepts::word(intercepts::INTERCEPT_1));
        vmcb.write_u32(control::INTERCEPT_2, intercepts::word(intercepts::INTERCEPT_2));
        vmcb.write_u64(control::IOPM_BASE, pages.port_map);
        vmcb.write_u64(control::MSRPM_BASE, pages.msr_map);
        vmcb.write_u32(control::ASID, pages.asid);
        vmcb.write_u32(control::VIRTUAL_INTERRUPT, virtual_interrupt::MASKING);
        vmcb.write_u32(control::VIRTUAL_VECTOR, UNUSED_VECTOR.into());
        vmcb.write_u64(control::NESTED_CONTROL, 1);
        vmcb.write_u64(control::NESTED_CR3, pages.nested_root);
        let mut vp = Self {
            registers: GeneralRegisters::default(),
            vmcb,
            host_page: pages.host,
            features,
            nmi: NmiMask::Open,
            waiting: Waiting::Nothing,
            watches_task_priority: false,
            displaced: None,
            holds_back: false,
            shut_down: false,
            speculation_control: 0,
            counts: [0; EXIT_KINDS],
        };
        vp.reset(&VpState::init(0), true);
        vp
    }

    pub(crate) fn intercept(&mut self, bit: u32, on: bool) {
        let old = self.vmcb.read_u32(control::INTERCEPT_1);
        let new = if on { old | bit } else { old & !bit };
        self.vmcb.write_u32(control::INTERCEPT_1, new);
    }

    /// Runs the guest until it exits, and answers the exit code ([`crate::exit`]). An event whose
    /// delivery the exit cut short is delivered at the next entry.
    ///
    /// A host interrupt that ended it still waits, with IF clear.
    // Where it is not inlined into the VP's loop, every exit costs 17 more instructions.
    #[inline(always)]
    pub fn enter(&mut self) -> u64 {
        if self.displaced.is_some() {
            self.deliver_displaced();
        }
        if self.speculation_control == 0 {
            // SAFETY: `new`'s caller gave valid pages, and this runs on the CPU of the VP.
            unsafe { entry::enter(&mut self.registers, self.vmcb.address(), self.host_page) };
        } else {
            self.enter_with_speculation_control();
        }
        // The address is read once: the compiler can not know that no write below changes it.
        let mut vmcb = self.vmcb;
        vmcb.write_u8(control::TLB_CONTROL, 0);
        let cut_short = vmcb.read_u64(control::EXIT_INTERRUPT_INFO);
        let again = if cut_short & event::VALID == 0 { 0 } else { self.put_back(cut_short) };
        vmcb.write_u64(control::EVENT_INJECTION, again);
        let code = vmcb.read_u64(control::EXIT_CODE);
        if let Some(count) = self.counts.get_mut(exits::kind(code)) {
            *count += 1;
        }
        code
    }

    /// Enters with the guest's SPEC_CTRL. A CPU that virtualises the register (APM vol. 2, chapter
    /// 15) runs the guest with this value and the control block's, which stays zero, together.
    #[cold]
    fn enter_with_speculation_control(&mut self) {
        // SAFETY: only a CPU with the register gets here, and the machine has checked the bits.
        // They restrict speculation, which no code can see but by its speed.
        unsafe { instructions::wrmsr(msr::SPEC_CTRL, self.speculation_control) };
        // SAFETY: as in `enter`.
        unsafe { entry::enter(&mut self.registers, self.vmcb.address(), self.host_page) };
        // SAFETY: as above.
        unsafe { instructions::wrmsr(msr::SPEC_CTRL, 0) };
    }

    /// Whether an exit for an MSR was a WRMSR.
    #[inline]
    pub fn is_msr_write(&self) -> bool {
        self.vmcb.read_u64(control::EXIT_INFO_1) != 0
    }

    /// The port access of an exit for one.
    pub fn port_access(&self) -> PortAccess {
        let info = self.vmcb.read_u64(control::EXIT_INFO_1);
        let width = match info >> 4 & 7 {
            1 => Width::Byte,
            2 => Width::Word,
            _ => Width::Dword,
        };
        PortAccess {
            port: (info >> 16) as u16,
            width,
            is_input: info & 1 != 0,
            is_string: info & 4 != 0,
            next_rip: self.vmcb.read_u64(control::EXIT_INFO_2),
        }
    }

    /// The fault of an exit for a nested page fault.
    pub fn memory_fault(&self) -> MemoryFault {
        let info = self.vmcb.read_u64(control::EXIT_INFO_1);
        MemoryFault {
            gpa: self.vmcb.read_u64(control::EXIT_INFO_2),
            is_write: info & 2 != 0,
            is_fetch: info & 16 != 0,
            is_walk: info >> 33 & 1 != 0,
            in_delivery: self.vmcb.read_u64(control::EXIT_INTERRUPT_INFO) & event::VALID != 0,
        }
    }

    /// Delivers an event that an exception has displaced, once the guest can take it.
    #[cold]
    pub(crate) fn deliver_displaced(&mut self) {
        if core::mem::take(&mut self.holds_back) {
            return;
        }
        let ready = match self.displaced {
            Some(Event::Interrupt(_)) => self.can_take_interrupt(),
            Some(_) => !self.has_injection(),
            None => false,
        };
        if ready && let Some(event) = self.displaced.take() {
            self.inject_now(&event);
        }
    }

    fn has_injection(&self) -> bool {
        self.vmcb.read_u64(control::EVENT_INJECTION) & event::VALID != 0
            || matches!(self.waiting, Waiting::Injected(_))
    }

    fn reset_fpu(&mut self) {
        instructions::fxrstor(&FxArea::initial());
        if self.features.xsave {
            // SAFETY: CR4.OSXSAVE is set where the CPU has XSAVE; XCR0 may have all that the
            // guest had turned on, and x87 alone is always accepted.
            unsafe { instructions::xrstor_initial(&FxArea::initial()) };
            // SAFETY: as above.
            unsafe { instructions::xsetbv(1) };
        }
    }

    /// Replaces the whole state, FPU and MSRs included, as INIT does, then sets `state`.
    /// `power_on` also resets what INIT leaves alone: the FPU, MSRs and the TSC.
    pub fn reset(&mut self, state: &VpState, power_on: bool) {
        for offset in (save::SEGMENTS..save::END).step_by(8) {
            self.vmcb.write_u64(offset, 0);
        }
        self.registers = GeneralRegisters(state.gpr);
        self.vmcb.write_u64(save::RAX, state.gpr[Register::Rax as usize]);
        self.vmcb.write_u64(save::RSP, state.gpr[Register::Rsp as usize]);
        self.vmcb.write_u64(save::RIP, state.rip);
        self.vmcb.write_u64(save::RFLAGS, state.rflags);
        self.vmcb.write_u64(save::CR0, state.control.cr0);
        self.vmcb.write_u64(save::CR3, state.control.cr3);
        self.vmcb.write_u64(save::CR4, state.control.cr4);
        self.vmcb.write_u64(save::DR6, dr6::RESET);
        self.vmcb.write_u64(save::DR7, dr7::RESET);
        self.vmcb.write_u64(save::GUEST_PAT, msr::PAT_RESET);
        self.set_efer(state.control.efer);
        for (register, segment) in SegmentRegister::ALL.into_iter().zip(&state.segments) {
            self.vmcb.set_segment(register, segment);
        }
        self.vmcb.write_u64(control::EVENT_INJECTION, 0);
        self.vmcb.write_u64(control::INTERRUPT_SHADOW, 0);
        self.vmcb.write_u32(control::VIRTUAL_INTERRUPT, virtual_interrupt::MASKING);
        self.vmcb.write_u8(control::TLB_CONTROL, TLB_FLUSH_ALL);
        self.intercept(intercepts::IRET, false);
        self.intercept(intercepts::VIRTUAL_INTERRUPT, true);
        (self.nmi, self.waiting, self.displaced) = (NmiMask::Open, Waiting::Nothing, None);
        (self.shut_down, self.holds_back) = (false, false);
        self.speculation_control = 0;
        self.watch_task_priority(false);
        instructions::set_breakpoints([0; 4]);
        if power_on {
            self.reset_fpu();
            if self.features.rdtscp {
                // SAFETY: the CPU has the register, and only the guest uses it.
                unsafe { instructions::wrmsr(msr::TSC_AUX, 0) };
            }
        }
    }

    /// The length of the exiting instruction, where the CPU tells it.
    #[inline]
    pub fn instruction_length(&self) -> Option<u8> {
        if !self.features.next_rip {
            return None;
        }
        let length = self.vmcb.read_u64(control::NEXT_RIP).wrapping_sub(self.rip());
        (1..=15).contains(&length).then_some(length as u8)
    }

    /// Whether an instruction like STI or MOV SS has just held off interrupts for one instruction.
    #[inline]
    pub fn interrupt_shadow(&self) -> bool {
        self.vmcb.read_u64(control::INTERRUPT_SHADOW) & 1 != 0
    }

    /// Whether the guest could take an interrupt right now.
    #[inline]
    pub fn can_take_interrupt(&self) -> bool {
        self.rflags() & rflags::IF != 0 && !self.interrupt_shadow() && !self.has_injection()
    }

    /// Whether the guest could take an NMI right now.
    pub fn can_take_nmi(&self) -> bool {
        self.nmi == NmiMask::Open && !self.interrupt_shadow() && !self.has_event()
    }

    /// Whether the guest serves an NMI, so that the next one waits for its IRET.
    pub fn nmi_is_masked(&self) -> bool {
        self.nmi != NmiMask::Open
    }

    /// Whether an event already waits for the next entry.
    #[inline]
    pub fn has_event(&self) -> bool {
        self.displaced.is_some() || self.has_injection()
    }

    /// Delivers `event` at the next entry. If another event waits, the two combine as AMD64 APM
    /// vol. 2, section 8.2.9 says; [`Vcpu::take_shutdown`] tells of a triple fault.
    pub fn inject(&mut self, event: Event) {
        let waiting = events::decode(self.vmcb.read_u64(control::EVENT_INJECTION));
        let event = match waiting {
            None => event,
            Some(first) => match combine(&first, &event) {
                Combined::Second => {
                    if matches!(first, Event::Interrupt(_) | Event::Nmi) {
                        self.displaced = Some(first);
                    }
                    event
                }
                Combined::DoubleFault => events::DOUBLE_FAULT,
                Combined::Shutdown => {
                    self.shut_down = true;
                    return;
                }
            },
        };
        if event == Event::Nmi {
            self.nmi = NmiMask::InService;
            self.intercept(intercepts::IRET, true);
        }
        self.inject_now(&event);
    }

    /// Software delivers an exception that has cut the delivery of an event short. An interrupt, an NMI
    /// or #HV comes behind it, as behind an exception of [`Self::inject`]: at the first exit of its
    /// handler or later. Another exception does not come again by itself: its instruction runs once
    /// more.
    pub fn displace(&mut self) {
        let cut_short = events::decode(self.vmcb.read_u64(control::EVENT_INJECTION));
        self.vmcb.write_u64(control::EVENT_INJECTION, 0);
        let comes = |event: &Event| match event {
            Event::Interrupt(_) | Event::Nmi => true,
            Event::Exception { vector, .. } => *vector == x86::vector::HV,
        };
        self.displaced = cut_short.filter(comes).or(self.displaced);
        self.holds_back = self.displaced.is_some();
    }

    /// Whether the guest's CPU has shut down by a triple fault since the last call.
    #[inline]
    pub fn take_shutdown(&mut self) -> bool {
        let shut_down = self.shut_down;
        if shut_down {
            self.shut_down = false;
        }
        shut_down
    }

    /// What the CPU offers.
    #[inline]
    pub const fn features(&self) -> Features {
        self.features
    }

    /// How often the VP has exited, by [`crate::EXIT_NAMES`].
    pub const fn exit_counts(&self) -> &[u64] {
        &self.counts
    }
}
