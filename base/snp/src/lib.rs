//! The wire formats and constants of SEV-SNP.
//!
//! Guest side, hypervisor side, emulated platform and host tools take these definitions from here.
//! Values that come from outside are open: an unknown number keeps its value, and each bit pattern
//! of a page is a value of its type. Nothing here allocates or panics on any input.
#![no_std]
#![forbid(unsafe_code)]

pub mod certificates;
pub mod cpuid_page;
pub mod digest;
pub mod doorbell;
pub mod exit;
pub mod features;
pub mod ghcb;
pub mod instruction;
mod layout;
pub mod message;
pub mod msr_protocol;
pub mod page_state;
pub mod report;
pub mod secrets;
pub mod status;
#[cfg(test)]
mod tests;
pub mod vmsa;
