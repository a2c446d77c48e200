//! AMD's virtualization (SVM), as the CPU offers it to a hypervisor.
//!
//! [`Vcpu`] is a virtual processor: its control block and registers, the way in and out, virtual
//! interrupts with a window, NMIs with their mask. [`NestedTables`] confine it. What QEMU's
//! software CPU does differently from silicon is handled here and told by
//! [`Features::is_software`].
#![no_std]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

mod enable;
mod entry;
pub mod events;
mod exits;
mod features;
mod intercepts;
mod interrupts;
mod nested_paging;
mod nmi;
mod permission_maps;
mod registers;
mod save_area;
#[cfg(test)]
mod tests;
mod vcpu;
mod vmcb;

pub use enable::enable;
pub use entry::vmsave;
pub use exits::{EXIT_KINDS, NAMES as EXIT_NAMES, kind as exit_kind};
pub use features::{Features, Unusable, spare_cpus};
pub use interrupts::UNUSED_VECTOR;
pub use nested_paging::NestedTables;
pub use permission_maps::{MSR_MAP_PAGES, PORT_MAP_PAGES, fill_permission_maps};
pub use vcpu::{Pages, Vcpu};
pub use vmcb::exit;
