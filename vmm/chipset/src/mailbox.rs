//! Requests to a VP, posted without a lock.
//!
//! A local APIC belongs to its VP alone, so IPIs, IOAPIC messages and orders for the VP wait here
//! until the VP drains them, which it does before it enters the guest. The sender kicks the VP's
//! CPU only if that CPU may be in the guest or asleep, and only for the first post since the last
//! drain.
//!
//! A kick costs a VP that is in the guest an exit, whatever the VP does with the mail. So a sender
//! that kicks faster than the VP can bear waits ([`Mailbox::wait_to_kick`]), and loses its own time
//! instead of the VP's. A VP that sleeps loses nothing, and is kicked at once.

use local_apic::Identity;

use crate::kick_allowance::KickAllowance;
use crate::sync::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Requests other than vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Order {
    /// A non-maskable interrupt, posted by [`Mailbox::post_nmi`].
    Nmi = 1 << 0,
    /// INIT.
    Init = 1 << 1,
    /// SIPI, with its vector.
    Startup = 1 << 2,
    /// The 8259 pair changed its output.
    ExtInt = 1 << 3,
    /// The first deadline of a timer or device may have changed.
    Timer = 1 << 4,
    /// All VPs are to rendezvous: the machine restarts or ends.
    Rendezvous = 1 << 5,
    /// One more non-maskable interrupt.
    SecondNmi = 1 << 6,
}

/// Where a VP's CPU is when it does not look at its mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Away {
    /// In the guest.
    Guest = 1,
    /// Asleep.
    Asleep = 2,
    /// In a guest that has interrupts disabled, and exits as soon as it enables them. Orders need a
    /// kick, vectors do not.
    UndisturbedGuest = 3,
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
    kicks: KickAllowance,
    orders: AtomicU32,
    /// Requested vectors, one bit each: those that came edge triggered, and those that came level
    /// triggered. One bit says both the vector and its trigger mode, so that a drain can not
    /// separate the two.
    edge: [AtomicU64; 4],
    level: [AtomicU64; 4],
    identity: AtomicU64,
}

/// The content of a mailbox, taken out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    orders: u32,
    /// Requested vectors, one bit each.
    pub requests: [u64; 4],
    /// Those of them that came level triggered. One that came both ways is here: the IOAPIC waits
    /// for its end of interrupt, and one too many does no harm.
    pub level: [u64; 4],
}

impl Mail {
    /// Whether `order` was posted.
    pub const fn has(&self, order: Order) -> bool {
        self.orders & order as u32 != 0
    }

    /// The number of non-maskable interrupts: at most two, as a CPU holds one that it takes and one
    /// behind it.
    pub const fn nmis(&self) -> u8 {
        self.has(Order::Nmi) as u8 + self.has(Order::SecondNmi) as u8
    }

    /// The vector of the SIPI.
    pub const fn startup_vector(&self) -> u8 {
        (self.orders >> STARTUP_SHIFT) as u8
    }
}

impl Mailbox {
    /// The empty mailbox of a VP whose APIC has this identity.
    pub fn new(identity: Identity) -> Self {
        Self { identity: AtomicU64::new(identity.to_bits()), ..Self::default() }
    }

    /// Posts a vector. True if the VP's CPU must be kicked.
    #[must_use]
    pub fn post_vector(&self, vector: u8, level_triggered: bool) -> bool {
        let (word, bit) = (usize::from(vector >> 6), 1 << (vector & 63));
        let words = if level_triggered { &self.level } else { &self.edge };
        if let Some(word) = words.get(word) {
            word.fetch_or(bit, Ordering::SeqCst);
        }
        // Either this load sees that the guest has enabled interrupts, or the VP sees the request:
        // `open` stores and reads in the other order.
        self.away.load(Ordering::SeqCst) != Away::UndisturbedGuest as u8 && self.ring()
    }

    /// Posts an order. True if the VP's CPU must be kicked.
    #[must_use]
    pub fn post(&self, order: Order) -> bool {
        self.orders.fetch_or(order as u32, Ordering::Release);
        self.ring()
    }

    /// Posts a non-maskable interrupt; a third one before the VP looks is merged with the second.
    /// True if the VP's CPU must be kicked.
    #[must_use]
    pub fn post_nmi(&self) -> bool {
        let old = self.orders.fetch_or(Order::Nmi as u32, Ordering::AcqRel);
        if old & Order::Nmi as u32 != 0 {
            self.orders.fetch_or(Order::SecondNmi as u32, Ordering::Release);
        }
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

    /// The guest has enabled interrupts: the VP is here, and looks for vectors that were posted
    /// without a kick.
    pub fn open(&self) {
        self.away.store(HERE, Ordering::SeqCst);
        self.pending.store(true, Ordering::SeqCst);
    }

    /// Whether the VP's CPU may be in the guest.
    pub fn is_in_guest(&self) -> bool {
        let away = self.away.load(Ordering::Relaxed);
        away == Away::Guest as u8 || away == Away::UndisturbedGuest as u8
    }

    /// Waits until the VP can bear a kick, which it pays for in `cost` ticks of `tsc`. False if the
    /// VP has drained its mailbox meanwhile, so that no kick is needed.
    #[must_use]
    pub fn wait_to_kick(&self, cost: u64, tsc: impl Fn() -> u64) -> bool {
        while self.is_in_guest() && !self.kicks.take(tsc(), cost) {
            if !self.is_pending() {
                return false;
            }
            core::hint::spin_loop();
        }
        true
    }

    /// Takes everything out.
    pub fn drain(&self) -> Mail {
        self.pending.store(false, Ordering::SeqCst);
        let mut mail = Mail { orders: self.orders.swap(0, Ordering::AcqRel), ..Mail::default() };
        for ((edge, level), (requests, levels)) in
            self.edge.iter().zip(&self.level).zip(mail.requests.iter_mut().zip(&mut mail.level))
        {
            *levels = take(level);
            *requests = take(edge) | *levels;
        }
        mail
    }

    /// The identity by which others address the VP's local APIC.
    pub fn identity(&self) -> Identity {
        Identity::from_bits(self.identity.load(Ordering::SeqCst))
    }

    /// Publishes the identity of the VP's local APIC. Either the VP reads the 8259 pair's new
    /// output after this, or the VP that changes the output sees an open LINT0.
    pub fn set_identity(&self, identity: Identity) {
        self.identity.store(identity.to_bits(), Ordering::SeqCst);
    }
}

/// Takes all bits of a word.
fn take(word: &AtomicU64) -> u64 {
    if word.load(Ordering::Relaxed) == 0 { 0 } else { word.swap(0, Ordering::AcqRel) }
}
