//! RDMSR and WRMSR.

use cpu_policy::msr::{classify, pat_is_valid, write_efer};
use cpu_policy::{IBPB, MsrKind};
use device_model::{GuestTsc, TscOffset};
use emulator::Opcode;
use guest_memory::{Gpa, GuestMemory};
use hyperv::kvm_clock;
use local_apic::Mode;
use platform_api::{GuestVp, Platform, Time};
use x86::{Register, Registers, SystemRegisters, cr0, msr};

use crate::events::GENERAL_PROTECTION;
use crate::vp::VirtualProcessor;

/// The access raises #GP(0): the guest's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused;

impl<P: Platform> VirtualProcessor<P> {
    /// RDMSR.
    #[inline(never)]
    pub(crate) fn read_msr(&mut self) {
        let number = self.cpu.registers().gpr(Register::Rcx) as u32;
        match self.msr(number) {
            Ok(value) => {
                if self.advance(Opcode::RDMSR) {
                    self.cpu.registers_mut().set_gpr(Register::Rax, value & 0xffff_ffff);
                    self.cpu.registers_mut().set_gpr(Register::Rdx, value >> 32);
                }
            }
            Err(Refused) => self.refuse(number, None),
        }
    }

    /// WRMSR.
    #[inline]
    pub(crate) fn write_msr(&mut self) {
        let number = self.cpu.registers().gpr(Register::Rcx) as u32;
        let value = self.cpu.registers().gpr(Register::Rdx) << 32
            | self.cpu.registers().gpr(Register::Rax) & 0xffff_ffff;
        let Some(next) = self.next_rip(Opcode::WRMSR) else { return };
        if number == msr::X2APIC_EOI && value == 0 && self.apic.mode() == Mode::X2Apic {
            // By far the most frequent write. It needs no clock, so none is read.
            let effect = self.apic.end_of_interrupt();
            if effect.is_some() {
                self.apply(effect);
            }
            return self.advance_to(next);
        }
        let done = if number >> 8 == 8 {
            self.write_x2apic(number, value)
        } else {
            self.set_msr(number, value)
        };
        match done {
            Ok(()) => self.advance_to(next),
            Err(Refused) => self.refuse(number, Some(value)),
        }
    }

    #[cold]
    fn refuse(&mut self, number: u32, value: Option<u64>) {
        if self.machine.may_log() {
            log::debug!("VP {}: no MSR {number:#x} for {value:x?}", self.index);
        }
        self.cpu.inject(GENERAL_PROTECTION);
    }

    #[inline(never)]
    fn write_x2apic(&mut self, number: u32, value: u64) -> Result<(), Refused> {
        let tsc = self.machine.host().tsc();
        let now = self.machine.clock.at(tsc);
        let guest_tsc = self.guest_tsc(tsc);
        let effect = self.apic.write_msr(number, value, now, guest_tsc).map_err(|_| Refused)?;
        self.apply(effect);
        Ok(())
    }

    fn msr(&mut self, number: u32) -> Result<u64, Refused> {
        let tsc = self.machine.host().tsc();
        let guest_tsc = self.guest_tsc(tsc);
        Ok(match classify(number) {
            MsrKind::Tsc => guest_tsc.0,
            MsrKind::ApicBase => self.apic.apic_base(),
            MsrKind::TscDeadline => self.apic.tsc_deadline(),
            MsrKind::X2Apic => {
                let now = self.machine.clock.at(tsc);
                return self.apic.read_msr(number, now, guest_tsc).map_err(|_| Refused);
            }
            MsrKind::Mtrr => return self.mtrrs.read(number).ok_or(Refused),
            MsrKind::Pat => self.cpu.registers().pat(),
            MsrKind::Efer => self.cpu.registers().efer(),
            MsrKind::SpeculationControl if self.machine.cpuid.speculation().control != 0 => {
                self.cpu.speculation_control()
            }
            MsrKind::Hyperv => {
                let partition = self.machine.hyperv.as_ref().ok_or(Refused)?;
                if let Some(value) = self.hyperv.read(number) {
                    return Ok(value);
                }
                let partition = partition.lock();
                return partition.read(number, self.index, guest_tsc).map_err(|_| Refused);
            }
            MsrKind::KvmClock if self.machine.hyperv.is_some() => {
                return self.kvm_clock.read(number).ok_or(Refused);
            }
            MsrKind::Fixed { value, .. } => value,
            // PRED_CMD can only be written.
            MsrKind::KvmClock
            | MsrKind::SpeculationControl
            | MsrKind::PredictionCommand
            | MsrKind::Absent => return Err(Refused),
        })
    }

    #[inline(never)]
    fn set_msr(&mut self, number: u32, value: u64) -> Result<(), Refused> {
        match classify(number) {
            MsrKind::Tsc => {
                // Where the TSC has no offset, a write is accepted without effect.
                if self.machine.platform.capabilities().tsc_offset {
                    let tsc = self.machine.host().tsc();
                    let offset = TscOffset::between(GuestTsc(value), tsc);
                    self.cpu.set_tsc_offset(offset);
                    self.timer_changed = true;
                    self.show_kvm_clock();
                }
            }
            MsrKind::ApicBase => {
                self.apic.set_apic_base(value).map_err(|_| Refused)?;
                self.mailbox().set_identity(self.apic.identity());
                self.timer_changed = true;
                self.show_task_priority();
            }
            MsrKind::TscDeadline => {
                let tsc = self.machine.host().tsc();
                let now = self.machine.clock.at(tsc);
                let guest_tsc = self.guest_tsc(tsc);
                self.apic.set_tsc_deadline(value, now, guest_tsc);
                self.timer_changed = true;
            }
            MsrKind::X2Apic => return self.write_x2apic(number, value),
            MsrKind::Mtrr => self.mtrrs.write(number, value).ok_or(Refused)?,
            MsrKind::Pat if pat_is_valid(value) => self.cpu.registers_mut().set_pat(value),
            MsrKind::Efer => {
                let paging = self.cpu.registers().cr0() & cr0::PG != 0;
                let efer = write_efer(self.cpu.registers().efer(), value, paging).ok_or(Refused)?;
                self.cpu.registers_mut().set_efer(efer);
            }
            MsrKind::SpeculationControl
                if self.machine.cpuid.speculation().control_is_valid(value) =>
            {
                self.cpu.set_speculation_control(value);
            }
            MsrKind::PredictionCommand
                if self.machine.cpuid.speculation().command_is_valid(value) =>
            {
                if value & IBPB != 0 {
                    self.cpu.forget_branches();
                }
            }
            MsrKind::Hyperv => return self.set_hyperv(number, value),
            MsrKind::KvmClock => return self.set_kvm_clock(number, value),
            MsrKind::Fixed { value: fixed, writable } if (fixed ^ value) & !writable == 0 => {}
            MsrKind::Pat
            | MsrKind::SpeculationControl
            | MsrKind::PredictionCommand
            | MsrKind::Fixed { .. }
            | MsrKind::Absent => return Err(Refused),
        }
        Ok(())
    }

    fn set_hyperv(&mut self, number: u32, value: u64) -> Result<(), Refused> {
        let partition = self.machine.hyperv.as_ref().ok_or(Refused)?;
        if self.hyperv.write(number, value) {
            return Ok(());
        }
        let page = partition.lock().write(number, value).map_err(|_| Refused)?;
        if let Some(page) = page {
            self.show(page.gpa, page.bytes());
        }
        Ok(())
    }

    fn set_kvm_clock(&mut self, number: u32, value: u64) -> Result<(), Refused> {
        if self.machine.hyperv.is_none() || !self.kvm_clock.write(number, value) {
            return Err(Refused);
        }
        match number {
            kvm_clock::WALL_CLOCK => {
                let uptime = self.machine.uptime(self.machine.host().tsc());
                let start = self.machine.host().wall_clock().saturating_sub(uptime.as_secs());
                let record = self.kvm_clock.wall_clock_record(start);
                self.show(record.gpa, &record.bytes);
            }
            kvm_clock::SYSTEM_TIME => self.show_kvm_clock(),
            _ => {}
        }
        Ok(())
    }

    /// Writes the guest's KVM clock, if the guest has turned it on.
    fn show_kvm_clock(&mut self) {
        let tsc = self.machine.host().tsc();
        let guest_tsc = self.guest_tsc(tsc);
        let nanoseconds = self.machine.uptime(tsc).as_nanos() as u64;
        let frequency = self.machine.clock.frequency();
        if let Some(record) = self.kvm_clock.system_time_record(guest_tsc, nanoseconds, frequency) {
            self.show(record.gpa, &record.bytes);
        }
    }

    /// Writes `bytes` where the guest has asked for them.
    fn show(&self, gpa: u64, bytes: &[u8]) {
        if let Err(error) = self.machine.platform.memory().write(Gpa(gpa), bytes)
            && self.machine.may_log()
        {
            // The page does not exist: the guest's fault.
            log::warn!("VP {}: a clock or hypercall page can not be written: {error}", self.index);
        }
    }
}
