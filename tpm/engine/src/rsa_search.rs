//! The RSA key search of a command, in slices.

use alloc::boxed::Box;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use tpm_crypto::rsa::{Progress, RsaKeySearch, RsaSize, SavedSearch};

use crate::rc::{Rc, Result};
use crate::secret::Secret;

/// The input of a search, which determines the key.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Task {
    bits: u16,
    exponent: u32,
    seed: Secret,
}

/// The RSA key that a command needs: requested, being searched for, or found.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct KeyWork {
    task: Option<Task>,
    #[serde(with = "saved")]
    search: Option<Box<RsaKeySearch>>,
    /// Modulus and prime of the key.
    found: Option<(Vec<u8>, Secret)>,
}

/// Serializes a search as its saved state, which is checked when it is read.
mod saved {
    use serde::de::Error;
    use serde::{Deserializer, Serializer};

    use super::{Box, Deserialize, RsaKeySearch, SavedSearch, Serialize};

    pub(super) fn serialize<S: Serializer>(
        search: &Option<Box<RsaKeySearch>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        search.as_ref().map(|search| search.save()).serialize(serializer)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(
        deserializer: D,
    ) -> Result<Option<Box<RsaKeySearch>>, D::Error> {
        let saved = Option::<SavedSearch>::deserialize(deserializer)?;
        let search = saved.as_ref().map(RsaKeySearch::restore).transpose();
        Ok(search.map_err(D::Error::custom)?.map(Box::new))
    }
}

impl core::fmt::Debug for KeyWork {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "KeyWork(searching: {})", self.is_searching())
    }
}

impl KeyWork {
    /// Whether a key is requested but not found yet.
    pub(crate) const fn is_searching(&self) -> bool {
        self.task.is_some() && self.found.is_none()
    }

    /// Modulus and prime of the key for `seed`. If there is no key yet, this requests one and
    /// fails; the command runs again once the key is found. It then gets the key of the first seed,
    /// even if it has drawn another one.
    pub(crate) fn rsa(
        &mut self,
        bits: u16,
        exponent: u32,
        seed: Secret,
    ) -> Result<(Vec<u8>, Secret)> {
        if let Some(found) = &self.found {
            return Ok(found.clone());
        }
        self.task = Some(Task { bits, exponent, seed });
        Err(Rc::CANCELED)
    }

    /// Continues for `budget` units; true when the key is found.
    pub(crate) fn search(&mut self, budget: u32) -> Result<bool> {
        let Some(task) = &self.task else { return Ok(true) };
        let search = match &mut self.search {
            Some(search) => search,
            none => {
                let size = RsaSize::from_bits(task.bits).ok_or(Rc::VALUE)?;
                none.insert(Box::new(RsaKeySearch::new(size, task.exponent, &task.seed)?))
            }
        };
        if search.step(budget) == Progress::Searching {
            return Ok(false);
        }
        let key = search.key().ok_or(Rc::NO_RESULT)?;
        self.found = Some((key.public_key().modulus().to_vec(), key.prime().to_vec().into()));
        self.search = None;
        Ok(true)
    }
}
