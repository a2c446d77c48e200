//! The host of an SEV-SNP VM, an honest one.
//!
//! It has what a host has: the exits of the VPs, their GHCBs, memory that is not private, the VMSAs
//! that it may run; never a register or a private page. [`Host`] is shared by all CPUs,
//! [`HostVp`] is one VP on its CPU. What lies outside of the emulated machine is an [`Outside`].
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

extern crate alloc;

mod configuration;
mod cpuid;
mod creation;
mod exits;
mod ghcb;
mod guest_request;
mod input_output;
mod interrupts;
mod level;
mod machine;
mod msr_protocol;
mod outside;
mod page_state;
mod registers;
mod test_ports;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod vp;

pub use configuration::{Content, GuestFile};
pub use machine::{Area, End, Host, Settings};
pub use outside::{Outside, PageState, Vcpu};
pub use vp::{Activity, HostVp, Step};
