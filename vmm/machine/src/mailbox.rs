//! What others want of a VP: posted without a lock, drained by the VP before it enters the guest.
//!
//! A local APIC belongs to its VP alone, so IPIs, IOAPIC messages and orders for the VP wait here.
//! The sender kicks the VP's CPU only if that may be in the guest or asleep, and only for the first
//! post since the last drain.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use local_apic::Identity;

use crate::kicks::KickAllowance;

/// Orders that are no vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Order {
    /// A non-maskable interrupt.
    Nmi = 1 << 0,
    /// INIT.
    Init = 1 << 1,
    /// SIPI; the vector lies beside.
    Startup = 1 << 2,
    /// The 8259 pair changed its output.
    ExtInt = 1 << 3,
    /// Timers are to be looked at again.
    Timer = 1 << 4,
    /// All VPs are to gather: the machine restarts or ends.
    Gather = 1 << 5,
}

/// Where a VP's CPU is when it does not look at its mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Away {
    /// In the guest.
    Guest = 1,
    /// Asleep.
    Asleep = 2,
    /// In a guest that shuts interrupts out, and exits as soon as it no longer does. Vectors need
    /// no kick; orders do.
    ClosedGuest = 3,
}

/// Not away.
const HERE: u8 = 0;

/// Where the vector of a SIPI lies in the orders' word.
const STARTUP_SHIFT: u32 = 24;

/// One VP's mailbox.
#[derive(Debug, Default)]
pub struct Mailbox {
    /// Something waits.
    pending: AtomicBool,
    /// The VP's CPU may be away ([`Away`]), and needs a kick.
    away: AtomicU8,
    /// The kicks that the VP bears while it is in the guest.
    pub(crate) kicks: KickAllowance,
    orders: AtomicU32,
    requests: [AtomicU64; 4],
    level: [AtomicU64; 4],
    identity: AtomicU64,
}

/// What has been taken out of a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    orders: u32,
    /// Requested vectors, one bit each.
    pub requests: [u64; 4],
    /// Those of them that are level triggered.
    pub level: [u64; 4],
}

impl Mail {
    /// Whether `order` was given.
    pub const fn has(&self, order: Order) -> bool {
        self.orders & order as u32 != 0
    }

    /// The vector of the SIPI.
    pub const fn startup_vector(&self) -> u8 {
        (self.orders >> STARTUP_SHIFT) as u8
    }
}

impl Mailbox {
    /// Posts a vector. True if the VP's CPU must be kicked.
    #[must_use]
    pub fn post_vector(&self, vector: u8, level_triggered: bool) -> bool {
        let (word, bit) = (usize::from(vector >> 6), 1 << (vector & 63));
        if let (Some(requests), Some(level)) = (self.requests.get(word), self.level.get(word)) {
            if level_triggered {
                level.fetch_or(bit, Ordering::Relaxed);
            } else {
                level.fetch_and(!bit, Ordering::Relaxed);
            }
            requests.fetch_or(bit, Ordering::SeqCst);
        }
        // Either this sees that the guest has opened, or the VP sees the request: `open` stores
        // and reads in the other order.
        self.away.load(Ordering::SeqCst) != Away::ClosedGuest as u8 && self.ring()
    }

    /// Gives an order. True if the VP's CPU must be kicked.
    #[must_use]
    pub fn post(&self, order: Order) -> bool {
        self.orders.fetch_or(order as u32, Ordering::Release);
        self.ring()
    }

    /// Posts a SIPI. Of two that wait, the first counts, as for a CPU that has started already.
    /// True if the VP's CPU must be kicked.
    #[must_use]
    pub fn post_startup(&self, vector: u8) -> bool {
        let bits = Order::Startup as u32 | u32::from(vector) << STARTUP_SHIFT;
        let _ = self.orders.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |old| {
            (old & Order::Startup as u32 == 0).then_some(old | bits)
        });
        self.ring()
    }

    fn ring(&self) -> bool {
        !self.pending.swap(true, Ordering::SeqCst) && self.away.load(Ordering::SeqCst) != HERE
    }

    /// Whether something waits.
    #[inline]
    pub fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    /// Tells senders that from now on a kick is needed. False if something waits: then the VP
    /// stays and drains first.
    #[inline]
    #[must_use]
    pub fn leave(&self, to: Away) -> bool {
        self.away.store(to as u8, Ordering::SeqCst);
        if self.pending.load(Ordering::SeqCst) {
            self.come_back();
            return false;
        }
        true
    }

    /// Tells senders that no kick is needed.
    #[inline]
    pub fn come_back(&self) {
        self.away.store(HERE, Ordering::Relaxed);
    }

    /// The guest no longer shuts interrupts out: the VP is here, and looks for vectors that were
    /// posted in silence.
    pub fn open(&self) {
        self.away.store(HERE, Ordering::SeqCst);
        self.pending.store(true, Ordering::SeqCst);
    }

    /// Whether the VP's CPU may be in the guest.
    pub fn is_in_guest(&self) -> bool {
        let away = self.away.load(Ordering::Relaxed);
        away == Away::Guest as u8 || away == Away::ClosedGuest as u8
    }

    /// Takes everything out.
    pub fn drain(&self) -> Mail {
        self.pending.store(false, Ordering::SeqCst);
        let mut mail = Mail { orders: self.orders.swap(0, Ordering::AcqRel), ..Mail::default() };
        for (word, to) in self.requests.iter().zip(&mut mail.requests) {
            if word.load(Ordering::Relaxed) != 0 {
                *to = word.swap(0, Ordering::AcqRel);
            }
        }
        for ((word, taken), to) in self.level.iter().zip(mail.requests).zip(&mut mail.level) {
            if taken != 0 {
                *to = word.fetch_and(!taken, Ordering::AcqRel) & taken;
            }
        }
        mail
    }

    /// The VP's APIC as others address it.
    pub fn identity(&self) -> Identity {
        Identity::from_bits(self.identity.load(Ordering::SeqCst))
    }

    /// Publishes the VP's APIC. Either the VP sees the 8259 pair's output after this, or who changes
    /// that output sees an open LINT0.
    pub fn set_identity(&self, identity: Identity) {
        self.identity.store(identity.to_bits(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(!mailbox.post(Order::Nmi), "kicked already");
        mailbox.come_back();
        let mail = mailbox.drain();
        assert_eq!((mail.requests[3], mail.level[3]), (1 << 63, 1 << 63));
        assert!(mail.has(Order::Nmi) && !mail.has(Order::Init));
        assert_eq!(mailbox.drain(), Mail::default());
    }

    #[test]
    fn a_closed_guest_is_kicked_for_orders_only_and_finds_all_vectors_when_it_opens() {
        let mailbox = Mailbox::default();
        assert!(mailbox.leave(Away::ClosedGuest) && mailbox.is_in_guest());
        assert!(!mailbox.post_vector(0x30, false) && !mailbox.post_vector(0xa0, true));
        assert!(mailbox.post(Order::Nmi), "no vector may swallow an order's kick");
        mailbox.come_back();
        assert!(mailbox.drain().has(Order::Nmi));
        assert!(mailbox.leave(Away::ClosedGuest) && !mailbox.post_vector(0x31, false));
        mailbox.open();
        assert!(!mailbox.leave(Away::Guest), "the VP must look first");
        assert_eq!(mailbox.drain().requests, [1 << 0x31, 0, 0, 0]);
    }

    #[test]
    fn the_first_sipi_counts_and_init_comes_along() {
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
    fn a_vector_posted_again_as_an_edge_is_one() {
        let mailbox = Mailbox::default();
        let _ = mailbox.post_vector(0x41, true);
        let _ = mailbox.post_vector(0x41, false);
        let mail = mailbox.drain();
        assert_eq!((mail.requests[1], mail.level[1]), (2, 0));
    }
}
