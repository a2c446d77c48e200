//! A stock QEMU PC as the host of the paravisor, seen from inside the VM.
//!
//! [`Pc`] knows the devices; [`Access`] is the way to them: instructions on one platform, calls to
//! the host on another. Whatever a device answers is the host's word.
#![no_std]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

mod access;
mod apic;
mod clock;
mod firmware_area;
mod fw_cfg;
mod pci;
mod power;
mod report;
mod rtc;
mod serial;
mod state_disk;
#[cfg(test)]
mod tests;
mod virtio_block;
mod virtio_pci;

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU64};

use spin::Mutex;

pub use access::{Access, DeviceRegisters, Direction, Lent};
pub use apic::{
    IO_APIC_PAGE, KICK_VECTOR, LOCAL_APIC_PAGE, MAX_VPS, SPURIOUS_VECTOR, TIMER_VECTOR,
    is_asked_for,
};
pub use clock::{Frequencies, Sample};
pub use firmware_area::UnknownBridge;
pub use pci::VirtioRegisters;
pub use serial::SERIAL_FIFO;
pub use state_disk::{Candidates, DevicePages, MAX_CANDIDATES, StateDisk, may_map};

/// The PC.
#[derive(Debug)]
pub struct Pc<A> {
    access: A,
    /// APIC ids by the number of the VP that the CPU carries.
    apic_ids: [AtomicU8; MAX_VPS],
    /// APIC timer ticks per TSC tick as a 32.32 fixed-point number.
    ticks_per_tsc: AtomicU64,
    /// A break has been seen on the port whose character, a zero, has not been read yet.
    breaks: [AtomicBool; serial::PORTS],
    /// A serial port may have news.
    serial_event: AtomicBool,
    /// The first port of the ACPI power management block.
    power_base: AtomicU16,
    /// The power button may have been pressed.
    power_event: AtomicBool,
    /// Held while a line is written, so that lines from several CPUs come out whole.
    report: Mutex<()>,
}

impl<A> Pc<A> {
    /// The PC behind `access`. No device has been touched.
    ///
    /// # Safety
    /// From before the first call that concerns an APIC, the pages [`LOCAL_APIC_PAGE`] and
    /// [`IO_APIC_PAGE`] must be those of the APICs, mapped as device memory for ever.
    pub const unsafe fn new(access: A) -> Self {
        Self {
            access,
            apic_ids: [const { AtomicU8::new(0) }; MAX_VPS],
            ticks_per_tsc: AtomicU64::new(0),
            breaks: [const { AtomicBool::new(false) }; serial::PORTS],
            // Bytes may have come before the start.
            serial_event: AtomicBool::new(true),
            power_base: AtomicU16::new(power::USUAL_BASE),
            power_event: AtomicBool::new(false),
            report: Mutex::new(()),
        }
    }
}

impl<A: Access> Pc<A> {
    /// Handles an interrupt of one of the PC's devices, and ends it.
    pub fn interrupt(&self, vector: u8) {
        match vector {
            apic::SERIAL_VECTOR => self.note_serial_event(),
            apic::SCI_VECTOR => {
                self.note_power_event();
                self.note_serial_event();
            }
            _ => {}
        }
        self.end_of_interrupt(vector);
    }

    /// Sets the serial ports and the power button up; their interrupts go nowhere before
    /// [`Pc::route_devices`].
    pub fn start_devices(&self) {
        self.mask_legacy_interrupts();
        self.start_serial();
        self.start_power();
    }

    /// Brings the interrupts of the serial ports and of the power button to the CPU of VP 0, whose
    /// APIC must be on.
    pub fn route_devices(&self) {
        self.route_serial();
        self.route_power();
    }
}
