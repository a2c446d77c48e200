//! The devices at their ports.

use platform_api::Width;

use super::Board;
use crate::{BIOS_CALL_PORT, BiosCall, PM_BASE, Request};

#[test]
fn a_port_without_a_device_reads_ones_and_ignores_writes() {
    let board = Board::new(1);
    for (width, ones) in [(Width::Byte, 0xff), (Width::Word, 0xffff), (Width::Dword, u32::MAX)] {
        for port in [0, 0x66, 0x510, 0x3f4, 0xc000, 0xfffe] {
            assert_eq!(board.chipset.read_port(port, width, &board.access(0)), ones, "{port:#x}");
            let request = board.chipset.write_port(port, width, 0, &board.access(0));
            assert_eq!(request, None, "{port:#x}");
        }
    }
}

#[test]
fn a_wide_access_meets_the_byte_wide_devices_one_after_the_other() {
    let board = Board::new(1);
    let on = board.access(0);
    board.chipset.write_port(0x3fe, Width::Word, 0x5a00, &on);
    assert_eq!(board.read(0x3ff), 0x5a, "the scratch register");
    assert_eq!(board.chipset.read_port(0x3fe, Width::Word, &on), 0x5ab0);
    assert_eq!(board.chipset.read_port(0x3ff, Width::Dword, &on), 0xffff_ff5a);
}

#[test]
fn all_ways_to_reset_ask_for_one() {
    let board = Board::new(1);
    for (port, value) in [(0xcf9, 0x06), (0x64, 0xfe), (0x92, 0x01)] {
        assert_eq!(board.write(port, value), Some(Request::Reset), "{port:#x}");
        board.chipset.reset(board.access(0).now);
    }
    assert_eq!(board.write(0xcf9, 0x02), None, "the kind of reset alone");
    // A double word at CF8h is the PCI address, whose second byte is no reset.
    assert_eq!(board.chipset.write_port(0xcf8, Width::Dword, 0x600, &board.access(0)), None);
}

#[test]
fn soft_off_asks_for_the_end() {
    let board = Board::new(1);
    let request =
        |value| board.chipset.write_port(PM_BASE + 4, Width::Word, value, &board.access(0));
    let sleep = 1 << 13;
    assert_eq!(request(u32::from(acpi_pm::registers::SLP_TYP_S5) << 10), None);
    assert_eq!(
        request(sleep | u32::from(acpi_pm::registers::SLP_TYP_S5) << 10),
        Some(Request::PowerOff)
    );
}

#[test]
fn a_bios_call_is_a_double_word_with_vector_and_function() {
    let board = Board::new(1);
    let write =
        |width| board.chipset.write_port(BIOS_CALL_PORT, width, 0x0e41_0010, &board.access(0));
    let call = BiosCall { vector: 0x10, function: 0x0e41 };
    assert_eq!(write(Width::Dword), Some(Request::BiosCall(call)));
    assert_eq!((write(Width::Word), write(Width::Byte)), (None, None));
}

#[test]
fn a_press_of_the_power_button_is_an_sci() {
    const POWER_BUTTON: u32 = 1 << 8;
    let board = Board::new(1);
    board.route_pin(9, 1 << 15 | 0x63, 0);
    let on = board.access(0);
    board.chipset.take_input(&on);
    assert_eq!(board.chipset.read_port(PM_BASE, Width::Word, &on) & POWER_BUTTON, 0);
    board.chipset.write_port(PM_BASE + 2, Width::Word, POWER_BUTTON, &on);
    board.host.pressed.set(true);
    board.chipset.take_input(&on);
    assert!(board.got(0, 0x63));
    assert_eq!(board.chipset.read_port(PM_BASE, Width::Word, &on) & POWER_BUTTON, POWER_BUTTON);
}
