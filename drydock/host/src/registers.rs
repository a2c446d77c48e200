//! MSRs that the host has for its guest.

use cpu_policy::{MsrKind, classify};
use device_model::GuestTsc;
use hyperv::kvm_clock;
use platform_api::Time;
use snp::ghcb::Field;

use crate::ghcb::{Answer, Exchange, Refusal};
use crate::outside::Outside;
use crate::vp::HostVp;

impl<O: Outside> HostVp<'_, O> {
    /// RDMSR or WRMSR.
    pub(crate) fn msr(&mut self, on: &mut Exchange) -> Answer {
        let number = on.need(Field::RCX)? as u32;
        if on.info_1()? == 0 {
            let value = self.read_msr(number).ok_or(Refusal::GeneralProtection)?;
            on.set(Field::RAX, value & 0xffff_ffff);
            on.set(Field::RDX, value >> 32);
        } else {
            let value = on.need(Field::RAX)? & 0xffff_ffff | on.need(Field::RDX)? << 32;
            self.write_msr(number, value).ok_or(Refusal::GeneralProtection)?;
        }
        Ok(0)
    }

    fn read_msr(&mut self, number: u32) -> Option<u64> {
        let tsc = self.tsc();
        match classify(number) {
            MsrKind::Tsc => Some(tsc.0),
            MsrKind::ApicBase => Some(self.current_mut().apic.apic_base()),
            MsrKind::TscDeadline => Some(self.current_mut().apic.tsc_deadline()),
            MsrKind::X2Apic => {
                let now = self.host.clock.at(tsc);
                self.current_mut().apic.read_msr(number, now, GuestTsc(tsc.0)).ok()
            }
            MsrKind::Mtrr => self.current_mut().mtrrs.read(number),
            MsrKind::KvmClock => self.current().kvm_clock.read(number),
            MsrKind::Fixed { value, .. } => Some(value),
            // PAT and EFER are the CPU's own; there is no control of speculation.
            MsrKind::Pat
            | MsrKind::Efer
            | MsrKind::SpeculationControl
            | MsrKind::PredictionCommand
            | MsrKind::Hyperv
            | MsrKind::Absent => None,
        }
    }

    pub(crate) fn write_msr(&mut self, number: u32, value: u64) -> Option<()> {
        let tsc = self.tsc();
        let (now, guest) = (self.host.clock.at(tsc), GuestTsc(tsc.0));
        match classify(number) {
            MsrKind::X2Apic => {
                let effect = self.current_mut().apic.write_msr(number, value, now, guest).ok()?;
                self.apply(effect);
            }
            MsrKind::ApicBase => {
                self.current_mut().apic.set_apic_base(value).ok()?;
                self.apply(Some(local_apic::Effect::IdentityChanged));
            }
            MsrKind::TscDeadline => {
                self.current_mut().apic.set_tsc_deadline(value, now, guest);
                self.timer_changed = true;
            }
            MsrKind::Mtrr => self.current_mut().mtrrs.write(number, value)?,
            MsrKind::KvmClock => self.set_kvm_clock(number, value)?,
            MsrKind::Fixed { value: fixed, writable } => {
                if (value ^ fixed) & !writable != 0 {
                    return None;
                }
            }
            // The TSC is the host's, and has no offset.
            MsrKind::Tsc => {}
            MsrKind::Pat
            | MsrKind::Efer
            | MsrKind::SpeculationControl
            | MsrKind::PredictionCommand
            | MsrKind::Hyperv
            | MsrKind::Absent => return None,
        }
        Some(())
    }

    /// Writes a register of KVM's clock, and the record that it asks for into shared memory.
    fn set_kvm_clock(&mut self, number: u32, value: u64) -> Option<()> {
        let tsc = self.tsc();
        let host = self.host;
        let (now, outside) = (host.clock.at(tsc), &host.outside);
        let clock = &mut self.current_mut().kvm_clock;
        if !clock.write(number, value) {
            return None;
        }
        // A page that is not shared stays as it is: the guest finds no clock in it.
        if number == kvm_clock::WALL_CLOCK {
            let start = outside.host().wall_clock().saturating_sub(now.as_nanos() / 1_000_000_000);
            let record = clock.wall_clock_record(start);
            outside.write_shared(record.gpa, &record.bytes);
        } else if number == kvm_clock::SYSTEM_TIME {
            let frequency = host.clock.frequency();
            let record = clock.system_time_record(GuestTsc(tsc.0), now.as_nanos(), frequency);
            if let Some(record) = record {
                outside.write_shared(record.gpa, &record.bytes);
            }
        }
        Some(())
    }

    /// Follows up on what a write to the local APIC asked for.
    pub(crate) fn apply(&mut self, effect: Option<local_apic::Effect>) {
        let chipset = self.chipset();
        if chipset.apply(effect, &self.current().apic, self.index, &self.kicker) {
            self.timer_changed = true;
        }
    }
}
