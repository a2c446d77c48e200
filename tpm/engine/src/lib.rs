//! A TPM 2.0 without input or output of its own.
//!
//! Command bytes go in, response bytes come out; entropy, time and non-volatile storage are
//! arguments ([`Environment`]). "Part 1" to "Part 4" are those of the TPM 2.0 library
//! specification, revision 1.59; the profile is that of PC clients.
//!
//! Promises:
//! - No bytes cause a panic; what is wrong with them is answered with the code that Part 3 names,
//!   after which the state is what it was, apart from failures that count.
//! - A response leaves only when all that it acknowledges is durable.
//! - A primary key depends on its seed and template alone, for ever.
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
mod hierarchy;
mod keys;
mod lifecycle;
mod load;
mod map;
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
mod secret;
mod secret_share;
mod self_test;
mod sequence;
mod session;
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

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroize;

pub use lifecycle::{SAVED_VERSION, Saved};

use dispatch::Running;
use state::Volatile;
use store::Store;

/// The longest command, in bytes.
pub const MAX_COMMAND: usize = 4096;
/// A budget for [`Tpm::work`] of half a millisecond on common machines: between two calls the
/// environment can cancel the command, and what is computed again after each is little.
pub const SEARCH_UNITS: u32 = 1_000;
/// The longest response, in bytes.
pub const MAX_RESPONSE: usize = 4096;

/// What the TPM needs from outside.
pub trait Environment {
    /// Fills `out` with random bytes fit for keys; false if there are none.
    fn entropy(&mut self, out: &mut [u8]) -> bool;

    /// Milliseconds of a clock that only goes forward.
    fn now_ms(&mut self) -> u64;

    /// Makes all changes durable, or none of them.
    ///
    /// # Errors
    /// Why none was made.
    fn commit(&mut self, changes: &[Change]) -> Result<(), CommitError>;

    /// Whether somebody asserts physical presence.
    fn physical_presence(&mut self) -> bool {
        false
    }

    /// Whether the running command shall end.
    fn is_canceled(&mut self) -> bool {
        false
    }
}

/// A record of non-volatile storage that changes.
#[derive(PartialEq, Eq)]
pub struct Change {
    /// The record's number.
    pub key: u32,
    /// What it becomes; nothing to delete it. Secret: to be encrypted by the one who stores it.
    pub data: Option<Vec<u8>>,
}

impl Drop for Change {
    fn drop(&mut self) {
        self.data.zeroize();
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Change({:#x}, {:?} bytes)", self.key, self.data.as_ref().map(Vec::len))
    }
}

/// Why a commit was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// Too many writes for now: the command may be sent again.
    Rate,
    /// The storage does not work.
    Unavailable,
}

/// Why records make no TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The record with this key has a version that this engine does not know.
    Version(u32),
    /// The record with this key does not decode.
    Malformed(u32),
    /// The record with the hierarchies is not there.
    Missing,
    /// The environment gave no entropy.
    Entropy,
    /// The first state could not be stored.
    Commit(CommitError),
}

/// How far a command is.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// It wants more [`Tpm::work`].
    Working,
    /// Its response.
    Done(Vec<u8>),
}

/// The TPM.
pub struct Tpm {
    store: Store,
    v: Box<Volatile>,
    random: random::Random,
    running: Option<Box<Running>>,
}

impl fmt::Debug for Tpm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tpm")
            .field("started", &self.v.started)
            .field("running", &self.running.is_some())
            .finish_non_exhaustive()
    }
}
