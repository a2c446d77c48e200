//! Tests lock-free state shared by VPs under thousands of interleavings of their steps.
//!
//! The modules are those of `vmm/chipset` and `vmm/machine`, built with atomics that may give the turn to another
//! thread at each access. The schedules come from a seed: a fault that needs up to [`DEPTH`] changes
//! of the turn at the right places is found with a probability that has a bound (Burckhardt and
//! others, "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs").
#![cfg(test)]
#![forbid(unsafe_code)]
// The modules contain more than these tests use.
#![expect(dead_code, reason = "the modules have more than what is tried here")]

extern crate alloc;

#[path = "../../../vmm/chipset/src/kick_allowance.rs"]
mod kick_allowance;
#[path = "../../../vmm/machine/src/lifecycle.rs"]
mod lifecycle;
mod mail;
#[path = "../../../vmm/chipset/src/mailbox.rs"]
mod mailbox;
mod sleep;
mod sync;
mod tpm_interface;

use shuttle::scheduler::PctScheduler;
use shuttle::{Config, Runner};

/// Changes of the turn at chosen places, in each schedule.
const DEPTH: usize = 3;
const SCHEDULES: usize = 5_000;
const SEED: u64 = 11;

/// Runs `body` under many schedules.
fn try_schedules(body: impl Fn() + Send + Sync + 'static) {
    let scheduler = PctScheduler::new_from_seed(SEED, DEPTH, SCHEDULES);
    Runner::new(scheduler, Config::default()).run(body);
}
