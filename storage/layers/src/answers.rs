//! Completions that a layer makes by itself, until its user asks for them.

use alloc::collections::VecDeque;

use block::{Completion, Failure, Request};
use device_model::Instant;

/// The most refusals that wait. Room comes as they are taken.
const MOST: usize = 64;

/// Completions in their order.
#[derive(Debug, Default)]
pub(crate) struct Answers(VecDeque<Completion>);

impl Answers {
    /// Completes a request that is not begun, or hands it back if too many wait already.
    pub(crate) fn refuse(&mut self, request: Request, failure: Failure) -> Result<(), Request> {
        if self.0.len() >= MOST {
            return Err(request);
        }
        self.push(Completion { tag: request.tag, result: Err(failure) });
        Ok(())
    }

    /// Adds one. The layer has a bound for them.
    pub(crate) fn push(&mut self, completion: Completion) {
        self.0.push_back(completion);
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes the oldest.
    pub(crate) fn take(&mut self) -> Option<Completion> {
        self.0.pop_front()
    }

    /// When the layer must be asked, if the devices below it must be asked at `below`.
    pub(crate) fn deadline(&self, below: Option<Instant>) -> Option<Instant> {
        if self.0.is_empty() { below } else { Some(Instant::START) }
    }
}
