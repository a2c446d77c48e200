//! The exchange of tasks between a VP and the service: a task goes there, its outcome comes back.
//!
//! `turn` names the only party that may lock the content. So no party ever waits for the lock,
//! although the service may be put aside while it holds it.

use alloc::vec::Vec;

use tpm::MAX_COMMAND;
use zeroize::Zeroize;

use super::TpmError;
use crate::sync::{AtomicU8, Mutex, Ordering};

/// A task of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Power on, or reset: afterwards the TPM waits for TPM2_Startup.
    Init,
    /// A command from this locality.
    Execute {
        /// The locality.
        locality: u8,
    },
    /// Store the content of the physical presence interface for the next VM, if there is a state.
    KeepPresence,
    /// Give the stored content back; none if it was never stored.
    RecallPresence,
}

/// The party that may lock the content.
mod turn {
    pub(super) const NOBODY: u8 = 0;
    pub(super) const SERVICE: u8 = 1;
    pub(super) const VP: u8 = 2;
}

/// The place where they meet.
#[derive(Debug)]
pub(crate) struct Exchange {
    turn: AtomicU8,
    content: Mutex<Content>,
}

struct Content {
    task: Task,
    outcome: Result<(), TpmError>,
    /// The command, then the response.
    bytes: Vec<u8>,
}

/// Commands and responses may hold secrets.
impl core::fmt::Debug for Content {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Content({:?}, {} bytes)", self.task, self.bytes.len())
    }
}

impl Exchange {
    /// Nothing to do. Room for the longest command and response is taken now.
    pub(crate) fn new() -> Self {
        let bytes = Vec::with_capacity(MAX_COMMAND.max(tpm::MAX_RESPONSE));
        let content = Content { task: Task::Init, outcome: Ok(()), bytes };
        Self { turn: AtomicU8::new(turn::NOBODY), content: Mutex::new(content) }
    }

    /// Gives the service a task, with the command that `fill` puts into the empty vector. False if
    /// it has one.
    #[must_use]
    pub(crate) fn submit(&self, task: Task, fill: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.turn.load(Ordering::Acquire) != turn::NOBODY {
            return false;
        }
        let mut content = self.content.lock();
        content.task = task;
        forget(&mut content.bytes);
        fill(&mut content.bytes);
        drop(content);
        self.turn.store(turn::SERVICE, Ordering::Release);
        true
    }

    /// As the service: does the task that waits, if one does. `work` gets the command, and leaves
    /// the response in its place.
    pub(crate) fn serve(&self, work: impl FnOnce(Task, &mut Vec<u8>) -> Result<(), TpmError>) {
        if self.turn.load(Ordering::Acquire) != turn::SERVICE {
            return;
        }
        let mut content = self.content.lock();
        let Content { task, outcome, bytes } = &mut *content;
        *outcome = work(*task, bytes);
        drop(content);
        self.turn.store(turn::VP, Ordering::Release);
    }

    /// Takes the outcome, if there is one by now; `with` sees the response.
    pub(crate) fn collect<T>(&self, with: impl FnOnce(&[u8]) -> T) -> Option<Result<T, TpmError>> {
        if self.turn.load(Ordering::Acquire) != turn::VP {
            return None;
        }
        let content = self.content.lock();
        let result = content.outcome.map(|()| with(&content.bytes));
        drop(content);
        self.turn.store(turn::NOBODY, Ordering::Release);
        Some(result)
    }

    /// Whether the service has a task.
    pub(crate) fn is_busy(&self) -> bool {
        self.turn.load(Ordering::Acquire) != turn::NOBODY
    }
}

/// Empties `bytes` and keeps their allocation, as no exit allocates.
pub(super) fn forget(bytes: &mut Vec<u8>) {
    bytes.as_mut_slice().zeroize();
    bytes.clear();
}
