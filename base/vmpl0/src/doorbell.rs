//! The events that the host writes to a CPU's doorbell page (GHCB specification 56421, "#HV Doorbell
//! Page").
//!
//! The host can write anything there, as often as it likes, while the page is being looked at. An
//! event counts only if it is one that the paravisor has asked for: no exception, system call or
//! foreign vector can be made of the page's bytes.

use core::sync::atomic::{AtomicU8, AtomicU16, Ordering};

use snp::doorbell::{NO_EOI_REQUIRED_BIT, PendingEvents};

/// Events that one look at the page takes at most. What comes later waits in the page, where it keeps
/// the CPU from leaving.
pub const MOST_AT_ONCE: u32 = 64;

/// The words of the page that both sides change by atomic accesses.
#[derive(Clone, Copy, Debug)]
pub struct Doorbell<'a> {
    /// [`PendingEvents`].
    pub pending: &'a AtomicU16,
    /// The byte of [`NO_EOI_REQUIRED_BIT`].
    pub no_eoi_required: &'a AtomicU8,
}

/// An event that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interrupt of this vector.
    Interrupt(u8),
    /// An NMI.
    Nmi,
}

/// What a look at the page has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Events that were given on.
    pub taken: u32,
    /// Vectors and flags that nothing asked for, and that were dropped.
    pub dropped: u32,
}

impl Doorbell<'_> {
    /// Whether the host has put anything into the page that was not taken.
    pub fn has_events(self) -> bool {
        self.pending.load(Ordering::Relaxed) != 0
    }

    /// Takes what the host has put into the page, and gives each event on to `handle` if
    /// `is_asked_for` knows its vector. NMIs are always asked for.
    pub fn take(self, is_asked_for: impl Fn(u8) -> bool, mut handle: impl FnMut(Event)) -> Looked {
        let mut looked = Looked::default();
        for _ in 0..MOST_AT_ONCE {
            if !self.has_events() {
                break;
            }
            let word = PendingEvents::from_bits(self.pending.swap(0, Ordering::AcqRel));
            let nmi = word.nmi().then_some(Event::Nmi);
            let asked = Some(word.vector()).filter(|vector| is_asked_for(*vector));
            looked.dropped += u32::from(word.vector() != 0 && asked.is_none());
            looked.dropped += u32::from(has_other(word));
            for event in nmi.into_iter().chain(asked.map(Event::Interrupt)) {
                looked.taken += 1;
                handle(event);
            }
        }
        looked
    }

    /// Whether the interrupt in service needs no EOI, which the host tells once. A host that lies
    /// loses interrupts of its own.
    pub fn take_no_eoi_required(self) -> bool {
        let flag = self.no_eoi_required;
        flag.load(Ordering::Relaxed) & NO_EOI_REQUIRED_BIT != 0
            && flag.swap(0, Ordering::AcqRel) & NO_EOI_REQUIRED_BIT != 0
    }
}

/// The word has flags beside those that are understood: a machine check, which the host can not
/// vouch for, or reserved ones. NoFurtherSignal has served its purpose when the word is taken.
fn has_other(word: PendingEvents) -> bool {
    let known = PendingEvents::new().with_vector(0xff).with_nmi(true).with_no_further_signal(true);
    word.into_bits() & !known.into_bits() != 0
}

#[cfg(test)]
mod tests;
