//! The way of an interrupt message to the VPs that it names.

use alloc::vec::Vec;

use local_apic::{Delivery, Destination, Effect, Identity, Ipi, LocalApic, lowest_priority};

use crate::devices::Chipset;
use crate::mailbox::{Mailbox, Order};

/// Interrupts the CPUs that carry the VPs.
pub trait Kick {
    /// Interrupts the CPU of VP `vp`, so that the VP reads its mail in `mailbox`. It is called with
    /// no lock held.
    fn kick(&self, vp: u32, mailbox: &Mailbox);
}

/// The mailboxes of all VPs; a VP's number is its place.
#[derive(Debug)]
pub struct Mailboxes(Vec<Mailbox>);

impl Mailboxes {
    /// The empty mailboxes of VPs whose local APICs have these identities.
    pub fn new(identities: impl Iterator<Item = Identity>) -> Self {
        Self(identities.map(Mailbox::new).collect())
    }

    /// All mailboxes, that of VP 0 first.
    #[inline]
    pub fn all(&self) -> &[Mailbox] {
        &self.0
    }

    /// The mailbox of VP `vp`.
    #[inline]
    pub fn get(&self, vp: u32) -> Option<&Mailbox> {
        self.0.get(vp as usize)
    }

    /// Posts to VP `vp`, then kicks its CPU if `post` says that this is needed.
    pub fn post(&self, vp: u32, kick: &impl Kick, post: impl FnOnce(&Mailbox) -> bool) {
        if let Some(mailbox) = self.get(vp)
            && post(mailbox)
        {
            kick.kick(vp, mailbox);
        }
    }

    /// Sends `ipi`, which VP `sender` wrote to its ICR; a device's message has no sender.
    pub fn send(&self, ipi: Ipi, level_triggered: bool, sender: Option<u32>, kick: &impl Kick) {
        if ipi.delivery == Delivery::LowestPriority {
            let candidates = self.receivers(ipi.destination, sender);
            let with_identity = candidates.map(|(vp, mailbox)| (vp, mailbox.identity()));
            if let Some(vp) = lowest_priority(with_identity, ipi.vector) {
                self.post(vp, kick, |mailbox| mailbox.post_vector(ipi.vector, level_triggered));
            }
            return;
        }
        for (vp, _) in self.receivers(ipi.destination, sender) {
            self.post(vp, kick, |mailbox| match ipi.delivery {
                Delivery::Fixed => mailbox.post_vector(ipi.vector, level_triggered),
                Delivery::Nmi => mailbox.post_nmi(),
                Delivery::Init => mailbox.post(Order::Init),
                Delivery::StartUp => mailbox.post_startup(ipi.vector),
                // There is no system management mode: nothing would answer.
                Delivery::Smi | Delivery::LowestPriority => false,
            });
        }
    }

    fn receivers(
        &self,
        destination: Destination,
        sender: Option<u32>,
    ) -> impl Iterator<Item = (u32, &Mailbox)> + Clone {
        (0..).zip(&self.0).filter(move |(vp, mailbox)| {
            destination.matches(mailbox.identity(), Some(*vp) == sender)
        })
    }

    /// Tells the VPs that the 8259 pair's output has changed. It is wired to LINT0 of every VP, as
    /// in a PC.
    pub(crate) fn pic_changed(&self, kick: &impl Kick) {
        for (vp, mailbox) in (0..).zip(&self.0) {
            if mailbox.identity().lint0_open {
                self.post(vp, kick, |mailbox| mailbox.post(Order::ExtInt));
            }
        }
    }
}

impl Chipset {
    /// Does what `apic`, the local APIC of VP `vp`, asks for. True if its timer may have another
    /// deadline now. VP `vp` itself makes this call, so it is not kicked: it looks at its APIC
    /// before it runs on.
    #[inline]
    pub fn apply(
        &self,
        effect: Option<Effect>,
        apic: &LocalApic,
        vp: u32,
        kick: &impl Kick,
    ) -> bool {
        match effect {
            None => false,
            Some(Effect::TimerChanged) => true,
            Some(Effect::Ipi(ipi)) => {
                self.mailboxes().send(ipi, false, Some(vp), kick);
                false
            }
            Some(Effect::EndOfInterrupt { vector }) => {
                self.lines().end_of_interrupt(vector, |ipi, level| {
                    self.mailboxes().send(ipi, level, None, kick);
                });
                false
            }
            Some(Effect::IdentityChanged) => {
                if let Some(mailbox) = self.mailboxes().get(vp) {
                    mailbox.set_identity(apic.identity());
                    // The VP reads LINT0 again: while LINT0 was masked, it was told of no change.
                    let _ = mailbox.post(Order::ExtInt);
                }
                true
            }
        }
    }
}
