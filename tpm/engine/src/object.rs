//! Objects in memory (Part 1, section 27).

use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::Tpm;
use crate::codec::Put;
use crate::constants::{alg, attr, rh};
use crate::crypto;
use crate::public::{Public, Sensitive};
use crate::rc::{Rc, Result};
use crate::sequence::Sequence;

/// A loaded object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Object {
    pub(crate) public: Public,
    /// Nothing if only the public area was loaded.
    pub(crate) sensitive: Option<Sensitive>,
    pub(crate) name: Vec<u8>,
    pub(crate) qualified_name: Vec<u8>,
    pub(crate) hierarchy: u32,
    /// Loaded by LoadExternal.
    pub(crate) external: bool,
    /// Gone after Startup(CLEAR), as itself or an ancestor asks.
    pub(crate) st_clear: bool,
}

impl Object {
    /// A child of a parent whose qualified name is given.
    pub(crate) fn new(
        public: Public,
        sensitive: Option<Sensitive>,
        parent: &[u8],
        hierarchy: u32,
    ) -> Self {
        let name = public.name();
        let qualified_name = qualified_name(public.name_alg, parent, &name);
        let st_clear = public.is(attr::ST_CLEAR);
        Self { public, sensitive, name, qualified_name, hierarchy, external: false, st_clear }
    }

    /// The sensitive area; nothing of it in an object of which only the public part is loaded.
    pub(crate) fn secret(&self) -> Result<&Sensitive> {
        self.sensitive.as_ref().ok_or(Rc::KEY)
    }
}

/// The qualified name of an object under a parent (Part 1, section 16).
pub(crate) fn qualified_name(name_alg: u16, parent: &[u8], name: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    if name_alg != alg::NULL {
        out.put_u16(name_alg).put(&crypto::hash(name_alg, &[parent, name]));
    }
    out
}

/// What a transient handle stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Slot {
    Object(Arc<Object>),
    Sequence(Arc<Sequence>),
}

impl Slot {
    pub(crate) fn hierarchy(&self) -> u32 {
        match self {
            Self::Object(object) => object.hierarchy,
            Self::Sequence(_) => rh::NULL,
        }
    }
}

impl Tpm {
    /// Whether one more object fits.
    pub(crate) fn check_object_memory(&self) -> Result<()> {
        let free = self.v.objects.iter().any(Option::is_none);
        if free { Ok(()) } else { Err(Rc::OBJECT_MEMORY) }
    }

    /// Puts an object or sequence into a free place.
    pub(crate) fn add_slot(&mut self, slot: Slot) -> Result<u32> {
        let (handle, place) = (rh::TRANSIENT_FIRST..)
            .zip(self.v.objects.iter_mut())
            .find(|(_, place)| place.is_none())
            .ok_or(Rc::OBJECT_MEMORY)?;
        *place = Some(slot);
        Ok(handle)
    }

    /// Takes a transient object out.
    pub(crate) fn flush_object(&mut self, handle: u32) {
        if let Some(place) = self.v.objects.get_mut((handle & 0x00ff_ffff) as usize) {
            *place = None;
        }
    }

    /// Takes all transient objects of a hierarchy out.
    pub(crate) fn flush_hierarchy(&mut self, hierarchy: u32) {
        for place in self.v.objects.iter_mut() {
            if place.as_ref().is_some_and(|slot| slot.hierarchy() == hierarchy) {
                *place = None;
            }
        }
    }
}
