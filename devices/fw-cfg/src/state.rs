//! The saved state of the device.

use crate::FwCfg;
use crate::registers::WRITE_ACCESS;
use device_model::RestoreError;
use serde::{Deserialize, Serialize};

/// The version of [`Saved`] that this build writes and reads.
pub const SAVED_VERSION: u16 = 1;

/// The whole state of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the model, by the same names")]
pub struct Saved {
    pub version: u16,
    pub key: u16,
    pub offset: u32,
    pub address_high: u32,
}

pub(crate) fn save(model: &FwCfg) -> Saved {
    let FwCfg { key, offset, address_high } = *model;
    Saved { version: SAVED_VERSION, key, offset, address_high }
}

pub(crate) fn restore(saved: &Saved) -> Result<FwCfg, RestoreError> {
    let Saved { version, key, offset, address_high } = *saved;
    if version != SAVED_VERSION {
        return Err(RestoreError::Version { found: version, supported: SAVED_VERSION });
    }
    if key & WRITE_ACCESS != 0 {
        return Err(RestoreError::Field("key"));
    }
    Ok(FwCfg { key, offset, address_high })
}
