//! The shared devices that lie at memory addresses.

use crate::devices::Chipset;
use crate::route::Kick;

/// The IOAPIC's page (Intel 82093AA, section 3.0, at its usual address).
pub const IOAPIC_PAGE: u64 = 0xfec0_0000;
/// Start of the PCI configuration window in memory, for one bus.
pub const ECAM_BASE: u64 = 0xe000_0000;
/// Bytes of configuration space of a bus.
const ECAM_LENGTH: u64 = 1 << 20;

/// The device that answers at an address.
enum Target {
    /// The IOAPIC's register at this offset.
    IoApic(u16),
    /// PCI configuration space at this offset.
    Ecam(u64),
}

fn target(gpa: u64) -> Option<Target> {
    if gpa & !0xfff == IOAPIC_PAGE {
        Some(Target::IoApic(gpa as u16 & 0xfff))
    } else if (ECAM_BASE..ECAM_BASE + ECAM_LENGTH).contains(&gpa) {
        Some(Target::Ecam(gpa - ECAM_BASE))
    } else {
        None
    }
}

impl Chipset {
    /// Reads memory at `gpa`. Where no device answers, all bits are ones.
    pub fn read_memory(&self, gpa: u64, bytes: &mut [u8]) {
        bytes.fill(0xff);
        match target(gpa) {
            Some(Target::IoApic(offset)) => {
                register_bytes(self.lines().read_ioapic(offset & !3), offset, bytes);
            }
            Some(Target::Ecam(offset)) => self.read_ecam(offset, bytes),
            None => {}
        }
    }

    /// Writes memory at `gpa`. Where no device answers, the write is lost.
    pub fn write_memory(&self, gpa: u64, bytes: &[u8], kick: &impl Kick) {
        match target(gpa) {
            Some(Target::IoApic(offset)) => {
                self.lines().write_ioapic(offset, register_value(bytes), |ipi, level| {
                    self.mailboxes().send(ipi, level, None, kick);
                });
            }
            Some(Target::Ecam(offset)) => self.write_ecam(offset, bytes),
            None => {}
        }
    }

    /// Reads the ECAM window; a wide access is one of double words.
    fn read_ecam(&self, offset: u64, bytes: &mut [u8]) {
        let mut pci = self.pci.lock();
        for (at, part) in (offset..).step_by(4).zip(bytes.chunks_mut(4)) {
            let value = pci.read_ecam(at, part.len() as u8, &mut ());
            for (to, from) in part.iter_mut().zip(value.to_le_bytes()) {
                *to = from;
            }
        }
    }

    /// Writes the ECAM window.
    fn write_ecam(&self, offset: u64, bytes: &[u8]) {
        let mut pci = self.pci.lock();
        for (at, part) in (offset..).step_by(4).zip(bytes.chunks(4)) {
            pci.write_ecam(at, part.len() as u8, register_value(part), &mut ());
        }
    }
}

/// Fills `bytes` for a read at `offset` of the 32-bit register `value`; bytes beyond the register
/// stay as they are.
#[inline]
pub fn register_bytes(value: u32, offset: u16, bytes: &mut [u8]) {
    let from = value.to_le_bytes();
    for (to, from) in bytes.iter_mut().zip(from.iter().skip(usize::from(offset & 3))) {
        *to = *from;
    }
}

/// The value that a write of `bytes` gives a 32-bit register: the first four of them, zeroes where
/// there are fewer.
#[inline]
pub fn register_value(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    u32::from_le_bytes(word)
}
