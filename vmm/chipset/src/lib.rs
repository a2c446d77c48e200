//! The part of a PC that all its VPs share.
//!
//! [`Chipset`] has the devices at their ports and addresses, the interrupt [`lines`] to the 8259
//! pair and the IOAPIC, and the way of an interrupt message to the [`mailbox`] of each VP that it
//! names. Each VP has its own local APIC, which is not here.
//!
//! The user gives two things with an access: a [`platform_api::Console`] for the bytes
//! of the serial ports, and a [`Kick`] that interrupts the CPU of a VP.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod devices;
mod kick_allowance;
pub mod lines;
pub mod mailbox;
pub mod memory;
mod ports;
mod route;
mod serial;
mod sync;
#[cfg(test)]
mod tests;

pub use devices::{Access, Chipset, MINIMUM_TIMER_PERIOD, NO_DEADLINE};
pub use ports::{BIOS_CALL_PORT, BiosCall, PM_BASE, Request};
pub use route::{Kick, Mailboxes};
