//! The shared devices that lie at ports.

use platform_api::{Console, Width};

use crate::devices::{Access, Chipset};
use crate::route::Kick;

/// The first port of the ACPI power management block.
pub const PM_BASE: u16 = 0x600;
const PM_END: u16 = PM_BASE + 0x10;

/// The port at which firmware code reports a call of the BIOS, see [`BiosCall`].
pub const BIOS_CALL_PORT: u16 = 0x610;

/// A call of the BIOS, which does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BiosCall {
    /// The number of the interrupt.
    pub vector: u8,
    /// AX, which holds the function's number.
    pub function: u16,
}

/// A request of a port access to the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Reset.
    Reset,
    /// Power off.
    PowerOff,
    /// End: there is no BIOS to answer.
    BiosCall(BiosCall),
}

impl Chipset {
    /// Reads `width` bytes at `port`.
    pub fn read_port(
        &self,
        port: u16,
        width: Width,
        on: &Access<'_, impl Console, impl Kick>,
    ) -> u32 {
        if let Some(offset) = pm_offset(port) {
            return self.with_pm(on, |pm| pm.read(offset, width.bytes(), on.now));
        }
        if is_pci(port, width) {
            return self.pci.lock().read_port(port, width.bytes(), &mut ());
        }
        if width == Width::Byte {
            return u32::from(self.read_byte(port, on));
        }
        // Byte-wide devices see a wide access as bytes at consecutive ports.
        let mut bytes = [0xff; 4];
        for (offset, byte) in (0..u16::from(width.bytes())).zip(&mut bytes) {
            *byte = self.read_byte(port.wrapping_add(offset), on);
        }
        u32::from_le_bytes(bytes) & width.mask()
    }

    fn read_byte(&self, port: u16, on: &Access<'_, impl Console, impl Kick>) -> u8 {
        let now = on.now;
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => {
                let (value, signals) = self.lines().read_pic(port);
                self.send(signals, on.kick);
                value
            }
            0x40..=0x43 | 0x61 => self.with_pit(on, |pit| pit.read(port, now)),
            0x64 | 0x92 | 0xcf9 => self.reset.lock().read(port),
            0x70 | 0x71 => self.with_rtc(on, |rtc| rtc.read(port, now)),
            0x3f8..=0x3ff => self.with_uart(0, on, |u| u.read(port as u8 & 7, now)),
            0x2f8..=0x2ff => self.with_uart(1, on, |u| u.read(port as u8 & 7, now)),
            _ => 0xff,
        }
    }

    /// Writes `width` bytes of `value` at `port`.
    pub fn write_port(
        &self,
        port: u16,
        width: Width,
        value: u32,
        on: &Access<'_, impl Console, impl Kick>,
    ) -> Option<Request> {
        if let Some(offset) = pm_offset(port) {
            let effect = self.with_pm(on, |pm| pm.write(offset, width.bytes(), value, on.now));
            return effect.map(|acpi_pm::Effect::PowerOff| Request::PowerOff);
        }
        if is_pci(port, width) {
            self.pci.lock().write_port(port, width.bytes(), value, &mut ());
            return None;
        }
        if (port, width) == (BIOS_CALL_PORT, Width::Dword) {
            let [vector, _, low, high] = value.to_le_bytes();
            let function = u16::from_le_bytes([low, high]);
            return Some(Request::BiosCall(BiosCall { vector, function }));
        }
        let mut request = None;
        for (offset, byte) in (0..u16::from(width.bytes())).zip(value.to_le_bytes()) {
            let asked = self.write_byte(port.wrapping_add(offset), byte, on);
            request = request.or(asked);
        }
        request
    }

    fn write_byte(
        &self,
        port: u16,
        value: u8,
        on: &Access<'_, impl Console, impl Kick>,
    ) -> Option<Request> {
        let now = on.now;
        match port {
            0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1 => {
                self.send(self.lines().write_pic(port, value), on.kick);
            }
            0x40..=0x43 | 0x61 => self.with_pit(on, |pit| pit.write(port, value, now)),
            0x64 | 0x92 | 0xcf9 => {
                // INIT of all VPs without firmware to run is a reset of the machine, too.
                return self.reset.lock().write(port, value).map(|_| Request::Reset);
            }
            0x70 | 0x71 => self.with_rtc(on, |rtc| rtc.write(port, value, now)),
            0x3f8..=0x3ff => {
                self.with_uart(0, on, |u| u.write(port as u8 & 7, value, now));
            }
            0x2f8..=0x2ff => {
                self.with_uart(1, on, |u| u.write(port as u8 & 7, value, now));
            }
            _ => {}
        }
        None
    }
}

/// The offset in the power management block of a port.
const fn pm_offset(port: u16) -> Option<u16> {
    match port {
        PM_BASE..PM_END => Some(port - PM_BASE),
        _ => None,
    }
}

/// Whether an access goes to PCI configuration; a byte at CF9h is the reset register.
fn is_pci(port: u16, width: Width) -> bool {
    (0xcf8..=0xcff).contains(&port) && (port != 0xcf9 || width != Width::Byte)
}
