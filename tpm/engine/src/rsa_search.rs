//! The search for an RSA key, in slices.

use serde::{Deserialize, Serialize};

use crate::rc::Result;

/// An RSA key that a command asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct KeyWork {}

impl KeyWork {
    pub(crate) const fn is_searching(&self) -> bool {
        false
    }

    /// Goes on; true when the key is found.
    pub(crate) fn search(&mut self, _budget: u32) -> Result<bool> {
        Ok(true)
    }
}
