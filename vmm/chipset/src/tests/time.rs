//! Deadlines of the devices, and the VP that keeps them.

use platform_api::Width;

use super::Board;
use crate::mailbox::Order;
use crate::{MINIMUM_TIMER_PERIOD, NO_DEADLINE};

/// Starts PIT channel 0 as a periodic timer of `count` input clocks, as VP `vp`.
fn start_pit(board: &Board, vp: u32, count: u16) {
    let [low, high] = count.to_le_bytes();
    for (port, value) in [(0x43, 0x34), (0x40, low), (0x40, high)] {
        board.chipset.write_port(port, Width::Byte, value.into(), &board.access(vp));
    }
}

#[test]
fn the_vp_that_sets_the_first_deadline_keeps_it() {
    let board = Board::new(2);
    assert_eq!([0, 1].map(|vp| board.chipset.deadline(vp)), [NO_DEADLINE; 2]);
    start_pit(&board, 1, 11_932);
    let deadline = board.chipset.deadline(1);
    assert!((9_000_000..=10_100_000).contains(&deadline), "{deadline}");
    assert_eq!(board.chipset.deadline(0), NO_DEADLINE);
    assert_eq!(board.kicked(), [1]);
    assert!(board.mail(1).has(Order::Timer) && !board.mail(0).has(Order::Timer));
    // An access that lowers nothing changes nobody's duty.
    let _ = board.read(0x61);
    assert_eq!(board.chipset.deadline(1), deadline);
    assert_eq!(board.kicked(), []);
}

#[test]
fn a_periodic_timer_ticks_at_each_deadline_and_never_too_often() {
    let board = Board::new(1);
    board.route_pin(2, 0x30, 0);
    start_pit(&board, 0, 2);
    let (mut ticks, end) = (0, 100_000_000);
    loop {
        let at = board.chipset.deadline(0);
        if at > end {
            break;
        }
        board.now.set(at);
        board.chipset.advance(&board.access(0));
        ticks += board.mail(0).requests[0] >> 0x30 & 1;
    }
    assert!((1..=end / MINIMUM_TIMER_PERIOD + 1).contains(&ticks), "{ticks}");
}

#[test]
fn an_alarm_of_the_clock_is_an_interrupt_until_its_register_is_read() {
    let board = Board::new(1);
    board.route_pin(8, 0x48, 0);
    // Periodic interrupts at 64 Hz (MC146818A, registers A and B).
    for (port, value) in [(0x70, 0x0a), (0x71, 0x2a), (0x70, 0x0b), (0x71, 0x42)] {
        board.write(port, value);
    }
    board.now.set(board.chipset.deadline(0));
    board.chipset.advance(&board.access(0));
    assert!(board.got(0, 0x48));
    board.now.set(board.now.get() + 1_000_000_000);
    board.chipset.advance(&board.access(0));
    assert!(!board.got(0, 0x48), "the line is high still");
    board.write(0x70, 0x0c);
    assert_ne!(board.read(0x71) & 0xc0, 0);
    board.now.set(board.now.get() + 1_000_000_000);
    board.chipset.advance(&board.access(0));
    assert!(board.got(0, 0x48));
}

#[test]
fn a_reset_stops_the_devices_and_vp_0_keeps_their_deadlines() {
    let board = Board::new(2);
    start_pit(&board, 1, 11_932);
    board.now.set(5_000_000);
    board.chipset.reset(board.access(0).now);
    assert_eq!([0, 1].map(|vp| board.chipset.deadline(vp)), [5_000_000, NO_DEADLINE]);
    board.chipset.advance(&board.access(0));
    assert_eq!(board.chipset.deadline(0), NO_DEADLINE);
}
