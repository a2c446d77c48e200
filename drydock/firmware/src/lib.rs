//! The SNP firmware of an emulated platform (SNP firmware ABI 56860).
//!
//! [`Guest`] is the firmware's context of one VM: launch, then messages. Nothing here reads a clock,
//! a random source or memory of a VM: keys, entropy, the host's CPUID and the pages are arguments.
//! The hypervisor chooses most of them, and the guest writes the messages: every input is answered
//! with a status of the ABI, and none causes a panic.
//!
//! Keys for guests are derived from the platform's secret by HMAC-SHA-256, not by AMD's function.
//! Neither guest nor hypervisor can tell the difference.
#![no_std]
#![forbid(unsafe_code)]

mod cpuid;
mod guest;
mod identity;
mod key;
mod platform;
mod policy;
mod report;
mod request;
#[cfg(test)]
mod tests;
mod xsave;

pub use cpuid::{CpuidResult, HostCpuid};
pub use guest::{Finish, Guest, Identity, LaunchEntropy, Start, TscInfo, Update};
pub use platform::{ChipSecret, Platform, PlatformState};
