//! VPs that halt with interrupts disabled, then wake each other.

use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;

use crate::lifecycle::Lifecycle;
use crate::mailbox::Mailbox;

/// A machine of VPs that only sleep and send each other NMIs.
struct Machine {
    lifecycle: Lifecycle,
    mailboxes: Vec<Mailbox>,
    /// The CPUs' pending interrupts.
    kicked: Vec<(Mutex<bool>, Condvar)>,
    /// A VP reported that the guest has halted forever.
    ended: AtomicBool,
}

impl Machine {
    fn new(vps: usize) -> Arc<Self> {
        Arc::new(Self {
            lifecycle: Lifecycle::default(),
            mailboxes: (0..vps).map(|_| Mailbox::default()).collect(),
            kicked: (0..vps).map(|_| (Mutex::new(false), Condvar::new())).collect(),
            ended: AtomicBool::new(false),
        })
    }

    fn kick(&self, vp: usize) {
        let (kicked, condition) = &self.kicked[vp];
        *kicked.lock().unwrap() = true;
        condition.notify_one();
    }

    fn send_nmi(&self, vp: usize) {
        if self.mailboxes[vp].post_nmi() {
            self.kick(vp);
        }
    }

    /// Halts a VP with interrupts disabled: it sleeps until an NMI arrives or the guest has ended.
    fn halt(&self, vp: usize) {
        loop {
            if self.mailboxes[vp].is_pending() && self.mailboxes[vp].drain().nmis() != 0 {
                return;
            }
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            let ends = || {
                self.ended.store(true, Ordering::SeqCst);
                (0..self.kicked.len()).for_each(|vp| self.kick(vp));
            };
            let idle = || {
                let (kicked, condition) = &self.kicked[vp];
                let mut kicked = kicked.lock().unwrap();
                while !*kicked {
                    kicked = condition.wait(kicked).unwrap();
                }
                *kicked = false;
            };
            self.lifecycle.sleep(&self.mailboxes[vp], &self.mailboxes, true, ends, idle);
        }
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

/// A barrier by NMI, as memtest86+ has it: VP 1 sleeps, VP 0 wakes it and sleeps, VP 1 wakes VP 0.
#[test]
fn vps_that_wake_each_other_have_not_halted_for_good() {
    crate::try_schedules(|| {
        let machine = Machine::new(2);
        let other = Arc::clone(&machine);
        let vp_1 = thread::spawn(move || {
            other.halt(1);
            other.send_nmi(0);
        });
        machine.send_nmi(1);
        machine.halt(0);
        vp_1.join().unwrap();
        assert!(!machine.has_ended(), "the VM was ended although each VP had an NMI to come");
    });
}

/// The VP that falls asleep last detects it; a deadlock here would be a VM that hangs.
#[test]
fn vps_that_all_sleep_have_halted_for_good() {
    crate::try_schedules(|| {
        let machine = Machine::new(2);
        let other = Arc::clone(&machine);
        let vp_1 = thread::spawn(move || {
            other.halt(1);
            other.halt(1);
        });
        machine.send_nmi(1);
        machine.halt(0);
        vp_1.join().unwrap();
        assert!(machine.has_ended(), "a VP woke without an NMI");
    });
}
