//! IGVM files as an SEV-SNP loader reads and measures them.
//!
//! An IGVM file (format version 1 or 2) is a list of directives that build a VM. The file comes from
//! outside and may be hostile: [`Igvm::parse`] checks all of it before the first directive is handed
//! out, and refuses what it does not know, as an ignored directive would change the launch digest.
//! No file causes a panic; memory and time are bounded by the file's own size.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod check;
mod device_tree;
mod directive;
mod error;
mod file;
mod fixed_header;
mod footprint;
mod id_block;
mod manner;
mod measured;
mod memory;
#[cfg(test)]
mod tests;
mod variable_header;

pub use device_tree::{MemoryRange, device_tree};
pub use directive::{
    Directive, MAX_PARAMETER_AREA_SIZE, Page, PageKind, PageSize, ParameterArea, ParameterKind,
    VpContext,
};
pub use error::{Error, Fault};
pub use file::{DEFAULT_POLICY, Directives, Igvm};
pub use id_block::Identity;
pub use manner::Manner;
pub use measured::ZERO_PAGE;
pub use memory::Memory;
