//! Ephemeral keys of Commit and EC_Ephemeral (Part 1, annex C.2).

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// The counter of ephemeral keys, with one bit for each that may still be used.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Commits {
    pub(crate) counter: u64,
    pub(crate) pending: [u64; 4],
    pub(crate) nonce: Secret,
}
