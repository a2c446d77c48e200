//! A virtual processor as the machine sees it.

use device_model::TscOffset;
use platform_api::{Event, Exit, GuestVp};
use svm::{Vcpu, exit};
use x86::VpState;

use crate::PC;

/// A virtual processor.
#[derive(Debug)]
pub struct SvmVp(pub(crate) Vcpu);

impl SvmVp {
    /// What an exit code means; `None` to enter again at once.
    #[inline(always)]
    fn decode(&mut self, code: u64) -> Option<Exit> {
        Some(match code {
            exit::CPUID => Exit::Cpuid,
            exit::MSR if !self.0.is_msr_write() => Exit::ReadMsr,
            exit::MSR => Exit::WriteMsr,
            exit::HLT => Exit::Halt,
            exit::PORT => Exit::Port(self.0.port_access()),
            exit::NESTED_PAGE_FAULT => Exit::Memory(self.0.memory_fault()),
            exit::INTERRUPT => {
                instructions::open_interrupt_window();
                Exit::HostInterrupt
            }
            exit::NMI if kernel::cpu::take_nmis() != 0 => Exit::HostNmi,
            // STGI has let the firmware's interrupt through, or the INIT, which we do not answer.
            exit::NMI | exit::SMI | exit::INIT => Exit::HostInterrupt,
            exit::VIRTUAL_INTERRUPT => {
                self.0.withdraw();
                Exit::InterruptWindow
            }
            exit::EXCEPTION..=exit::EXCEPTION_LAST => {
                self.exception((code - exit::EXCEPTION) as u8)
            }
            exit::IRET => {
                self.0.step_over_iret();
                return None;
            }
            exit::RDPMC => Exit::Refused,
            exit::WRITE_CR8 => Exit::TaskPriority { is_done: false },
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

    // Out of line it would return the exit in memory, which costs every exit instructions.
    #[inline(always)]
    fn exception(&mut self, vector: u8) -> Exit {
        match self.0.exception(vector) {
            Some(Event::Exception { vector, error_code }) => Exit::Exception { vector, error_code },
            Some(Event::Interrupt(_) | Event::Nmi) | None => Exit::NmiUnmasked,
        }
    }
}

impl GuestVp for SvmVp {
    type Registers = Vcpu;

    #[inline]
    fn registers(&self) -> &Vcpu {
        &self.0
    }

    #[inline]
    fn registers_mut(&mut self) -> &mut Vcpu {
        &mut self.0
    }

    // Two places call this. Where it is not inlined into the VP's loop, every exit costs 17 more
    // instructions, so it and what it consists of are.
    #[inline(always)]
    fn run(&mut self) -> Exit {
        if self.0.take_shutdown() {
            return Exit::Shutdown;
        }
        loop {
            if self.0.features().is_software {
                // There, an exit changes the CPU's interrupt flags without a lock, and can lose an
                // interrupt that arrives at that moment: the APIC still has it.
                PC.offer_again();
            }
            let code = self.0.enter();
            if let Some(exit) = self.decode(code) {
                return exit;
            }
        }
    }

    fn reset(&mut self, state: &VpState, power_on: bool) {
        self.0.reset(state, power_on);
    }

    fn speculation_control(&self) -> u64 {
        self.0.speculation_control()
    }

    fn set_speculation_control(&mut self, control: u64) {
        self.0.set_speculation_control(control);
    }

    fn forget_branches(&mut self) {
        self.0.forget_branches();
    }

    #[inline]
    fn tsc_offset(&self) -> TscOffset {
        TscOffset(self.0.tsc_offset())
    }

    fn set_tsc_offset(&mut self, offset: TscOffset) {
        self.0.set_tsc_offset(offset.0);
    }

    #[inline]
    fn instruction_length(&self) -> Option<u8> {
        self.0.instruction_length()
    }

    #[inline]
    fn interrupt_shadow(&self) -> bool {
        self.0.interrupt_shadow()
    }

    #[inline]
    fn can_take_interrupt(&self) -> bool {
        self.0.can_take_interrupt()
    }

    fn can_take_nmi(&self) -> bool {
        self.0.can_take_nmi()
    }

    fn nmi_is_masked(&self) -> bool {
        self.0.nmi_is_masked()
    }

    #[inline]
    fn has_event(&self) -> bool {
        self.0.has_event()
    }

    fn inject(&mut self, event: Event) {
        self.0.inject(event);
    }

    #[inline]
    fn offer_interrupt(&mut self, vector: Option<u8>) {
        self.0.offer(vector);
    }

    fn watch_task_priority(&mut self, on: bool) {
        self.0.watch_task_priority(on);
    }

    #[inline]
    fn taken_interrupt(&mut self) -> Option<u8> {
        self.0.taken()
    }

    fn request_interrupt_window(&mut self) {
        self.0.request_window();
    }

    fn exit_names() -> &'static [&'static str] {
        &svm::EXIT_NAMES
    }

    fn exit_counts(&self) -> &[u64] {
        self.0.exit_counts()
    }
}
