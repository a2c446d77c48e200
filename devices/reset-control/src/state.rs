//! The saved state of the reset registers.

use crate::ResetControl;
use crate::registers::{A20, FAST_RESET, RESET_BITS};
use device_model::RestoreError;
use serde::{Deserialize, Serialize};

/// The version of [`Saved`] that this build writes and reads.
pub const SAVED_VERSION: u16 = 1;

/// The whole state of the reset registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the model, by the same names")]
pub struct Saved {
    pub version: u16,
    pub port_92: u8,
    pub reset_control: u8,
}

pub(crate) fn save(model: &ResetControl) -> Saved {
    let ResetControl { port_92, reset_control } = *model;
    Saved { version: SAVED_VERSION, port_92, reset_control }
}

pub(crate) fn restore(saved: &Saved) -> Result<ResetControl, RestoreError> {
    let Saved { version, port_92, reset_control } = *saved;
    if version != SAVED_VERSION {
        return Err(RestoreError::Version { found: version, supported: SAVED_VERSION });
    }
    require(port_92 & !(FAST_RESET | A20) == 0, "port_92")?;
    require(reset_control & !RESET_BITS == 0, "reset_control")?;
    Ok(ResetControl { port_92, reset_control })
}

fn require(holds: bool, field: &'static str) -> Result<(), RestoreError> {
    if holds { Ok(()) } else { Err(RestoreError::Field(field)) }
}
