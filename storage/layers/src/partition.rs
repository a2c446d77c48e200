//! A part of a disk, which is a disk.

use block::{BlockDevice, Completion, Event, Extent, Failure, Operation, Properties, Request, Tag};
use device_model::Instant;

use crate::answers::Answers;

/// The extent does not lie on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeyondDisk;

/// The blocks of one extent of a device. No request reaches another block.
///
/// The partition stays where it is if the disk changes its size. Of a disk that shrinks, it keeps
/// the blocks that are still there.
#[derive(Debug)]
pub struct Partition<D> {
    device: D,
    extent: Extent,
    answers: Answers,
}

impl<D: BlockDevice> Partition<D> {
    /// The extent of the device, which must have all of it. The numbers may come from a table that
    /// somebody else wrote.
    pub fn new(device: D, extent: Extent) -> Result<Self, BeyondDisk> {
        let blocks = device.properties().blocks;
        extent.end().filter(|end| *end <= blocks).ok_or(BeyondDisk)?;
        Ok(Self { device, extent, answers: Answers::default() })
    }
}

impl<D: BlockDevice> BlockDevice for Partition<D> {
    fn properties(&self) -> Properties {
        let disk = self.device.properties();
        let there = disk.blocks.saturating_sub(self.extent.first);
        Properties {
            blocks: self.extent.blocks.min(there),
            optimal_blocks: aligned(disk.optimal_blocks, self.extent.first),
            ..disk
        }
    }

    fn submit(&mut self, now: Instant, mut request: Request) -> Result<(), Request> {
        if let Some(failure) = request.refused(&self.properties()) {
            return self.answers.refuse(request, failure);
        }
        let asked = request.extent;
        // A flush has no extent.
        if request.operation != Operation::Flush {
            let Some(first) = asked.first.checked_add(self.extent.first) else {
                return self.answers.refuse(request, Failure::OutOfRange);
            };
            request.extent.first = first;
        }
        self.device.submit(now, request).map_err(|request| Request { extent: asked, ..request })
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

/// The largest unit of at most `optimal` blocks of which the disk has a border at `first`.
fn aligned(optimal: u32, first: u64) -> u32 {
    match 1_u32.checked_shl(first.trailing_zeros()) {
        Some(border) => optimal.min(border),
        None => optimal,
    }
}
