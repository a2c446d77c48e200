//! The saved state of the power-management block.

use crate::AcpiPm;
use crate::registers::{Control, Events};
use device_model::{Instant, RestoreError};
use serde::{Deserialize, Serialize};

/// The version of [`Saved`] that this build writes and reads.
pub const SAVED_VERSION: u16 = 1;

/// The whole state of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the model, by the same names")]
pub struct Saved {
    pub version: u16,
    pub latest: Instant,
    pub status: u16,
    pub enable: u16,
    pub control: u16,
}

pub(crate) fn save(pm: &AcpiPm) -> Saved {
    let AcpiPm { latest, status, enable, control } = pm;
    Saved {
        version: SAVED_VERSION,
        latest: *latest,
        status: status.bits(),
        enable: enable.bits(),
        control: control.into_bits(),
    }
}

pub(crate) fn restore(saved: &Saved) -> Result<AcpiPm, RestoreError> {
    let Saved { version, latest, status, enable, control } = *saved;
    if version != SAVED_VERSION {
        return Err(RestoreError::Version { found: version, supported: SAVED_VERSION });
    }
    if control & !Control::WRITABLE != Control::RESET.into_bits() {
        return Err(RestoreError::Field("control"));
    }
    Ok(AcpiPm {
        latest,
        status: Events::from_bits(status).ok_or(RestoreError::Field("status"))?,
        enable: Events::from_bits(enable).ok_or(RestoreError::Field("enable"))?,
        control: Control::from_bits(control),
    })
}
