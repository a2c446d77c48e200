//! A TPM 2.0 engine without I/O of its own.
//!
//! Command bytes go in, response bytes come out; entropy, time and non-volatile storage are
//! arguments ([`Environment`]). "Part 1" to "Part 4" are those of the TPM 2.0 library
//! specification, revision 1.59; the profile is that of PC clients.
//!
//! Promises:
//! - No bytes cause a panic. A wrong command is answered with the code that Part 3 names, and
//!   leaves the state unchanged, except that authorization failures are counted.
//! - A response is returned only after every change that it acknowledges is durable.
//! - A primary key depends on its seed and its template only, forever.
//!
//! The modules form layers, without a cycle: numbers and wire structures (`constants` to
//! `structures`), the state (`state`, `store`, `tpm`), a command while it runs (`call`), the
//! commands, their table (`commands`), and `dispatch` and `lifecycle` on top.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod asymmetric;
mod attestation;
mod authorization;
mod availability;
mod call;
mod capability;
mod clock;
mod clock_commands;
mod codec;
mod commands;
mod commit;
mod constants;
mod context;
mod create;
mod crypto;
mod da;
mod dispatch;
mod duplication;
mod entity;
mod environment;
mod hierarchy;
mod keys;
mod lifecycle;
mod load;
mod map;
mod memory;
mod nv_commands;
mod nv_index;
mod object;
mod pcr;
mod pcr_commands;
mod policy;
mod policy_auth;
mod properties;
mod protection;
mod public;
mod random;
mod rc;
mod response;
mod rsa_search;
mod running;
mod secret;
mod secret_share;
mod self_test;
mod sequence;
mod session;
mod session_commands;
mod shared;
mod signature;
mod startup;
mod state;
mod store;
mod structures;
mod symmetric;
mod table;
mod template;
#[cfg(test)]
mod tests;
mod tpm;

pub use environment::{Change, CommitError, Environment, OpenError};
pub use lifecycle::{SAVED_VERSION, Saved};
pub use tpm::{Progress, Tpm};

/// The longest command, in bytes.
pub const MAX_COMMAND: usize = 4096;
/// A budget for [`Tpm::work`] that takes about half a millisecond. Between two calls the
/// environment can cancel the command; each call repeats only little work.
pub const SEARCH_UNITS: u32 = 1_000;
/// The longest response, in bytes.
pub const MAX_RESPONSE: usize = 4096;
