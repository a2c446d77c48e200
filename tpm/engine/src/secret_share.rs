//! Secrets that are sent to the holder of a key (Part 1, annexes B.10 and C.6).

use crate::object::Object;
use crate::rc::{Rc, Result};
use crate::secret::Secret;

pub(crate) fn decrypt(_key: &Object, _label: &str, _secret: &[u8]) -> Result<Secret> {
    Err(Rc::KEY)
}
