//! A virtual processor as a nested AMD-V guest.

use platform_api::{
    Event, Exit, GuestVp, MemoryFault, PortAccess, Segment, SegmentRegister, VpState, Width, gpr,
};

use crate::apic;
use crate::discover::CpuFeatures;
use crate::enable::EFER_SVME;
use crate::entry::{self, Registers};
use crate::events::{self, Combined, combine};
use crate::exits::{self, EXIT_KINDS};
use crate::instructions::{self, FxArea};
use crate::intercepts;
use crate::interrupts::Waiting;
use crate::nmi::NmiMask;
use crate::vmcb::{Vmcb, control, event, exit, save, virtual_interrupt};

const TSC_AUX: u32 = 0xc000_0103;
const RFLAGS_IF: u64 = 1 << 9;
const DR6_RESET: u64 = 0xffff_0ff0;
const DR7_RESET: u64 = 0x400;
const PAT_RESET: u64 = 0x0007_0406_0007_0406;
/// The one address-space identifier that we use: a CPU carries one VP.
const ASID: u32 = 1;
const TLB_FLUSH_ALL: u8 = 1;

/// A virtual processor.
#[derive(Debug)]
pub struct SvmVp {
    registers: Registers,
    pub(crate) vmcb: Vmcb,
    host_page: u64,
    pub(crate) features: CpuFeatures,
    pub(crate) nmi: NmiMask,
    /// What V_IRQ is there for.
    pub(crate) waiting: Waiting,
    /// The machine wants to see writes of CR8.
    pub(crate) watches_task_priority: bool,
    /// An interrupt or NMI whose delivery an exception cut short: it comes after the exception.
    displaced: Option<Event>,
    shut_down: bool,
    /// SPEC_CTRL while the guest runs; zero on a CPU without the register.
    speculation_control: u64,
    counts: [u64; EXIT_KINDS],
}

/// The pages that a VP works with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pages {
    pub(crate) vmcb: u64,
    pub(crate) host: u64,
    pub(crate) port_map: u64,
    pub(crate) msr_map: u64,
    pub(crate) nested_root: u64,
}

impl SvmVp {
    /// Makes the VP of this CPU.
    ///
    /// # Safety
    /// The pages must be ours, zeroed but for the shared maps and tables, and used for this VP
    /// only; `host` must hold this CPU's state by VMSAVE.
    pub(crate) unsafe fn new(pages: Pages, features: CpuFeatures) -> Self {
        // SAFETY: the caller gives the page.
        let mut vmcb = unsafe { Vmcb::new(pages.vmcb) };
        vmcb.write_u32(control::INTERCEPT_EXCEPTIONS, intercepts::EXCEPTIONS);
        vmcb.write_u32(control::INTERCEPT_1, intercepts::word(intercepts::INTERCEPT_1));
        vmcb.write_u32(control::INTERCEPT_2, intercepts::word(intercepts::INTERCEPT_2));
        vmcb.write_u64(control::IOPM_BASE, pages.port_map);
        vmcb.write_u64(control::MSRPM_BASE, pages.msr_map);
        vmcb.write_u32(control::ASID, ASID);
        vmcb.write_u32(control::VIRTUAL_INTERRUPT, virtual_interrupt::MASKING);
        vmcb.write_u32(control::VIRTUAL_VECTOR, apic::SPURIOUS_VECTOR.into());
        vmcb.write_u64(control::NESTED_CONTROL, 1);
        vmcb.write_u64(control::NESTED_CR3, pages.nested_root);
        let mut vp = Self {
            registers: Registers::default(),
            vmcb,
            host_page: pages.host,
            features,
            nmi: NmiMask::Open,
            waiting: Waiting::Nothing,
            watches_task_priority: false,
            displaced: None,
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

    /// Enters once, and puts an event whose delivery was cut short back.
    #[inline(always)]
    fn enter(&mut self) -> u64 {
        if self.features.is_software {
            // There, an exit changes the CPU's interrupt flags without a lock, and can lose an
            // interrupt that arrives at that moment: the APIC still has it.
            apic::offer_again();
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

    /// Enters with the guest's SPEC_CTRL. A CPU that virtualises the register (APM vol. 2, chapter 15)
    /// runs the guest with this value and the control block's, which stays zero, together.
    #[cold]
    fn enter_with_speculation_control(&mut self) {
        const SPEC_CTRL: u32 = 0x48;
        // SAFETY: only a CPU with the register gets here, and the machine has checked the bits. They
        // restrict speculation, which no code can see but by its speed.
        unsafe { instructions::wrmsr(SPEC_CTRL, self.speculation_control) };
        // SAFETY: as in `enter`.
        unsafe { entry::enter(&mut self.registers, self.vmcb.address(), self.host_page) };
        // SAFETY: as above.
        unsafe { instructions::wrmsr(SPEC_CTRL, 0) };
    }

    fn port_access(&self) -> PortAccess {
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

    fn memory_fault(&self) -> MemoryFault {
        let info = self.vmcb.read_u64(control::EXIT_INFO_1);
        MemoryFault {
            gpa: self.vmcb.read_u64(control::EXIT_INFO_2),
            is_write: info & 2 != 0,
            is_fetch: info & 16 != 0,
            is_walk: info >> 33 & 1 != 0,
            in_delivery: self.vmcb.read_u64(control::EXIT_INTERRUPT_INFO) & event::VALID != 0,
        }
    }

    /// What an exit code means; `None` to enter again at once.
    #[inline(always)]
    fn decode(&mut self, code: u64) -> Option<Exit> {
        Some(match code {
            exit::CPUID => Exit::Cpuid,
            exit::MSR if self.vmcb.read_u64(control::EXIT_INFO_1) == 0 => Exit::ReadMsr,
            exit::MSR => Exit::WriteMsr,
            exit::HLT => Exit::Halt,
            exit::PORT => Exit::Port(self.port_access()),
            exit::NESTED_PAGE_FAULT => Exit::Memory(self.memory_fault()),
            exit::INTERRUPT => {
                instructions::open_interrupt_window();
                Exit::HostInterrupt
            }
            exit::NMI if kernel::cpu::take_nmis() != 0 => Exit::HostNmi,
            // STGI has let the firmware's interrupt through, or the INIT, which we do not answer.
            exit::NMI | exit::SMI | exit::INIT => Exit::HostInterrupt,
            exit::VIRTUAL_INTERRUPT => {
                self.withdraw();
                Exit::InterruptWindow
            }
            exit::EXCEPTION..=exit::EXCEPTION_LAST => {
                return self.exception((code - exit::EXCEPTION) as u8);
            }
            exit::IRET => {
                self.step_over_iret();
                return None;
            }
            exit::RDPMC => Exit::Refused,
            exit::WRITE_CR8 => Exit::TaskPriority,
            exit::VMMCALL => Exit::Hypercall,
            exit::XSETBV => Exit::Xsetbv,
            exit::INVD | exit::WBINVD => Exit::CacheFlush,
            exit::ICEBP => Exit::Int1,
            exit::INVLPGA
            | exit::VMRUN..=exit::SKINIT
            | exit::MONITOR
            | exit::MWAIT
            | exit::MWAIT_ARMED
            | exit::RDPRU => Exit::Undefined,
            exit::SHUTDOWN => Exit::Shutdown,
            exit::INVALID | exit::INVALID_32 => Exit::InvalidState,
            other => Exit::Failed(other),
        })
    }

    /// Has what was displaced by an exception delivered, once the guest can take it.
    #[cold]
    fn deliver_displaced(&mut self) {
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
}

impl GuestVp for SvmVp {
    // Two places call this. Where it is not inlined into the VP's loop, every exit costs 17 more
    // instructions, so it and what it consists of are.
    #[inline(always)]
    fn run(&mut self) -> Exit {
        if self.shut_down {
            self.shut_down = false;
            return Exit::Shutdown;
        }
        loop {
            if self.displaced.is_some() {
                self.deliver_displaced();
            }
            let code = self.enter();
            if let Some(exit) = self.decode(code) {
                return exit;
            }
        }
    }

    fn reset(&mut self, state: &VpState, power_on: bool) {
        for offset in (save::SEGMENTS..save::END).step_by(8) {
            self.vmcb.write_u64(offset, 0);
        }
        self.registers = Registers(state.gpr);
        self.vmcb.write_u64(save::RAX, state.gpr[usize::from(gpr::RAX)]);
        self.vmcb.write_u64(save::RSP, state.gpr[usize::from(gpr::RSP)]);
        self.vmcb.write_u64(save::RIP, state.rip);
        self.vmcb.write_u64(save::RFLAGS, state.rflags);
        self.vmcb.write_u64(save::CR0, state.control.cr0);
        self.vmcb.write_u64(save::CR3, state.control.cr3);
        self.vmcb.write_u64(save::CR4, state.control.cr4);
        self.vmcb.write_u64(save::DR6, DR6_RESET);
        self.vmcb.write_u64(save::DR7, DR7_RESET);
        self.vmcb.write_u64(save::GUEST_PAT, PAT_RESET);
        self.set_efer(state.control.efer);
        let registers = [
            SegmentRegister::Es,
            SegmentRegister::Cs,
            SegmentRegister::Ss,
            SegmentRegister::Ds,
            SegmentRegister::Fs,
            SegmentRegister::Gs,
            SegmentRegister::Ldtr,
            SegmentRegister::Tr,
            SegmentRegister::Gdtr,
            SegmentRegister::Idtr,
        ];
        for (register, segment) in registers.into_iter().zip(&state.segments) {
            self.vmcb.set_segment(register, segment);
        }
        self.vmcb.write_u64(control::EVENT_INJECTION, 0);
        self.vmcb.write_u64(control::INTERRUPT_SHADOW, 0);
        self.vmcb.write_u32(control::VIRTUAL_INTERRUPT, virtual_interrupt::MASKING);
        self.vmcb.write_u8(control::TLB_CONTROL, TLB_FLUSH_ALL);
        self.intercept(intercepts::IRET, false);
        self.intercept(intercepts::VIRTUAL_INTERRUPT, true);
        (self.nmi, self.waiting, self.displaced) = (NmiMask::Open, Waiting::Nothing, None);
        self.shut_down = false;
        self.speculation_control = 0;
        self.watch_task_priority(false);
        instructions::reset_breakpoints();
        if power_on {
            self.reset_fpu();
            if self.features.rdtscp {
                // SAFETY: the CPU has the register, and only the guest uses it.
                unsafe { instructions::wrmsr(TSC_AUX, 0) };
            }
        }
    }

    #[inline]
    fn gpr(&self, number: u8) -> u64 {
        match number {
            gpr::RAX => self.vmcb.read_u64(save::RAX),
            gpr::RSP => self.vmcb.read_u64(save::RSP),
            number => self.registers.0[usize::from(number & 15)],
        }
    }

    #[inline]
    fn set_gpr(&mut self, number: u8, value: u64) {
        match number {
            gpr::RAX => self.vmcb.write_u64(save::RAX, value),
            gpr::RSP => self.vmcb.write_u64(save::RSP, value),
            number => self.registers.0[usize::from(number & 15)] = value,
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
        self.vmcb.read_u64(save::EFER) & !EFER_SVME
    }

    fn set_efer(&mut self, efer: u64) {
        self.vmcb.write_u64(save::EFER, efer | EFER_SVME);
        self.vmcb.write_u8(control::TLB_CONTROL, TLB_FLUSH_ALL);
    }

    fn cpl(&self) -> u8 {
        self.vmcb.read_u8(save::CPL)
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

    fn xmm(&self, number: u8) -> u128 {
        let area = instructions::fxsave();
        let at = 160 + 16 * usize::from(number & 15);
        let bytes = area.0.get(at..at + 16).and_then(|bytes| bytes.try_into().ok());
        u128::from_le_bytes(bytes.unwrap_or_default())
    }

    fn set_xmm(&mut self, number: u8, value: u128) {
        let mut area = instructions::fxsave();
        let at = 160 + 16 * usize::from(number & 15);
        for (to, from) in area.0.iter_mut().skip(at).zip(value.to_le_bytes()) {
            *to = from;
        }
        instructions::fxrstor(&area);
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

    fn speculation_control(&self) -> u64 {
        self.speculation_control
    }

    fn set_speculation_control(&mut self, control: u64) {
        self.speculation_control = control;
    }

    fn forget_branches(&mut self) {
        const PRED_CMD: u32 = 0x49;
        const IBPB: u64 = 1 << 0;
        // SAFETY: the caller knows that the CPU has the command, which changes no value.
        unsafe { instructions::wrmsr(PRED_CMD, IBPB) };
    }

    fn tsc_offset(&self) -> u64 {
        self.vmcb.read_u64(control::TSC_OFFSET)
    }

    fn set_tsc_offset(&mut self, offset: u64) {
        self.vmcb.write_u64(control::TSC_OFFSET, offset);
    }

    #[inline]
    fn instruction_length(&self) -> Option<u8> {
        if !self.features.next_rip {
            return None;
        }
        let length = self.vmcb.read_u64(control::NEXT_RIP).wrapping_sub(self.rip());
        (1..=15).contains(&length).then_some(length as u8)
    }

    #[inline]
    fn interrupt_shadow(&self) -> bool {
        self.vmcb.read_u64(control::INTERRUPT_SHADOW) & 1 != 0
    }

    #[inline]
    fn can_take_interrupt(&self) -> bool {
        self.rflags() & RFLAGS_IF != 0 && !self.interrupt_shadow() && !self.has_injection()
    }

    fn can_take_nmi(&self) -> bool {
        self.nmi == NmiMask::Open && !self.interrupt_shadow() && !self.has_event()
    }

    fn nmi_is_masked(&self) -> bool {
        self.nmi != NmiMask::Open
    }

    #[inline]
    fn has_event(&self) -> bool {
        self.displaced.is_some() || self.has_injection()
    }

    fn inject(&mut self, event: Event) {
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

    #[inline]
    fn offer_interrupt(&mut self, vector: Option<u8>) {
        self.offer(vector);
    }

    #[inline]
    fn compares_task_priority(&self) -> bool {
        false
    }

    fn watch_task_priority(&mut self, on: bool) {
        self.watches_task_priority = on;
        self.intercept_task_priority();
    }

    #[inline]
    fn taken_interrupt(&mut self) -> Option<u8> {
        self.taken()
    }

    fn request_interrupt_window(&mut self) {
        self.request_window();
    }

    fn exit_names() -> &'static [&'static str] {
        &exits::NAMES
    }

    fn exit_counts(&self) -> &[u64] {
        &self.counts
    }
}
