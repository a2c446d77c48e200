//! TPM memory: transient objects, sequences (Part 1, section 27).

use crate::Tpm;
use crate::constants::rh;
use crate::object::Slot;
use crate::rc::{Rc, Result};
use crate::sequence::Sequence;

impl Tpm {
    /// The transient object or sequence with a handle.
    pub(crate) fn slot(&self, handle: u32) -> Option<&Slot> {
        self.v.objects.get((handle & 0x00ff_ffff) as usize)?.as_ref()
    }

    /// The same for a handle of any type.
    pub(crate) fn slot_if_transient(&self, handle: u32) -> Option<&Slot> {
        if rh::kind(handle) == rh::HT_TRANSIENT { self.slot(handle) } else { None }
    }

    /// Checks that there is room for one more object.
    pub(crate) fn check_object_memory(&self) -> Result<()> {
        let free = self.v.objects.iter().any(Option::is_none);
        if free { Ok(()) } else { Err(Rc::OBJECT_MEMORY) }
    }

    /// Adds an object or a sequence; returns its handle.
    pub(crate) fn add_slot(&mut self, slot: Slot) -> Result<u32> {
        let (handle, place) = (rh::TRANSIENT_FIRST..)
            .zip(self.v.objects.iter_mut())
            .find(|(_, place)| place.is_none())
            .ok_or(Rc::OBJECT_MEMORY)?;
        *place = Some(slot);
        Ok(handle)
    }

    /// Removes a transient object.
    pub(crate) fn flush_object(&mut self, handle: u32) {
        if let Some(place) = self.v.objects.get_mut((handle & 0x00ff_ffff) as usize) {
            *place = None;
        }
    }

    /// Removes all transient objects of a hierarchy.
    pub(crate) fn flush_hierarchy(&mut self, hierarchy: u32) {
        for place in self.v.objects.iter_mut() {
            if place.as_ref().is_some_and(|slot| slot.hierarchy() == hierarchy) {
                *place = None;
            }
        }
    }

    /// A copy of a sequence; MODE if the handle is that of an object.
    pub(crate) fn sequence(&self, handle: u32) -> Result<Sequence> {
        match self.slot_if_transient(handle) {
            Some(Slot::Sequence(sequence)) => Ok((**sequence).clone()),
            _ => Err(Rc::MODE),
        }
    }
}
