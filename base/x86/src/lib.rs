//! The vocabulary of x86: registers, flags, vectors, page tables.
//!
//! Every other crate takes these definitions from here. What differs between vendors is a parameter
//! of the code that needs it: how the CPU stores a segment's attributes ([`Attributes`]), which
//! instruction is the hypercall, what CPUID names.
#![no_std]
#![forbid(unsafe_code)]

pub mod control;
mod double_fault;
pub mod msr;
pub mod page_table;
mod registers;
mod segments;
mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod vector;
mod vendor;

pub use control::{cr0, cr4, dr6, dr7, efer, rflags};
pub use double_fault::{Combined, combine};
pub use registers::{EventRegisters, ModeRegisters, Register, Registers, SystemRegisters};
pub use segments::{Attributes, Segment, SegmentRegister};
pub use state::{Control, VpState};
pub use vendor::Vendor;
