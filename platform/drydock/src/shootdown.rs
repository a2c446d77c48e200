//! Pages that are taken away: they count as gone when every CPU has exited since.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use platform_api::Cpus;

/// Turns of the wait after which a CPU is kicked once more: a kick can be lost.
const KICK_AGAIN: u32 = 100_000;

/// Where one VP's CPU is.
#[derive(Debug, Default)]
struct Position {
    /// It may be in guest.
    is_in_guest: AtomicBool,
    /// How often it has left.
    exits: AtomicU64,
}

/// The positions of all CPUs.
#[derive(Debug)]
pub(crate) struct Shootdown {
    /// How often something was taken away.
    generation: AtomicU64,
    cpus: Vec<Position>,
}

impl Shootdown {
    pub(crate) fn new(vps: u32) -> Self {
        Self {
            generation: AtomicU64::new(0),
            cpus: (0..vps).map(|_| Position::default()).collect(),
        }
    }

    /// The CPU of `vp` is about to enter. True if something was taken away since `seen`, which is
    /// brought up to date: translations must be dropped.
    pub(crate) fn enter(&self, vp: u32, seen: &mut u64) -> bool {
        if let Some(cpu) = self.cpus.get(vp as usize) {
            cpu.is_in_guest.store(true, Ordering::SeqCst);
        }
        let generation = self.generation.load(Ordering::SeqCst);
        core::mem::replace(seen, generation) != generation
    }

    /// The CPU of `vp` has left.
    pub(crate) fn leave(&self, vp: u32) {
        if let Some(cpu) = self.cpus.get(vp as usize) {
            cpu.exits.fetch_add(1, Ordering::SeqCst);
            cpu.is_in_guest.store(false, Ordering::SeqCst);
        }
    }

    /// Waits until each CPU in guest has left. The tables have been changed before; `vp` is the
    /// caller's own VP, which is not in guest.
    pub(crate) fn wait(&self, vp: Option<u32>, cpus: &impl Cpus) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        for (index, cpu) in (0..).zip(&self.cpus) {
            if Some(index) == vp {
                continue;
            }
            let before = cpu.exits.load(Ordering::SeqCst);
            let mut turns = 0u32;
            while cpu.is_in_guest.load(Ordering::SeqCst)
                && cpu.exits.load(Ordering::SeqCst) == before
            {
                if turns.is_multiple_of(KICK_AGAIN) {
                    cpus.kick(index);
                }
                turns = turns.wrapping_add(1);
                core::hint::spin_loop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::cell::RefCell;
    use std::vec::Vec;

    use super::*;

    /// CPUs that leave when they are kicked often enough.
    struct Kicked<'a> {
        shootdown: &'a Shootdown,
        kicks: RefCell<Vec<u32>>,
        needed: usize,
    }

    impl Cpus for Kicked<'_> {
        fn cpuid(&self, _: u32, _: u32) -> [u32; 4] {
            [0; 4]
        }

        fn kick(&self, index: u32) {
            let mut kicks = self.kicks.borrow_mut();
            kicks.push(index);
            if kicks.iter().filter(|kicked| **kicked == index).count() == self.needed {
                self.shootdown.leave(index);
            }
        }

        fn idle(&self) {}

        fn take_nmi(&self) -> bool {
            false
        }
    }

    /// VPs 1 and 2 of 4 are in guest as VP `by` takes something away; the kicks.
    fn wait(shootdown: &Shootdown, by: Option<u32>, needed: usize) -> Vec<u32> {
        let cpus = Kicked { shootdown, kicks: RefCell::default(), needed };
        shootdown.wait(by, &cpus);
        cpus.kicks.into_inner()
    }

    #[test]
    fn the_wait_ends_when_every_cpu_has_left_its_guest() {
        let shootdown = Shootdown::new(4);
        let mut seen = [0; 4];
        for vp in [1, 2] {
            assert!(!shootdown.enter(vp, &mut seen[vp as usize]), "nothing was taken away yet");
        }
        assert_eq!(wait(&shootdown, Some(0), 1), [1, 2]);
        for vp in 0..4 {
            assert!(shootdown.enter(vp, &mut seen[vp as usize]), "VP {vp} drops its translations");
            shootdown.leave(vp);
            assert!(!shootdown.enter(vp, &mut seen[vp as usize]), "once");
        }
        assert_eq!(wait(&shootdown, Some(3), 1), [0, 1, 2], "not the CPU that waits");
    }

    #[test]
    fn a_lost_kick_is_repeated() {
        let shootdown = Shootdown::new(2);
        shootdown.enter(1, &mut 0);
        assert_eq!(wait(&shootdown, None, 3), [1, 1, 1]);
    }

    #[test]
    fn cpus_out_of_their_guests_are_left_alone() {
        let shootdown = Shootdown::new(3);
        shootdown.enter(1, &mut 0);
        shootdown.leave(1);
        assert_eq!(wait(&shootdown, Some(0), 1), []);
    }
}
