//! The saved state of the interface.

use crate::registers::LOCALITIES;
use crate::{Buffers, Phase, TpmCrb};
use device_model::RestoreError;
use serde::{Deserialize, Serialize};

/// The version of [`Saved`] that this build writes and reads.
pub const SAVED_VERSION: u16 = 1;

/// One bit for each locality.
const ALL: u8 = (1 << LOCALITIES) - 1;

/// The whole state of the interface. `phase` is 0 in Idle, 1 in Ready, 2 while a command runs, 3
/// while a command runs whose response is not wanted, and 4 after the completion of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the model, by the same names")]
pub struct Saved {
    pub version: u16,
    pub command: u64,
    pub command_size: u32,
    pub response: u64,
    pub response_size: u32,
    pub phase: u8,
    pub active: Option<u8>,
    pub requested: u8,
    pub seized: u8,
    pub cancel: bool,
    pub failed: bool,
    pub established: bool,
}

const PHASES: [Phase; 5] = [
    Phase::Idle,
    Phase::Ready,
    Phase::Execution { wanted: true },
    Phase::Execution { wanted: false },
    Phase::Completion,
];

pub(crate) fn save(crb: &TpmCrb) -> Saved {
    let TpmCrb { buffers, phase, active, requested, seized, cancel, failed, established } = *crb;
    let Buffers { command, command_size, response, response_size } = buffers;
    let phase = match phase {
        Phase::Idle => 0,
        Phase::Ready => 1,
        Phase::Execution { wanted: true } => 2,
        Phase::Execution { wanted: false } => 3,
        Phase::Completion => 4,
    };
    Saved {
        version: SAVED_VERSION,
        command,
        command_size,
        response,
        response_size,
        phase,
        active,
        requested,
        seized,
        cancel,
        failed,
        established,
    }
}

pub(crate) fn restore(saved: &Saved) -> Result<TpmCrb, RestoreError> {
    let Saved { version, command, command_size, response, response_size, phase, .. } = *saved;
    let Saved { active, requested, seized, cancel, failed, established, .. } = *saved;
    if version != SAVED_VERSION {
        return Err(RestoreError::Version { found: version, supported: SAVED_VERSION });
    }
    let phase = *PHASES.get(usize::from(phase)).ok_or(RestoreError::Field("phase"))?;
    require(active.is_none_or(|active| active < LOCALITIES), "active")?;
    let own = active.map_or(0, crate::bit);
    // The active locality is neither requested nor seized. If none is active, none is requested.
    require(requested & !ALL == 0 && requested & own == 0, "requested")?;
    require(requested == 0 || active.is_some(), "requested")?;
    require(seized & !ALL == 0 && seized & own == 0, "seized")?;
    let at_rest = matches!(phase, Phase::Idle | Phase::Execution { wanted: false });
    require(active.is_some() || at_rest, "phase")?;
    let buffers = Buffers { command, command_size, response, response_size };
    Ok(TpmCrb { buffers, phase, active, requested, seized, cancel, failed, established })
}

fn require(holds: bool, field: &'static str) -> Result<(), RestoreError> {
    if holds { Ok(()) } else { Err(RestoreError::Field(field)) }
}
