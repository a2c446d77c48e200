//! What a guest sees of the devices, and what reaches it from outside.

use platform_api::Width;

use super::{one, port};

/// The first register of each serial port.
const SERIAL: [u16; 2] = [0x3f8, 0x2f8];
/// CTS, DSR and DCD in the modem status register, without changes (PC16550D, 8.8).
const CONNECTED: u64 = 0xb0;

#[test]
fn a_terminal_is_connected_to_both_serial_ports() {
    let mut vp = one();
    for base in SERIAL {
        assert_eq!(port(&mut vp, base + 6, Width::Byte, None) & 0xff, CONNECTED);
    }
    vp.machine.chipset.reset(vp.machine.now());
    for base in SERIAL {
        assert_eq!(port(&mut vp, base + 6, Width::Byte, None) & 0xff, CONNECTED, "after a reset");
    }
}
