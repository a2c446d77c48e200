//! Policy for the CPU features that the guest may see.
//!
//! Both tables allow, they do not deny: a CPUID bit or an MSR that no line names does not exist
//! for the guest, whatever the CPU below offers.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

mod cpuid;
pub mod msr;
mod mtrr;
mod speculation;
#[cfg(test)]
mod tests;

pub use cpuid::{CpuidTable, Topology, xcr0_is_valid};
pub use msr::{MsrKind, classify};
pub use mtrr::Mtrrs;
pub use speculation::{IBPB, Speculation};
