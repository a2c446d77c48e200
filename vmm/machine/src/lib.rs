//! The machine that the guest sees: exits in, device models behind them, effects out.
//!
//! [`Machine`] is the state that all VPs share; [`VirtualProcessor`] is one VP with its loop. An
//! exit's way: `GuestVp::run` answers an `Exit`, `dispatch` takes it to a device in [`chipset`] or
//! to the VP's own local APIC, and its effects (a line, a deadline, a message) are in place before
//! the VP runs again. The platform is a type parameter, so nothing on that way is dynamic.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    expect(clippy::duplicate_mod, reason = "the same tests run on two kinds of platform")
)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod digests;
mod dispatch;
mod error;
mod events;
mod files;
mod guest;
mod identity;
mod kicks;
mod lifecycle;
mod machine;
mod memory;
mod msr;
mod report;
mod restart;
mod sync;
mod tpm;
mod vp;

// `lifecycle`, which `tests/interleavings` builds too, finds the mailboxes at this path in both.
use chipset::mailbox;

// The machine's tests, on both kinds of platform (`tests/fake`).
#[cfg(test)]
#[path = "tests/mod.rs"]
mod confidential;
#[cfg(test)]
#[path = "tests/mod.rs"]
mod open;

pub use device_model::Clock;
pub use error::GuestError;
pub use files::{GuestFiles, NoConfig, read_config};
pub use machine::Machine;
pub use tpm::TpmError;
pub use vp::VirtualProcessor;
