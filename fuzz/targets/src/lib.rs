//! Fuzz targets: one function for each parser or state machine that guest or host can reach.
//!
//! Each takes bytes and must return: a panic, an overflow or a hang is a finding. The same
//! functions run under libFuzzer (`fuzz/fuzz_targets`, by hand for hours) and under a short seeded
//! loop in `cargo test` (`tests/short.rs`, always the same inputs).
#![forbid(unsafe_code)]

mod crb;
mod devices;
mod emulation;
mod files;
mod ghcb;
mod guest_message;
mod igvm;
mod input;
mod launch;
mod rmp;
mod save_area;
mod store;
mod tpm;
mod vmpl0;

pub use self::store::state_file;
pub use self::tpm::{tpm_command, tpm_context, tpm_records, tpm_sequence};
pub use self::vmpl0::{doorbell, exit_information, ghcb_answers, launch_pages};
pub use crb::tpm_crb;
pub use devices::{apic, chipset};
pub use emulation::{decode, emulate};
pub use files::{config, kernel, memory_map, report};
pub use ghcb::ghcb;
pub use guest_message::guest_message;
pub use igvm::{igvm_file, igvm_headers};
pub use launch::launch;
pub use rmp::rmp;
pub use save_area::vmsa;

/// A target.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("config", config),
    ("report", report),
    ("kernel", kernel),
    ("memory_map", memory_map),
    ("igvm_file", igvm_file),
    ("igvm_headers", igvm_headers),
    ("ghcb", ghcb),
    ("guest_message", guest_message),
    ("launch", launch),
    ("ghcb_answers", ghcb_answers),
    ("doorbell", doorbell),
    ("exit_information", exit_information),
    ("launch_pages", launch_pages),
    ("vmsa", vmsa),
    ("rmp", rmp),
    ("decode", decode),
    ("emulate", emulate),
    ("apic", apic),
    ("chipset", chipset),
    ("state_file", state_file),
    ("tpm_command", tpm_command),
    ("tpm_sequence", tpm_sequence),
    ("tpm_context", tpm_context),
    ("tpm_records", tpm_records),
    ("tpm_crb", tpm_crb),
];
