//! The saved state.

use device_model::RestoreError;
use serde::{Deserialize, Serialize};

use crate::Partition;

/// The version of [`Saved`] that this build writes and reads.
pub const SAVED_VERSION: u16 = 1;

/// The whole state except the clock, which belongs to the new machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// [`SAVED_VERSION`].
    pub version: u16,
    /// HV_X64_MSR_GUEST_OS_ID.
    pub guest_os_id: u64,
    /// HV_X64_MSR_HYPERCALL.
    pub hypercall: u64,
    /// HV_X64_MSR_REFERENCE_TSC.
    pub reference_tsc: u64,
    /// HV_X64_MSR_TSC_INVARIANT_CONTROL.
    pub tsc_invariant: u64,
}

impl Partition {
    /// Copies the state out.
    pub const fn save(&self) -> Saved {
        let Self { clock: _, vendor: _, guest_os_id, hypercall, reference_tsc, tsc_invariant } =
            *self;
        Saved { version: SAVED_VERSION, guest_os_id, hypercall, reference_tsc, tsc_invariant }
    }

    /// Replaces the state by a saved one. A state that can not have been saved is refused, and
    /// nothing changes.
    pub fn restore(&mut self, saved: &Saved) -> Result<(), RestoreError> {
        let Saved { version, guest_os_id, hypercall, reference_tsc, tsc_invariant } = *saved;
        if version != SAVED_VERSION {
            return Err(RestoreError::Version { found: version, supported: SAVED_VERSION });
        }
        if hypercall & 0xffc != 0 || (hypercall & 1 != 0 && guest_os_id == 0) {
            return Err(RestoreError::Field("hypercall"));
        }
        if reference_tsc & 0xffe != 0 {
            return Err(RestoreError::Field("reference_tsc"));
        }
        if tsc_invariant > 1 {
            return Err(RestoreError::Field("tsc_invariant"));
        }
        let Self { clock, vendor, .. } = *self;
        *self = Self { clock, vendor, guest_os_id, hypercall, reference_tsc, tsc_invariant };
        Ok(())
    }
}
