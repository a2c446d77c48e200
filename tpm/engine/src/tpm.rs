//! The TPM: the data that every command works on.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use tpm_crypto::drbg::Drbg;

use crate::running::Running;
use crate::state::Volatile;
use crate::store::Store;

/// The progress of a command.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// More calls of [`Tpm::work`] are needed.
    Working,
    /// The command is done; this is its response.
    Done(Vec<u8>),
}

/// The TPM.
pub struct Tpm {
    pub(crate) store: Store,
    pub(crate) v: Box<Volatile>,
    /// The random generator; none before its first use.
    pub(crate) random: Option<Drbg>,
    pub(crate) running: Option<Box<Running>>,
}

impl fmt::Debug for Tpm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tpm")
            .field("started", &self.v.started)
            .field("running", &self.running.is_some())
            .finish_non_exhaustive()
    }
}
