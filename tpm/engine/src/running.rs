//! The command that is being worked on.

use serde::{Deserialize, Serialize};

use crate::rsa_search::KeyWork;
use crate::secret::Secret;

/// A command that is not answered yet. It is plain data: everything is checked anew when it goes
/// on, and nothing of the state has changed until it is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) bytes: Secret,
    pub(crate) locality: u8,
    pub(crate) presence: bool,
    /// RSA keys that were found or are being looked for.
    pub(crate) keys: KeyWork,
}
