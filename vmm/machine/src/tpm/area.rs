//! The guest memory that belongs to the TPM: reserved in the guest's map, plain RAM otherwise.
//!
//! | page | content |
//! | --- | --- |
//! | 0 | command buffer |
//! | 1 | response buffer |
//! | 2 | physical presence interface |
//! | 3–18 | event log |

use firmware_tables::Range;
use guest_memory::PAGE_SIZE;
use tpm_crb::{Buffers, registers};

use super::event_log;

/// Bytes of it.
pub(crate) const LENGTH: u64 = 3 * PAGE_SIZE + event_log::ROOM;

/// The place of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    start: u64,
}

impl Area {
    /// The last pages before `end`, which is page-aligned.
    pub(crate) const fn below(end: u64) -> Self {
        Self { start: end.saturating_sub(LENGTH) }
    }

    /// All of it.
    pub(crate) const fn range(self) -> Range {
        Range { start: self.start, length: LENGTH }
    }

    /// Command and response buffer, a page each.
    pub(crate) const fn buffers(self) -> Buffers {
        Buffers {
            command: self.start,
            command_size: PAGE_SIZE as u32,
            response: self.start + PAGE_SIZE,
            response_size: PAGE_SIZE as u32,
        }
    }

    /// The page of the physical presence interface.
    pub(crate) const fn presence(self) -> u64 {
        self.start + 2 * PAGE_SIZE
    }

    /// The event log.
    pub(crate) const fn log(self) -> Range {
        Range { start: self.start + 3 * PAGE_SIZE, length: event_log::ROOM }
    }

    /// As the tables describe it.
    pub(crate) fn description(self) -> firmware_tables::Tpm {
        firmware_tables::Tpm {
            registers: Range { start: registers::BASE, length: registers::LENGTH.into() },
            control_area: registers::BASE + u64::from(registers::CTRL_REQ),
            buffers: Range { start: self.start, length: 2 * PAGE_SIZE },
            log: self.log(),
            presence: self.presence(),
        }
    }
}
