//! The serial ports and the host's channels.

use platform_api::Received;

use super::Board;
use crate::lines::irq;

const PORTS: [u16; 2] = [0x3f8, 0x2f8];
/// The line status register: data ready, break, transmitter empty (PC16550D, 8.4).
const READY: u8 = 1;
const BREAK: u8 = 1 << 4;
const EMPTY: u8 = 1 << 6;

#[test]
fn each_port_has_its_channel_and_its_line() {
    for (channel, (port, irq)) in PORTS.into_iter().zip([irq::SERIAL_1, irq::SERIAL_2]).enumerate()
    {
        let board = Board::new(1);
        board.route_pin(irq.into(), 0x60, 0);
        board.write(port, b'x');
        assert_eq!(*board.host.sent[channel].borrow(), b"x");
        assert!(board.host.sent[1 - channel].borrow().is_empty());
        // OUT2 lets the interrupt of received bytes through.
        board.write(port + 4, 0x08);
        board.write(port + 1, 1);
        board.host.typed[channel].borrow_mut().push_back(Received::Byte(b'y'));
        board.chipset.take_input(&board.access(0));
        assert!(board.got(0, 0x60));
        assert_eq!(board.read(port), b'y');
    }
}

#[test]
fn a_byte_waits_for_a_host_without_room_and_is_sent_a_millisecond_later() {
    let board = Board::new(1);
    board.host.is_full.set(true);
    board.write(0x3f8, b'a');
    assert!(board.host.sent[0].borrow().is_empty());
    assert_eq!(board.read(0x3fd) & EMPTY, 0);
    let deadline = board.chipset.deadline(0);
    assert!(deadline <= 1_000_000, "{deadline}");
    board.now.set(deadline);
    board.chipset.advance(&board.access(0));
    assert!(board.host.sent[0].borrow().is_empty(), "still no room");
    assert!(board.chipset.deadline(0) > deadline, "and tried again");
    board.host.is_full.set(false);
    board.now.set(board.chipset.deadline(0));
    board.chipset.advance(&board.access(0));
    assert_eq!(*board.host.sent[0].borrow(), b"a");
}

#[test]
fn no_typed_byte_is_lost_when_the_guest_has_no_room() {
    let board = Board::new(1);
    let news = [b'a', b'b', b'c'].map(Received::Byte);
    board.host.typed[0].borrow_mut().extend(news);
    board.host.typed[0].borrow_mut().push_back(Received::Break);
    board.chipset.take_input(&board.access(0));
    let mut seen = std::vec![];
    for _ in 0..100 {
        let status = board.read(0x3fd);
        if status & READY != 0 {
            seen.push((board.read(0x3f8), status & BREAK != 0));
        }
        board.now.set(board.now.get() + 1_000_000);
        board.chipset.advance(&board.access(0));
    }
    assert_eq!(seen, [(b'a', false), (b'b', false), (b'c', false), (0, true)]);
}
