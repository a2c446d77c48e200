//! The devices at their memory addresses.

use platform_api::Width;

use super::Board;
use crate::memory::{ECAM_BASE, IOAPIC_PAGE, register_bytes, register_value};

fn read<const N: usize>(board: &Board, gpa: u64) -> [u8; N] {
    let mut bytes = [0; N];
    board.chipset.read_memory(gpa, &mut bytes);
    bytes
}

#[test]
fn an_address_without_a_device_reads_ones_and_ignores_writes() {
    let board = Board::new(1);
    for gpa in [0, 0xfee0_0000, 0xfec0_1000, 0xfebf_ffff, ECAM_BASE - 1, ECAM_BASE + 0x10_0000] {
        assert_eq!(read(&board, gpa), [0xff; 8], "{gpa:#x}");
        board.chipset.write_memory(gpa, &[0; 8], &board);
    }
}

#[test]
fn the_io_apic_answers_in_its_page_in_any_width() {
    let board = Board::new(1);
    board.write_ioapic(0x12, 0x1_0055);
    assert_eq!(u32::from_le_bytes(read(&board, IOAPIC_PAGE)), 0x12);
    assert_eq!(u32::from_le_bytes(read(&board, IOAPIC_PAGE + 0x10)), 0x1_0055);
    assert_eq!(read(&board, IOAPIC_PAGE + 0x12), [1]);
    assert_eq!(read(&board, IOAPIC_PAGE + 0x10), [0x55, 0, 1, 0, 0xff, 0xff, 0xff, 0xff]);
}

#[test]
fn a_write_that_opens_a_pin_under_a_high_level_sends_its_message() {
    let board = Board::new(2);
    let _ = board.chipset.lines().set(9, true);
    board.route_pin(9, 1 << 15 | 0x41, 1);
    assert_eq!(board.kicked(), [1]);
    assert!(board.got(1, 0x41));
}

#[test]
fn the_window_and_the_ports_show_the_same_configuration_space() {
    let board = Board::new(1);
    let on = board.access(0);
    for register in (0..0x40).step_by(4) {
        board.chipset.write_port(0xcf8, Width::Dword, 1 << 31 | register, &on);
        let expected = board.chipset.read_port(0xcfc, Width::Dword, &on);
        let gpa = ECAM_BASE + u64::from(register);
        assert_eq!(u32::from_le_bytes(read(&board, gpa)), expected, "{register:#x}");
        let low = board.chipset.read_port(0xcfc, Width::Word, &on) as u16;
        assert_eq!(u16::from_le_bytes(read(&board, gpa)), low, "{register:#x}");
    }
    let both: [u8; 8] = read(&board, ECAM_BASE);
    assert_eq!(both[..4], read::<4>(&board, ECAM_BASE));
    assert_eq!(both[4..], read::<4>(&board, ECAM_BASE + 4));
    assert_ne!(both[..4], [0xff; 4], "the host bridge");
    assert_eq!(read(&board, ECAM_BASE + (1 << 15)), [0xff; 4], "no second device");
    // The bridge's identity is read-only.
    board.chipset.write_memory(ECAM_BASE, &[0; 8], &board);
    assert_eq!(read::<4>(&board, ECAM_BASE), both[..4]);
}

#[test]
fn a_part_of_a_register_is_read_at_its_offset() {
    let part = |offset, length: usize| {
        let mut bytes = [0xee; 8];
        register_bytes(0x4433_2211, offset, &mut bytes[..length]);
        bytes
    };
    assert_eq!(part(0, 4), [0x11, 0x22, 0x33, 0x44, 0xee, 0xee, 0xee, 0xee]);
    assert_eq!(part(0x12, 8), [0x33, 0x44, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee]);
    assert_eq!(part(3, 1), [0x44, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee]);
    assert_eq!(register_value(&[1, 2]), 0x201);
    assert_eq!(register_value(&[1, 2, 3, 4, 5, 6, 7, 8]), 0x0403_0201);
    assert_eq!(register_value(&[]), 0);
}
