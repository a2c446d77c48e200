//! The saved form of a command in progress.

use serde::{Deserialize, Serialize};

use crate::rsa_search::KeyWork;
use crate::secret::Secret;

/// A command that is not answered yet. It is plain data: when the command continues it is parsed
/// and authorized again, and no state changes before it is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) bytes: Secret,
    pub(crate) locality: u8,
    pub(crate) presence: bool,
    /// The RSA key that the command needs: found, or being searched for.
    pub(crate) keys: KeyWork,
}
