//! Persistent state as records, changed in transactions.
//!
//! A command changes records in memory, and the store keeps their old content. At the end the
//! environment gets all changed records in one commit. If the command or the commit fails, the old
//! content is restored.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::map::Map;
use crate::nv_index::Index;
use crate::object::Object;
use crate::rc::{Rc, Result};
use crate::state::Global;
use crate::{Change, CommitError, Environment, OpenError};

/// Version of the records: the first byte of each record.
pub(crate) const RECORD_VERSION: u8 = 2;
/// Key of the record with everything but indices and objects.
const GLOBAL_KEY: u32 = 0;
/// The most persistent objects.
pub(crate) const MAX_PERSISTENT: usize = 16;
/// The most NV indices.
pub(crate) const MAX_INDICES: usize = 128;
/// Bytes of NV for indices, including their public areas.
pub(crate) const NV_SPACE: usize = 32 * 1024;

/// Persistent state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Store {
    global: Box<Global>,
    indices: Map<Index>,
    objects: Map<Arc<Object>>,
    #[serde(skip)]
    undo: Undo,
}

/// The old content of the records that the running command has changed.
#[derive(Clone, Debug, Default)]
struct Undo {
    global: Option<Box<Global>>,
    indices: Map<(Option<Index>, bool)>,
    objects: Map<Option<Arc<Object>>>,
}

impl Store {
    pub(crate) fn new(global: Global) -> Self {
        Self {
            global: Box::new(global),
            indices: Map::default(),
            objects: Map::default(),
            undo: Undo::default(),
        }
    }

    pub(crate) fn global(&self) -> &Global {
        &self.global
    }

    /// The global record, for a change.
    pub(crate) fn global_mut(&mut self) -> &mut Global {
        if self.undo.global.is_none() {
            self.undo.global = Some(self.global.clone());
        }
        &mut self.global
    }

    pub(crate) fn index(&self, handle: u32) -> Option<&Index> {
        self.indices.get(handle)
    }

    pub(crate) fn indices(&self) -> impl Iterator<Item = (u32, &Index)> {
        self.indices.iter()
    }

    fn remember_index(&mut self, handle: u32, durable: bool) {
        match self.undo.indices.get_mut(handle) {
            Some(entry) => entry.1 |= durable,
            None => {
                let old = self.indices.get(handle).cloned();
                self.undo.indices.set(handle, Some((old, durable)));
            }
        }
    }

    /// An index, for a change that is stored with the next commit if `durable`, or else at the next
    /// orderly shutdown.
    pub(crate) fn index_mut(&mut self, handle: u32, durable: bool) -> Option<&mut Index> {
        self.remember_index(handle, durable);
        self.indices.get_mut(handle)
    }

    /// Adds an index, or removes it.
    pub(crate) fn set_index(&mut self, handle: u32, index: Option<Index>) {
        self.remember_index(handle, true);
        self.indices.set(handle, index);
    }

    /// The handles of all indices for which `wanted` holds.
    pub(crate) fn handles_of(&self, wanted: impl Fn(&Index) -> bool) -> Vec<u32> {
        self.indices.iter().filter(|(_, i)| wanted(i)).map(|(handle, _)| handle).collect()
    }

    /// Bytes of NV that the indices occupy.
    pub(crate) fn used(&self) -> usize {
        self.indices.iter().map(|(_, index)| index.space()).sum()
    }

    pub(crate) fn object(&self, handle: u32) -> Option<&Arc<Object>> {
        self.objects.get(handle)
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = (u32, &Arc<Object>)> {
        self.objects.iter()
    }

    /// Adds a persistent object, or removes it.
    pub(crate) fn set_object(&mut self, handle: u32, object: Option<Arc<Object>>) {
        let old = self.objects.set(handle, object);
        if self.undo.objects.get(handle).is_none() {
            self.undo.objects.set(handle, Some(old));
        }
    }

    /// Whether there are changes to commit.
    pub(crate) fn is_changed(&self) -> bool {
        self.undo.global.is_some()
            || !self.undo.objects.is_empty()
            || self.undo.indices.iter().any(|(_, entry)| entry.1)
    }

    /// Makes the changes durable, or undoes them.
    ///
    /// # Errors
    /// NV_RATE or NV_UNAVAILABLE; the changes are undone.
    pub(crate) fn commit(&mut self, env: &mut dyn Environment) -> Result<()> {
        if self.is_changed() {
            let outcome = self.changes().and_then(|changes| {
                env.commit(&changes).map_err(|error| match error {
                    CommitError::Rate => Rc::NV_RATE,
                    CommitError::Unavailable => Rc::NV_UNAVAILABLE,
                })
            });
            if let Err(rc) = outcome {
                self.roll_back();
                return Err(rc);
            }
        }
        self.undo = Undo::default();
        Ok(())
    }

    fn changes(&self) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        if self.undo.global.is_some() {
            changes.push(Change { key: GLOBAL_KEY, data: Some(record(&self.global)?) });
        }
        for (key, _) in self.undo.indices.iter().filter(|(_, entry)| entry.1) {
            let data = self.indices.get(key).map(record).transpose()?;
            changes.push(Change { key, data });
        }
        for (key, _) in self.undo.objects.iter() {
            let data = self.objects.get(key).map(record).transpose()?;
            changes.push(Change { key, data });
        }
        Ok(changes)
    }

    /// Undoes the changes since the last commit.
    pub(crate) fn roll_back(&mut self) {
        let undo = core::mem::take(&mut self.undo);
        if let Some(global) = undo.global {
            self.global = global;
        }
        for (handle, (old, _)) in undo.indices.into_entries() {
            self.indices.set(handle, old);
        }
        for (handle, old) in undo.objects.into_entries() {
            self.objects.set(handle, old);
        }
    }
}

/// A store that is read record by record.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    global: Option<Box<Global>>,
    indices: Map<Index>,
    objects: Map<Arc<Object>>,
}

impl Opening {
    /// Reads a record.
    #[inline(never)]
    pub(crate) fn read(&mut self, key: u32, bytes: &[u8]) -> core::result::Result<(), OpenError> {
        let Some((&RECORD_VERSION, bytes)) = bytes.split_first() else {
            return Err(OpenError::Version(key));
        };
        let malformed = |_| OpenError::Malformed(key);
        match crate::constants::rh::kind(key) {
            0 => self.global = Some(postcard::from_bytes(bytes).map_err(malformed)?),
            1 => {
                let index = postcard::from_bytes(bytes).map_err(malformed)?;
                self.indices.set(key, Some(index));
            }
            _ => {
                let object = postcard::from_bytes(bytes).map_err(malformed)?;
                self.objects.set(key, Some(object));
            }
        }
        Ok(())
    }

    /// The store, once all records are read.
    #[inline(never)]
    pub(crate) fn finish(self) -> core::result::Result<Store, OpenError> {
        let Self { global, indices, objects } = self;
        let global = global.ok_or(OpenError::Missing)?;
        Ok(Store { global, indices, objects, undo: Undo::default() })
    }
}

fn record<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut bytes = Vec::from([RECORD_VERSION]);
    bytes.extend(postcard::to_allocvec(value).map_err(|_| Rc::FAILURE)?);
    Ok(bytes)
}
