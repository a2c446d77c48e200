//! The host's ACPI power management block: its power button, and its way to switch the VM off.
//!
//! QEMU's machines have the block of a PIIX4 (Intel 82371AB, section 7.2) or of an ICH9 (Intel
//! ICH9, section 13.8.3). Firmware has placed it.

use core::sync::atomic::Ordering;

use platform_api::Width;

use crate::pci::{self, Configuration};
use crate::{Access, Pc, apic};

/// The system control interrupt of both chipsets.
const SCI_PIN: u32 = 9;
/// Where firmware puts the block.
pub(crate) const USUAL_BASE: u16 = 0x600;

/// Offsets in the block (ACPI 6.5, section 4.8.3).
mod register {
    pub(super) const STATUS: u16 = 0;
    pub(super) const ENABLE: u16 = 2;
    pub(super) const CONTROL: u16 = 4;
}

/// PM1 status and enable: the power button.
const POWER_BUTTON: u32 = 1 << 8;
/// PM1 control: events cause the system control interrupt.
const SCI_ENABLE: u32 = 1 << 0;
/// PM1 control: sleep now; with type zero, QEMU's S5.
const SLEEP_ENABLE: u32 = 1 << 13;

/// A function that holds the block: its identity, its base address and which bits of it count,
/// where it is enabled and by which bit.
struct Chipset {
    identity: u32,
    base_mask: u32,
    enable: (u8, u32),
}

/// PMBA or PMBASE.
const BASE: u8 = 0x40;
const PIIX4: Chipset = Chipset { identity: 0x7113_8086, base_mask: 0xffc0, enable: (0x80, 1 << 0) };
const ICH9: Chipset = Chipset { identity: 0x2918_8086, base_mask: 0xff80, enable: (0x44, 1 << 7) };

impl<A: Access> Pc<A> {
    /// Looks for the block, and has the button raise the SCI, which goes nowhere before
    /// [`Pc::route_devices`].
    pub(crate) fn start_power(&self) {
        let Some(base) = find(&self.configuration()) else {
            log::info!("the host has no power button that is known");
            return;
        };
        self.power_base.store(base, Ordering::Relaxed);
        self.write_power(register::STATUS, POWER_BUTTON);
        self.write_power(register::ENABLE, POWER_BUTTON);
        self.write_power(register::CONTROL, self.read_power(register::CONTROL) | SCI_ENABLE);
    }

    /// Brings the SCI to the CPU of VP 0, whose APIC must be on.
    pub(crate) fn route_power(&self) {
        self.route_pin(SCI_PIN, apic::SCI_VECTOR);
    }

    fn read_power(&self, register: u16) -> u32 {
        self.access.port_read(self.power_base.load(Ordering::Relaxed) + register, Width::Word)
    }

    fn write_power(&self, register: u16, value: u32) {
        self.access.port_write(
            self.power_base.load(Ordering::Relaxed) + register,
            Width::Word,
            value,
        );
    }

    /// Notes the interrupt.
    pub(crate) fn note_power_event(&self) {
        self.power_event.store(true, Ordering::Release);
    }

    /// Whether the button has been pressed since the last call. The line falls when the status is
    /// cleared, so that the next press is an edge again.
    pub fn take_power_press(&self) -> bool {
        if !self.power_event.load(Ordering::Relaxed)
            || !self.power_event.swap(false, Ordering::AcqRel)
        {
            return false;
        }
        let status = self.read_power(register::STATUS);
        self.write_power(register::STATUS, status);
        status & POWER_BUTTON != 0
    }

    /// Switches the VM off.
    pub fn power_off(&self) {
        self.write_power(register::CONTROL, SLEEP_ENABLE);
    }
}

/// The block's first port.
fn find(configuration: &impl Configuration) -> Option<u16> {
    pci::functions(configuration).find_map(|function| {
        let identity = configuration.read(function, 0);
        let chipset = [PIIX4, ICH9].into_iter().find(|known| known.identity == identity)?;
        let (place, bit) = chipset.enable;
        let enabled = configuration.read(function, place) & bit != 0;
        let base = (configuration.read(function, BASE) & chipset.base_mask) as u16;
        (enabled && base != 0).then_some(base)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::Function;

    /// One function with its configuration space.
    struct One(Function, [(u8, u32); 3]);

    impl Configuration for One {
        fn read(&self, function: Function, register: u8) -> u32 {
            if function.0 & 7 == 0 && function.0 >> 3 == self.0.0 >> 3 && register == 0x0c {
                return 1 << 23;
            }
            let known = self.1.iter().find(|(at, _)| *at == register);
            match (function == self.0, known) {
                (true, Some((_, value))) => *value,
                (true, None) => 0,
                // The first function of its device must be there for the others to be looked at.
                (false, _) if function.0 & 7 == 0 && function.0 >> 3 == self.0.0 >> 3 => 0,
                _ => u32::MAX,
            }
        }
        fn write(&self, _: Function, _: u8, _: u32) {}
    }

    #[test]
    fn the_block_of_both_machines_is_found_where_it_is_enabled() {
        let q35 =
            |enable| One(Function(31 << 3), [(0, 0x2918_8086), (0x40, 0x601), (0x44, enable)]);
        assert_eq!(find(&q35(0x80)), Some(0x600));
        assert_eq!(find(&q35(0)), None);
        let pc =
            |enable| One(Function(1 << 3 | 3), [(0, 0x7113_8086), (0x40, 0xb041), (0x80, enable)]);
        assert_eq!(find(&pc(1)), Some(0xb040));
        assert_eq!(find(&pc(0)), None);
        assert_eq!(find(&One(Function(0), [(0, 0x1237_8086), (0x40, 0x601), (0x80, 1)])), None);
    }
}
