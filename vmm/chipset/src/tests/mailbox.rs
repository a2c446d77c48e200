//! Mailboxes and the rate of kicks.

use core::cell::Cell;

use crate::kick_allowance::{BURST, KickAllowance};
use crate::mailbox::{Away, Mail, Mailbox, Order};

#[test]
fn only_the_first_post_to_a_vp_that_is_away_kicks() {
    let mailbox = Mailbox::default();
    assert!(!mailbox.post_vector(0x30, false), "the VP is here");
    assert!(!mailbox.leave(Away::Guest), "mail waits");
    assert_eq!(mailbox.drain().requests, [1 << 0x30, 0, 0, 0]);
    assert!(mailbox.leave(Away::Asleep) && !mailbox.is_in_guest());
    mailbox.come_back();
    assert!(mailbox.leave(Away::Guest) && mailbox.is_in_guest());
    assert!(mailbox.post_vector(0xff, true));
    assert!(!mailbox.post_nmi(), "kicked already");
    mailbox.come_back();
    let mail = mailbox.drain();
    assert_eq!((mail.requests[3], mail.level[3]), (1 << 63, 1 << 63));
    assert!(mail.has(Order::Nmi) && !mail.has(Order::Init));
    assert_eq!(mailbox.drain(), Mail::default());
}

#[test]
fn a_guest_with_interrupts_disabled_is_kicked_for_orders_only_and_later_finds_all_vectors() {
    let mailbox = Mailbox::default();
    assert!(mailbox.leave(Away::UndisturbedGuest) && mailbox.is_in_guest());
    assert!(!mailbox.post_vector(0x30, false) && !mailbox.post_vector(0xa0, true));
    assert!(mailbox.post_nmi(), "no vector may swallow an order's kick");
    mailbox.come_back();
    assert!(mailbox.drain().has(Order::Nmi));
    assert!(mailbox.leave(Away::UndisturbedGuest) && !mailbox.post_vector(0x31, false));
    mailbox.open();
    assert!(!mailbox.leave(Away::Guest), "the VP must look first");
    assert_eq!(mailbox.drain().requests, [1 << 0x31, 0, 0, 0]);
}

#[test]
fn the_first_sipi_counts_and_init_is_kept() {
    let mailbox = Mailbox::default();
    let _ = mailbox.post(Order::Init);
    let _ = mailbox.post_startup(0x9a);
    let _ = mailbox.post_startup(0x10);
    let mail = mailbox.drain();
    assert!(mail.has(Order::Init) && mail.has(Order::Startup));
    assert_eq!(mail.startup_vector(), 0x9a);
    let _ = mailbox.post_startup(0x10);
    assert_eq!(mailbox.drain().startup_vector(), 0x10);
}

#[test]
fn a_vector_posted_in_both_trigger_modes_counts_as_level_triggered() {
    for order in [[true, false], [false, true]] {
        let mailbox = Mailbox::default();
        for level in order {
            let _ = mailbox.post_vector(0x41, level);
        }
        let mail = mailbox.drain();
        assert_eq!((mail.requests[1], mail.level[1]), (2, 2), "{order:?}");
        let _ = mailbox.post_vector(0x41, false);
        assert_eq!(mailbox.drain().level[1], 0, "the next one is edge triggered");
    }
}

#[test]
fn a_third_nmi_is_merged_with_the_second() {
    for (posted, expected) in [(0, 0), (1, 1), (2, 2), (3, 2)] {
        let mailbox = Mailbox::default();
        for _ in 0..posted {
            let _ = mailbox.post_nmi();
        }
        assert_eq!(mailbox.drain().nmis(), expected, "{posted}");
    }
}

#[test]
fn a_burst_of_kicks_is_allowed_and_then_one_at_a_time() {
    let allowance = KickAllowance::default();
    let burst = (0..100).filter(|_| allowance.take(1_000_000, 10)).count() as u64;
    assert_eq!(burst, BURST + 1);
    assert!(!allowance.take(1_000_009, 10));
    assert!(allowance.take(1_000_010, 10));
    assert!(!allowance.take(1_000_010, 10));
    let later = (0..100).filter(|_| allowance.take(2_000_000, 10)).count() as u64;
    assert_eq!(later, BURST + 1, "no more is saved up than one burst");
}

#[test]
fn an_endless_storm_gets_only_its_share_of_kicks() {
    let allowance = KickAllowance::default();
    let kicks = (0..100_000).filter(|now| allowance.take(*now, 50)).count() as u64;
    assert!((2_000..=2_000 + BURST + 1).contains(&kicks), "{kicks}");
}

#[test]
fn the_allowance_does_not_overflow() {
    let allowance = KickAllowance::default();
    assert!(allowance.take(u64::MAX, u64::MAX) && allowance.take(u64::MAX, 0));
}

#[test]
fn a_sender_waits_for_its_kick_while_the_vp_is_in_the_guest() {
    let mailbox = Mailbox::default();
    assert!(mailbox.leave(Away::Guest) && mailbox.post_vector(0x30, false));
    let tsc = Cell::new(1_000);
    let clock = || tsc.replace(tsc.get() + 1);
    for _ in 0..=BURST {
        assert!(mailbox.wait_to_kick(100, clock));
    }
    assert!(tsc.get() < 1_100, "a burst does not wait");
    assert!(mailbox.wait_to_kick(100, clock));
    assert!(tsc.get() >= 1_100, "the next kick comes when the first is paid for");
}

#[test]
fn a_vp_that_has_read_its_mail_meanwhile_is_not_kicked() {
    let mailbox = Mailbox::default();
    assert!(mailbox.leave(Away::Guest) && mailbox.post_vector(0x30, false));
    for _ in 0..=BURST {
        assert!(mailbox.wait_to_kick(100, || 0));
    }
    let looks = Cell::new(0);
    let clock = || {
        looks.set(looks.get() + 1);
        if looks.get() == 3 {
            let _ = mailbox.drain();
        }
        0
    };
    assert!(!mailbox.wait_to_kick(100, clock));
    assert_eq!(looks.get(), 3);
}

#[test]
fn a_vp_that_sleeps_or_is_here_is_kicked_without_a_wait() {
    let mailbox = Mailbox::default();
    let never = || panic!("no look at the clock");
    assert!(mailbox.wait_to_kick(u64::MAX, never), "here");
    assert!(mailbox.leave(Away::Asleep));
    assert!(mailbox.wait_to_kick(u64::MAX, never), "asleep");
}
