//! A disk that its user can not change.

use block::{BlockDevice, Completion, Event, Properties, Request, Tag};
use device_model::Instant;

use crate::answers::Answers;

/// A device without its writes: they fail with [`block::Failure::ReadOnly`], and never reach it.
#[derive(Debug)]
pub struct ReadOnly<D> {
    device: D,
    answers: Answers,
}

impl<D: BlockDevice> ReadOnly<D> {
    /// Protects a device.
    pub fn new(device: D) -> Self {
        Self { device, answers: Answers::default() }
    }
}

impl<D: BlockDevice> BlockDevice for ReadOnly<D> {
    fn properties(&self) -> Properties {
        Properties { read_only: true, deallocates: false, ..self.device.properties() }
    }

    fn submit(&mut self, now: Instant, request: Request) -> Result<(), Request> {
        match request.refused(&self.properties()) {
            Some(failure) => self.answers.refuse(request, failure),
            None => self.device.submit(now, request),
        }
    }

    fn poll(&mut self, now: Instant) -> Option<Completion> {
        self.answers.take().or_else(|| self.device.poll(now))
    }

    fn cancel(&mut self, now: Instant, tag: Tag) {
        self.device.cancel(now, tag);
    }

    fn deadline(&self) -> Option<Instant> {
        self.answers.deadline(self.device.deadline())
    }

    fn event(&mut self) -> Option<Event> {
        self.device.event()
    }
}
