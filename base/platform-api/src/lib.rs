//! What the machine asks of the platform that holds the guest.
//!
//! One implementation is chosen per image, as a type parameter; nothing here is dynamic on the way
//! of an exit. [`Host`] is all contact with the outside, [`GuestVp`] is one virtual processor on
//! the CPU that it is bound to, [`Confidential`] is what a confidential platform adds, [`Platform`]
//! makes them. A VP states what it can not do as [`Capabilities`]; what its CPU gets wrong stays
//! below these traits.
#![no_std]
#![forbid(unsafe_code)]

mod confidential;
mod exit;
mod host;
mod service;
mod start_up;
mod vp;
mod width;

pub use confidential::{
    Confidential, GuestRequestError, Level, NotConfidential, PageStateError, Permissions,
    SharedPage,
};
pub use exit::{Exit, MemoryFault, PortAccess};
pub use host::{
    Console, Cpus, Ending, Entropy, ExitStatus, Files, Host, HostFile, Received, StateDisk,
    StateDiskError, Time, Transfer,
};
pub use service::Service;
pub use start_up::StartUp;
pub use vp::{Arrival, Capabilities, Event, GuestVp, Platform};
pub use width::Width;
