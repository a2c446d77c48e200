//! The memory at C0000h–FFFFFh, which the host's bridge can make plain RAM.

use core::fmt;

use platform_api::Width;

use crate::pci::{Configuration, Function};
use crate::{Access, Pc};

/// The host bridge is none whose registers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownBridge(pub u32);

impl fmt::Display for UnknownBridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown host bridge {:#x}: the firmware area may stay read-only", self.0)
    }
}

/// The host bridge is the first function.
const BRIDGE: Function = Function(0);
const INTEL_440FX: u32 = 0x1237_8086;
const INTEL_Q35: u32 = 0x29c0_8086;
/// PAM registers.
const COUNT: u8 = 7;
/// Reads and writes go to RAM, in both halves of a register.
const OPEN: u8 = 0x33;

impl<A: Access> Pc<A> {
    /// Makes C0000h–FFFFFh plain RAM, by the PAM registers of the host's bridge (Intel 440FX,
    /// section 3.2.13; Q35 has the same registers at another place).
    ///
    /// # Errors
    /// [`UnknownBridge`]: nothing has been changed.
    pub fn open_firmware_area(&self) -> Result<(), UnknownBridge> {
        let space = self.configuration();
        let first = match space.read(BRIDGE, 0) {
            INTEL_440FX => 0x59,
            INTEL_Q35 => 0x90,
            other => return Err(UnknownBridge(other)),
        };
        for register in first..first + COUNT {
            space.write_byte(BRIDGE, register, OPEN);
        }
        Ok(())
    }

    /// The host's 8259s stay silent: its IOAPIC brings the interrupts that we want.
    pub(crate) fn mask_legacy_interrupts(&self) {
        for port in [0x21, 0xa1] {
            self.access.port_write(port, Width::Byte, 0xff);
        }
    }
}
