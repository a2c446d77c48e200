//! The rules of an SEV-SNP CPU, on one that only has AMD-V.
//!
//! AMD-V runs the guest; what SEV-SNP adds to an exit is decided here. [`Addressing`] tells private
//! from shared addresses, [`LevelMemory`] is memory as a level of a VP reaches it, [`Cpu::exit`]
//! turns an exit of AMD-V into a [`Disposition`]: resume, an exception for the guest, #VC, or an
//! automatic exit to the host.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

mod addressing;
mod cpu;
mod exit;
mod instruction;
mod memory;
mod mode;
mod msr;
mod nested_fault;
mod save_area;
#[cfg(test)]
mod tests;

pub use addressing::{Addressing, Kind, Place};
pub use cpu::{Cpu, Features};
pub use exit::{AutomaticExit, Disposition, RawExit, VcInfo};
pub use instruction::Remap;
pub use memory::{LevelMemory, Refusal, Space};
pub use mode::Mode;
pub use save_area::{
    EMULATED, PCPU_ID, PROTECTED, Unfit, check as check_save_area, keeps_translations,
};
