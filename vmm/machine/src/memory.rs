//! Guest-physical addresses as an emulated instruction meets them: RAM, a device, or nothing.

use chipset::Request;
use chipset::memory::{register_bytes, register_value};
use device_model::{GuestTsc, Instant};
use emulator::{BusError, PhysicalMemory, Ports};
use guest_memory::{Gpa, GuestMemory};
use local_apic::LocalApic;
use platform_api::{Platform, Width};
use tpm_crb::registers;

use crate::machine::Machine;

/// The TPM's registers.
const TPM_PAGES: core::ops::Range<u64> =
    registers::BASE..registers::BASE + registers::LENGTH as u64;

/// The memory and devices that an emulated instruction of one VP reaches.
pub(crate) struct Bus<'a, P: Platform> {
    machine: &'a Machine<P>,
    apic: &'a mut LocalApic,
    vp: u32,
    now: Instant,
    tsc: GuestTsc,
    /// Set when the local APIC's timer or identity changed.
    pub(crate) apic_changed: bool,
    /// Set when a TPM command was started.
    pub(crate) service_wanted: bool,
}

/// The part of the machine that answers at an address.
enum Target {
    /// The VP's own local APIC.
    LocalApic(u16),
    Tpm(u16),
    /// A shared device, or nothing: all-ones on a read, and a write is lost.
    Chipset,
}

impl<'a, P: Platform> Bus<'a, P> {
    /// The bus of VP `vp` at time `now`, when its TSC is `tsc`.
    #[inline]
    pub(crate) const fn new(
        machine: &'a Machine<P>,
        apic: &'a mut LocalApic,
        vp: u32,
        now: Instant,
        tsc: GuestTsc,
    ) -> Self {
        Self { machine, apic, vp, now, tsc, apic_changed: false, service_wanted: false }
    }

    fn target(&self, gpa: u64) -> Target {
        if self.apic.xapic_page() == Some(gpa & !0xfff) {
            return Target::LocalApic(gpa as u16 & 0xfff);
        }
        if self.machine.tpm.is_some() && TPM_PAGES.contains(&gpa) {
            return Target::Tpm((gpa - TPM_PAGES.start) as u16);
        }
        Target::Chipset
    }

    pub(crate) fn read_device(&mut self, gpa: u64, bytes: &mut [u8]) {
        bytes.fill(0xff);
        match self.target(gpa) {
            Target::LocalApic(offset) => {
                let value = self.apic.read_xapic(offset & !3, self.now, self.tsc);
                register_bytes(value, offset, bytes);
            }
            Target::Tpm(offset) => {
                if let Some(tpm) = &self.machine.tpm {
                    tpm.read(offset, bytes);
                }
            }
            Target::Chipset => self.machine.chipset.read_memory(gpa, bytes),
        }
    }

    pub(crate) fn write_device(&mut self, gpa: u64, bytes: &[u8]) {
        let chipset = &self.machine.chipset;
        match self.target(gpa) {
            Target::LocalApic(offset) => {
                let value = register_value(bytes);
                let effect = self.apic.write_xapic(offset, value, self.now, self.tsc);
                self.apic_changed |= chipset.apply(effect, self.apic, self.vp, self.machine);
            }
            Target::Tpm(offset) => {
                if let Some(tpm) = &self.machine.tpm {
                    self.service_wanted |= tpm.write(offset, bytes, self.machine.platform.memory());
                }
            }
            Target::Chipset => chipset.write_memory(gpa, bytes, self.machine),
        }
    }
}

impl<P: Platform> PhysicalMemory for Bus<'_, P> {
    fn read(&mut self, gpa: u64, bytes: &mut [u8]) -> Result<(), BusError> {
        if self.machine.platform.memory().read(Gpa(gpa), bytes).is_err() {
            self.read_device(gpa, bytes);
        }
        Ok(())
    }

    #[inline]
    fn read_entry(&mut self, gpa: u64) -> u64 {
        // Tables where nothing answers, a device's registers included, read as all ones.
        self.machine.platform.memory().word(gpa).unwrap_or(u64::MAX)
    }

    /// A table walk sets its bits in memory, and does nothing to a device.
    fn exchange_entry(&mut self, gpa: u64, old: u64, new: u64, size: u8) -> Result<u64, BusError> {
        let memory = self.machine.platform.memory();
        Ok(memory.compare_exchange(Gpa(gpa), size, old, new).unwrap_or(old))
    }

    fn write(&mut self, gpa: u64, bytes: &[u8]) -> Result<(), BusError> {
        if self.machine.platform.memory().write(Gpa(gpa), bytes).is_err() {
            self.write_device(gpa, bytes);
        }
        Ok(())
    }

    /// Reads the aligned words that hold the bytes. Where there is nothing to run, a bus without a
    /// device floats high.
    #[inline]
    fn fetch(&mut self, gpa: u64, bytes: &mut [u8]) -> Result<(), BusError> {
        let memory = self.machine.platform.memory();
        let word = |index: u64| memory.word((gpa & !7) + 8 * index).unwrap_or(u64::MAX);
        let (skip, needed) = (gpa as u32 & 7, (gpa & 7) as usize + bytes.len());
        let mut window = u128::from(word(0));
        if needed > 8 {
            window |= u128::from(word(1)) << 64;
        }
        window >>= 8 * skip;
        if needed > 16 {
            window |= u128::from(word(2)) << (128 - 8 * skip);
        }
        for (to, from) in bytes.iter_mut().zip(window.to_le_bytes()) {
            *to = from;
        }
        Ok(())
    }

    #[inline]
    fn fetch_4(&mut self, gpa: u64) -> Option<u32> {
        fetch_4(self.machine.platform.memory(), gpa)
    }

    fn compare_exchange(
        &mut self,
        gpa: u64,
        old: u128,
        new: u128,
        size: u8,
    ) -> Result<u128, BusError> {
        let memory = self.machine.platform.memory();
        let exchanged = memory.compare_exchange(Gpa(gpa), size, old as u64, new as u64);
        if let Ok(found) = exchanged {
            return Ok(u128::from(found));
        }
        // A device, 16 bytes, or misaligned: as a read, then a write.
        let (old_bytes, new_bytes) = (old.to_le_bytes(), new.to_le_bytes());
        let mut found = [0; 16];
        let length = usize::from(size.min(16));
        if let (Some(now), Some(old), Some(new)) =
            (found.get_mut(..length), old_bytes.get(..length), new_bytes.get(..length))
        {
            if memory.read(Gpa(gpa), now).is_err() {
                self.write_device(gpa, new);
                return Ok(u128::from_le_bytes(old_bytes));
            }
            if now == old {
                self.write(gpa, new)?;
            }
        }
        Ok(u128::from_le_bytes(found))
    }
}

/// The ports as an emulated instruction meets them.
pub(crate) struct PortBus<'a, P: Platform> {
    pub(crate) machine: &'a Machine<P>,
    pub(crate) vp: u32,
    pub(crate) now: Instant,
    /// A request of an access to the whole machine.
    pub(crate) request: Option<Request>,
}

impl<P: Platform> Ports for PortBus<'_, P> {
    fn read_port(&mut self, port: u16, size: u8) -> u32 {
        let access = self.machine.access(self.now, self.vp);
        self.machine.chipset.read_port(port, width(size), &access)
    }

    fn write_port(&mut self, port: u16, size: u8, value: u32) {
        let access = self.machine.access(self.now, self.vp);
        let request = self.machine.chipset.write_port(port, width(size), value, &access);
        self.request = self.request.or(request);
    }
}

fn width(size: u8) -> Width {
    match size {
        1 => Width::Byte,
        2 => Width::Word,
        _ => Width::Dword,
    }
}

/// Four bytes at `gpa`, which lie in one page.
#[inline]
pub(crate) fn fetch_4(memory: &impl GuestMemory, gpa: u64) -> Option<u32> {
    let low = memory.word(gpa)? >> (8 * (gpa & 7));
    if gpa & 7 <= 4 {
        return Some(low as u32);
    }
    let high = memory.word(gpa.wrapping_add(4))?;
    Some(low as u32 | (high << (8 * (8 - (gpa & 7)))) as u32)
}
