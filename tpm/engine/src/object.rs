//! Objects in TPM memory (Part 1, section 27).

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
    /// None if only the public area is loaded.
    pub(crate) sensitive: Option<Sensitive>,
    pub(crate) name: Vec<u8>,
    pub(crate) qualified_name: Vec<u8>,
    pub(crate) hierarchy: u32,
    /// Whether LoadExternal loaded it.
    pub(crate) external: bool,
    /// Whether Startup(CLEAR) ends it: stClear is set in the object or an ancestor.
    pub(crate) st_clear: bool,
}

impl Object {
    /// A child of the parent with the qualified name `parent`.
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

    /// The sensitive area; KEY if only the public area is loaded.
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

/// The content of a transient handle.
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
