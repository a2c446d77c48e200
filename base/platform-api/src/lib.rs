//! What the VMM asks of the platform that holds the guest.
//!
//! One implementation is chosen per image, as a type parameter; nothing here is dynamic on the way
//! of an exit. [`Host`] is all contact with the outside, [`GuestVp`] is one virtual processor on
//! the CPU that it is bound to, [`Platform`] makes them.
#![no_std]
#![forbid(unsafe_code)]

mod exit;
mod host;
mod vp;

pub use exit::{Exit, MemoryFault, PortAccess};
pub use host::{ExitStatus, Host, HostFile, Received, StateDiskError, Transfer, Width};
pub use vp::{Arrival, Event, GuestVp, Platform};
