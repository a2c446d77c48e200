//! IGVM files: builds them, and predicts the launch digest of a VM that is made from one.
#![forbid(unsafe_code)]

mod builder;
mod linux;
mod measure;
mod vmsa;

pub use builder::Builder;
pub use linux::{Linux, build as build_linux, build_program};
pub use measure::{Row, measure};
