//! Decides whether an authorization value may be used for an entity (Part 1, section 19.3).

use crate::Tpm;
use crate::call::Env;
use crate::codec::{Put, built};
use crate::constants::{attr, cc, nv, rh};
use crate::nv_index::Index;
use crate::object::Slot;
use crate::rc::{Rc, Result};
use crate::table::Role;

impl Tpm {
    /// Whether the role can be authorized by a policy only.
    pub(crate) fn needs_policy(&self, entity: u32, role: Role) -> bool {
        match role {
            Role::Duplicate => true,
            Role::Admin => match rh::kind(entity) {
                rh::HT_NV => true,
                rh::HT_TRANSIENT | rh::HT_PERSISTENT => {
                    self.object(entity).is_ok_and(|o| o.public.is(attr::ADMIN_WITH_POLICY))
                }
                _ => false,
            },
            Role::User => false,
        }
    }

    /// Whether the entity has an authorization value that may be used in this role.
    pub(crate) fn is_value_available(&self, entity: u32, role: Role) -> bool {
        match rh::kind(entity) {
            rh::HT_TRANSIENT | rh::HT_PERSISTENT => {
                if let Some(Slot::Sequence(_)) = self.slot_if_transient(entity) {
                    return true;
                }
                self.object(entity).is_ok_and(|o| {
                    o.sensitive.is_some()
                        && (role != Role::User || o.public.is(attr::USER_WITH_AUTH))
                })
            }
            rh::HT_NV => self.store.index(entity).is_some_and(|index| {
                let by_value = index.public.attributes & (nv::AUTH_READ | nv::AUTH_WRITE) != 0;
                by_value && !is_pin_spent(index)
            }),
            _ => true,
        }
    }

    /// Refuses to read an unwritten index before its authorization value is checked: the refusal is
    /// no failed authorization (Part 3, section 31.1).
    pub(crate) fn check_written(&self, entity: u32, code: u32) -> Result<()> {
        let unwritten = self.store.index(entity).is_some_and(|index| !index.is(nv::WRITTEN));
        let refused = unwritten && cc::READ_INDEX.contains(&code);
        if refused { Err(Rc::NV_UNINITIALIZED) } else { Ok(()) }
    }

    /// Records a correct PIN: a PIN Pass index counts it, a PIN Fail index resets its count.
    pub(crate) fn pin_succeeded(&mut self, env: Env<'_>, entity: u32) -> Result<()> {
        let Some(index) = self.pin_index(entity) else { return Ok(()) };
        let (count, _) = index.pin();
        match index.kind() {
            nv::PIN_PASS => self.set_pin_count(entity, count.saturating_add(1)),
            nv::PIN_FAIL if count != 0 => self.set_pin_count(entity, 0),
            _ => {}
        }
        self.store.commit(env)
    }

    /// Records a wrong PIN for a PIN Fail index. The caller commits.
    pub(crate) fn pin_failed(&mut self, entity: u32) {
        let Some(index) = self.pin_index(entity) else { return };
        let (count, _) = index.pin();
        if index.kind() == nv::PIN_FAIL {
            self.set_pin_count(entity, count.saturating_add(1));
        }
    }

    fn pin_index(&self, entity: u32) -> Option<&Index> {
        let index = self.store.index(entity)?;
        (matches!(index.kind(), nv::PIN_PASS | nv::PIN_FAIL) && index.is(nv::WRITTEN))
            .then_some(index)
    }

    fn set_pin_count(&mut self, entity: u32, count: u32) {
        if let Some(index) = self.store.index_mut(entity, true) {
            let (_, limit) = index.pin();
            index.data = built(|out| {
                out.put_u32(count).put_u32(limit);
            })
            .into();
        }
    }
}

/// Whether a PIN index has reached its limit, or has none yet.
fn is_pin_spent(index: &Index) -> bool {
    let (count, limit) = index.pin();
    matches!(index.kind(), nv::PIN_PASS | nv::PIN_FAIL)
        && (!index.is(nv::WRITTEN) || count >= limit)
}
