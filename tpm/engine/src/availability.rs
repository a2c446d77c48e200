//! Whether an authorization value may authorize an entity (Part 1, section 19.3).

use crate::Tpm;
use crate::call::Env;
use crate::codec::{Put, built};
use crate::constants::{attr, nv, rh};
use crate::nv_index::Index;
use crate::object::Slot;
use crate::rc::Result;
use crate::table::Role;

impl Tpm {
    /// Whether only a policy will do.
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

    /// Whether the value is there and may be used in this role.
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

    /// A right value for a PIN index: PIN pass counts it, PIN fail forgets its failures.
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

    /// A wrong value for a PIN fail index. The caller commits.
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

/// A PIN index whose tries are used up, or that has no limit yet.
fn is_pin_spent(index: &Index) -> bool {
    let (count, limit) = index.pin();
    matches!(index.kind(), nv::PIN_PASS | nv::PIN_FAIL)
        && (!index.is(nv::WRITTEN) || count >= limit)
}
