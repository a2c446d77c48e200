//! A map from handles to the few entries that a TPM has.
//!
//! It is a sorted list, and is serialized as a list of pairs. The code of a tree is several times
//! as large for each type of entry.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// Values by handle, in ascending order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Map<T>(Vec<(u32, T)>);

impl<T> Default for Map<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Map<T> {
    /// The position of the handle, or the one where it would be inserted.
    fn find(&self, handle: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&handle, |entry| entry.0)
    }

    pub(crate) fn get(&self, handle: u32) -> Option<&T> {
        let place = self.find(handle).ok()?;
        self.0.get(place).map(|entry| &entry.1)
    }

    pub(crate) fn get_mut(&mut self, handle: u32) -> Option<&mut T> {
        let place = self.find(handle).ok()?;
        self.0.get_mut(place).map(|entry| &mut entry.1)
    }

    /// Inserts a value, or removes it; returns the previous one.
    pub(crate) fn set(&mut self, handle: u32, value: Option<T>) -> Option<T> {
        match (self.find(handle), value) {
            (Ok(place), Some(value)) => {
                let entry = self.0.get_mut(place)?;
                Some(core::mem::replace(&mut entry.1, value))
            }
            (Ok(place), None) => Some(self.0.remove(place).1),
            (Err(place), Some(value)) => {
                self.0.insert(place, (handle, value));
                None
            }
            (Err(_), None) => None,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.0.iter().map(|entry| (entry.0, &entry.1))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All entries, in ascending order.
    pub(crate) fn into_entries(self) -> Vec<(u32, T)> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::Map;

    proptest! {
        #[test]
        fn it_does_what_a_tree_does(
            steps in proptest::collection::vec((0_u32..9, any::<Option<u8>>()), 0..60),
        ) {
            let (mut map, mut tree) = (Map::default(), BTreeMap::new());
            for (handle, value) in steps {
                let old = match value {
                    Some(value) => tree.insert(handle, value),
                    None => tree.remove(&handle),
                };
                prop_assert_eq!(map.set(handle, value), old);
                prop_assert_eq!(map.get(handle), tree.get(&handle));
                prop_assert_eq!(map.get_mut(handle), tree.get_mut(&handle));
                prop_assert_eq!(map.is_empty(), tree.is_empty());
                prop_assert!(map.iter().eq(tree.iter().map(|(handle, value)| (*handle, value))));
            }
            prop_assert!(map.into_entries().into_iter().eq(tree));
        }
    }
}
