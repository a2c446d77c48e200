//! The saved state of an I/O APIC.

use crate::IoApic;
use crate::registers::{Entry, ID_BITS, PINS};
use device_model::RestoreError;
use serde::{Deserialize, Serialize};

/// The version of [`Saved`] that this build writes and reads.
pub const SAVED_VERSION: u16 = 1;

/// The whole state of an I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the model, by the same names")]
pub struct Saved {
    pub version: u16,
    pub select: u8,
    pub id: u32,
    pub entries: [u64; PINS],
    pub pins: u32,
}

pub(crate) fn save(ioapic: &IoApic) -> Saved {
    let IoApic { select, id, entries, pins } = ioapic;
    Saved {
        version: SAVED_VERSION,
        select: *select,
        id: *id,
        entries: entries.map(Entry::into_bits),
        pins: *pins,
    }
}

pub(crate) fn restore(saved: &Saved) -> Result<IoApic, RestoreError> {
    let Saved { version, select, id, entries: bits, pins } = *saved;
    if version != SAVED_VERSION {
        return Err(RestoreError::Version { found: version, supported: SAVED_VERSION });
    }
    require(id & !ID_BITS == 0, "id")?;
    require(pins >> PINS == 0, "pins")?;
    let mut entries = [Entry::RESET; PINS];
    for (pin, (entry, bits)) in entries.iter_mut().zip(bits).enumerate() {
        require(bits & !Entry::IMPLEMENTED == 0, "entries")?;
        *entry = Entry::from_bits(bits);
        let remote = entry.remote_irr();
        require(!remote || entry.is_level(), "entries")?;
        // An unmasked, level-triggered pin that is asserted has always sent its message.
        let owed = entry.is_level() && !entry.masked() && pins >> pin & 1 != 0;
        require(remote || !owed, "entries")?;
    }
    Ok(IoApic { select, id, entries, pins })
}

fn require(holds: bool, field: &'static str) -> Result<(), RestoreError> {
    if holds { Ok(()) } else { Err(RestoreError::Field(field)) }
}
