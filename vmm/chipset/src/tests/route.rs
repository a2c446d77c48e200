//! The receivers of interrupt messages.

use device_model::{GuestTsc, Instant};
use local_apic::{Delivery, Destination, Ipi, LocalApic};

use super::{Board, identity};
use crate::mailbox::{Away, Order};
use crate::{MINIMUM_TIMER_PERIOD, Mailboxes};

const VECTOR: u8 = 0x71;

fn fixed(destination: Destination) -> Ipi {
    Ipi { destination, delivery: Delivery::Fixed, vector: VECTOR }
}

/// The VPs that have got the vector.
fn receivers(board: &Board) -> std::vec::Vec<u32> {
    (0..4).filter(|vp| board.got(*vp, VECTOR)).collect()
}

#[test]
fn a_destination_names_its_receivers() {
    for (destination, sender, expected) in [
        (Destination::Physical(2), Some(0), &[2][..]),
        (Destination::Physical(9), Some(0), &[]),
        (Destination::physical8(0xff), Some(0), &[0, 1, 2, 3]),
        (Destination::logical8(0b1010), None, &[1, 3]),
        (Destination::AllIncludingSelf, Some(1), &[0, 1, 2, 3]),
        (Destination::AllExcludingSelf, Some(1), &[0, 2, 3]),
        (Destination::AllExcludingSelf, None, &[0, 1, 2, 3]),
    ] {
        let board = Board::new(4);
        board.chipset.mailboxes().send(fixed(destination), false, sender, &board);
        assert_eq!(board.kicked(), expected, "{destination:?}");
        assert_eq!(receivers(&board), expected, "{destination:?}");
    }
}

#[test]
fn lowest_priority_goes_to_one_vp_whose_apic_is_enabled() {
    let board = Board::new(4);
    let disabled = local_apic::Identity { software_enabled: false, ..identity(1) };
    board.chipset.mailboxes().all()[1].set_identity(disabled);
    let everybody = Destination::physical8(0xff);
    for _ in 0..2 {
        let ipi = Ipi { delivery: Delivery::LowestPriority, ..fixed(everybody) };
        board.chipset.mailboxes().send(ipi, false, None, &board);
        // 71h modulo the three candidates 0, 2 and 3 is 2.
        assert_eq!(receivers(&board), [3]);
    }
    let ipi = Ipi { delivery: Delivery::LowestPriority, ..fixed(Destination::Physical(1)) };
    board.chipset.mailboxes().send(ipi, false, None, &board);
    assert_eq!(receivers(&board), [], "no candidate");
}

#[test]
fn each_delivery_mode_posts_its_own_mail() {
    let send = |delivery| {
        let board = Board::new(1);
        let ipi = Ipi { delivery, ..fixed(Destination::Physical(0)) };
        board.chipset.mailboxes().send(ipi, true, None, &board);
        (board.mail(0), board.kicked())
    };
    let (mail, _) = send(Delivery::Fixed);
    assert_eq!(mail.level, mail.requests, "level triggered");
    assert_eq!(send(Delivery::Nmi).0.nmis(), 1);
    assert!(send(Delivery::Init).0.has(Order::Init));
    let (mail, kicked) = send(Delivery::StartUp);
    assert_eq!((mail.startup_vector(), kicked), (VECTOR, std::vec![0]));
    let (mail, kicked) = send(Delivery::Smi);
    assert_eq!((mail, kicked), (Default::default(), std::vec![]), "no handler for an SMI");
}

#[test]
fn only_the_first_post_to_a_vp_that_is_away_kicks_it() {
    let board = Board::new(2);
    let mailboxes = board.chipset.mailboxes();
    mailboxes.all()[0].come_back();
    for _ in 0..2 {
        mailboxes.send(fixed(Destination::AllIncludingSelf), false, None, &board);
    }
    assert_eq!(board.kicked(), [1], "VP 0 is here, and VP 1 was kicked already");
    let _ = (board.mail(0), board.mail(1));
    assert!(mailboxes.all()[1].leave(Away::UndisturbedGuest));
    mailboxes.send(fixed(Destination::Physical(1)), false, None, &board);
    assert_eq!(board.kicked(), [], "its guest has interrupts disabled");
    mailboxes.post(7, &board, |_| panic!("there is no VP 7"));
}

#[test]
fn the_8259_pair_tells_the_vps_whose_lint0_is_open() {
    let board = Board::new(3);
    board.start_pic();
    for vp in [0, 2] {
        let open = local_apic::Identity { lint0_open: true, ..identity(vp) };
        board.chipset.mailboxes().all()[vp as usize].set_identity(open);
    }
    let signals = board.chipset.lines().set(4, true);
    board.chipset.send(signals, &board);
    assert_eq!(board.kicked(), [0, 2]);
    let told = |vp| board.mail(vp).has(Order::ExtInt);
    assert_eq!([0, 1, 2].map(told), [true, false, true]);
}

/// A local APIC in xAPIC mode, enabled by software.
fn apic(board: &Board, vp: u32) -> LocalApic {
    let mut apic = LocalApic::new(vp, vp == 0, 40, MINIMUM_TIMER_PERIOD);
    assert!(!write(board, &mut apic, 0xf0, 0x1ff) || board.mail(vp).has(Order::ExtInt));
    apic
}

/// Writes a register, then does what the APIC asks for.
fn write(board: &Board, apic: &mut LocalApic, offset: u16, value: u32) -> bool {
    let vp = apic.identity().x2apic_id;
    let effect = apic.write_xapic(offset, value, Instant::from_nanos(0), GuestTsc(0));
    board.chipset.apply(effect, apic, vp, board)
}

#[test]
fn an_ipi_of_a_local_apic_leaves_out_its_sender() {
    let board = Board::new(3);
    let mut first = apic(&board, 0);
    assert!(!write(&board, &mut first, 0x300, 0b11 << 18 | u32::from(VECTOR)));
    assert_eq!(board.kicked(), [1, 2]);
}

#[test]
fn a_change_of_a_local_apic_is_published_and_reads_lint0_again() {
    let board = Board::new(1);
    let mut first = apic(&board, 0);
    assert!(write(&board, &mut first, 0x350, 0x700), "the timer is looked at, too");
    assert!(board.chipset.mailboxes().all()[0].identity().lint0_open);
    assert!(board.mail(0).has(Order::ExtInt));
    assert_eq!(board.kicked(), [], "the VP made the call itself");
    assert!(!write(&board, &mut first, 0x80, 0), "the task priority concerns nobody else");
}

#[test]
fn the_end_of_a_level_triggered_interrupt_reaches_the_io_apic() {
    let board = Board::new(1);
    let mut first = apic(&board, 0);
    board.route_pin(9, 1 << 15 | u32::from(VECTOR), 0);
    let signals = board.chipset.lines().set(9, true);
    board.chipset.send(signals, &board);
    for _ in 0..2 {
        assert!(board.got(0, VECTOR));
        first.accept(VECTOR, true);
        first.acknowledge(VECTOR);
        assert!(!write(&board, &mut first, 0xb0, 0));
    }
    let _ = board.chipset.lines().set(9, false);
    let _ = board.mail(0);
    first.accept(VECTOR, true);
    first.acknowledge(VECTOR);
    assert!(!write(&board, &mut first, 0xb0, 0));
    assert!(!board.got(0, VECTOR), "the line is low");
}

#[test]
fn mailboxes_are_numbered_by_vp() {
    let mailboxes = Mailboxes::new((0..3).map(identity));
    assert_eq!(mailboxes.all().len(), 3);
    let id = |vp| mailboxes.get(vp).map(|mailbox| mailbox.identity().x2apic_id);
    assert_eq!([0, 2, 3].map(id), [Some(0), Some(2), None]);
}
