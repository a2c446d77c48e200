//! VirtioRegisters that are plain memory.

extern crate std;

use std::boxed::Box;

use guest_memory::GpaRange;

use super::*;
use crate::pci::Function;
use crate::tests::Board;

/// Four pages: common, nothing, the device's, notification.
#[repr(align(4096))]
struct Bar([u8; 0x4000]);

fn bar() -> (&'static mut Bar, VirtioRegisters) {
    let bar = Box::leak(Box::new(Bar([0; 0x4000])));
    let start = bar.0.as_ptr() as u64;
    let part = |offset, length| GpaRange::from_length(start + offset, length).unwrap();
    let registers = VirtioRegisters {
        function: Function(8),
        pages: part(0, 0x4000),
        common: start,
        notify: part(0x3000, 0x10),
        multiplier: 4,
        device: part(0x2000, 8),
    };
    (bar, registers)
}

fn board() -> &'static Board {
    Box::leak(Box::new(Board::default()))
}

fn word(bytes: &Bar, offset: usize) -> u16 {
    u16::from_le_bytes([bytes.0[offset], bytes.0[offset + 1]])
}

#[test]
fn a_doorbell_outside_the_registers_is_refused() {
    for (offset, multiplier, fits) in
        [(0, 4, true), (3, 4, true), (4, 4, false), (7, 2, true), (8, 2, false), (9, 0, true)]
    {
        let (bar, registers) = bar();
        bar.0[0x1e] = offset;
        // SAFETY: memory that is there for ever, and used by nobody else.
        let transport =
            unsafe { PciTransport::new(board(), VirtioRegisters { multiplier, ..registers }) };
        assert_eq!(transport.is_some(), fits, "{offset} times {multiplier}");
    }
    let (bar, registers) = bar();
    bar.0[0x1e..0x20].fill(0xff);
    let largest = VirtioRegisters { multiplier: u32::MAX - 1, ..registers };
    // SAFETY: as above.
    let transport = unsafe { PciTransport::new(board(), largest) };
    assert!(transport.is_none());
}

#[test]
fn fields_lie_where_the_specification_has_them() {
    let (bar, registers) = bar();
    bar.0[0x1e] = 2;
    bar.0[0x18] = 9;
    bar.0[0x15] = 0xab;
    bar.0[0x04] = 0x80;
    // SAFETY: as above.
    let mut transport = unsafe { PciTransport::new(board(), registers) }.unwrap();
    assert_eq!(transport.max_queue_size(0), 9);
    assert_eq!(transport.read_config_generation(), 0xab);
    assert_eq!(transport.read_device_features(), 0x80_0000_0080, "the same word for both halves");
    assert!(!transport.queue_used(0));
    transport.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
    assert_eq!(transport.get_status().bits(), 3);
    transport.write_driver_features(0x1_0000_0200);
    transport.queue_set(0, 4, 0x1122_3344_5566_7000, 0x2000, 0x3000);
    transport.notify(0x1234);
    assert!(transport.queue_used(0));
    assert_eq!(bar.0[0x14], 3);
    assert_eq!(word(bar, 0x0c), 1, "the upper half of the features came last");
    assert_eq!((word(bar, 0x18), word(bar, 0x1c)), (4, 1));
    assert_eq!(bar.0[0x20..0x28], 0x1122_3344_5566_7000_u64.to_le_bytes());
    assert_eq!((word(bar, 0x28), word(bar, 0x30)), (0x2000, 0x3000));
    assert_eq!(word(bar, 0x3008), 0x1234, "queue 0's doorbell");
}

#[test]
fn the_devices_configuration_is_read_within_its_bounds() {
    let (bar, registers) = bar();
    bar.0[0x2000..0x2008].copy_from_slice(&0x0102_0304_0506_0708_u64.to_le_bytes());
    // SAFETY: as above.
    let transport = unsafe { PciTransport::new(board(), registers) }.unwrap();
    assert_eq!(transport.read_config_space::<u32>(4), Ok(0x0102_0304));
    assert_eq!(transport.read_config_space::<u8>(7), Ok(1));
    assert_eq!(transport.read_config_space::<u16>(6), Ok(0x0102));
    for offset in [5, 8, usize::MAX - 3] {
        assert_eq!(transport.read_config_space::<u32>(offset), Err(Error::ConfigSpaceTooSmall));
    }
    assert_eq!(transport.read_config_space::<u32>(2), Err(Error::InvalidParam));
    assert_eq!(transport.read_config_space::<u64>(0), Err(Error::InvalidParam));
}
