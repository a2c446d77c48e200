//! Formats that the paravisor and the `paravane` command exchange.
//!
//! Both sides are built from this one description: names of files, the configuration, exit
//! statuses, the lines of the report port, and the channel that a command's output takes.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod chip;
pub mod config;
pub mod drydock;
pub mod exec;
pub mod file;
pub mod guest_files;
pub mod linux_start;
pub mod paravisor_image;
pub mod report;
pub mod status;
pub mod termination;

pub use config::{Config, ConfigError, LogLevel, MAX_LENGTH};
pub use drydock::DrydockConfig;
pub use status::Status;
