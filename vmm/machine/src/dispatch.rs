//! The handling of exits.

use chipset::Request;
use cpu_policy::xcr0_is_valid;
use emulator::{
    Exception, LengthError, Move, Opcode, Outcome, PhysicalMemory, code_address, emulate,
    emulate_port_string, instruction_length, quick_move,
};
use local_apic::Mode;
use platform_api::{Event, Exit, GuestVp, MemoryFault, Platform, PortAccess, Time};
use x86::{
    Register, Registers, SegmentRegister, SystemRegisters, Vendor, cr4, dr6, efer, rflags, vector,
};

use crate::events::{DEBUG, GENERAL_PROTECTION, INVALID_OPCODE};
use crate::lifecycle::Rendezvous;
use crate::memory::{Bus, PortBus, fetch_4};
use crate::vp::{Activity, CodePage, VirtualProcessor};

/// INT1, also called ICEBP.
const INT1: Opcode = Opcode::fixed(0xf1, 1);
/// The CPUID leaf that depends on XCR0.
const XSAVE_LEAF: u32 = 0xd;
/// CPUID function 1, EDX: the local APIC.
const CPUID_APIC: u32 = 1 << 9;

impl<P: Platform> VirtualProcessor<P> {
    /// Handles an exit.
    #[inline(always)]
    pub(crate) fn handle(&mut self, exit: Exit) {
        match exit {
            Exit::WriteMsr => self.write_msr(),
            Exit::ReadMsr => self.read_msr(),
            Exit::Cpuid => self.cpuid(),
            Exit::HostInterrupt => self.host_interrupt(),
            Exit::Halt => self.halt(),
            Exit::Port(access) if access.is_string => self.string_port(),
            Exit::Port(access) => self.port(&access),
            Exit::Memory(fault) if fault.in_delivery => self.fail_delivery(),
            Exit::Memory(fault) => self.memory(&fault),
            rare @ (Exit::Hypercall
            | Exit::Xsetbv
            | Exit::CacheFlush
            | Exit::InterruptWindow
            | Exit::Exception { .. }
            | Exit::TaskPriority { .. }
            | Exit::Int1
            | Exit::Undefined
            | Exit::Refused
            | Exit::NmiUnmasked
            | Exit::HostNmi
            | Exit::Shutdown
            | Exit::InvalidState
            | Exit::Failed(_)) => self.handle_rare(rare),
        }
    }

    #[cold]
    #[inline(never)]
    fn handle_rare(&mut self, exit: Exit) {
        match exit {
            Exit::Hypercall => self.hypercall(),
            Exit::Xsetbv => self.xsetbv(),
            Exit::CacheFlush => {
                // RAM is coherent, and no device of the guest reads it behind the caches.
                let flushes = self.length_of(Opcode::INVD).is_ok();
                let _ = self.advance(if flushes { Opcode::INVD } else { Opcode::WBINVD });
            }
            Exit::Exception { vector: vector::MC, .. } => self.machine_check(),
            Exit::Exception { vector, error_code } => {
                self.cpu.inject(Event::Exception { vector, error_code });
            }
            Exit::Int1 => {
                if self.advance(INT1) {
                    self.cpu.inject(DEBUG);
                }
            }
            Exit::TaskPriority { is_done: false } => self.write_task_priority(),
            Exit::Undefined => self.cpu.inject(INVALID_OPCODE),
            Exit::Refused => self.cpu.inject(GENERAL_PROTECTION),
            Exit::HostNmi => self.host_nmi(),
            Exit::Shutdown => self.machine.ask_for_rendezvous(Rendezvous::TripleFault),
            Exit::InvalidState => {
                log::warn!("VP {}: the guest's control registers are invalid", self.index);
                self.machine.ask_for_rendezvous(Rendezvous::TripleFault);
            }
            Exit::Failed(code) => panic!("VP {}: unknown exit code {code:#x}", self.index),
            // The next turn offers the interrupts that wait.
            Exit::InterruptWindow | Exit::NmiUnmasked | Exit::TaskPriority { is_done: true } => {}
            // Handled before.
            Exit::HostInterrupt
            | Exit::Cpuid
            | Exit::ReadMsr
            | Exit::WriteMsr
            | Exit::Halt
            | Exit::Port(_)
            | Exit::Memory(_) => {}
        }
    }

    /// The hardware reports an error while the guest runs: the guest gets the machine check, as
    /// only it can know the damage (AMD64 APM vol. 2, section 9.3).
    #[cold]
    fn machine_check(&mut self) {
        log::error!("VP {}: the machine reports a hardware error", self.index);
        if self.cpu.registers().cr4() & cr4::MCE == 0 {
            return self.machine.ask_for_rendezvous(Rendezvous::TripleFault);
        }
        self.cpu.inject(Event::Exception { vector: vector::MC, error_code: None });
    }

    /// An event could not be delivered, because its table or stack lies outside of RAM. The bytes
    /// there are not a valid descriptor, so the CPU raises another fault. A double fault, then
    /// shutdown follow.
    #[cold]
    fn fail_delivery(&mut self) {
        self.cpu.inject(GENERAL_PROTECTION);
    }

    /// Moves RIP past the exiting instruction. False if the guest has changed that instruction
    /// meanwhile: then it runs again.
    #[inline]
    pub(crate) fn advance(&mut self, opcode: Opcode) -> bool {
        let next = self.next_rip(opcode);
        if let Some(next) = next {
            self.advance_to(next);
        }
        next.is_some()
    }

    /// RIP behind the exiting instruction, if that still is one of `opcode`.
    #[inline]
    pub(crate) fn next_rip(&mut self, opcode: Opcode) -> Option<u64> {
        let length = match self.cpu.instruction_length() {
            Some(length) => length,
            None => match self.length_at_known_code(opcode) {
                Some(length) => length,
                None => self.decode_length(opcode)?,
            },
        };
        Some(self.cpu.registers().rip().wrapping_add(u64::from(length)))
    }

    /// The length of an exiting instruction by the last translation of its page.
    ///
    /// The guest may have changed its tables since. So only the bytes count: if they are the opcode
    /// without a prefix, its length is known, whichever page the CPU took it from. A guest that has
    /// a prefix in its new page only deceives itself.
    #[inline]
    fn length_at_known_code(&self, opcode: Opcode) -> Option<u8> {
        let gpa = self.known_code(0xffc)?;
        opcode.length_in(fetch_4(self.machine.platform.memory(), gpa)?)
    }

    /// The register that a MOV to CR8 in 64-bit mode at RIP reads: REX.R, 0F 22, a ModRM byte with
    /// CR0's number, which REX.R makes CR8's (AMD64 APM vol. 3, MOV CRn).
    pub(crate) fn task_priority_operand(&mut self) -> Option<Register> {
        self.find_code_page();
        let code = fetch_4(self.machine.platform.memory(), self.known_code(0xffc)?)?;
        match code.to_le_bytes() {
            [rex @ 0x44..=0x4f, 0x0f, 0x22, modrm @ 0xc0..=0xc7] if rex & 4 != 0 => {
                Some(Register::from_number(modrm & 7 | (rex & 1) << 3))
            }
            _ => None,
        }
    }

    /// Translates the page of RIP anew.
    fn find_code_page(&mut self) {
        let start = device_model::Instant::START;
        let mut bus =
            Bus::new(self.machine, &mut self.apic, self.index, start, device_model::GuestTsc(0));
        let found = code_address(self.cpu.registers(), &mut bus);
        self.code_page = match found {
            Some(gpa) => CodePage {
                linear: self.cpu.registers().rip() & !0xfff,
                cr3: self.cpu.registers().cr3(),
                gpa: gpa & !0xfff,
            },
            None => CodePage::UNKNOWN,
        };
    }

    #[cold]
    #[inline(never)]
    fn decode_length(&mut self, opcode: Opcode) -> Option<u8> {
        self.find_code_page();
        match self.length_of(opcode) {
            Ok(length) => Some(length),
            Err(LengthError::Exception(exception)) => {
                self.raise(exception);
                None
            }
            Err(LengthError::Changed | LengthError::Bus(_)) => None,
        }
    }

    /// The length of the instruction at RIP, if it is one of `opcode`.
    fn length_of(&mut self, opcode: Opcode) -> Result<u8, LengthError> {
        let start = device_model::Instant::START;
        let mut bus =
            Bus::new(self.machine, &mut self.apic, self.index, start, device_model::GuestTsc(0));
        instruction_length(self.cpu.registers(), &mut bus, self.limits, opcode)
    }

    /// Completes an instruction whose successor is at `rip`.
    #[inline]
    pub(crate) fn advance_to(&mut self, rip: u64) {
        self.cpu.registers_mut().set_rip(rip);
        let rflags = self.cpu.registers().rflags();
        if rflags & (rflags::TF | rflags::RF) != 0 {
            self.cpu.registers_mut().set_rflags(rflags & !rflags::RF);
            if rflags & rflags::TF != 0 {
                self.single_step();
            }
        }
    }

    #[cold]
    fn single_step(&mut self) {
        let (dr6, _) = self.cpu.registers().debug_registers();
        self.cpu.registers_mut().set_dr6(dr6 | dr6::BS);
        self.cpu.inject(DEBUG);
    }

    #[cold]
    fn raise(&mut self, exception: Exception) {
        if let Some(cr2) = exception.cr2 {
            self.cpu.registers_mut().set_cr2(cr2);
        }
        let Exception { vector, error_code, .. } = exception;
        self.cpu.inject(Event::Exception { vector, error_code });
    }

    #[inline]
    fn cpuid(&mut self) {
        if !self.advance(Opcode::CPUID) {
            return;
        }
        let leaf = self.cpu.registers().gpr(Register::Rax) as u32;
        let subleaf = self.cpu.registers().gpr(Register::Rcx) as u32;
        let [a, b, c, d] = self.cpuid_leaf(leaf, subleaf);
        self.cpu.registers_mut().set_gpr(Register::Rax, a.into());
        self.cpu.registers_mut().set_gpr(Register::Rbx, b.into());
        self.cpu.registers_mut().set_gpr(Register::Rcx, c.into());
        self.cpu.registers_mut().set_gpr(Register::Rdx, d.into());
    }

    #[inline]
    fn cpuid_leaf(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        if leaf >> 8 == 0x40_0000 && self.machine.config.hyperv {
            return hyperv::leaf(leaf, self.machine.vps()).unwrap_or([0; 4]);
        }
        let osxsave = self.cpu.registers().cr4() & cr4::OSXSAVE != 0;
        // The value comes from the CPU, as the guest may change XCR0 without an exit.
        let xcr0 = if leaf == XSAVE_LEAF { self.cpu.registers().xcr0() } else { 1 };
        let mut values = self.machine.cpuid.look_up(leaf, subleaf, self.index, osxsave, xcr0);
        // CPUID shows an APIC that is globally disabled as absent (AMD64 APM vol. 2, section
        // 16.3.1).
        if leaf == 1 && self.apic.mode() == Mode::Disabled {
            values[3] &= !CPUID_APIC;
        }
        values
    }

    #[inline(never)]
    fn halt(&mut self) {
        if self.advance(Opcode::HLT) {
            self.activity = Activity::Halted;
        }
    }

    #[inline(never)]
    fn host_interrupt(&mut self) {
        self.note_kick();
        self.check_timers();
        self.continue_service();
        if self.machine.platform.capabilities().interrupt_shadow {
            return;
        }
        // The entry would end the shadow: an interrupt would be taken between STI and HLT, and the
        // HLT would then miss it. The guest can not tell a HLT that is executed here from its own.
        // The CPU has not checked the instruction yet: HLT is for level 0 alone.
        let may_halt = self.cpu.registers().cpl() == 0;
        if may_halt && self.cpu.interrupt_shadow() && self.length_of(Opcode::HLT).is_ok() {
            self.handle(Exit::Halt);
        }
    }

    #[inline(never)]
    fn port(&mut self, access: &PortAccess) {
        let now = self.machine.now();
        let chipset = &self.machine.chipset;
        let on = self.machine.access(now, self.index);
        if access.is_input {
            let value = chipset.read_port(access.port, access.width, &on);
            let mask = u64::from(access.width.mask());
            let old = self.cpu.registers().gpr(Register::Rax);
            // A 32-bit result clears the upper half, like every 32-bit result.
            let kept = if mask == 0xffff_ffff { 0 } else { old & !mask };
            self.cpu.registers_mut().set_gpr(Register::Rax, kept | u64::from(value) & mask);
            self.advance_to(access.next_rip);
        } else {
            let value = self.cpu.registers().gpr(Register::Rax) as u32 & access.width.mask();
            let request = chipset.write_port(access.port, access.width, value, &on);
            self.advance_to(access.next_rip);
            self.request(request);
        }
    }

    fn request(&mut self, request: Option<Request>) {
        match request {
            None => {}
            Some(Request::Reset) => self.machine.ask_for_rendezvous(Rendezvous::Reset),
            Some(Request::BiosCall(call)) => self.end_at_bios_call(call),
            Some(Request::PowerOff) => self.machine.ask_for_rendezvous(Rendezvous::PowerOff),
        }
    }

    #[cold]
    #[inline(never)]
    fn string_port(&mut self) {
        let now = self.machine.now();
        let mut ports = PortBus { machine: self.machine, vp: self.index, now, request: None };
        self.emulate_with(|cpu, bus, limits| emulate_port_string(cpu, bus, &mut ports, limits));
        self.request(ports.request);
    }

    #[inline(never)]
    fn memory(&mut self, fault: &MemoryFault) {
        if fault.is_walk || fault.is_fetch || !self.quick_memory(fault.gpa, fault.is_write) {
            self.emulate();
        }
    }

    /// The fast path for the most common accesses to a device. False if this is none of them: then
    /// nothing has changed.
    #[inline]
    fn quick_memory(&mut self, gpa: u64, is_write: bool) -> bool {
        let code = self.cpu.registers().segment(SegmentRegister::Cs).attributes;
        if !code.is_long() || self.cpu.registers().efer() & efer::LMA == 0 {
            return false;
        }
        let Some(code) = self.known_code(0xff0) else { return false };
        let mut window = [0; 16];
        let tsc = self.machine.host().tsc();
        let (now, guest_tsc) = (self.machine.clock.at(tsc), self.guest_tsc(tsc));
        let mut bus = Bus::new(self.machine, &mut self.apic, self.index, now, guest_tsc);
        if bus.fetch(code, &mut window).is_err() {
            return false;
        }
        let Some((what, length)) =
            quick_move(self.cpu.registers(), u128::from_le_bytes(window), gpa)
        else {
            return false;
        };
        // Another VP may have changed the instruction since it faulted, but the CPU has checked the
        // rights for the old one only.
        if is_write != matches!(what, Move::Store(_)) {
            return false;
        }
        match what {
            Move::Load(register) => {
                let mut value = [0; 4];
                bus.read_device(gpa, &mut value);
                self.cpu.registers_mut().set_gpr(register, u32::from_le_bytes(value).into());
            }
            Move::Store(value) => bus.write_device(gpa, &value.to_le_bytes()),
        }
        let Bus { apic_changed, service_wanted, .. } = bus;
        self.timer_changed |= apic_changed;
        self.show_task_priority();
        self.advance_to(self.cpu.registers().rip().wrapping_add(length.into()));
        if service_wanted {
            self.take_on_service();
        }
        true
    }

    /// The guest-physical address of RIP by the last translation of its page, if it is at most
    /// `furthest` bytes into the page.
    #[inline]
    fn known_code(&self, furthest: u64) -> Option<u64> {
        let rip = self.cpu.registers().rip();
        let same = rip & !0xfff == self.code_page.linear
            && self.cpu.registers().cr3() == self.code_page.cr3;
        (same && rip & 0xfff <= furthest).then_some(self.code_page.gpa | rip & 0xfff)
    }

    #[inline(never)]
    fn emulate(&mut self) {
        self.find_code_page();
        self.emulate_with(|cpu, bus, limits| emulate(cpu, bus, limits));
    }

    fn emulate_with(
        &mut self,
        run: impl FnOnce(
            &mut <P::Vp as GuestVp>::Registers,
            &mut Bus<'_, P>,
            emulator::Limits,
        ) -> Outcome,
    ) {
        let tsc = self.machine.host().tsc();
        let now = self.machine.clock.at(tsc);
        let guest_tsc = self.guest_tsc(tsc);
        let mut bus = Bus::new(self.machine, &mut self.apic, self.index, now, guest_tsc);
        let outcome = run(self.cpu.registers_mut(), &mut bus, self.limits);
        let Bus { apic_changed, service_wanted, .. } = bus;
        self.timer_changed |= apic_changed;
        self.show_task_priority();
        if service_wanted {
            self.take_on_service();
        }
        match outcome {
            Outcome::Done { trap: false } | Outcome::Repeat { trap: false } => {}
            Outcome::Done { .. } | Outcome::Repeat { .. } => self.single_step(),
            Outcome::Exception(exception) => self.raise(exception),
            Outcome::Bus(_) => self.cpu.inject(GENERAL_PROTECTION),
            Outcome::Unsupported { bytes, length } => {
                let bytes = bytes.get(..usize::from(length)).unwrap_or(&bytes);
                let rip = self.cpu.registers().rip();
                if self.machine.may_log() {
                    log::warn!("VP {}: can not emulate {bytes:02x?} at {rip:#x}", self.index);
                }
                self.cpu.inject(GENERAL_PROTECTION);
            }
        }
    }

    fn hypercall(&mut self) {
        let answer = self.machine.hyperv.as_ref().and_then(|p| p.lock().hypercall());
        match answer {
            Some(status) if self.cpu.registers().cpl() == 0 => {
                let opcode = match self.machine.vendor {
                    Vendor::Amd => Opcode::VMMCALL,
                    Vendor::Intel => Opcode::VMCALL,
                };
                if self.advance(opcode) {
                    self.cpu.registers_mut().set_gpr(Register::Rax, status);
                }
            }
            _ => self.cpu.inject(INVALID_OPCODE),
        }
    }

    fn xsetbv(&mut self) {
        let value = self.cpu.registers().gpr(Register::Rdx) << 32
            | self.cpu.registers().gpr(Register::Rax) & 0xffff_ffff;
        let register = self.cpu.registers().gpr(Register::Rcx) as u32;
        let valid = xcr0_is_valid(value, self.machine.cpuid.components());
        if register != 0 || !valid || self.cpu.registers().cpl() != 0 {
            return self.cpu.inject(GENERAL_PROTECTION);
        }
        if self.advance(Opcode::XSETBV) {
            self.cpu.registers_mut().set_xcr0(value);
        }
    }
}
