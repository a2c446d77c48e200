//! IGVM files with the launch digests of their VMs.
#![forbid(unsafe_code)]

mod builder;
mod linux;
mod measure;
mod paravisor;
#[cfg(test)]
mod tests;
mod vmsa;

pub use builder::Builder;
pub use linux::{Linux, build as build_linux, build_program};
pub use measure::{Row, measure};
pub use paravisor::{Paravisor, build as build_paravisor};
