//! The saved state of the host bridge.

use crate::registers::{ADDRESS_BITS, COMMAND_SERR};
use crate::{Bridge, PciHost};
use device_model::RestoreError;
use serde::{Deserialize, Serialize};

/// The version of [`Saved`] that this build writes and reads.
pub const SAVED_VERSION: u16 = 1;

/// The whole state of the host bridge. PCIEXBAR is configuration and must match that of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the model, by the same names")]
pub struct Saved {
    pub version: u16,
    pub address: u32,
    pub pciexbar: u64,
    pub command: u16,
}

pub(crate) fn save(host: &PciHost) -> Saved {
    let PciHost { address, bridge: Bridge { pciexbar, command } } = *host;
    Saved { version: SAVED_VERSION, address, pciexbar, command }
}

pub(crate) fn restore(own_pciexbar: u64, saved: &Saved) -> Result<PciHost, RestoreError> {
    let Saved { version, address, pciexbar, command } = *saved;
    if version != SAVED_VERSION {
        return Err(RestoreError::Version { found: version, supported: SAVED_VERSION });
    }
    require(address & !ADDRESS_BITS == 0, "address")?;
    require(pciexbar == own_pciexbar, "pciexbar")?;
    require(command & !COMMAND_SERR == 0, "command")?;
    Ok(PciHost { address, bridge: Bridge { pciexbar, command } })
}

fn require(holds: bool, field: &'static str) -> Result<(), RestoreError> {
    if holds { Ok(()) } else { Err(RestoreError::Field(field)) }
}
