//! The way of an interrupt message to the VPs that it names.

use core::sync::atomic::Ordering;

use local_apic::{Delivery, Destination, Ipi, lowest_priority};
use platform_api::{Cpus, Platform, Time};

use crate::chipset::Deliver;
use crate::machine::Machine;
use crate::mailbox::{Mailbox, Order};

impl<P: Platform> Machine<P> {
    /// Sends `ipi`, which VP `sender` wrote to its ICR, or a device sent.
    pub(crate) fn send_ipi(&self, ipi: Ipi, level_triggered: bool, sender: Option<u32>) {
        if ipi.delivery == Delivery::LowestPriority {
            let candidates = self.receivers(ipi.destination, sender);
            let with_identity = candidates.map(|(vp, mailbox)| (vp, mailbox.identity()));
            if let Some(vp) = lowest_priority(with_identity, ipi.vector) {
                self.post(vp, |mailbox| mailbox.post_vector(ipi.vector, level_triggered));
            }
            return;
        }
        for (vp, _) in self.receivers(ipi.destination, sender) {
            self.post(vp, |mailbox| match ipi.delivery {
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
        (0..).zip(&self.mailboxes).filter(move |(vp, mailbox)| {
            destination.matches(mailbox.identity(), Some(*vp) == sender)
        })
    }

    /// Posts to VP `vp`, then kicks its CPU if that is needed.
    pub(crate) fn post(&self, vp: u32, post: impl FnOnce(&Mailbox) -> bool) {
        if let Some(mailbox) = self.mailboxes.get(vp as usize)
            && post(mailbox)
        {
            self.kick(vp, mailbox);
        }
    }

    /// Kicks the CPU of VP `vp`, as soon as the VP can bear it. It may come back by itself first.
    #[inline(never)]
    fn kick(&self, vp: u32, mailbox: &Mailbox) {
        let cost = self.kick_cost.load(Ordering::Relaxed);
        while mailbox.is_in_guest() && !mailbox.kicks.take(self.host().tsc().0, cost) {
            if !mailbox.is_pending() {
                return;
            }
            core::hint::spin_loop();
        }
        self.host().kick(vp);
    }
}

impl<P: Platform> Deliver for Machine<P> {
    fn deliver(&self, ipi: Ipi, level_triggered: bool) {
        self.send_ipi(ipi, level_triggered, None);
    }

    fn pic_changed(&self) {
        // The pair's output is wired to LINT0 of every VP, as in a PC.
        for (vp, mailbox) in (0..).zip(&self.mailboxes) {
            if mailbox.identity().lint0_open {
                self.post(vp, |mailbox| mailbox.post(Order::ExtInt));
            }
        }
    }

    fn deadline_lowered(&self, vp: u32) {
        self.watcher.store(vp, Ordering::Release);
        self.post(vp, |mailbox| mailbox.post(Order::Timer));
    }
}
