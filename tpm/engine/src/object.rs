//! Objects in memory (Part 1, section 27).

use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

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
