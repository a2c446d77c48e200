//! The judgement of what host and guest hand to software at VMPL0.
//!
//! The host writes answers to a GHCB page, events to a doorbell page, and pages of the launch. The
//! guest's exits stand in its save area. Everything here is a plain function of such values: the
//! crates for the hardware read them, and act on the results. No value leads to a panic, to an
//! endless loop, or to a second read of a page that the host can change.
#![no_std]
#![forbid(unsafe_code)]

pub mod calls;
pub mod doorbell;
pub mod features;
pub mod firmware;
pub mod guest_exit;
pub mod launch_pages;
mod memory_map;

pub use memory_map::memory_map;
