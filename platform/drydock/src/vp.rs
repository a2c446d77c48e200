//! One VP on its CPU: VMRUN of its save areas, and the turns of its host.

use alloc::boxed::Box;

use drydock_cpu::{
    Addressing, AutomaticExit, Cpu, Disposition, Features, Mode, PROTECTED, RawExit, Unfit, VcInfo,
    check_save_area,
};
use drydock_host::{Area, End, Host, HostVp, Step};
use drydock_rmp::LEVELS;
use emulator::{DeliveryError, Exception, Limits};
use guest_memory::{Gpa, GuestMemory, PAGE_SIZE};
use home::VcpuPages;
use platform_api::{Entropy, Event, Time};
use snp::exit::ExitCode;
use snp::vmsa::Vmsa;
use svm::{Pages, exit};
use x86::{Combined, SystemRegisters, combine, vector};
use zerocopy::{FromZeros, IntoBytes};

use crate::Drydock;
use crate::level::Level;

/// Bytes of a save area that a CPU loads and stores: up to the FPU's registers.
const USED: usize = core::mem::offset_of!(Vmsa, ymm_hi);
/// Faults on the way of one event before the guest is let run: each is an attempt of its own.
const DELIVERIES: u32 = 8;

/// A VP on its CPU.
#[derive(Debug)]
pub struct CpuVp<'a> {
    drydock: &'static Drydock,
    index: u32,
    levels: [Box<Level>; LEVELS],
    host: HostVp<'a, &'static Drydock>,
    area: Box<Vmsa>,
}

impl<'a> CpuVp<'a> {
    /// Makes the VP of the running CPU, if that carries one, the first time.
    pub fn new(drydock: &'static Drydock, host: &'a Host<&'static Drydock>) -> Option<Self> {
        let index = drydock.home.vp_index()?;
        let cpu = drydock.home.take_vcpu_pages()?;
        let host = HostVp::new(host, index)?;
        let ghcb_msr = host.sev_info().encode();
        let features = drydock.home.found().features;
        let tsc = drydock.home.host().tsc_frequency();
        let levels = core::array::from_fn(|vmpl| {
            let pages = drydock.pages(index, vmpl, cpu);
            // SAFETY: the pages were taken for this level of this CPU's VP.
            Box::new(unsafe { Level::new(pages, features, vmpl as u8, tsc, ghcb_msr) })
        });
        Some(Self { drydock, index, levels, host, area: Box::new(Vmsa::new_zeroed()) })
    }

    /// Runs the VP until the VM ends.
    pub fn run(mut self) -> End {
        loop {
            match self.host.turn(&mut self.levels) {
                Step::End(end) => return end,
                Step::Again => {}
                Step::Run { level, area } => {
                    let Some(level) = self.levels.get_mut(usize::from(level)) else { continue };
                    let exit = run(self.drydock, self.index, level, area, &mut self.area);
                    if exit.code == ExitCode::INTR {
                        instructions::open_interrupt_window();
                    }
                    self.host.exit(level.as_mut(), area, exit.code, exit.info_1, exit.info_2);
                }
            }
        }
    }
}

impl Drydock {
    /// The pages of level `vmpl` of VP `index`.
    fn pages(&self, index: u32, vmpl: usize, cpu: VcpuPages) -> Pages {
        let others = self.control_blocks + 3 * u64::from(index) * PAGE_SIZE;
        let vmcb = match vmpl.checked_sub(1) {
            None => cpu.vmcb,
            Some(number) => others + number as u64 * PAGE_SIZE,
        };
        Pages {
            vmcb,
            host: cpu.host,
            port_map: self.port_map,
            msr_map: self.msr_map,
            nested_root: 0,
            asid: vmpl as u32 + 1,
        }
    }
}

/// VMRUN: runs the save area until an automatic exit.
fn run(
    drydock: &Drydock,
    vp: u32,
    level: &mut Level,
    area: Area,
    vmsa: &mut Vmsa,
) -> AutomaticExit {
    let invalid = |code| {
        let reason = VcInfo { code, info_1: 0, info_2: 0, cr2: None };
        AutomaticExit { code, info_1: 0, info_2: 0, reason }
    };
    let (gpa, runs) = {
        let mut state = drydock.state.lock();
        let gpa = state.space.pool + u64::from(area.page.0) * PAGE_SIZE;
        (Gpa(gpa), state.space.rmp.run(area.page, area.guest))
    };
    if !runs {
        return invalid(ExitCode::INVALID);
    }
    let memory = drydock.home.memory();
    let read = memory.read(gpa, vmsa.as_mut_bytes().get_mut(..USED).unwrap_or_default());
    let is_protected = vmsa.sev_features.vmsa_reg_prot();
    if is_protected {
        vmsa.toggle_protection(&PROTECTED);
    }
    let checked = read.map_err(|_| Unfit::Invalid);
    let checked = checked.and_then(|()| check_save_area(vmsa, level.features.vmpl));
    let exit = match checked.and_then(|()| level.begin(vmsa, area)) {
        Err(Unfit::Invalid) => invalid(ExitCode::INVALID),
        Err(Unfit::Busy) => invalid(ExitCode::BUSY),
        Ok(()) => {
            let exit = level.until_exit(drydock, vp);
            level.end(vmsa, &exit);
            if is_protected {
                protect(vmsa, drydock.home.host());
            }
            // The page is RAM, as it was before.
            let _ = memory.write(gpa, vmsa.as_bytes().get(..USED).unwrap_or_default());
            exit
        }
    };
    drydock.state.lock().space.rmp.stop(area.page);
    exit
}

/// Masks the registers of a stored save area with a new nonce (AMD64 APM vol. 2, section
/// 15.36, VMSA register protection).
fn protect(vmsa: &mut Vmsa, source: &impl Entropy) {
    let mut nonce = [0; 8];
    // Without a source the nonce stays what it was: QEMU's CPUs have one.
    if source.entropy(&mut nonce) {
        vmsa.reg_prot_nonce = u64::from_le_bytes(nonce);
    }
    vmsa.toggle_protection(&PROTECTED);
}

impl Level {
    fn limits(&self, drydock: &Drydock) -> Limits {
        let found = drydock.home.found();
        let Addressing { c_bit, virtual_tom } = self.features.addressing;
        Limits {
            iterations: 1,
            // A guest with a virtual top of memory has no C-bit.
            physical_address_bits: virtual_tom.map_or(found.physical_bits, |_| c_bit),
            gigabyte_pages: found.features.gigabyte_pages,
        }
    }

    /// Runs the guest until the host gets an exit.
    fn until_exit(&mut self, drydock: &Drydock, vp: u32) -> AutomaticExit {
        loop {
            let raw = self.enter(drydock, vp);
            let Some(raw) = self.filter(raw) else { continue };
            self.interrupted = raw.interrupt_info;
            let limits = self.limits(drydock);
            let mut state = drydock.state.lock();
            let state = &mut *state;
            let Self { vcpu, features, .. } = self;
            let memory = drydock.home.memory();
            let mut cpu =
                Cpu { registers: vcpu, features, space: &mut state.space, memory, limits };
            let disposition = cpu.exit(raw);
            drydock.counts.add(raw.code, &disposition);
            let RawExit { code, info_1, info_2, .. } = raw;
            let (vmpl, rip) = (cpu.features.vmpl, x86::Registers::rip(cpu.registers));
            log::trace!(
                "VP {vp}: exit {code:#x} ({info_1:#x}, {info_2:#x}) of VMPL{vmpl}, now at {rip:#x}: \
                 {disposition:x?}"
            );
            let reflects = cpu.features.sev.reflect_vc();
            match disposition {
                // A write of CR8 may have let an interrupt through.
                Disposition::Resume => self.offer_again(),
                Disposition::Remap(remap) => {
                    state.tables.update(state.space.view(), remap.start, remap.pages);
                    if remap.is_taken {
                        drydock.shootdown.wait(Some(vp), drydock.home.host());
                    }
                    self.vcpu.forget_translations();
                }
                Disposition::Alias { gpa } => {
                    if let Some(page) = drydock_rmp::GuestPage::of(gpa) {
                        state.tables.alias(state.space.view(), page, self.features.vmpl);
                    }
                    self.vcpu.forget_translations();
                }
                Disposition::Exception(exception) => self.raise(exception),
                Disposition::Vc(info) if reflects => {
                    self.next_rip = cpu.next_rip(&info);
                    let code = ExitCode::VC;
                    return AutomaticExit { code, info_1: 0, info_2: 0, reason: info };
                }
                Disposition::Vc(info) => {
                    if let Some(exit) = deliver_vc(&mut cpu, info) {
                        return exit;
                    }
                }
                Disposition::Automatic(exit) => return exit,
            }
        }
    }

    /// One entry, with the tables that the guest's mode asks for.
    fn enter(&mut self, drydock: &Drydock, vp: u32) -> RawExit {
        if self.vcpu.take_shutdown() {
            return RawExit { code: ExitCode::SHUTDOWN.0, info_1: 0, info_2: 0, interrupt_info: 0 };
        }
        let mode = Mode::of(&self.vcpu);
        let root = {
            let mut state = drydock.state.lock();
            let state = &mut *state;
            let Features { vmpl, addressing, .. } = self.features;
            state.tables.root(state.space.view(), vmpl, addressing, mode)
        };
        self.vcpu.set_nested_root(root);
        self.vcpu.intercept_cr4(mode == Mode::AllPrivate);
        if drydock.shootdown.enter(vp, &mut self.generation) {
            self.vcpu.forget_translations();
        }
        drydock.home.offer_again();
        let code = self.vcpu.enter();
        drydock.shootdown.leave(vp);
        let [info_1, info_2, interrupt_info] = self.vcpu.exit_information();
        RawExit { code, info_1, info_2, interrupt_info }
    }

    /// What `hardware/svm` has to be told of an exit. None if it was for it alone.
    fn filter(&mut self, raw: RawExit) -> Option<RawExit> {
        match raw.code {
            exit::VIRTUAL_INTERRUPT => {
                self.vcpu.withdraw();
                if self.features.sev.alternate_injection() {
                    self.offer_again();
                    return None;
                }
            }
            exit::IRET => {
                self.vcpu.step_over_iret();
                return None;
            }
            exit::EXCEPTION..=exit::EXCEPTION_LAST => {
                let vector = (raw.code - exit::EXCEPTION) as u8;
                self.vcpu.exception(vector)?;
            }
            _ => {}
        }
        Some(raw)
    }

    fn raise(&mut self, exception: Exception) {
        if let Some(cr2) = exception.cr2 {
            self.vcpu.set_cr2(cr2);
        }
        let Exception { vector, error_code, .. } = exception;
        self.vcpu.inject(Event::Exception { vector, error_code });
    }
}

/// Delivers #VC through the guest's interrupt table: QEMU's software CPU knows no error code for its
/// vector.
fn deliver_vc<M: GuestMemory>(
    cpu: &mut Cpu<'_, '_, svm::Vcpu, M>,
    info: VcInfo,
) -> Option<AutomaticExit> {
    if let Some(cr2) = info.cr2 {
        cpu.registers.set_cr2(cr2);
    }
    cpu.registers.displace();
    let limits = cpu.limits;
    let event = emulator::Event {
        vector: vector::VC,
        error_code: Some(info.code.0 as u32),
        is_fault: true,
    };
    for _ in 0..DELIVERIES {
        let (registers, mut memory) = cpu.level_memory();
        let error = match emulator::deliver(registers, &mut memory, limits, event) {
            Ok(()) => return None,
            Err(error) => error,
        };
        match error {
            DeliveryError::Contended => {}
            DeliveryError::Exception(exception) => {
                raise_second(cpu.registers, exception);
                return None;
            }
            DeliveryError::Bus(_) | DeliveryError::TaskGate { .. } => break,
        }
    }
    let code = ExitCode::SHUTDOWN;
    let reason = VcInfo { code, info_1: 0, info_2: 0, cr2: None };
    Some(AutomaticExit { code, info_1: 0, info_2: 0, reason })
}

/// An exception that cut the delivery of #VC short.
fn raise_second(vcpu: &mut svm::Vcpu, exception: Exception) {
    if let Some(cr2) = exception.cr2 {
        vcpu.set_cr2(cr2);
    }
    let event = match combine(Some(vector::VC), exception.vector) {
        Combined::Second => {
            Event::Exception { vector: exception.vector, error_code: exception.error_code }
        }
        Combined::DoubleFault | Combined::Shutdown => {
            Event::Exception { vector: vector::DF, error_code: Some(0) }
        }
    };
    vcpu.inject(event);
}
